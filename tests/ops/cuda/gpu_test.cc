#include <rondo/ops/gpu.h>
#include <rondo/ops/gpu_buffer.h>
#include <rondo/ops/gpu_wavefront.h>

#include <gtest/gtest.h>

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <vector>

#include "variable.h"

namespace rondo::ops {
namespace {

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
            "GPU not used: its module has version " + std::to_string(cuda::kVersion - 1) +
                ", this program " + std::to_string(cuda::kVersion));
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

std::string bus_id_of(const Gpu& gpu) {
  std::array<char, 64> text{};
  must(gpu.entries().bus_id(gpu.context(), text.data(), text.size()));
  return text.data();
}

TEST(GpuTest, DevicesOfAMachineHaveDifferentBusIdsAndLinesOfOneTheSame) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const Variable two("RONDO_EMULATED_GPUS", "2");
  const GpuOrReason first = open_gpu(0), second = open_gpu(1), again = open_gpu(1);
  ASSERT_TRUE(first.gpu && second.gpu && again.gpu);
  EXPECT_NE(bus_id_of(*first.gpu), bus_id_of(*second.gpu));
  EXPECT_EQ(bus_id_of(*second.gpu), bus_id_of(*again.gpu));
  const GpuLines lines(*second.gpu, 2);
  std::array<char, 64> beside{};
  must(second.gpu->entries().bus_id(lines.line(1), beside.data(), beside.size()));
  EXPECT_EQ(beside.data(), bus_id_of(*second.gpu));
  char small[8];
  EXPECT_NE(first.gpu->entries().bus_id(first.gpu->context(), small, sizeof small), nullptr);
}

// More points than the module keeps events for: an early one then means a later one.
TEST(GpuTest, WhatWasPutInLineBeforeAPointIsDoneWhenThePointIsReached) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr) << found.reason;
  Gpu& gpu = *found.gpu;
  const cuda::Entries& api = gpu.entries();
  constexpr int kPoints = 40;
  GpuBuffer number(gpu, sizeof(float));
  const GpuLines lines(gpu, 2);
  std::vector<std::uint64_t> points(kPoints);
  for (int i = 0; i < kPoints; ++i) {
    must(api.fill(gpu.context(), number.raw(), i, sizeof(float)));
    must(api.note(gpu.context(), &points[static_cast<std::size_t>(i)]));
  }
  EXPECT_EQ(points.front(), 1u);
  EXPECT_EQ(points.back(), static_cast<std::uint64_t>(kPoints));
  must(api.wait_for_note(gpu.context(), points[30]));
  std::int32_t then = 0;   // read beside the line, which nobody else makes go on
  must(api.copy_out(lines.line(1), &then, number.raw(), sizeof then));
  EXPECT_EQ(then, 0x01010101 * 30);
  EXPECT_NE(api.wait_for_note(gpu.context(), 41), nullptr);
  EXPECT_NE(api.wait_for_note(gpu.context(), 0), nullptr);
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

// A layer of one step, open, packed and run forward once.
class SmallLayer {
 public:
  SmallLayer(Gpu& gpu, const cuda::LayerSpec& spec) : SmallLayer(gpu, spec, gpu.context(), 3) {}
  SmallLayer(Gpu& gpu, const cuda::LayerSpec& spec, cuda::Context* line, cuda::Size batch)
      : gpu_(gpu) {
    const cuda::Size rows = 4 * spec.hidden;
    const GpuBuffer w_ih = zeros(rows * spec.inputs), w_hh = zeros(rows * spec.hidden);
    const GpuBuffer b_ih = zeros(rows), b_hh = zeros(rows), x = zeros(batch * spec.inputs);
    const cuda::LayerWeights weights{w_ih.f(), w_hh.f(), b_ih.f(), b_hh.f()};
    const cuda::Sequences one{1, batch, nullptr, nullptr};
    cuda::LayerForward forward{};
    forward.x = x.f();
    must(api().wait(gpu.context()));   // for the zeros
    must(api().layer_open(line, &spec, &layer_));
    must(api().layer_pack(layer_, &weights));
    must(api().activations_open(layer_, &one, &activations_));
    must(api().layer_forward(layer_, activations_, &forward));
    (void)api().wait(line);   // what it says is the test's business, later
  }
  ~SmallLayer() {
    api().activations_close(activations_);
    api().layer_close(layer_);
  }
  SmallLayer(const SmallLayer&) = delete;
  SmallLayer& operator=(const SmallLayer&) = delete;

