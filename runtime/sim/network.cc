#include <rondo/sim/network.h>

namespace rondo::sim {

std::vector<DurationNs> Network::fate(Prng& random, std::uint32_t from, std::uint32_t to) const {
  std::vector<DurationNs> copies;
  const bool local = from == to;
  if (!local && cuts_.contains({from, to})) return copies;
  const std::uint64_t loss = local ? weather_.loss_percent / 8 : weather_.loss_percent;
  const std::uint64_t doubles = local ? weather_.double_percent / 4 : weather_.double_percent;
  const std::int64_t least = local ? 10 : 50;
  const std::int64_t most = local ? 20 + weather_.delay_us_max / 10 : 60 + weather_.delay_us_max;
  if (random.percent(loss)) return copies;
  copies.push_back(microseconds(random.between(least, most)));
  if (random.percent(doubles)) copies.push_back(microseconds(random.between(least, most * 4)));
  return copies;
}

void Network::heal() {
  cuts_.clear();
  weather_ = {};
}

}  // namespace rondo::sim
