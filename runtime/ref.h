#pragma once

#include <rondo/value/codec.h>

// Ref<T>: a promise of a T, made by submit, call or put.
//
// A small value: copy it, store it, pass it as an argument (where a T or a Ref<T> is wanted),
// return it, put it inside other values; it works wherever it arrives. The process that made it
// owns the value and answers for it; the value lives while any Ref to it does, in any process. Any
// thread may use it.
//
// A Ref says nothing by itself: Runtime::get and its kin wait and give the value, or throw its
// Error. A Ref may outlive its Runtime; it can no longer be waited for then.

namespace rondo {

template <class T>
class Ref {
 public:
  using Value = T;

  Ref() = default;                                             // empty: stands for nothing
  explicit Ref(CellRef cell) : cell_(std::move(cell)) {}       // for the runtime

  explicit operator bool() const { return static_cast<bool>(cell_); }
  [[nodiscard]] const CellRef& cell() const { return cell_; }  // for the runtime
  // The same promise, whichever way it came.
  friend bool operator==(const Ref& a, const Ref& b) { return a.cell_.get() == b.cell_.get(); }

 private:
  CellRef cell_;
};

namespace detail {
template <class T>
constexpr bool is_ref = false;
template <class T>
constexpr bool is_ref<Ref<T>> = true;
}  // namespace detail

template <class T>
struct Codec<Ref<T>> {
  static void type(detail::TypeName& name) { name.list<T>("ref<", ">"); }
  static void write(Writer& out, const Ref<T>& value) { out.ref(value.cell()); }
  static Ref<T> read(Reader& in) { return Ref<T>(in.ref()); }
};

}  // namespace rondo
