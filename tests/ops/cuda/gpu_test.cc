#include <rondo/ops/gpu.h>

#include <gtest/gtest.h>

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace rondo::ops {
namespace {

// Sets a variable of the environment for a test's time.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    setenv(name, value.c_str(), 1);
  }
  ~Variable() { unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
};

std::string reason_with(const std::string& module) {
  const Variable chosen("RONDO_CUDA_MODULE", module);
  const GpuOrReason found = open_gpu();
  EXPECT_EQ(found.gpu, nullptr);
  return found.reason;
}

TEST(GpuTest, AMachineWithoutADriverIsSaidInOneSentence) {
  if (void* driver = dlopen("libcuda.so.1", RTLD_NOW); driver != nullptr) {
    dlclose(driver);
    GTEST_SKIP() << "this machine has a driver";
  }
  const GpuOrReason found = open_gpu();
  EXPECT_EQ(found.gpu, nullptr);
  EXPECT_EQ(found.reason,
            "GPU not used: no NVIDIA driver on this machine (libcuda.so.1 is missing)");
}

TEST(GpuTest, AModuleThatIsNotThereIsNamed) {
  EXPECT_EQ(reason_with("/nowhere/module.so"),
            "GPU not used: there is no module at /nowhere/module.so");
}

TEST(GpuTest, AFileThatIsNoModuleIsSaid) {
  const std::string reason = reason_with("/proc/self/cmdline");
  EXPECT_TRUE(reason.starts_with("GPU not used: its module cannot be opened: ")) << reason;
}

TEST(GpuTest, ALibraryWithoutATableIsSaid) {
  const std::string reason = reason_with(RONDO_TEST_NO_TABLE_MODULE);
  EXPECT_TRUE(reason.starts_with("GPU not used: its module has no table of entries: ")) << reason;
}

TEST(GpuTest, AModuleOfAnotherVersionIsRefused) {
  EXPECT_EQ(reason_with(RONDO_TEST_OLD_MODULE),
            "GPU not used: its module has version 1, this program 2");
}

TEST(GpuTest, AModuleWithoutADeviceSaysSo) {
  const Variable none("RONDO_EMULATED_GPU", "none");
  EXPECT_EQ(reason_with(RONDO_TEST_EMULATED_MODULE),
            "GPU not used: no GPU is visible to the driver");
}

TEST(GpuTest, AGpuThatIsTooOldIsNamed) {
  const Variable old("RONDO_EMULATED_GPU", "old");
  EXPECT_EQ(reason_with(RONDO_TEST_EMULATED_MODULE),
            "GPU not used: emulated GPU is too old: compute capability 7.0, 8.0 is needed");
}

TEST(GpuTest, AFullGpuSaysHowMuchIsWanted) {
  const Variable full("RONDO_EMULATED_GPU", "full");
  EXPECT_EQ(reason_with(RONDO_TEST_EMULATED_MODULE),
            "GPU not used: the GPU is full: 64 MiB are wanted, 0 of 1024 MiB are free");
}

TEST(GpuTest, ADeviceNumberThatIsNotThereIsSaid) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  EXPECT_EQ(open_gpu(3).reason, "GPU not used: there is no GPU 3, only 1");
}

// Wrong arguments are sentences too: nothing aborts, nothing is started.
TEST(GpuTest, WrongShapesAndUnknownCellsAreSentences) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr) << found.reason;
  const cuda::Entries& api = found.gpu->entries();
  cuda::Context* c = found.gpu->context();
  EXPECT_STREQ(api.add(c, nullptr, nullptr, -1, nullptr),
               "wrong arguments of a GPU op: not count >= 0");
  cuda::Layer* layer = nullptr;
  const cuda::LayerSpec odd{9, 1, 1, 0, cuda::Precision::kFloat32};
  EXPECT_STREQ(api.layer_open(c, &odd, &layer), "the GPU knows no recurrent cell 9");
  const cuda::LayerSpec good{3, 1, 1, 0, cuda::Precision::kFloat32};
  ASSERT_EQ(api.layer_open(c, &good, &layer), nullptr);
  cuda::Activations* activations = nullptr;
  const cuda::Sequences none{0, 4, nullptr, nullptr};
  EXPECT_STREQ(api.activations_open(layer, &none, &activations),
               "a recurrent layer on the GPU needs steps and sequences, not 0 and 4");
  const cuda::Sequences some{2, 4, nullptr, nullptr};
  ASSERT_EQ(api.activations_open(layer, &some, &activations), nullptr);
  const float number = 0;
  cuda::LayerBackward back{};
  back.x = back.dy = &number;
  EXPECT_STREQ(api.layer_backward(layer, activations, &back),
               "wrong arguments of a GPU op: not &a->layer == l && l->packed && b->dy != nullptr");
  api.activations_close(activations);
  api.layer_close(layer);
}

// Device memory in another process: the child opens what the parent has named, and the parent's
// later writes are seen there; a name whose process has ended is refused.
TEST(GpuTest, NamedMemoryIsReadByAnotherProcess) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  int pipes[2][2];
  ASSERT_EQ(pipe(pipes[0]) | pipe(pipes[1]), 0);
  const pid_t owner = fork();
  if (owner == 0) {   // its exit code is what the other process read
    const GpuOrReason found = open_gpu();
    cuda::MemoryName name{};
    void* memory = nullptr;
    const float numbers[2] = {3, 4};
    char go = 0;
    if (found.gpu == nullptr ||
        found.gpu->entries().allocate_named(found.gpu->context(), 8, &memory, &name) != nullptr ||
        found.gpu->entries().copy_in(found.gpu->context(), memory, numbers, 8) != nullptr)
      _exit(1);
    (void)!write(pipes[0][1], &name, sizeof name);
    (void)!read(pipes[1][0], &go, 1);
    _exit(0);
  }
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const cuda::Entries& api = found.gpu->entries();
  cuda::MemoryName name{};
  ASSERT_EQ(read(pipes[0][0], &name, sizeof name), static_cast<ssize_t>(sizeof name));
  void* memory = nullptr;
  ASSERT_EQ(api.open_named(found.gpu->context(), &name, &memory), nullptr);
  float numbers[2] = {0, 0};
  EXPECT_EQ(api.copy_out(found.gpu->context(), numbers, memory, 8), nullptr);
  EXPECT_EQ(numbers[0], 3);
  EXPECT_EQ(numbers[1], 4);
  EXPECT_EQ(api.close_named(found.gpu->context(), memory), nullptr);
  EXPECT_EQ(write(pipes[1][1], "g", 1), 1);
  int status = 0;
  ASSERT_EQ(waitpid(owner, &status, 0), owner);
  EXPECT_EQ(status, 0);
  EXPECT_NE(api.open_named(found.gpu->context(), &name, &memory), nullptr);
  for (const auto& ends : pipes)
    for (const int end : ends) close(end);
}

}  // namespace
}  // namespace rondo::ops
