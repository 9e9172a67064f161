#include <rondo/actors/collective/nccl_collective.h>

#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <gtest/gtest.h>

#include <rondo/actors/collective/rank_tree.h>
#include <rondo/base/check.h>

#include "fake_nccl.h"
#include "nccl_directory.h"
#include "ranks.h"

// NcclCollective against the library that stands in for NCCL (fake_nccl.h), ranks as threads.

namespace rondo::collective {
namespace {

// An environment variable for one test.
class Fault {
 public:
  explicit Fault(const std::string& text) { ::setenv("RONDO_FAKE_NCCL", text.c_str(), 1); }
  ~Fault() { ::unsetenv("RONDO_FAKE_NCCL"); }
  Fault(const Fault&) = delete;
  Fault& operator=(const Fault&) = delete;
};

std::shared_ptr<const NcclApi> fake_api() {
  static const auto api = NcclApi::load(RONDO_FAKE_NCCL_PATH);
  RONDO_CHECK(api.ok());
  return api.value();
}

// The stand-in's stream, with memory of this process.
class FakeDevice {
 public:
  FakeDevice() : stream_(rondo_fake_stream_open()) {}
  ~FakeDevice() { rondo_fake_stream_close(stream_); }
  FakeDevice(const FakeDevice&) = delete;
  FakeDevice& operator=(const FakeDevice&) = delete;

  NcclDevice device() {
    return {stream_, [this]() -> Result<bool> { return is_idle(); },
            [this](std::size_t bytes) -> Result<void*> {
              if (memory_.size() < bytes) memory_.resize(bytes);
              return static_cast<void*>(memory_.data());
            },
            [this](void* to, const void* from, std::size_t bytes) {
              return put([=] { std::memmove(to, from, bytes); });
            },
            [this](const Operation& op, const void* left, const void* right, std::size_t count,
                   void* out) {
              return put([=] { combine_two({op.dtype, op.combine}, left, right, count, out); });
            }};
  }
  [[nodiscard]] bool is_idle() const { return rondo_fake_stream_idle(stream_) != 0; }
  Result<void> put(std::function<void()> work) {
    auto* held = new std::function<void()>(std::move(work));
    rondo_fake_stream_put(
        stream_,
        [](void* argument) {
          const std::unique_ptr<std::function<void()>> owned(
              static_cast<std::function<void()>*>(argument));
          (*owned)();
        },
        held);
    return {};
  }