 private:
  [[nodiscard]] const cuda::Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] GpuBuffer zeros(cuda::Size count) const {
    GpuBuffer buffer(gpu_, static_cast<std::size_t>(count) * sizeof(float));
    buffer.fill(0);
    return buffer;
  }
  Gpu& gpu_;
  cuda::Layer* layer_ = nullptr;
  cuda::Activations* activations_ = nullptr;
};

cuda::LayerSpec lstm_of(cuda::Size hidden, cuda::Recurrence recurrence) {
  cuda::LayerSpec spec{3, 5, hidden, 0, cuda::Precision::kBf16};
  spec.recurrence = recurrence;
  return spec;
}

TEST(GpuTest, TheProfileNamesHowEachLayerGoesThroughTime) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const SmallLayer small(*found.gpu, lstm_of(40, cuda::Recurrence::kChosen));
  const SmallLayer large(*found.gpu, lstm_of(1100, cuda::Recurrence::kChosen));
  const SmallLayer asked(*found.gpu, lstm_of(48, cuda::Recurrence::kSteps));
  const std::string profile = found.gpu->numeric_profile();
  for (const char* part : {"; LSTM 40 bf16 persistent (32 units a block)",
                           "; LSTM 1100 bf16 step by step (it has more than 1024 units)",
                           "; LSTM 48 bf16 step by step (as asked for)"})
    EXPECT_NE(profile.find(part), std::string::npos) << part << " in " << profile;
}

TEST(GpuTest, APersistentLayerThatDoesNotFitIsRefusedInOneSentence) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  cuda::Layer* layer = nullptr;
  const cuda::LayerSpec wide = lstm_of(1025, cuda::Recurrence::kPersistent);
  EXPECT_STREQ(found.gpu->entries().layer_open(found.gpu->context(), &wide, &layer),
               "this layer of 1025 units cannot run as one persistent kernel: it has more than "
               "1024 units");
  EXPECT_EQ(layer, nullptr);
  cuda::LayerSpec crowded = lstm_of(100, cuda::Recurrence::kPersistent);
  crowded.processors = 3;
  EXPECT_STREQ(found.gpu->entries().layer_open(found.gpu->context(), &crowded, &layer),
               "this layer of 100 units cannot run as one persistent kernel: its weights do not "
               "fit into the processors");
}

// ---- lines of work ------------------------------------------------------------------------------

TEST(GpuTest, AWavefrontThatThrowsHasItsLinesJoined) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const GpuLines lines(*found.gpu, 3);
  std::vector<GpuBuffer> written;
  for (int i = 0; i < 3; ++i) written.emplace_back(*found.gpu, sizeof(std::int32_t));
  const auto run = [&](std::size_t layer, GpuSteps part) {
    if (layer == 2 && part.first > 0) throw GpuFault("as planted");
    must(found.gpu->entries().fill(lines.line(layer), written[layer].raw(), 0, 4));
  };
  EXPECT_THROW(wavefront_forward(lines, {3, 4, 1}, run), GpuFault);
  for (const GpuBuffer& buffer : written) {
    std::int32_t number = 1;
    buffer.get(std::span<std::int32_t>(&number, 1));
    EXPECT_EQ(number, 0);   // what nobody wrote is -1
  }
}

std::vector<cuda::LayerSpec> stack(std::size_t layers, cuda::Size hidden, cuda::Size projection) {
  cuda::LayerSpec spec = lstm_of(hidden, cuda::Recurrence::kChosen);
  spec.projection = projection;
  return std::vector<cuda::LayerSpec>(layers, spec);
}

// The emulated device has 48 processors; a bf16 LSTM takes one for every 32 units.
TEST(GpuTest, LayersGetLinesWhereTheirShareStillHoldsThem) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const auto lines = [&](std::size_t layers, cuda::Size hidden, cuda::Size steps = 50,
                         cuda::Size projection = 0) {
    return lines_that_pay(*found.gpu, stack(layers, hidden, projection), steps, 64);
  };
  EXPECT_EQ(lines(1, 128), 1u);
  EXPECT_EQ(lines(2, 128, 2), 1u);   // nothing to cut
  EXPECT_EQ(lines(3, 128), 3u);
  EXPECT_EQ(lines(3, 512), 3u);
  EXPECT_EQ(lines(4, 512), 2u);      // 16 processors each: a fourth of 48 is too few
  EXPECT_EQ(lines(2, 700), 2u);
  EXPECT_EQ(lines(2, 900), 1u);      // 29 processors each
  EXPECT_EQ(lines(3, 900, 50, 100), 3u);   // projected: step by step
  EXPECT_EQ(lines(3, 2048), 1u);     // each step fills the device
  EXPECT_EQ(lines(12, 32), 6u);      // of two layers
}

