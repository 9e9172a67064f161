#include <rondo/ops/finite.h>

#include <cmath>
#include <vector>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

template <class T>
std::string not_finite(const Executor& executor, std::string_view name, View<const T> x) {
  constexpr Dim kBlock = 32768;   // for_flat's ranges
  std::vector<char> bad(static_cast<std::size_t>((x.count() + kBlock - 1) / kBlock), 0);
  for_flat(executor, x.count(), [&](Dim from, Dim to) {
    bad[static_cast<std::size_t>(from / kBlock)] = !kernels<T>().finite(x.data() + from, to - from);
  });
  for (Dim block = 0; block < static_cast<Dim>(bad.size()); ++block) {
    if (bad[static_cast<std::size_t>(block)] == 0) continue;
    Dim i = block * kBlock;
    while (std::isfinite(x[i])) ++i;
    const char* what = std::isnan(x[i]) ? "NaN" : x[i] > 0 ? "infinity" : "-infinity";
    const std::string text = std::string(name) + " holds " + what + " at ";
    if (x.shape().rank() < 2) return text + "element " + std::to_string(i);
    const Dim step = x.count() / x.dim(0);
    return text + "step " + std::to_string(i / step) + ", element " + std::to_string(i % step) +
           " of that step";
  }
  return {};
}

template std::string not_finite(const Executor&, std::string_view, View<const float>);
template std::string not_finite(const Executor&, std::string_view, View<const double>);

}  // namespace rondo::ops
