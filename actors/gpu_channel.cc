#include <rondo/actors/gpu_channel.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include <unistd.h>

#include <rondo/actors/this_machine.h>
#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

using ops::must;

constexpr std::uint64_t kWord = 0x52'4f'4e'44'4f'50'41'52;
constexpr std::size_t kRingHead = 256;   // its first word is the ring's name

std::uint64_t draw() {
  std::random_device device;
  const std::uint64_t drawn = std::uint64_t{device()} << 32 | device();
  return drawn == 0 ? 1 : drawn;
}

std::uint64_t hash_of(const std::string& text) {   // FNV-1a
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::uint64_t machine_word() {
  static const std::uint64_t machine = [] {
    const std::string boot = boot_id();
    return boot.empty() ? draw() : hash_of(boot);
  }();
  return machine;
}

// A forked child is another one.
std::uint64_t this_process() {
  static const std::uint64_t drawn = draw();
  return drawn ^ hash_of(std::to_string(::getpid()));
}

std::size_t padded(std::size_t floats) { return (floats * sizeof(float) + 255) / 256 * 256; }

}  // namespace

// Plain bytes, whole floats.
struct GpuChannel::Head {
  std::uint64_t word = kWord;
  std::uint64_t machine = 0, process = 0;   // the sender's
  std::uint64_t ring = 0;                   // likewise; 0: it has none
  std::uint64_t reads = 0;                  // the receiver's ring that the sender can read, or 0
  std::uint64_t address = 0;                // of the ring, in the sender's process
  std::uint64_t at = 0;                     // of the floats in the ring; 0: they follow here
  std::uint64_t count = 0;
  ops::cuda::MemoryName name{};
};

GpuChannel::GpuChannel(ops::Gpu& gpu, Options options)
    : gpu_(gpu), options_(std::move(options)) {
  static_assert(sizeof(Head) % sizeof(float) == 0);
}

GpuChannel::~GpuChannel() {
  close();
  if (ring_memory_ != nullptr) (void)api().release(context(), ring_memory_);
}

void GpuChannel::say(const std::string& from, const std::string& to, const std::string& why) {
  const std::string text = from + " to " + to + " goes through host memory: " + why;
  if (text == said_) return;
  said_ = text;
  std::fprintf(stderr, "%s\n", text.c_str());
}

void GpuChannel::make_ring() {
  if (std::exchange(ring_tried_, true)) return;
  const std::size_t bytes = kRingHead + options_.buffers * padded(options_.floats);
  if (const auto fault = api().allocate_named(context(), bytes, &ring_memory_, &ring_name_)) {
    ring_memory_ = nullptr;
    return say(options_.here, options_.there,
               std::string("this GPU does not share memory: ") + fault);
  }
  const std::uint64_t drawn = draw();
  must(api().copy_in(context(), ring_memory_, &drawn, sizeof drawn));
  ring_ = drawn;
}

GpuChannel::Head GpuChannel::head(std::size_t count) const {
  Head head;
  head.machine = machine_word();
  head.process = this_process();
  head.ring = ring_;
  head.reads = opened_;
  head.address = reinterpret_cast<std::uint64_t>(ring_memory_);
  head.count = count;
  head.name = ring_name_;
  return head;
}

std::span<const float> GpuChannel::send(const float* from, std::size_t count) {
  make_ring();
  if (!is_read_ || count > options_.floats) return send_through_host(from, count);
  Head head = this->head(count);
  head.at = kRingHead + next_ * padded(options_.floats);
  next_ = (next_ + 1) % options_.buffers;
  must(api().copy(context(), static_cast<char*>(ring_memory_) + head.at, from,
                  count * sizeof(float)));
  must(api().wait(context()));   // whoever gets the parcel reads at once
  if (parcel_.bytes() < sizeof head) parcel_ = ops::GpuHostBuffer(gpu_, sizeof head);
  std::memcpy(parcel_.f(), &head, sizeof head);
  return {parcel_.f(), sizeof head / sizeof(float)};
}

std::span<const float> GpuChannel::send_through_host(const float* from, std::size_t count) {
  constexpr std::size_t kHead = sizeof(Head) / sizeof(float);
  const std::size_t bytes = sizeof(Head) + count * sizeof(float);
  if (parcel_.bytes() < bytes) parcel_ = ops::GpuHostBuffer(gpu_, bytes);
  const Head head = this->head(count);
  std::memcpy(parcel_.f(), &head, sizeof head);
  must(api().copy_out(context(), parcel_.f() + kHead, from, count * sizeof(float)));
  return {parcel_.f(), kHead + count};
}

void GpuChannel::receive(std::span<const float> parcel, std::size_t count, ops::GpuBuffer& to) {
  Head head;
  RONDO_CHECK_LE(sizeof head, parcel.size_bytes());
  std::memcpy(static_cast<void*>(&head), parcel.data(), sizeof head);
  RONDO_CHECK_EQ(head.word, kWord);
  RONDO_CHECK_EQ(head.count, count);
  meet(head);
  if (head.at == 0) {
    const auto floats = parcel.subspan(sizeof head / sizeof(float));
    RONDO_CHECK_EQ(floats.size(), count);
    return to.set(floats);
  }
  if (opened_ != head.ring)   // its sender is gone, or it belongs to another group
    throw ops::GpuFault("what a neighbour sent lies in device memory that cannot be opened");
  must(api().copy(context(), to.raw(), opened_memory_ + head.at, count * sizeof(float)));
}

void GpuChannel::meet(const Head& from) {
  is_read_ = ring_ != 0 && from.reads == ring_;
  if (from.ring == 0 || from.ring == opened_ || from.ring == refused_) return;
  close();
  const std::string why = open(from);
  if (why.empty()) {
    opened_ = from.ring;
  } else {
    close();
    refused_ = from.ring;
    say(options_.there, options_.here, why);
  }
}

std::string GpuChannel::open(const Head& from) {
  if (from.machine != machine_word()) return "the other stage is on another machine";
  if (from.process == this_process()) {
    opened_memory_ = reinterpret_cast<char*>(from.address);
  } else {
    void* opened = nullptr;
    if (const auto fault = api().open_named(context(), &from.name, &opened)) return fault;
    opened_memory_ = static_cast<char*>(opened);
    opened_by_name_ = true;
  }
  std::uint64_t found = 0;
  if (const auto fault = api().copy_out(context(), &found, opened_memory_, sizeof found))
    return fault;
  return found == from.ring ? "" : "the other stage's memory is not what it says";
}

void GpuChannel::close() {
  if (opened_by_name_) (void)api().close_named(context(), opened_memory_);
  opened_memory_ = nullptr;
  opened_by_name_ = false;
  opened_ = 0;
}

void GpuChannel::renew() {
  close();
  refused_ = 0;
  is_read_ = false;
}

}  // namespace rondo::actors
