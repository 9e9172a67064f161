#pragma once

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include <rondo/base/prng.h>
#include <rondo/base/time.h>

// The weather between machines: what becomes of a frame. Loss, doubles, delay, and the disorder
// that comes of it; cuts that let frames through one way only.

namespace rondo::sim {

struct Weather {
  std::uint64_t loss_percent = 0;
  std::uint64_t double_percent = 0;
  std::int64_t delay_us_max = 500;   // between machines; on one machine a tenth
};

class Network {
 public:
  // Delays after which a copy of the frame arrives; none: lost.
  [[nodiscard]] std::vector<DurationNs> fate(Prng&, std::uint32_t from, std::uint32_t to) const;
  void set_weather(const Weather& weather) { weather_ = weather; }
  void cut(std::uint32_t from, std::uint32_t to) { cuts_.insert({from, to}); }
  void mend(std::uint32_t from, std::uint32_t to) { cuts_.erase({from, to}); }
  void heal();

 private:
  Weather weather_;
  std::set<std::pair<std::uint32_t, std::uint32_t>> cuts_;
};

}  // namespace rondo::sim
