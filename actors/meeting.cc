#include <rondo/actors/meeting.h>

#include <random>
#include <utility>

#include <unistd.h>

#include <rondo/actors/collective/collective.h>
#include <rondo/actors/collective/shm_segment.h>
#include <rondo/actors/collective/zmq_post.h>

namespace rondo::actors {

namespace {

static_assert(kReplicasMax == collective::kRanksMax);
constexpr std::size_t kAlign = 64;

std::string replicas(std::size_t one, std::size_t other) {
  return "replicas " + std::to_string(one) + " and " + std::to_string(other);
}

// Its first word names it on its machine.
std::string short_name(const std::string& gpu) { return gpu.substr(0, gpu.find(' ')); }

}  // namespace

std::string_view to_string(SumWay way) {
  switch (way) {
    case SumWay::kAuto: return "auto";
    case SumWay::kShm: return "shm";
    case SumWay::kZmq: return "zmq";
    case SumWay::kNccl: return "nccl";
  }
  return "?";
}

bool parse(std::string_view text, SumWay& out) {
  for (const SumWay way : {SumWay::kAuto, SumWay::kShm, SumWay::kZmq, SumWay::kNccl}) {
    if (text != to_string(way)) continue;
    out = way;
    return true;
  }
  return false;
}

std::size_t arena_bytes(std::size_t floats) {
  return (floats * sizeof(float) + kAlign - 1) / kAlign * kAlign;
}

std::string why_not_on_gpus(const std::vector<MeetingPlace>& places) {
  for (std::size_t at = 0; at < places.size(); ++at) {
    const MeetingPlace& place = places[at];
    const std::string which = "replica " + std::to_string(at);
    if (place.gpu.empty()) return which + " is not on a GPU";
    if (place.nccl.empty()) return which + ": " + place.no_nccl;
    for (std::size_t before = 0; before < at; ++before) {
      const MeetingPlace& other = places[before];
      if (other.gpu == place.gpu)
        return replicas(before, at) + " are both on GPU " + short_name(place.gpu) +
               ", and NCCL takes one on each";
      if (other.nccl != place.nccl)
        return replicas(before, at) + " have different versions of NCCL, " + other.nccl + " and " +
               place.nccl;
    }
  }
  return "";
}

Result<Meeting> Meeting::make(const Options& options, std::vector<MeetingPlace> places) {
  std::random_device random;
  Meeting meeting;
  meeting.plan_ = {.group = options.group,
                   .key = (std::uint64_t{random()} << 32) | random(),
                   .pid = ::getpid(),
                   .memory = -1,
                   .on_gpus = options.on_gpus,
                   .places = std::move(places)};
  if (meeting.plan_.places.front().address.empty()) {
    auto made = collective::ShmSegment::make(
        {static_cast<int>(meeting.plan_.places.size()), Incarnation{options.group},
         options.on_gpus ? 0 : arena_bytes(options.floats)});
    if (!made) return made.error();
    meeting.memory_ = std::move(made).value();
    meeting.plan_.memory = meeting.memory_.get();
  }
  return meeting;
}

void Meeting::end(const std::vector<bool>& waits, const std::string& reason) const {
  if (memory_) return collective::ShmSegment::raise_abort(memory_, reason);
  std::vector<std::string> addresses;
  for (std::size_t replica = 0; replica < plan_.places.size(); ++replica)
    addresses.push_back(waits[replica] ? plan_.places[replica].address : "");
  collective::send_abort_to(addresses, plan_.key, Incarnation{plan_.group}, reason);
}

}  // namespace rondo::actors
