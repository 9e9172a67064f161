#include <rondo/actors/gpu_gradient.h>

#include <array>
#include <cstring>
#include <numeric>
#include <utility>

#include <rondo/actors/this_machine.h>
#include <rondo/base/check.h>

namespace rondo::actors {

using ops::must;

GpuGradient::GpuGradient(ops::Gpu& gpu, std::vector<std::size_t> parts)
    : gpu_(gpu),
      parts_(std::move(parts)),
      floats_(std::accumulate(parts_.begin(), parts_.end(), std::size_t{0})),
      made_(gpu, floats_ * sizeof(float)),
      sum_(gpu, floats_ * sizeof(float)),
      numbers_(parts_.size()) {
  std::array<char, 64> bus{};
  must(api().bus_id(context(), bus.data(), bus.size()));
  name_ = bus.data() + (" " + boot_id());
}

void GpuGradient::send_to(Stage::GradientSink sink) { sink_ = std::move(sink); }

void GpuGradient::part_is_made(std::size_t part) {
  if (sink_.on_device) return must(api().note(context(), &numbers_[part]));
  const auto before = static_cast<std::ptrdiff_t>(part);
  const std::size_t at = std::accumulate(parts_.begin(), parts_.begin() + before, std::size_t{0});
  if (copies_.bytes() == 0) copies_ = ops::GpuHostBuffer(gpu_, floats_ * sizeof(float));
  must(api().copy_out_later(context(), copies_.f() + at, f() + at, parts_[part] * sizeof(float)));
  must(api().copies_begun(context(), &numbers_[part]));
}

void GpuGradient::hand_over(bool beside) {
  if (sink_.on_device && !beside) must(api().wait_for_note(context(), numbers_.front()));
  std::size_t at = floats_;
  for (std::size_t part = parts_.size(); part-- > 0;) {
    at -= parts_[part];
    if (sink_.on_device) {
      must(api().wait_for_note(context(), numbers_[part]));
    } else {
      must(api().wait_for_copy(context(), numbers_[part]));
      std::memcpy(sink_.memory.data() + at, copies_.f() + at, parts_[part] * sizeof(float));
    }
    sink_.ready(part);
  }
}

const float* GpuGradient::summed(std::span<const float> host) {
  if (!host.empty()) {
    RONDO_CHECK_EQ(host.size(), floats_);
    sum_.set(host);
    return sum_.f();
  }
  if (!sink_.on_device) return f();
  must(api().wait_for(context(), line().context()));
  return sum_.f();
}

ops::Gpu& GpuGradient::line() {
  if (!line_) {
    ops::cuda::Context* beside = nullptr;
    must(api().open_beside(context(), &beside));
    line_ = std::make_unique<ops::Gpu>(gpu_.entries(), beside);
  }
  return *line_;
}

}  // namespace rondo::actors
