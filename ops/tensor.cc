#include <rondo/ops/tensor.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <new>

#include <sys/mman.h>

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

template <class T>
void Tensor<T>::Free::operator()(T* data) const {
  ::operator delete[](static_cast<void*>(data), std::align_val_t{alignment});
}

namespace {
// Large tensors lie on large pages: rows of a scan or of a panel lie many small pages apart, and a
// page that must be looked up costs as much as a line from memory.
constexpr std::size_t kLine = 64, kLargePage = std::size_t{2} << 20;
}  // namespace

template <class T>
Tensor<T>::Tensor(Shape shape) : shape_(shape) {
  const auto n = static_cast<std::size_t>(shape.count());
  if (n == 0) return;
  const std::size_t bytes = n * sizeof(T);
  data_.get_deleter().alignment = bytes >= kLargePage ? kLargePage : kLine;
  const std::align_val_t alignment{data_.get_deleter().alignment};
  data_.reset(static_cast<T*>(::operator new[](bytes, alignment)));
#if defined(MADV_HUGEPAGE)   // advice: the system may have no such pages
  if (bytes >= kLargePage)
    (void)madvise(data_.get(), bytes / kLargePage * kLargePage, MADV_HUGEPAGE);
#endif
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
