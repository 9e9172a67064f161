#include <rondo/actors/gradient_sum.h>

#include <array>
#include <cstring>
#include <optional>
#include <utility>

#include <unistd.h>

#include <rondo/actors/collective/bucketer.h>
#include <rondo/actors/collective/nccl_gpu.h>
#include <rondo/actors/collective/shm_collective.h>
#include <rondo/actors/collective/zmq_collective.h>
#include <rondo/actors/gpu_gradient.h>
#include <rondo/actors/this_machine.h>
#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

using collective::Member;

constexpr std::size_t kBucketBytes = std::size_t{256} << 10;
constexpr std::size_t kDeviceBucketBytes = std::size_t{1} << 20;   // each begins with a word of all
// Deaths end a wait sooner; a replica that is only slow is worth waiting for.
constexpr DurationNs kPatience = seconds(600);
constexpr DurationNs kJoinPatience = seconds(30);
constexpr DurationNs kNcclPatience = seconds(60);   // once all have come

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

// Rank 0's id to all, whom it does not reach if they never come.
Result<collective::NcclId> hand_round(collective::Collective& control,
                                      std::optional<collective::NcclId> mine) {
  std::array<double, sizeof(collective::NcclId) / sizeof(double)> words{};   // only carried
  static_assert(sizeof words == sizeof(collective::NcclId));
  if (mine) std::memcpy(words.data(), &*mine, sizeof words);
  if (auto done = control.broadcast(std::span<double>(words), 0); !done) return done.error();
  collective::NcclId id{};
  std::memcpy(&id, words.data(), sizeof words);
  return id;
}

}  // namespace

GradientSum::GradientSum(int replica, int replicas, std::vector<std::size_t> parts,
                         GpuGradient* device)
    : replica_(replica), replicas_(replicas), parts_(std::move(parts)), device_(device) {
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
  on_gpu_.reset();
  post_.reset();
  memory_ = {};
  sum_ = {};
}

Result<MeetingPlace> GradientSum::open(std::uint64_t group, SumWay way) {
  close();
  group_ = group;
  MeetingPlace place;
  place.machine = this_machine();
  place.pid = ::getpid();
  if (way == SumWay::kZmq) {
    auto post = collective::ZmqPost::bind("tcp://127.0.0.1:*");
    if (!post) return post.error();
    post_ = std::move(post).value();
    place.address = post_->address();
  }
  if (way == SumWay::kNccl && device_ != nullptr) {
    place.gpu = device_->gpu();
    const auto api = collective::NcclApi::find();
    if (api) place.nccl = api.value()->version_words();
    else place.no_nccl = api.error().what();
  }
  return place;
}

Result<SumOutcome> GradientSum::meet(const MeetingPlan& plan) {
  RONDO_CHECK_EQ(plan.group, group_);
  RONDO_CHECK_EQ(plan.places.size(), static_cast<std::size_t>(replicas_));
  const auto joined = join(plan);
  if (!joined) {
    close();
    return outcome_of(joined);
  }
  bucketer_ = std::make_unique<collective::Bucketer>(
      *collective_, parts_, is_on_device() ? kDeviceBucketBytes : kBucketBytes);
  if (is_on_device()) bucketer_->use(device_->made(), device_->sum());
  else bucketer_->use(memory_, sum_);
  return SumOutcome{};
}

Result<void> GradientSum::join(const MeetingPlan& plan) {
  const auto joined = plan.memory >= 0 ? join_shared(plan) : join_zmq(plan);
  return joined && plan.on_gpus ? join_nccl() : joined;
}

// Behind the group that is there: it becomes NCCL's control.
Result<void> GradientSum::join_nccl() {
  RONDO_CHECK(device_ != nullptr);
  auto api = collective::NcclApi::find();
  if (!api) return api.error();
  try {
    on_gpu_ = std::make_unique<collective::NcclGpu>(device_->line());
  } catch (const ops::GpuFault& fault) {
    return Error(ErrorCode::kUnavailable, fault.what());
  }
  auto device = on_gpu_->device();
  if (!device) return device.error();
  collective::NcclCollective::Options options;
  options.api = std::move(api).value();
  options.device = std::move(device).value();
  options.exchange = [&control = *collective_](std::optional<collective::NcclId> mine) {
    return hand_round(control, mine);
  };
  options.control = std::move(collective_);
  options.patience = kNcclPatience;
  auto joined = collective::NcclCollective::join(member_of(replica_, replicas_, group_),
                                                 std::move(options));
  if (!joined) return joined.error();
  collective_ = std::move(joined).value();
  return {};
}

Result<void> GradientSum::join_shared(const MeetingPlan& plan) {
  collective::ShmCollective::Options options;
  options.handle = {plan.pid, plan.memory};
  options.arena_bytes = plan.on_gpus ? 0 : arena_bytes(floats());
  options.join_timeout = kJoinPatience;
  for (const MeetingPlace& place : plan.places) options.pids.push_back(place.pid);
  auto joined =
      collective::ShmCollective::join(member_of(replica_, replicas_, group_), options);
  if (!joined) return joined.error();
  collective::ShmCollective& group = *joined.value();
  collective_ = std::move(joined).value();
  if (plan.on_gpus) return {};
  auto shared = group.allocate<float>(floats());
  if (!shared) return shared.error();
  memory_ = shared.value().mine;
  sum_ = shared.value().result;
  return {};
}

Result<void> GradientSum::join_zmq(const MeetingPlan& plan) {
  collective::ZmqCollective::Options options;
  options.key = plan.key;
  options.join_timeout = kJoinPatience;
  for (const MeetingPlace& place : plan.places) options.addresses.push_back(place.address);
  RONDO_CHECK(post_ != nullptr);
  auto joined = collective::ZmqCollective::join(
      std::move(post_), member_of(replica_, replicas_, group_), std::move(options));
  if (!joined) return joined.error();
  collective_ = std::move(joined).value();
  if (plan.on_gpus) return {};
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

}  // namespace rondo::actors
