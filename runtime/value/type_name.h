#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <typeinfo>
#include <vector>

// The structure of a type in words: "vector<f64>", "{i32,string}", "ref<i32>". Equal names mean
// equal bytes: the registry's fingerprint is made of them, and spawn compares them. A type that
// contains itself refers back: "{i32,vector<^1>}". Built when something is registered, never on a
// call's path.

namespace rondo {

template <class T>
struct Codec;

namespace detail {

class TypeName {
 public:
  std::string text;

  // One pass over T; Codec<T>::type(TypeName&) says it, else the compiler's name for T.
  template <class T>
  TypeName& add() {
    if constexpr (std::is_void_v<T>) {
      text += "void";
    } else if constexpr (requires(TypeName& name) { Codec<T>::type(name); }) {
      Codec<T>::type(*this);
    } else {
      text += typeid(T).name();
    }
    return *this;
  }
  template <class... T>
  void list(std::string_view open, std::string_view close) {
    text += open;
    std::size_t n = 0;
    ((n++ == 0 ? void() : void(text += ','), add<T>()), ...);
    text += close;
  }

  // Inside a type that may contain itself. False: it is being named already, and a reference was
  // written.
  bool enter(const std::type_info& type);
  void leave() { open_.pop_back(); }

 private:
  std::vector<const std::type_info*> open_;
};

template <class T>
std::string type_name() {
  return std::move(TypeName().add<T>().text);
}

[[noreturn]] void throw_malformed(const char* why, std::string (*type)());

}  // namespace detail
}  // namespace rondo
