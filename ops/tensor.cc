#include <rondo/ops/tensor.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

namespace rondo::ops {

namespace detail {
void check_failed(const char* file, int line, const char* text) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, text);
  std::abort();
}
}  // namespace detail

Shape::Shape(std::initializer_list<Dim> dims) {
  OPS_CHECK(dims.size() <= dims_.size());
  for (const Dim dim : dims) {
    OPS_CHECK(dim >= 0);
    dims_[static_cast<std::size_t>(rank_++)] = dim;
  }
}

Dim Shape::count() const {
  if (rank_ == 0) return 0;
  Dim n = 1;
  for (int axis = 0; axis < rank_; ++axis) n *= (*this)[axis];
  return n;
}

namespace {
constexpr std::align_val_t kAlignment{64};
}

template <class T>
void Tensor<T>::Free::operator()(T* data) const {
  ::operator delete[](static_cast<void*>(data), kAlignment);
}

template <class T>
Tensor<T>::Tensor(Shape shape) : shape_(shape) {
  const auto n = static_cast<std::size_t>(shape.count());
  if (n == 0) return;
  data_.reset(static_cast<T*>(::operator new[](n * sizeof(T), kAlignment)));
  std::fill_n(data_.get(), n, T(0));
}

template <class T>
Tensor<T>::Tensor(const Tensor& other) : Tensor(other.shape_) {
  std::copy_n(other.data_.get(), other.count(), data_.get());
}

template <class T>
Tensor<T>& Tensor<T>::operator=(const Tensor& other) {
  if (this != &other) *this = Tensor(other);
  return *this;
}

template <class T>
void Tensor<T>::fill(T value) {
  std::fill_n(data_.get(), count(), value);
}

template class Tensor<float>;
template class Tensor<double>;
template class Tensor<std::int32_t>;

}  // namespace rondo::ops
