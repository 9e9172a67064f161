// NCCL's device seam on a Gpu: device memory, the context's stream, the module's kernel. The GPU is
// the emulated one; the library that stands in for NCCL puts its work in line on its streams.

#include <rondo/actors/collective/nccl_gpu.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>

#include <gtest/gtest.h>

#include "fake_nccl.h"
#include "nccl_directory.h"
#include "ranks.h"

namespace rondo::collective {
namespace {

std::shared_ptr<const NcclApi> fake_api() {
  static const auto api = NcclApi::load(RONDO_FAKE_NCCL_PATH);
  return api.value();
}

class NcclGpuTest : public testing::Test {
 protected:
  NcclGpuTest() {
    ::setenv("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE, 1);
    ::setenv("RONDO_EMULATED_GPUS", "5", 1);
  }
  ~NcclGpuTest() override {
    ::unsetenv("RONDO_CUDA_MODULE");
    ::unsetenv("RONDO_EMULATED_GPUS");
    ::unsetenv("RONDO_FAKE_NCCL");
  }
};

// Each rank a thread with a GPU of its own.
void on_gpus(int size, const std::function<void(int, ops::Gpu&, Collective&)>& body,
             Incarnation incarnation = {1}) {
  const GroupSpec spec{.size = size, .incarnation = incarnation};
  Group controls = group_of("shm", spec);
  Directory board;
  on_threads(size, [&](int rank) {
    ops::GpuOrReason found = ops::open_gpu(rank);
    ASSERT_NE(found.gpu, nullptr) << found.reason;
    NcclGpu on_gpu(*found.gpu);
    auto device = on_gpu.device();
    ASSERT_TRUE(device) << device.error().what();
    auto joined = NcclCollective::join(
        {rank, size, spec.incarnation, spec.timeout},
        {.api = fake_api(), .device = device.value(),
         .exchange = [&](std::optional<NcclId> mine) { return board.exchange(mine); },
         .control = std::move(controls[static_cast<std::size_t>(rank)])});
    ASSERT_TRUE(joined) << joined.error().what();
    body(rank, *found.gpu, *joined.value());
  });
  EXPECT_EQ(rondo_fake_communicators(), 0);
}

// Device memory as the collectives' spans: only its address is used.
std::span<float> on_device(const ops::GpuBuffer& buffer, std::size_t count) {
  return {buffer.f(), count};
}

TEST_F(NcclGpuTest, SumsOfDeviceMemoryFollowTheWorkInLineInTheFixedTreesBits) {
  for (const int size : {1, 2, 5}) {
    on_gpus(size, [size](int rank, ops::Gpu& gpu, Collective& self) {
      for (const std::size_t count : {std::size_t{1}, std::size_t{17}, std::size_t{20'001}}) {
        const auto mine = values_of<float>(rank, count);
        ops::GpuBuffer data(gpu, count * sizeof(float)), twice(gpu, count * sizeof(float));
        data.set(std::span<const float>(mine));
        // made in line before the sum, and read in line after it: nobody waits in between
        const auto n = static_cast<ops::cuda::Size>(count);
        ops::must(gpu.entries().scale(gpu.context(), data.f(), 2, n, twice.f()));
        const auto done = self.all_reduce(std::span<const float>(on_device(twice, count)),
                                          on_device(twice, count));
        ASSERT_TRUE(done) << done.error().what();
        ops::must(gpu.entries().scale(gpu.context(), twice.f(), 0.5F, n, data.f()));
        std::vector<float> sum(count);
        data.get(std::span<float>(sum));
        EXPECT_EQ(sum, tree_sum<float>(size, count));
      }
    });
  }
}

TEST_F(NcclGpuTest, MaximaOfDoublesKeepANan) {
  on_gpus(2, [](int rank, ops::Gpu& gpu, Collective& self) {
    const std::vector<double> mine = {rank == 0 ? 1.0 : 2.0, rank == 0 ? NAN : 3.0,
                                      rank == 0 ? 4.0 : NAN, -1.0 - rank};
    ops::GpuBuffer data(gpu, sizeof(double) * 4);
    data.set(std::span<const double>(mine));
    const std::span<double> all(data.d(), 4);
    ASSERT_TRUE(self.all_reduce(std::span<const double>(all), all, Combine::kMax));
    std::vector<double> most(4);
    data.get(std::span<double>(most));
    EXPECT_EQ(most[0], 2.0);
    EXPECT_TRUE(std::isnan(most[1]) && std::isnan(most[2]));
    EXPECT_EQ(most[3], -1.0);
  });
}

TEST_F(NcclGpuTest, AnErrorEndsTheIncarnationAndTheNextOneWorksOnTheSameDevices) {
  ::setenv("RONDO_FAKE_NCCL", "error:1:2", 1);
  on_gpus(2, [](int, ops::Gpu& gpu, Collective& self) {
    ops::GpuBuffer data(gpu, 4000);
    data.fill(0);
    Result<void> done;
    for (int call = 0; call < 5 && done; ++call)
      done = self.all_reduce(std::span<const float>(on_device(data, 1000)),
                             on_device(data, 1000));
    ASSERT_FALSE(done);
    EXPECT_NE(std::string(done.error().what()).find("remote process exited"), std::string::npos)
        << done.error().what();
  });
  ::unsetenv("RONDO_FAKE_NCCL");
  on_gpus(2, [](int rank, ops::Gpu& gpu, Collective& self) {
    const auto mine = values_of<float>(rank, 100);
    ops::GpuBuffer data(gpu, 400);
    data.set(std::span<const float>(mine));
    ASSERT_TRUE(self.all_reduce(std::span<const float>(on_device(data, 100)),
                                on_device(data, 100)));
    std::vector<float> sum(100);
    data.get(std::span<float>(sum));
    EXPECT_EQ(sum, tree_sum<float>(2, 100));
  }, Incarnation{2});
}

TEST_F(NcclGpuTest, TwoRanksOnOneDeviceAreRefusedAtTheStart) {
  Group controls = group_of("shm", {.size = 2});
  Directory board;
  on_threads(2, [&](int rank) {
    ops::GpuOrReason found = ops::open_gpu(0);
    ASSERT_NE(found.gpu, nullptr) << found.reason;
    NcclGpu on_gpu(*found.gpu);
    const auto joined = NcclCollective::join(
        {rank, 2, Incarnation{1}},
        {.api = fake_api(), .device = on_gpu.device().value(),
         .exchange = [&](std::optional<NcclId> mine) { return board.exchange(mine); },
         .control = std::move(controls[static_cast<std::size_t>(rank)])});
    ASSERT_FALSE(joined);
    EXPECT_NE(std::string(joined.error().what()).find("invalid usage"), std::string::npos)
        << joined.error().what();
  });
  EXPECT_EQ(rondo_fake_communicators(), 0);
}

}  // namespace
}  // namespace rondo::collective
