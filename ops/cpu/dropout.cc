#include <rondo/ops/dropout.h>

#include <algorithm>
#include <cmath>

#include <rondo/ops/cpu/flat.h>
#include <rondo/ops/cpu/kernel_table.h>

namespace rondo::ops {

template <class T>
void dropout(const Executor& executor, const DropoutOptions& options, In<T> x, View<T> y) {
  OPS_CHECK(options.probability >= 0 && options.probability < 1 && options.first_time >= 0);
  OPS_CHECK(x.count() == y.count());
  if (!options.training || options.probability == 0) {
    if (x.data() != y.data()) std::copy_n(x.data(), x.count(), y.data());
    return;
  }
  const int rank = x.shape().rank();
  OPS_CHECK(rank == 2 || rank == 3);
  const Dim batch = x.dim(rank - 2), features = x.dim(rank - 1), blocks = (features + 3) / 4;
  const Dim steps = rank == 3 ? x.dim(0) : 1, rows = steps * batch;
  OPS_CHECK((options.first_time + steps) * blocks < Dim{1} << 32);
  const RandomKey& key = options.key;
  DropoutRun<T> run{.count = features,
                    .key = {.seed_low = static_cast<std::uint32_t>(key.seed),
                            .seed_high = static_cast<std::uint32_t>(key.seed >> 32),
                            .step = key.step, .tensor = key.tensor}};
  run.threshold = static_cast<std::uint32_t>(std::ceil(options.probability * 0x1p24));
  run.scale = static_cast<T>(1 / (1 - options.probability));
  run.stream = x.data() != y.data() && is_streamed(y.data(), y.count(), features);
  constexpr Dim kRows = 64;
  executor.run(static_cast<int>((rows + kRows - 1) / kRows), [&](int part) {
    DropoutRun<T> mine = run;
    for (Dim row = part * kRows; row < std::min(rows, (part + 1) * kRows); ++row) {
      mine.key.sample = key.sample + static_cast<std::uint32_t>(row % batch);
      mine.first_block =
          static_cast<std::uint32_t>((options.first_time + row / batch) * blocks);
      mine.x = x.data() + row * features;
      mine.y = y.data() + row * features;
      kernels<T>().dropout(mine);
    }
    kernels<T>().fence();
  });
}

template void dropout(const Executor&, const DropoutOptions&, In<float>, View<float>);
template void dropout(const Executor&, const DropoutOptions&, In<double>, View<double>);

}  // namespace rondo::ops
