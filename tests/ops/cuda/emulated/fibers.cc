// A block's threads as fibers: each runs until it ends or waits at a barrier of its block or warp.

#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cuda_runtime.h"

dim3 gridDim, threadIdx, blockIdx;

namespace emulated {
namespace {

constexpr std::size_t kStackBytes = 64 << 10;

enum class State : unsigned char { kReady, kAtBlock, kAtWarp, kDone };

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStackBytes);
  State state = State::kDone;
  std::uint64_t given = 0, taken = 0;
  int from_lane = 0;
};

std::vector<Fiber> fibers;
ucontext_t scheduler;
Fiber* running = nullptr;
const std::function<void()>* body_now = nullptr;

void entry() {
  (*body_now)();
  running->state = State::kDone;
  swapcontext(&running->context, &scheduler);
}

void give_way(State state) {
  Fiber* mine = running;
  mine->state = state;
  swapcontext(&mine->context, &scheduler);
}

void turn(std::size_t index) {
  threadIdx.x = static_cast<unsigned>(index);
  running = &fibers[index];
  swapcontext(&scheduler, &running->context);
}

// All threads of a warp that still run wait for one another: hands their values over.
bool release_warp(std::size_t first, std::size_t last) {
  bool any = false;
  for (std::size_t i = first; i < last; ++i) {
    if (fibers[i].state == State::kDone) continue;
    if (fibers[i].state != State::kAtWarp) return false;
    any = true;
  }
  if (!any) return false;
  for (std::size_t i = first; i < last; ++i) {
    if (fibers[i].state == State::kDone) continue;
    fibers[i].taken = fibers[first + static_cast<std::size_t>(fibers[i].from_lane)].given;
    fibers[i].state = State::kReady;
  }
  return true;
}

// A barrier of the block counts all its threads; one that has ended cannot come any more.
bool release_block(std::size_t threads) {
  for (std::size_t i = 0; i < threads; ++i)
    if (fibers[i].state != State::kAtBlock) return false;
  for (std::size_t i = 0; i < threads; ++i) fibers[i].state = State::kReady;
  return true;
}

void run_block(std::size_t threads) {
  for (std::size_t i = 0; i < threads; ++i) {
    Fiber& f = fibers[i];
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = kStackBytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, entry, 0);
    f.state = State::kReady;
  }
  while (true) {
    bool moved = false, left = false;
    for (std::size_t i = 0; i < threads; ++i) {
      if (fibers[i].state == State::kReady) turn(i), moved = true;
      left = left || fibers[i].state != State::kDone;
    }
    if (!left) return;
    for (std::size_t first = 0; first < threads; first += 32)
      moved = release_warp(first, std::min(first + 32, threads)) || moved;
    moved = release_block(threads) || moved;
    if (!moved) {
      std::fprintf(stderr, "emulated GPU: a barrier that not all threads reach\n");
      std::abort();
    }
  }
}

}  // namespace

void barrier() { give_way(State::kAtBlock); }

std::uint64_t exchange(std::uint64_t mine, int from_lane) {
  Fiber* f = running;
  f->given = mine, f->from_lane = from_lane;
  give_way(State::kAtWarp);
  return f->taken;
}

void run_grid(unsigned blocks, unsigned threads, const std::function<void()>& body) {
  if (fibers.size() < threads) fibers.resize(threads);
  body_now = &body;
  gridDim = dim3(blocks);
  for (unsigned b = 0; b < blocks; ++b) {
    blockIdx.x = b;
    run_block(threads);
  }
}

}  // namespace emulated

unsigned __ballot_sync(unsigned, bool vote) {
  std::uint64_t votes = vote ? std::uint64_t{1} << threadIdx.x % 32 : 0;
  for (int d = 1; d < 32; d *= 2)
    votes |= __shfl_xor_sync(0xffffffffU, votes, d);
  return static_cast<unsigned>(votes);
}