 private:
  void* stream_;
  std::vector<std::byte> memory_;
};

struct Ranks {
  std::vector<std::unique_ptr<FakeDevice>> devices;   // outlive the group
  Group group;
  std::vector<std::string> refusals;                  // by rank: why it could not join
};

// `control`: as group_of takes it, or "none". `id`: given to the ranks that do not draw one.
Ranks nccl_ranks(const GroupSpec& spec, Bits bits = Bits::kFixed,
                 const std::string& control = "shm", std::optional<NcclId> id = std::nullopt) {
  Ranks ranks;
  const auto size = static_cast<std::size_t>(spec.size);
  ranks.group.resize(size);
  ranks.refusals.resize(size);
  for (std::size_t rank = 0; rank < size; ++rank)
    ranks.devices.push_back(std::make_unique<FakeDevice>());
  Group controls = control == "none" ? Group(size) : group_of(control, spec);
  Directory directory(id);
  on_threads(spec.size, [&](int rank) {
    const auto at = static_cast<std::size_t>(rank);
    auto joined = NcclCollective::join(
        {rank, spec.size, spec.incarnation, spec.timeout},
        {.api = fake_api(),
         .device = ranks.devices[at]->device(),
         .exchange = [&](std::optional<NcclId> mine) { return directory.exchange(mine); },
         .control = std::move(controls[at]),
         .bits = bits});
    if (joined) ranks.group[at] = std::move(joined).value();
    else ranks.refusals[at] = joined.error().what();
  });
  return ranks;
}

void each(Ranks& ranks, const std::function<void(int, Collective&)>& body) {
  on_threads(static_cast<int>(ranks.group.size()),
             [&](int rank) { body(rank, *ranks.group[static_cast<std::size_t>(rank)]); });
}

TEST(NcclCollectiveTest, TheFixedTreesBitsComeOutOfALibraryWithAnotherOrder) {
  for (const int size : {1, 2, 4, 5}) {
    Ranks ranks = nccl_ranks({.size = size});
    each(ranks, [&](int rank, Collective& self) {
      for (const std::size_t count : {0, 1, 17, 1000, 70'001}) {
        auto data = values_of<float>(rank, count);
        const auto done = self.all_reduce(std::span<const float>(data), std::span<float>(data));
        ASSERT_TRUE(done) << done.error().what();
        const auto sum = tree_sum<float>(size, count);
        EXPECT_EQ(data, sum) << count;
        std::vector<float> part(self.my_part(count, Dtype::kFloat32).count), whole(count);
        const auto mine = values_of<float>(rank, count);
        ASSERT_TRUE(self.reduce_scatter(std::span<const float>(mine), std::span<float>(part)));
        ASSERT_TRUE(self.all_gather(std::span<const float>(part), std::span<float>(whole)));
        EXPECT_EQ(whole, sum) << count;
        ASSERT_TRUE(self.broadcast(std::span<float>(data), size - 1));
        ASSERT_TRUE(self.barrier());
      }
    });
    ranks.group.clear();
    EXPECT_EQ(rondo_fake_communicators(), 0);
  }
}

TEST(NcclCollectiveTest, LooseBitsAreTheLibrarysOwnOrder) {
  Ranks ranks = nccl_ranks({.size = 4}, Bits::kLoose, "none");
  each(ranks, [&](int rank, Collective& self) {
    const auto mine = values_of<float>(rank, 1000);
    std::vector<float> out(1000);
    ASSERT_TRUE(self.all_reduce(std::span<const float>(mine), std::span<float>(out)));
    ASSERT_TRUE(self.barrier());
    const auto sum = tree_sum<float>(4, 1000);
    EXPECT_NE(std::memcmp(out.data(), sum.data(), 1000 * sizeof(float)), 0);
    for (std::size_t i = 0; i < 1000; ++i) {
      float size_of_all = 0;
      for (int r = 0; r < 4; ++r) size_of_all += std::abs(values_of<float>(r, 1000)[i]);
      EXPECT_NEAR(out[i], sum[i], 4 * 1.2e-7F * size_of_all);
      if (i == 20) break;   // the values are drawn anew for each element: a few are enough
    }
  });
}

TEST(NcclCollectiveTest, RanksThatDisagreeGetASentenceEachBeforeTheLibraryIsAsked) {
  for (const std::string control : {"shm", "tree"}) {
    Ranks ranks = nccl_ranks({.size = 3}, Bits::kFixed, control);
    each(ranks, [&](int rank, Collective& self) {
      std::vector<float> data(rank == 1 ? 99 : 100);
      const auto done = self.all_reduce(std::span<const float>(data), std::span<float>(data));
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code(), ErrorCode::kInvalid) << control;
      EXPECT_NE(std::string(done.error().what()).find("of 99 float32"), std::string::npos);
    });
  }
}

// One rank's fault ends everybody's call, long before the timeout, and the next incarnation works.
TEST(NcclCollectiveTest, AnErrorOfOneRankEndsTheOthersAndTheNextIncarnationWorks) {
  for (const std::string control : {"shm", "tree", "ring"}) {
    const Fault fault("error:1:3");
    const auto began = std::chrono::steady_clock::now();
    Ranks ranks = nccl_ranks({.size = 3, .timeout = seconds(60)}, Bits::kFixed, control);
    each(ranks, [&](int rank, Collective& self) {
      Result<void> done;
      std::vector<float> data(1000, 1.0F);
      for (int call = 0; call < 20 && done; ++call)
        done = self.all_reduce(std::span<const float>(data), std::span<float>(data));
      ASSERT_FALSE(done);
      const std::string what = done.error().what();
      EXPECT_NE(what.find("failed on rank 1 in incarnation 1: remote process exited"),
                std::string::npos)
          << "rank " << rank << ": " << what;
      EXPECT_EQ(std::string(self.barrier().error().what()), what);
      EXPECT_TRUE(ranks.devices[static_cast<std::size_t>(rank)]->is_idle());
    });
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30)) << control;
  }
  EXPECT_EQ(rondo_fake_communicators(), 0);
  Ranks ranks = nccl_ranks({.size = 3, .incarnation = {2}});
  each(ranks, [&](int rank, Collective& self) {
    auto data = values_of<double>(rank, 100);
    ASSERT_TRUE(self.all_reduce(std::span<const double>(data), std::span<double>(data)));
    EXPECT_EQ(data, tree_sum<double>(3, 100));
  });
}

TEST(NcclCollectiveTest, AHangEndsWithTheTimeoutOnEveryRank) {
  const Fault fault("hang:0:2");
  for (const std::string control : {"shm", "none"}) {
    Ranks ranks = nccl_ranks({.size = 2, .timeout = seconds(3)}, Bits::kFixed, control);
    each(ranks, [&](int, Collective& self) {
      Result<void> done;
      std::vector<float> data(1000, 1.0F);
      for (int call = 0; call < 20 && done; ++call)
        done = self.all_reduce(std::span<const float>(data), std::span<float>(data));
      ASSERT_FALSE(done);
      EXPECT_NE(std::string(done.error().what()).find("within 3000 ms"), std::string::npos)
          << done.error().what();
    });
    ranks.group.clear();
    EXPECT_EQ(rondo_fake_communicators(), 0);
  }
}

TEST(NcclCollectiveDeathTest, AnAbortThatHangsEndsTheProcessInWords) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const Fault fault("abort-hang:0");
  EXPECT_EXIT(
      {
        Ranks ranks = nccl_ranks({.size = 1, .timeout = seconds(1)}, Bits::kFixed, "none");
        ranks.group[0]->abort("a stage was born again");
        ranks.group.clear();
      },
      testing::ExitedWithCode(1), "ncclCommAbort has not returned in 1 s");
}

