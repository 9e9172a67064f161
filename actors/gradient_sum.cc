#include <rondo/actors/gradient_sum.h>

#include <fstream>
#include <random>
#include <utility>

#include <unistd.h>

#include <rondo/actors/collective/bucketer.h>
#include <rondo/actors/collective/shm_collective.h>
#include <rondo/actors/collective/zmq_collective.h>
#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

using collective::Member;

static_assert(kReplicasMax == collective::kRanksMax);
constexpr std::size_t kBucketBytes = std::size_t{256} << 10;
constexpr std::size_t kAlign = 64;
// Deaths end a wait sooner; a replica that is only slow is worth waiting for.
constexpr DurationNs kPatience = seconds(600);
constexpr DurationNs kJoinPatience = seconds(30);

Member member_of(int replica, int replicas, std::uint64_t group) {
  return {replica, replicas, Incarnation{group}, kPatience};
}

// How an operation of the group, of ranks, ended for its replica.
Result<SumOutcome> outcome_of(const Result<void>& done) {
  if (done) return SumOutcome{};
  const Error error(done.error().code(),
                    "the gradients' sum over the replicas (rank: number of a replica): " +
                        std::string(done.error().what()));
  switch (error.code()) {
    case ErrorCode::kCancelled: return SumOutcome{SumEnd::kGivenUp, error.what()};
    case ErrorCode::kUnavailable:   // a replica has died
    case ErrorCode::kTimeout: return SumOutcome{SumEnd::kLost, error.what()};
    default: return error;
  }
}

std::size_t arena_bytes(std::size_t floats) {
  return (floats * sizeof(float) + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

// Boot, pid namespace and user: who has all three the same can open the other's memory.
std::string this_machine() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  char space[64] = {};
  if (::readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0) space[0] = '\0';
  return boot + " " + space + " " + std::to_string(::getuid());
}

std::string_view to_string(SumWay way) {
  switch (way) {
    case SumWay::kAuto: return "auto";
    case SumWay::kShm: return "shm";
    case SumWay::kZmq: return "zmq";
  }
  return "?";
}

bool parse(std::string_view text, SumWay& out) {
  for (const SumWay way : {SumWay::kAuto, SumWay::kShm, SumWay::kZmq}) {
    if (text != to_string(way)) continue;
    out = way;
    return true;
  }
  return false;
}

GradientSum::GradientSum(int replica, int replicas, std::vector<std::size_t> parts)
    : replica_(replica), replicas_(replicas), parts_(std::move(parts)) {
  RONDO_CHECK_LT(1, replicas);
}

GradientSum::~GradientSum() { close(); }

std::size_t GradientSum::floats() const {
  std::size_t sum = 0;
  for (const std::size_t part : parts_) sum += part;
  return sum;
}

void GradientSum::close() {
  bucketer_.reset();   // a step under way is given up
  if (collective_) collective_->leave("replica " + std::to_string(replica_) + " has left");
  collective_.reset();
  post_.reset();
  memory_ = {};
  sum_ = {};
}

Result<MeetingPlace> GradientSum::open(std::uint64_t group, SumWay way) {
  close();
  group_ = group;
  MeetingPlace place{this_machine(), ::getpid(), {}};
  if (way == SumWay::kZmq) {
    auto post = collective::ZmqPost::bind("tcp://127.0.0.1:*");
    if (!post) return post.error();
    post_ = std::move(post).value();
    place.address = post_->address();
  }
  return place;
}

Result<SumOutcome> GradientSum::meet(const MeetingPlan& plan) {
  RONDO_CHECK_EQ(plan.group, group_);
  RONDO_CHECK_EQ(plan.places.size(), static_cast<std::size_t>(replicas_));
  const auto joined = plan.memory >= 0 ? join_shared(plan) : join_zmq(plan);
  if (!joined) {
    close();
    return outcome_of(joined);
  }
  bucketer_ = std::make_unique<collective::Bucketer>(*collective_, parts_, kBucketBytes);
  bucketer_->use(memory_, sum_);
  return SumOutcome{};
}

Result<void> GradientSum::join_shared(const MeetingPlan& plan) {
  collective::ShmCollective::Options options;
  options.handle = {plan.pid, plan.memory};
  options.arena_bytes = arena_bytes(floats());
  options.join_timeout = kJoinPatience;
  for (const MeetingPlace& place : plan.places) options.pids.push_back(place.pid);
  auto joined =
      collective::ShmCollective::join(member_of(replica_, replicas_, group_), options);
  if (!joined) return joined.error();
  auto shared = joined.value()->allocate<float>(floats());
  if (!shared) return shared.error();
  memory_ = shared.value().mine;
  sum_ = shared.value().result;
  collective_ = std::move(joined).value();
  return {};
}

Result<void> GradientSum::join_zmq(const MeetingPlan& plan) {
  collective::ZmqCollective::Options options;
  options.key = plan.key;
  for (const MeetingPlace& place : plan.places) options.addresses.push_back(place.address);
  RONDO_CHECK(post_ != nullptr);
  auto joined = collective::ZmqCollective::join(
      std::move(post_), member_of(replica_, replicas_, group_), std::move(options));
  if (!joined) return joined.error();
  collective_ = std::move(joined).value();
  own_.resize(floats());
  memory_ = own_;
  sum_ = own_;
  return {};
}

void GradientSum::ready(std::size_t part) { bucketer_->ready(part); }

Result<SumOutcome> GradientSum::finish() { return outcome_of(bucketer_->finish()); }

void GradientSum::give_up(const std::string& reason) {
  if (!collective_) return;
  collective_->abort(reason);   // first, so that the others hear this reason
  close();
}

Result<Meeting> Meeting::make(std::uint64_t group, std::vector<MeetingPlace> places,
                              std::size_t floats) {
  std::random_device random;
  Meeting meeting;
  meeting.plan_ = {group, (std::uint64_t{random()} << 32) | random(), ::getpid(), -1,
                   std::move(places)};
  if (meeting.plan_.places.front().address.empty()) {
    auto made = collective::ShmSegment::make({static_cast<int>(meeting.plan_.places.size()),
                                              Incarnation{group}, arena_bytes(floats)});
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
