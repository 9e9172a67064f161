// Training runs whose replicas are on GPUs and sum their gradients there: the same bytes as through
// host memory, also when they are killed; where that cannot be, a sentence. The GPUs are emulated
// and NCCL is the library that stands in for it; the workers are real processes.

#include <cstdlib>

#include "same_bits.h"

namespace rondo::actors {
namespace {

constexpr const char* kOnHost = "the replicas sum their gradients in host memory: ";

class OnGpus : public SameBits {
 protected:
  void SetUp() override {
    SameBits::SetUp();
    use_text(2500);
    ::setenv("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE, 1);
    ::setenv("RONDO_NCCL_LIBRARY", RONDO_FAKE_NCCL_PATH, 1);
    have_gpus(2);
  }
  void TearDown() override {
    for (const char* name : {"RONDO_CUDA_MODULE", "RONDO_EMULATED_GPUS", "RONDO_NCCL_LIBRARY",
                             "RONDO_FAKE_NCCL"})
      ::unsetenv(name);
    SameBits::TearDown();
  }
  static void have_gpus(int count) {
    ::setenv("RONDO_EMULATED_GPUS", std::to_string(count).c_str(), 1);
  }
  static std::vector<std::string> gpus(std::vector<std::string> more = {}) {
    more.insert(more.begin(), {"--device", "gpu"});
    return more;
  }
  static void expect_said(const Ran& ran, const std::string& sentence) {
    EXPECT_NE(ran.err.find(sentence), std::string::npos) << ran.err;
  }
  static void expect_on_device(const Ran& ran) {
    EXPECT_EQ(ran.err.find(kOnHost), std::string::npos) << ran.err;
  }
};

// Two stages on two GPUs: each replica has one of them.
TEST_F(OnGpus, NcclChangesNoBitWithAndWithoutKills) {
  const std::vector<std::string> ways{"forward", "backward", "aggregation", "optimiser",
                                      "prepare", "between commit and swap", "restore"};
  use_text(6000);
  train("shm", gpus({"--all-reduce", "shm"}));
  train("nccl", gpus({"--all-reduce", "nccl"}));
  expect_same("shm", "nccl");
  const Ran killed = train("killed", gpus({"--all-reduce", "nccl", "--chaos", "4",
                                           "--chaos-phases",
                                           "forward,backward,aggregation,optimiser,prepare,swap,"
                                           "restore"}));
  expect_hits(killed, ways);
  expect_same("shm", "killed");
}

TEST_F(OnGpus, ThreeReplicasOnThreeGpusUseNcclByThemselves) {
  have_gpus(3);
  use_text(4000);
  const std::vector<std::string> three{"--replicas", "3", "--stages", "1", "--all-reduce"};
  const auto by = [&](const char* way) {
    std::vector<std::string> all = three;
    all.emplace_back(way);
    return gpus(all);
  };
  train("zmq", by("zmq"));
  expect_on_device(train("auto", by("auto")));
  expect_same("zmq", "auto");
  const Ran killed = train("killed", [&] {
    std::vector<std::string> all = by("auto");
    all.insert(all.end(), {"--chaos", "2", "--chaos-phases", "backward,aggregation"});
    return all;
  }());
  expect_on_device(killed);
  expect_hits(killed, {"backward", "aggregation"});
  expect_same("zmq", "killed");
}

// A fault that comes back in every incarnation: seen here as NCCL's, and got over in host memory.
TEST_F(OnGpus, AnNcclThatFailsAgainAndAgainIsLeftForHostMemory) {
  train("shm", gpus({"--all-reduce", "shm"}));
  ::setenv("RONDO_FAKE_NCCL", "error:1:2", 1);
  const Ran failed = train("failed", gpus());
  expect_said(failed, std::string(kOnHost) + "4 failures without a step between them");
  expect_same("shm", "failed");
}

TEST_F(OnGpus, ReplicasOnOneGpuSumInHostMemoryAndAreRefusedToNccl) {
  have_gpus(1);
  const Ran shared = train("auto", gpus());
  expect_said(shared, std::string(kOnHost) + "replicas 0 and 1 are both on GPU 0000:00:00.0");
  EXPECT_EQ(shared.err.find(kOnHost), shared.err.rfind(kOnHost)) << shared.err;
  const Ran refused = run("rondo-train", arguments("nccl", gpus({"--all-reduce", "nccl"})));
  EXPECT_EQ(refused.code, 1) << refused.err;
  expect_said(refused, "--all-reduce nccl: replicas 0 and 1 are both on GPU 0000:00:00.0");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "nccl"));
}

TEST_F(OnGpus, AMissingLibraryIsNamed) {
  ::setenv("RONDO_NCCL_LIBRARY", "/nowhere/libnccl.so", 1);
  const std::string missing = "replica 0: NCCL not used: /nowhere/libnccl.so: ";
  expect_said(train("auto", gpus()), kOnHost + missing);
  const Ran refused = run("rondo-train", arguments("nccl", gpus({"--all-reduce", "nccl"})));
  EXPECT_EQ(refused.code, 1) << refused.err;
  expect_said(refused, "--all-reduce nccl: " + missing);
  expect_on_device(train("asked for", gpus({"--all-reduce", "shm"})));   // nothing to explain
}

}  // namespace
}  // namespace rondo::actors
