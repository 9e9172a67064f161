#include <rondo/core/placement.h>

#include <algorithm>

namespace rondo::core {
namespace {

bool better(const Candidate& a, const Candidate& b, const Shape& shape, NodeId preferred) {
  const bool a_free = shape.fits_in(a.free);
  const bool b_free = shape.fits_in(b.free);
  if (a_free != b_free) return a_free;
  const auto load = [](const Candidate& of, const Candidate& other) {
    return static_cast<std::int64_t>(of.actor_count) *
           std::max<std::int64_t>(other.total.cpu_milli, 1);
  };
  if (load(a, b) != load(b, a)) return load(a, b) < load(b, a);
  if ((a.id == preferred) != (b.id == preferred)) return a.id == preferred;
  if (a.name != b.name) return a.name < b.name;
  return a.id < b.id;
}

std::string thousandths(std::int64_t milli) {
  std::string text = std::to_string(milli / 1000);
  if (milli % 1000 != 0) {
    std::string rest = std::to_string(1000 + milli % 1000).substr(1);
    while (rest.back() == '0') rest.pop_back();
    text += "." + rest;
  }
  return text;
}

}  // namespace

Placement place(const Shape& shape, NodeId preferred, std::span<const Candidate> candidates) {
  const Candidate* best = nullptr;
  bool ever = false;
  for (const Candidate& candidate : candidates) {
    if (!shape.fits_in(candidate.total)) continue;
    ever = true;
    Shape room = candidate.total;
    room -= candidate.actors;
    if (!candidate.usable || !shape.fits_in(room)) continue;
    if (best == nullptr || better(candidate, *best, shape, preferred)) best = &candidate;
  }
  if (best != nullptr) return {PlacementVerdict::kPlaced, best->id};
  return {ever ? PlacementVerdict::kLater : PlacementVerdict::kNever, {}};
}

std::string describe(const Shape& shape) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (shape.cpu_milli != 0) add(thousandths(shape.cpu_milli) + " cpu");
  if (shape.gpu_milli != 0) add(thousandths(shape.gpu_milli) + " gpu");
  if (shape.memory_bytes != 0) add(std::to_string(shape.memory_bytes) + " bytes of memory");
  return text.empty() ? "nothing" : text;
}

}  // namespace rondo::core