TEST(NcclCollectiveTest, AbortFromAnotherThreadEndsAHang) {
  const Fault fault("hang:1:1");
  Ranks ranks = nccl_ranks({.size = 2, .timeout = seconds(60)});
  on_threads(3, [&](int thread) {
    if (thread == 2) return ranks.group[0]->abort("a stage was born again");
    Collective& self = *ranks.group[static_cast<std::size_t>(thread)];
    std::vector<float> data(1000, 1.0F);
    const auto done = self.all_reduce(std::span<const float>(data), std::span<float>(data));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kCancelled);
    EXPECT_NE(std::string(done.error().what()).find("a stage was born again"), std::string::npos);
  });
}

// The device works on the call's memory only when the communicator is gone.
TEST(NcclCollectiveTest, AFailedCallReturnsOnceItsWorkOnTheDeviceHasRun) {
  std::atomic<bool> may_run{false};
  const auto let_run = [&] {
    may_run = true;
    may_run.notify_all();
  };
  FakeDevice fake;
  NcclDevice device = fake.device();
  device.copy = [&, copy = device.copy](void* to, const void* from, std::size_t bytes) {
    (void)fake.put([&] { may_run.wait(false); });
    return copy(to, from, bytes);
  };
  device.is_idle = [&]() -> Result<bool> {
    if (rondo_fake_communicators() == 0) let_run();
    return fake.is_idle();
  };
  auto joined = NcclCollective::join(
      {0, 1, Incarnation{1}, seconds(2)},
      {.api = fake_api(),
       .device = device,
       .exchange = [](std::optional<NcclId> mine) -> Result<NcclId> { return *mine; }});
  ASSERT_TRUE(joined) << joined.error().what();
  const auto data = values_of<float>(0, 1000);
  std::vector<float> out(1000);
  const auto done =
      joined.value()->reduce_scatter(std::span<const float>(data), std::span<float>(out));
  EXPECT_TRUE(fake.is_idle());
  let_run();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code(), ErrorCode::kTimeout) << done.error().what();
}

// The others have an id, and wait in NCCL for a rank 0 that got none.
TEST(NcclCollectiveTest, ARankZeroWithoutAnIdEndsTheOthersStart) {
  const auto began = std::chrono::steady_clock::now();
  for (const std::string control : {"shm", "tree"}) {
    NcclId id{};
    ASSERT_EQ(fake_api()->get_unique_id(&id), nccl::kSuccess);
    const Fault fault("id-error");
    const Ranks ranks =
        nccl_ranks({.size = 3, .timeout = seconds(60)}, Bits::kFixed, control, id);
    for (const std::string& refusal : ranks.refusals)
      EXPECT_NE(refusal.find("ncclGetUniqueId failed on rank 0"), std::string::npos) << refusal;
    EXPECT_EQ(rondo_fake_communicators(), 0);
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(30));
}

TEST(NcclCollectiveTest, AnInitialisationThatFailsOrHangsIsTold) {
  for (const bool hangs : {true, false}) {
    const Fault fault(hangs ? "init-hang:1" : "init-error:1");
    Ranks ranks = nccl_ranks({.size = 2, .timeout = seconds(hangs ? 1 : 20)});
    EXPECT_NE(ranks.refusals[1].find(hangs ? "ncclCommInitRankConfig of rank 1 did not end"
                                           : "ncclCommInitRankConfig failed on rank 1"),
              std::string::npos)
        << ranks.refusals[1];
    ranks.group.clear();
    EXPECT_EQ(rondo_fake_communicators(), 0);
  }
}

TEST(NcclApiTest, ALibraryThatIsMissingForeignOrOfAnotherVersionIsRefusedInASentence) {
  const auto refusal = [](const std::string& path) {
    const auto api = NcclApi::load(path);
    return api ? std::string() : std::string(api.error().what());
  };
  EXPECT_NE(refusal("/nowhere/libnccl.so.2").find("NCCL not used: /nowhere/libnccl.so.2"),
            std::string::npos);
  EXPECT_NE(refusal("libm.so.6").find("libm.so.6 has no ncclGetVersion: it is not NCCL"),
            std::string::npos);
  {
    const Fault fault("version:21403");
    EXPECT_NE(refusal(RONDO_FAKE_NCCL_PATH)
                  .find("is version 2.14.3, this program knows 2.18.0 and later ones before 3.0.0"),
              std::string::npos);
  }
  const Fault fault("version:30000");
  EXPECT_NE(refusal(RONDO_FAKE_NCCL_PATH).find("is version 3.0.0"), std::string::npos);
}

// The real library, where it is installed: its entry points and version, which need no GPU.
TEST(NcclApiTest, TheRealLibraryHasEveryEntryPoint) {
  const auto api = NcclApi::load("libnccl.so.2");
  if (!api) GTEST_SKIP() << api.error().what();
  EXPECT_GE(api.value()->version, nccl::kVersionMin);
}

}  // namespace
}  // namespace rondo::collective
