// Gradients of replicas on GPUs, summed on the devices: the bits of the other ways, and how it ends
// when NCCL hangs or fails, when a replica gives up or is killed. The GPUs are emulated, NCCL is
// the library that stands in for it; a replica is a thread, or a process.

#include <rondo/actors/gradient_sum.h>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <barrier>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <rondo/actors/gpu_gradient.h>
#include <rondo/ops/gpu_buffer.h>

#include "collective/fake_nccl.h"
#include "one_step.h"

namespace rondo::actors {
namespace {

const std::vector<std::size_t> kParts{1000, 270000, 3, 131};   // two buckets
constexpr std::size_t kFloats = 271134;

std::vector<float> gradient_of(int replica, int step) {
  std::vector<float> values(kFloats);
  for (std::size_t i = 0; i < kFloats; ++i)
    values[i] = std::sin(static_cast<float>(i * 7 + 1)) * (replica % 2 == 0 ? 1e4f : 1e-3f) +
                static_cast<float>(replica * step);
  return values;
}

std::vector<float> wanted(int replicas, int step) {
  std::vector<std::vector<float>> all;
  for (int replica = 0; replica < replicas; ++replica) all.push_back(gradient_of(replica, step));
  return sum_slices(all);
}

class GpuSumTest : public testing::Test {
 protected:
  GpuSumTest() {
    ::setenv("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE, 1);
    ::setenv("RONDO_EMULATED_GPUS", "5", 1);
    ::setenv("RONDO_NCCL_LIBRARY", RONDO_FAKE_NCCL_PATH, 1);
  }
  ~GpuSumTest() override {
    for (const char* name : {"RONDO_CUDA_MODULE", "RONDO_EMULATED_GPUS", "RONDO_NCCL_LIBRARY",
                             "RONDO_FAKE_NCCL"})
      ::unsetenv(name);
    EXPECT_EQ(rondo_fake_communicators(), 0);
  }
};

// A replica without a model: what its backward pass would make is copied into place on the device,
// in line, so that it is not there before somebody waits for it.
class Replica {
 public:
  Replica(int number, int replicas)
      : found_(ops::open_gpu(number)),
        gradient_(*found_.gpu, kParts),
        sum_(number, replicas, kParts, &gradient_),
        number_(number),
        made_(*found_.gpu, kFloats * sizeof(float)) {}

  GpuGradient& gradient() { return gradient_; }
  GradientSum& sum() { return sum_; }

  SumOutcome meet(const MeetingPlan& plan) {
    auto met = sum_.meet(plan);
    EXPECT_TRUE(met) << met.error().what();
    if (!met) return {SumEnd::kLost, "not met"};
    gradient_.send_to({sum_.memory(), [this](std::size_t part) { sum_.ready(part); },
                       sum_.is_on_device()});
    return met.value();
  }
  void hand_over(int step) {
    const std::vector<float> values = gradient_of(number_, step);
    made_.set(std::span<const float>(values));
    std::size_t at = kFloats;
    for (std::size_t part = kParts.size(); part-- > 0;) {
      at -= kParts[part];
      ops::must(gpu().entries().copy(gpu().context(), gradient_.f() + at, made_.f() + at,
                                     kParts[part] * sizeof(float)));
      gradient_.part_is_made(part);
    }
    gradient_.hand_over(true);
  }
  SumOutcome finish() {
    const auto done = sum_.finish();
    EXPECT_TRUE(done) << done.error().what();
    return done ? done.value() : SumOutcome{SumEnd::kLost, "an error"};
  }
  // As an update would read it.
  std::vector<float> summed() {
    ops::must(gpu().entries().scale(gpu().context(), gradient_.summed(sum_.sum()), 1,
                                    static_cast<ops::cuda::Size>(kFloats), made_.f()));
    std::vector<float> values(kFloats);
    made_.get(std::span<float>(values));
    return values;
  }
  ops::Gpu& gpu() { return *found_.gpu; }

 private:
  ops::GpuOrReason found_;
  GpuGradient gradient_;
  GradientSum sum_;
  int number_;
  ops::GpuBuffer made_;
};

// The replicas' threads, which meet as often as a test wants.
class Replicas {
 public:
  using Body = std::function<void(int replica, Replica&, const Meeting&)>;
  explicit Replicas(int count) : count_(count), places_(static_cast<std::size_t>(count)) {}

