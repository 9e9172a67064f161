#include <rondo/actors/gradient_sum.h>

#include <fstream>
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

// Boot, pid namespace and user: who has all three the same can open the other's memory.
std::string machine() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  char space[64] = {};
  if (::readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0) space[0] = '\0';
  return boot + " " + space + " " + std::to_string(::getuid());
}

Member member_of(int replica, int replicas, std::uint64_t group) {
  return {replica, replicas, Incarnation{group}, kPatience};
}

Error sum_error(const Error& error) {
  return {error.code(), "the gradients' sum over replicas: " + std::string(error.what())};
}

}  // namespace

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
  if (segment_ >= 0) ::close(segment_);
  segment_ = -1;
  memory_ = {};
  sum_ = {};
}

Result<MeetingPlace> GradientSum::open(std::uint64_t group, SumWay way) {
  close();
  group_ = group;
  MeetingPlace place{machine(), ::getpid(), -1, {}};
  if (way == SumWay::kZmq) {
    auto post = collective::ZmqPost::bind("tcp://127.0.0.1:*");
    if (!post) return sum_error(post.error());
    post_ = std::move(post).value();
    place.address = post_->address();
  } else if (replica_ == 0) {
    auto made = collective::ShmSegment::make(
        {replicas_, Incarnation{group}, (floats() * sizeof(float) + kAlign - 1) / kAlign * kAlign});
    if (!made) return sum_error(made.error());
    segment_ = made.value().release();
    place.memory = segment_;
  }
  return place;
}

Result<void> GradientSum::meet(const Meeting& meeting) {
  RONDO_CHECK_EQ(meeting.group, group_);
  RONDO_CHECK_EQ(meeting.places.size(), static_cast<std::size_t>(replicas_));
  auto joined = meeting.is_shared() ? join_shared(meeting) : join_zmq(meeting);
  if (!joined) {
    close();
    return sum_error(joined.error());
  }
  if (segment_ >= 0) ::close(segment_);   // everybody has it mapped
  segment_ = -1;
  bucketer_ = std::make_unique<collective::Bucketer>(*collective_, parts_, kBucketBytes);
  bucketer_->use(memory_, sum_);
  return {};
}

Result<void> GradientSum::join_shared(const Meeting& meeting) {
  collective::ShmCollective::Options options;
  options.handle = {meeting.places.front().pid, meeting.places.front().memory};
  options.arena_bytes = (floats() * sizeof(float) + kAlign - 1) / kAlign * kAlign;
  options.join_timeout = kJoinPatience;
  for (const MeetingPlace& place : meeting.places) options.pids.push_back(place.pid);
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

Result<void> GradientSum::join_zmq(const Meeting& meeting) {
  collective::ZmqCollective::Options options;
  options.key = meeting.key;
  for (const MeetingPlace& place : meeting.places) options.addresses.push_back(place.address);
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

Result<SumOutcome> GradientSum::finish() {
  const auto done = bucketer_->finish();
  if (done) return SumOutcome{};
  const Error error = sum_error(done.error());
  switch (error.code()) {
    case ErrorCode::kCancelled: return SumOutcome{SumEnd::kGivenUp, error.what()};
    case ErrorCode::kUnavailable:   // a replica has died
    case ErrorCode::kTimeout: return SumOutcome{SumEnd::kLost, error.what()};
    default: return error;
  }
}

void GradientSum::give_up(const std::string& reason) {
  if (!collective_) return;
  collective_->abort(reason);   // first, so that the others hear this reason
  close();
}

void tell_over(const Meeting& meeting, const std::vector<bool>& alive, const std::string& reason) {
  std::vector<std::string> addresses;
  for (std::size_t replica = 0; replica < meeting.places.size(); ++replica)
    addresses.push_back(alive[replica] ? meeting.places[replica].address : "");
  collective::send_abort_to(addresses, meeting.key, Incarnation{meeting.group}, reason);
}

}  // namespace rondo::actors
