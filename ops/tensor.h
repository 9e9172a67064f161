#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <type_traits>

#include <rondo/ops/check.h>

// Tensors: numbers with a shape, row-major and contiguous, at most four dimensions, aligned to 64
// bytes; from 2 MiB on they lie on large pages where the system gives them (Linux: madvise).
//
// A Tensor owns its memory and is copied by value; it starts as zeros. A View borrows: a pointer
// and a shape, two words more than a span; it says nothing about lifetime, the caller does.
// View<const T> is read, View<T> is written. A View without elements means "not given" wherever an
// op calls an argument optional. Nothing here is thread-aware. Running out of memory throws
// std::bad_alloc; wrong shapes abort (OPS_CHECK). Instantiated for float, double and std::int32_t
// (ids).

namespace rondo::ops {

using Dim = std::int64_t;

class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Dim> dims);
  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] Dim operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  [[nodiscard]] Dim count() const;   // elements; 0 for the empty shape
  bool operator==(const Shape&) const = default;

 private:
  std::array<Dim, 4> dims_{};
  int rank_ = 0;
};

template <class T>
class View {
 public:
  View() = default;
  View(T* data, Shape shape) : data_(data), shape_(shape) {}
  template <class U>
    requires(std::is_same_v<const U, T> && !std::is_const_v<U>)
  View(View<U> other) : data_(other.data()), shape_(other.shape()) {}

  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] Dim dim(int axis) const { return shape_[axis]; }
  [[nodiscard]] Dim count() const { return shape_.count(); }
  [[nodiscard]] bool empty() const { return count() == 0; }
  [[nodiscard]] T& operator[](Dim flat) const { return data_[flat]; }
  [[nodiscard]] std::span<T> span() const { return {data_, static_cast<std::size_t>(count())}; }

  // The same elements under another shape. Requires: equal counts.
  [[nodiscard]] View reshape(Shape shape) const {
    OPS_CHECK(shape.count() == count());
    return {data_, shape};
  }

 private:
  T* data_ = nullptr;
  Shape shape_;
};

template <class T>
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Shape shape);
  Tensor(const Tensor&);
  Tensor& operator=(const Tensor&);
  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;

  [[nodiscard]] View<T> view() { return {data_.get(), shape_}; }
  [[nodiscard]] View<const T> view() const { return {data_.get(), shape_}; }
  operator View<T>() { return view(); }
  operator View<const T>() const { return view(); }
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] Dim count() const { return shape_.count(); }
  [[nodiscard]] T* data() { return data_.get(); }
  [[nodiscard]] const T* data() const { return data_.get(); }
  [[nodiscard]] T& operator[](Dim flat) { return data_.get()[flat]; }
  [[nodiscard]] const T& operator[](Dim flat) const { return data_.get()[flat]; }
  void fill(T value);

 private:
  struct Free {
    std::size_t alignment = 0;
    void operator()(T* data) const;
  };
  std::unique_ptr<T[], Free> data_;
  Shape shape_;
};

// Grows to at least this many elements; never shrinks, so that a warm layer does not allocate.
template <class T>
void ensure(Tensor<T>& tensor, Dim count) {
  if (tensor.count() < count) tensor = Tensor<T>(Shape{count});
}

// Short names for signatures: what an op reads and what it writes.
template <class T>
using In = View<const std::type_identity_t<T>>;
template <class T>
using Out = View<std::type_identity_t<T>>;

}  // namespace rondo::ops