  // Each incarnation's body in turn, on the same devices.
  void run(const std::vector<Body>& bodies, SumWay control = SumWay::kNccl) {
    std::barrier<> all(count_);
    std::vector<std::thread> threads;
    for (int number = 0; number < count_; ++number)
      threads.emplace_back([&, number] {
        Replica replica(number, count_);
        for (std::size_t at = 0; at < bodies.size(); ++at) {
          meet(replica, number, 7 + at, control, all);
          if (replica.sum().has_met()) bodies[at](number, replica, *meeting_);
          all.arrive_and_wait();
        }
      });
    for (std::thread& thread : threads) thread.join();
  }

 private:
  void meet(Replica& replica, int number, std::uint64_t group, SumWay control,
            std::barrier<>& all) {
    auto place = replica.sum().open(group, control);
    ASSERT_TRUE(place) << place.error().what();
    places_[static_cast<std::size_t>(number)] = place.value();
    all.arrive_and_wait();
    if (number == 0) {
      auto made = Meeting::make({.group = group, .floats = kFloats, .on_gpus = true}, places_);
      EXPECT_TRUE(made);
      meeting_ = std::make_unique<Meeting>(std::move(made).value());
      if (group > 7) ::unsetenv("RONDO_FAKE_NCCL");   // the fault is the first incarnation's
    }
    all.arrive_and_wait();
    const SumOutcome met = replica.meet(meeting_->plan());
    EXPECT_EQ(met.end, SumEnd::kDone) << met.why;
  }

