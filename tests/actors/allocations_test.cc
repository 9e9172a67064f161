// A warm step makes no scratch: every layer's is made once. This program counts what is allocated,
// so it stands alone. Closures handed to the executor are small and do not count.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "one_step.h"

namespace {
std::atomic<long> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) {
  constexpr std::size_t kScratch = 256;
  if (size >= kScratch) ++allocations;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
// apart, so that g++ does not take the pair for a mismatch (-Wmismatched-new-delete)
[[gnu::noinline]] void release(void* memory) { std::free(memory); }
constexpr std::size_t kUsual = alignof(std::max_align_t);
}  // namespace

void* operator new(std::size_t size) { return allocate(size, kUsual); }
void* operator new[](std::size_t size) { return allocate(size, kUsual); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { release(memory); }
void operator delete[](void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace rondo::actors {
namespace {

// Of a step after two others, in microbatches of 4 and 3; one thread, since waking others is TBB's.
long allocations_of_a_step(const ModelSpec& model) {
  const RunSpec spec = small(model, {1, 1, 2});
  const ops::Executor executor(1);
  const auto stage = make_stage({spec, 0, 0}, executor);
  std::vector<Feed> inputs, targets;
  for (int m = 0; m < 2; ++m) {
    inputs.push_back(feed(spec, rows_of(spec.layout, spec.batch, 0, m), 0));
    targets.push_back(feed(spec, rows_of(spec.layout, spec.batch, 0, m), 1));
  }
  long before = 0;
  for (const std::uint64_t number : {1u, 2u, 3u}) {
    before = allocations;
    stage->begin(number == 1, number);
    for (int m = 0; m < 2; ++m) {
      const auto at = static_cast<std::size_t>(m);
      stage->forward(m, spec.seq, {&inputs[at], {}});
      static_cast<void>(stage->loss(m, targets[at], 0.01));
      stage->backward(m, {});
    }
    stage->apply(stage->gradient(), 1e-2, number);
    static_cast<void>(stage->prepared());
    stage->swap();
  }
  return allocations - before;
}

TEST(Allocations, AWarmStepOfTheDefaultModelMakesNone) {
  EXPECT_EQ(allocations_of_a_step({.layers = 3, .hidden = 48, .inputs = 70, .outputs = 70}), 0);
}

TEST(Allocations, AWarmStepWithEveryLayerMakesNoneMore) {
  for (const CellKind cell : {CellKind::kLstm, CellKind::kMinGru, CellKind::kMinLstm}) {
    for (const int embedding : {0, 40}) {
      ModelSpec model{.cell = cell, .layers = 3, .hidden = 48, .inputs = 70, .outputs = 70,
                      .layer_norm = true, .dropout = 0.25, .embedding = embedding};
      if (cell == CellKind::kLstm) model.projection = 40;
      EXPECT_EQ(allocations_of_a_step(model), 0) << to_string(cell) << " " << embedding;
    }
  }
}

}  // namespace
}  // namespace rondo::actors
