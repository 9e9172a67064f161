#include <rondo/registry.h>

#include <algorithm>

#include <rondo/base/limits.h>

namespace rondo::detail {
namespace {

[[noreturn]] void invalid(std::string text) { throw Error(ErrorCode::kInvalid, std::move(text)); }

constexpr std::size_t kPerClassMax = std::size_t{1} << 16;

std::uint64_t hash(const FunctionKey& key) {
  std::uint64_t h = key.bytes.words[0] * 0x9E3779B97F4A7C15ull ^ key.bytes.words[1];
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9ull;
  return h ^ (h >> 32);
}

void mix(std::uint64_t& h, std::string_view text) {   // FNV-1a, with an end mark
  for (const char c : text) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
  h = (h ^ 0xFF) * 0x100000001B3ull;
}

}  // namespace

Body make_body(void (*run)(CallFrame&, const FunctionBytes&), const FunctionBytes& function) {
  return [run, function](CallFrame& frame) { run(frame, function); };
}

const RegisteredTask& Entries::task(std::uint32_t number) const {
  if (number >= tasks_.size())
    invalid("no task has the number " + std::to_string(number) +
            ": the sides registered different things");
  return tasks_[number];
}

const RegisteredClass& Entries::actor_class(std::uint32_t method_number) const {
  if (method_number >> 16 >= classes_.size())
    invalid("no class has the number " + std::to_string(method_number >> 16) +
            ": the sides registered different things");
  return classes_[method_number >> 16];
}

const RegisteredMethod& Entries::method(std::uint32_t number) const {
  const RegisteredClass& owner = actor_class(number);
  if ((number & 0xFFFF) >= owner.methods.size())
    invalid(owner.name + " has no method with the number " + std::to_string(number & 0xFFFF) +
            ": the sides registered different things");
  return owner.methods[number & 0xFFFF];
}

const RegisteredClass& Entries::actor_class(std::string_view name) const {
  const auto found = std::find_if(classes_.begin(), classes_.end(),
                                  [&](const RegisteredClass& c) { return c.name == name; });
  if (found == classes_.end())
    invalid("no class is registered as \"" + std::string(name) + "\": add registry.actor<...>(\"" +
            std::string(name) + "\")");
  return *found;
}

const RegisteredClass& Entries::actor_class(std::type_index type) const {
  const auto found = std::find(class_types_.begin(), class_types_.end(), type);
  if (found == class_types_.end())
    invalid(std::string("this actor's class is not registered (") + type.name() +
            "): add registry.actor<Class, constructor's types...>(\"name\") before Runtime");
  return classes_[static_cast<std::size_t>(found - class_types_.begin())];
}

std::uint32_t Entries::task_number(const FunctionKey& key) const {
  const Slot* slot = find(key);
  if (slot == nullptr)
    invalid("this task is not registered: add registry.task(\"name\", function) before Runtime");
  return slot->number;
}

std::uint32_t Entries::method_number(const FunctionKey& key) const {
  const Slot* slot = find(key);
  if (slot == nullptr)
    invalid("this method is not registered for " + actor_class(key.owner).name +
            ": add .method(\"name\", &Class::method) to its registry.actor");
  return slot->number;
}

std::uint64_t Entries::fingerprint() const {
  std::uint64_t h = 0xCBF29CE484222325ull;
  for (const RegisteredTask& t : tasks_) {
    mix(h, "task");
    mix(h, t.name);
    mix(h, t.signature);
  }
  for (const RegisteredClass& c : classes_) {
    mix(h, "actor");
    mix(h, c.name);
    for (const std::string& parameter : c.constructor) mix(h, parameter);
    for (const RegisteredMethod& m : c.methods) {
      mix(h, "method");
      mix(h, m.name);
      mix(h, m.signature);
    }
  }
  return h;
}

void Entries::check_new(std::string_view name) const {
  if (frozen_)
    invalid("\"" + std::string(name) + "\" is registered too late: register before Runtime");
  if (name.empty()) invalid("a registered name is empty");
  if (name.size() > limits::kNameBytesMax)
    invalid("a registered name has " + std::to_string(name.size()) + " bytes, at most " +
            std::to_string(limits::kNameBytesMax));
}

void Entries::add_task(std::string name, std::string signature, Body body,
                       const FunctionKey& key) {
  check_new(name);
  for (const RegisteredTask& other : tasks_)
    if (other.name == name) invalid("two tasks are registered as \"" + name + "\"");
  if (const Slot* same = find(key))
    invalid("the task \"" + name + "\" is already registered as \"" +
            tasks_[same->number].name + "\"");
  insert(key, static_cast<std::uint32_t>(tasks_.size()));
  tasks_.push_back({std::move(name), std::move(signature), std::move(body)});
}

std::uint32_t Entries::add_class(RegisteredClass registered, std::type_index type) {
  check_new(registered.name);
  if (classes_.size() >= kPerClassMax) invalid("too many classes are registered");
  for (const RegisteredClass& other : classes_)
    if (other.name == registered.name)
      invalid("two classes are registered as \"" + other.name + "\"");
  const auto same = std::find(class_types_.begin(), class_types_.end(), type);
  if (same != class_types_.end())
    invalid("the class \"" + registered.name + "\" is already registered as \"" +
            classes_[static_cast<std::size_t>(same - class_types_.begin())].name + "\"");
  classes_.push_back(std::move(registered));
  class_types_.push_back(type);
  return static_cast<std::uint32_t>(classes_.size() - 1);
}

void Entries::add_method(std::uint32_t class_index, std::string name, std::string signature,
                         Body body, const FunctionKey& key) {
  check_new(name);
  RegisteredClass& owner = classes_[class_index];
  if (owner.methods.size() >= kPerClassMax) invalid(owner.name + " has too many methods");
  for (const RegisteredMethod& other : owner.methods)
    if (other.name == name)
      invalid("two methods of " + owner.name + " are registered as \"" + name + "\"");
  if (const Slot* same = find(key))
    invalid("the method \"" + name + "\" of " + owner.name + " is already registered as \"" +
            owner.methods[same->number & 0xFFFF].name + "\"");
  insert(key, class_index << 16 | static_cast<std::uint32_t>(owner.methods.size()));
  owner.methods.push_back({std::move(name), std::move(signature), std::move(body)});
}

const Entries::Slot* Entries::find(const FunctionKey& key) const {
  if (slots_.empty()) return nullptr;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash(key) & mask; slots_[i].used; i = (i + 1) & mask)
    if (slots_[i].key == key) return &slots_[i];
  return nullptr;
}

void Entries::insert(const FunctionKey& key, std::uint32_t number) {
  if (2 * (slots_used_ + 1) > slots_.size()) {
    std::vector<Slot> old(std::max<std::size_t>(16, 2 * slots_.size()));
    old.swap(slots_);
    slots_used_ = 0;
    for (const Slot& slot : old)
      if (slot.used) insert(slot.key, slot.number);
  }
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash(key) & mask;
  while (slots_[i].used) i = (i + 1) & mask;
  slots_[i] = {key, number, true};
  ++slots_used_;
}

}  // namespace rondo::detail