// A block that never runs: the others stop waiting, and nobody takes their numbers for results.
TEST(GpuTest, APersistentKernelWhoseBlocksDoNotMeetEndsInAFault) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const Variable stuck("RONDO_EMULATED_GPU", "stuck");
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const SmallLayer layer(*found.gpu, lstm_of(40, cuda::Recurrence::kPersistent));
  const GpuBuffer number(*found.gpu, sizeof(float));
  float out = 0;
  for (int again = 0; again < 2; ++again)
    EXPECT_STREQ(found.gpu->entries().copy_out(found.gpu->context(), &out, number.raw(),
                                               sizeof out),
                 "a recurrent layer's kernel waited more than 10 s for another of its blocks and "
                 "gave up; what this GPU has computed since is not valid");
}

// Tools that watch every access make a kernel a hundred times slower.
TEST(GpuTest, HowLongAPersistentKernelWaitsCanBeSaid) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const Variable stuck("RONDO_EMULATED_GPU", "stuck");
  const Variable patience("RONDO_GPU_PATIENCE", "2");
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr) << found.reason;
  const SmallLayer layer(*found.gpu, lstm_of(40, cuda::Recurrence::kPersistent));
  const cuda::Fault fault = found.gpu->entries().wait(found.gpu->context());
  ASSERT_NE(fault, nullptr);
  EXPECT_TRUE(std::string(fault).starts_with("a recurrent layer's kernel waited more than 2 s "))
      << fault;
  for (const char* wrong : {"", "0", "-1", "3s", "99999999999999999999"}) {
    const Variable told("RONDO_GPU_PATIENCE", wrong);
    EXPECT_EQ(open_gpu().reason,
              std::string("GPU not used: RONDO_GPU_PATIENCE is a number of seconds from 1 to "
                          "1000000, not '") + wrong + "'");
  }
}

TEST(GpuTest, AProductThatTheLibraryCannotDoIsOneSentence) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const Variable lacking("RONDO_EMULATED_GPU", "no-product");
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const GpuBuffer x(*found.gpu, 64);
  const cuda::Product product{2, 3, 4, x.raw(), 4, 0, x.raw(), 3, 0, x.f(), 3, 0,
                              cuda::Precision::kFloat32};
  EXPECT_STREQ(found.gpu->entries().product(found.gpu->context(), &product),
               "cuBLASLt has no algorithm for a product of 2 rows, 3 columns, depth 4");
}

// Kernels that are started without the driver's word fit beside one another: half of the device for
// each of two lines, which all of it would not be. (The emulated device ends the program.)
TEST(GpuTest, TheSharesOfAllLinesAreOnTheDeviceAtOnce) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const GpuLines lines(*found.gpu, 2);
  const auto both = [&](std::int32_t processors) {
    cuda::LayerSpec spec = lstm_of(40, cuda::Recurrence::kPersistent);
    spec.processors = processors;
    const SmallLayer first(*found.gpu, spec, lines.line(0), 200);
    const SmallLayer second(*found.gpu, spec, lines.line(1), 200);
  };
  both(lines.processors());
  EXPECT_DEATH(both(2 * lines.processors() - 1),
               "blocks that wait for one another on 48 processors");
}

// Another line's work may still be on memory that is given back.
TEST(GpuTest, MemoryIsGivenBackWhenNoLineWorksOnItAnyMore) {
  const Variable chosen("RONDO_CUDA_MODULE", RONDO_TEST_EMULATED_MODULE);
  const GpuOrReason found = open_gpu();
  ASSERT_NE(found.gpu, nullptr);
  const cuda::Entries& api = found.gpu->entries();
  const GpuLines lines(*found.gpu, 2);
  GpuBuffer to(*found.gpu, sizeof(std::int32_t));
  {
    GpuBuffer from(*found.gpu, sizeof(std::int32_t));
    must(api.fill(lines.line(1), from.raw(), 0, sizeof(std::int32_t)));
    must(api.copy(lines.line(1), to.raw(), from.raw(), sizeof(std::int32_t)));
  }
  std::int32_t number = 1;   // what the first line's wait finds without the second's
  to.get(std::span<std::int32_t>(&number, 1));
  EXPECT_EQ(number, 0);
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
