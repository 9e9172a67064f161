#include <rondo/ops/random.h>

#include <cmath>
#include <numbers>

namespace rondo::ops {

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> x,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p = std::uint64_t{0xD2511F53U} * x[0];
    const std::uint64_t q = std::uint64_t{0xCD9E8D57U} * x[2];
    x = {static_cast<std::uint32_t>(q >> 32) ^ x[1] ^ key[0], static_cast<std::uint32_t>(q),
         static_cast<std::uint32_t>(p >> 32) ^ x[3] ^ key[1], static_cast<std::uint32_t>(p)};
    key[0] += 0x9E3779B9U;
    key[1] += 0xBB67AE85U;
  }
  return x;
}

std::uint32_t random_bits(const RandomKey& key, std::uint64_t index) {
  OPS_CHECK(index >> 34 == 0);
  const auto block = philox4x32(
      {static_cast<std::uint32_t>(index / 4), key.tensor, key.sample, key.step},
      {static_cast<std::uint32_t>(key.seed), static_cast<std::uint32_t>(key.seed >> 32)});
  return block[index % 4];
}

double random_uniform(const RandomKey& key, std::uint64_t index) {
  return static_cast<double>(random_bits(key, index) >> 8) * 0x1p-24;
}

double random_normal(const RandomKey& key, std::uint64_t index) {
  const double u = random_uniform(key, 2 * index);
  const double v = random_uniform(key, 2 * index + 1);
  return std::sqrt(-2 * std::log(1 - u)) * std::cos(2 * std::numbers::pi * v);
}

template <class T>
void fill_uniform(const RandomKey& key, double low, double high, View<T> out) {
  for (Dim i = 0; i < out.count(); ++i) {
    const double u = random_uniform(key, static_cast<std::uint64_t>(i));
    out[i] = static_cast<T>(low + (high - low) * u);
  }
}

template void fill_uniform(const RandomKey&, double, double, View<float>);
template void fill_uniform(const RandomKey&, double, double, View<double>);

}  // namespace rondo::ops