  int count_;
  std::vector<MeetingPlace> places_;
  std::unique_ptr<Meeting> meeting_;
};

void sums_rightly(int count, int number, Replica& replica) {
  EXPECT_TRUE(replica.sum().is_on_device());
  EXPECT_TRUE(replica.sum().memory().empty());
  for (int step = 1; step <= 3; ++step) {
    replica.hand_over(step);
    const SumOutcome done = replica.finish();
    ASSERT_EQ(done.end, SumEnd::kDone) << number << ": " << done.why;
    EXPECT_TRUE(same_bits(replica.summed(), wanted(count, step))) << number << " " << step;
  }
}

TEST_F(GpuSumTest, SumsOnTheDevicesHaveTheFixedTreesBitsStepAfterStep) {
  for (const int count : {2, 3, 5})
    for (const SumWay control : {SumWay::kNccl, SumWay::kZmq})
      Replicas(count).run({[&](int number, Replica& replica, const Meeting&) {
                            sums_rightly(count, number, replica);
                          }},
                          control);
}

TEST_F(GpuSumTest, AHangEndsByTheTrainersWordAndTheNextIncarnationSums) {
  for (const SumWay control : {SumWay::kNccl, SumWay::kZmq}) {
    ::setenv("RONDO_FAKE_NCCL", "hang:1:3", 1);
    Replicas(2).run({[&](int number, Replica& replica, const Meeting& meeting) {
                       replica.hand_over(1);
                       while (number == 0 && rondo_fake_hanging() == 0) std::this_thread::yield();
                       if (number == 0) meeting.end({true, true}, "replica 1 fell silent");
                       const SumOutcome done = replica.finish();
                       EXPECT_EQ(done.end, SumEnd::kGivenUp);
                       EXPECT_NE(done.why.find("replica 1 fell silent"), std::string::npos)
                           << done.why;
                     },
                     [](int number, Replica& replica, const Meeting&) {
                       sums_rightly(2, number, replica);
                     }},
                    control);
  }
}

TEST_F(GpuSumTest, AnErrorOfNcclLosesTheSumAndTheNextIncarnationSums) {
  ::setenv("RONDO_FAKE_NCCL", "error:1:2", 1);
  std::array<SumOutcome, 2> ends;
  Replicas(2).run({[&](int number, Replica& replica, const Meeting&) {
                     replica.hand_over(1);
                     ends[static_cast<std::size_t>(number)] = replica.finish();
                   },
                   [](int number, Replica& replica, const Meeting&) {
                     sums_rightly(2, number, replica);
                   }});
  EXPECT_EQ(ends[1].end, SumEnd::kLost);
  for (const SumOutcome& end : ends) {
    EXPECT_NE(end.end, SumEnd::kDone);
    EXPECT_NE(end.why.find("remote process exited"), std::string::npos) << end.why;
  }
}

TEST_F(GpuSumTest, OneThatGivesUpEndsTheOthersWaitsWithItsReason) {
  for (const SumWay control : {SumWay::kNccl, SumWay::kZmq})
    Replicas(3).run({[](int number, Replica& replica, const Meeting&) {
                      if (number == 1) return replica.sum().give_up("replica 1 has other plans");
                      replica.hand_over(1);
                      const SumOutcome done = replica.finish();
                      EXPECT_EQ(done.end, SumEnd::kGivenUp);
                      EXPECT_NE(done.why.find("replica 1 has other plans"), std::string::npos)
                          << done.why;
                    }},
                    control);
}

TEST_F(GpuSumTest, AnNcclThatDoesNotStartEndsTheMeetingForAll) {
  ::setenv("RONDO_FAKE_NCCL", "id-error", 1);
  std::array<SumOutcome, 2> ends;
  std::vector<MeetingPlace> places(2);
  std::unique_ptr<Meeting> meeting;
  std::barrier<> all(2);
  const auto live = [&](std::size_t number) {
    Replica replica(static_cast<int>(number), 2);
    places[number] = replica.sum().open(7, SumWay::kNccl).value();
    all.arrive_and_wait();
    if (number == 0)
      meeting = std::make_unique<Meeting>(
          Meeting::make({.group = 7, .floats = kFloats, .on_gpus = true}, places).value());
    all.arrive_and_wait();
    ends[number] = replica.meet(meeting->plan());
    EXPECT_FALSE(replica.sum().has_met());
  };
  std::thread other([&] { live(1); });
  live(0);
  other.join();
  EXPECT_EQ(ends[0].end, SumEnd::kLost);
  EXPECT_NE(ends[0].why.find("ncclGetUniqueId failed"), std::string::npos) << ends[0].why;
  EXPECT_NE(ends[1].end, SumEnd::kDone);
}

// A replica in another process, which is killed in its second step's sum.
TEST_F(GpuSumTest, AKilledReplicaEndsTheWaitForIt) {
  const MeetingPlace anywhere{.machine = "here"};
  const auto meeting =
      Meeting::make({.group = 7, .floats = kFloats, .on_gpus = true}, {anywhere, anywhere});
  ASSERT_TRUE(meeting);
  const int parent = ::getpid();
  const pid_t child = ::fork();
  MeetingPlan plan = meeting.value().plan();
  plan.places[0].pid = parent;
  plan.places[1].pid = child == 0 ? ::getpid() : child;
  const int number = child == 0 ? 1 : 0;
  Replica replica(number, 2);
  EXPECT_TRUE(replica.sum().open(7, SumWay::kNccl));
  EXPECT_EQ(replica.meet(plan).end, SumEnd::kDone);
  replica.hand_over(1);
  EXPECT_EQ(replica.finish().end, SumEnd::kDone);
  const bool right = same_bits(replica.summed(), wanted(2, 1));
  if (child == 0) {
    if (!right) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  EXPECT_TRUE(right);
  replica.hand_over(2);
  const SumOutcome done = replica.finish();
  EXPECT_EQ(done.end, SumEnd::kLost);
  EXPECT_NE(done.why.find("rank 1"), std::string::npos) << done.why;
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
}

// ---- whole stages ------------------------------------------------------------------------------

// The version of each replica after three steps, two microbatches each.
std::vector<StageSnapshot> after_three_steps(const RunSpec& spec, SumWay way) {
  const int count = spec.layout.replicas;
  std::vector<MeetingPlace> places(static_cast<std::size_t>(count));
  std::vector<StageSnapshot> versions(places.size());
  std::unique_ptr<Meeting> meeting;
  std::barrier<> all(count);
  const auto live = [&](int number) {
    const ops::Executor executor(1);
    const auto stage = make_stage({spec, number, 0}, executor);
    const std::vector<std::size_t> parts = stage->gradient_parts();
    std::size_t floats = 0;
    for (const std::size_t part : parts) floats += part;
    GradientSum sum(number, count, parts, stage->gpu_gradient());
    places[static_cast<std::size_t>(number)] = sum.open(7, way).value();
    all.arrive_and_wait();
    if (number == 0)
      meeting = std::make_unique<Meeting>(
          Meeting::make({.group = 7, .floats = floats, .on_gpus = way == SumWay::kNccl}, places)
              .value());
    all.arrive_and_wait();
    ASSERT_TRUE(sum.meet(meeting->plan()));
    EXPECT_EQ(sum.is_on_device(), way == SumWay::kNccl);
    stage->send_gradient(
        {sum.memory(), [&](std::size_t part) { sum.ready(part); }, sum.is_on_device()});
    for (std::uint64_t step = 1; step <= 3; ++step) {
      stage->begin(step == 1, step);
      for (int m = 0; m < spec.layout.microbatches; ++m) {
        const Span rows = rows_of(spec.layout, spec.batch, number, m);
        const Feed inputs = feed(spec, rows, 0), targets = feed(spec, rows, 1);
        stage->forward(m, spec.seq, {&inputs, {}});
        stage->loss(m, targets, 0.01);
        stage->backward(m, {});
      }
      const auto done = sum.finish();
      ASSERT_TRUE(done && done.value().end == SumEnd::kDone);
      stage->apply(sum.sum(), 1e-2, step);
      stage->swap();
    }
    versions[static_cast<std::size_t>(number)] = stage->current().copy();
    all.arrive_and_wait();   // nobody leaves while others sum
    stage->send_gradient({});
  };
  std::vector<std::thread> threads;
  for (int number = 0; number < count; ++number) threads.emplace_back(live, number);
  for (std::thread& thread : threads) thread.join();
  return versions;
}

TEST_F(GpuSumTest, StagesLearnTheSameBitsHoweverTheirGradientsAreSummed) {
  for (const int count : {2, 3}) {
    RunSpec spec = small(CellKind::kLstm, {count, 1, 2});
    spec.device = Device::kGpu;
    spec.optimizer = ops::Optimizer::kAdam;
    spec.clip = 0.5;
    spec.model.embedding = 4;
    const auto shared = after_three_steps(spec, SumWay::kShm);
    for (const SumWay way : {SumWay::kZmq, SumWay::kNccl}) {
      const auto other = after_three_steps(spec, way);
      for (std::size_t replica = 0; replica < shared.size(); ++replica) {
        EXPECT_TRUE(same_bits(other[replica].parameters, shared.front().parameters));
        EXPECT_TRUE(same_bits(other[replica].moments, shared.front().moments));
        EXPECT_TRUE(same_bits(other[replica].states, shared[replica].states));
      }
    }
  }
}

// ---- who can ----------------------------------------------------------------------------------

TEST_F(GpuSumTest, APlaceSaysItsGpuAndItsNccl) {
  const Replica first(0, 2);
  Replica second(1, 2), again(1, 2);
  const MeetingPlace one = second.sum().open(1, SumWay::kNccl).value();
  EXPECT_EQ(one.gpu, again.gradient().gpu());
  EXPECT_EQ(one.nccl, "2.28.9");
  EXPECT_EQ(one.no_nccl, "");
  EXPECT_EQ(second.sum().open(2, SumWay::kShm).value().gpu, "");
  ::setenv("RONDO_NCCL_LIBRARY", "/nowhere/libnccl.so", 1);
  const MeetingPlace none = second.sum().open(3, SumWay::kNccl).value();
  EXPECT_EQ(none.nccl, "");
  EXPECT_TRUE(none.no_nccl.starts_with("NCCL not used: /nowhere/libnccl.so: ")) << none.no_nccl;
}

TEST(WhyNotOnGpus, NamesWhatIsMissing) {
  const MeetingPlace first{.gpu = "0000:01:00.0 boot", .nccl = "2.28.9"};
  MeetingPlace second{.gpu = "0000:02:00.0 boot", .nccl = "2.28.9"};
  EXPECT_EQ(why_not_on_gpus({first, second}), "");
  EXPECT_EQ(why_not_on_gpus({second, first, second}),
            "replicas 0 and 2 are both on GPU 0000:02:00.0, and NCCL takes one on each");
  MeetingPlace other = second;
  other.gpu = "0000:01:00.0 another boot";   // the same slot of another machine
  EXPECT_EQ(why_not_on_gpus({first, other}), "");
  second.nccl = "2.18.5";
  EXPECT_EQ(why_not_on_gpus({first, second}),
            "replicas 0 and 1 have different versions of NCCL, 2.28.9 and 2.18.5");
  second.nccl = "", second.no_nccl = "NCCL not used: no such file";
  EXPECT_EQ(why_not_on_gpus({first, second}), "replica 1: NCCL not used: no such file");
  second.gpu = "";
  EXPECT_EQ(why_not_on_gpus({first, second}), "replica 1 is not on a GPU");
}

}  // namespace
}  // namespace rondo::actors
