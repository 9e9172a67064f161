// A block's threads as fibers: each runs until it ends or waits at a barrier of its block or warp.
// From launch to launch blocks and threads take turns from the first to the last or the other way
// round, by chance, so that what depends on their order differs between two runs of a check.
// A kernel whose first launch met no barrier runs its threads as plain calls from then on.

#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
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
  unsigned votes = 0;   // the lowest bits of what the warp's threads gave
  int from_lane = 0;
};

std::vector<Fiber> fibers;
std::uint64_t chance = 1;
bool backwards = false;
bool waited = false;                  // some thread of this launch
std::map<Kernel, bool> barrier_free;   // by what its first launch did
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
  if (mine == nullptr) {
    std::fprintf(stderr, "emulated GPU: a barrier in a kernel that had none at first\n");
    std::abort();
  }
  waited = true;
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
  unsigned votes = 0;
  for (std::size_t i = first; i < last; ++i)
    if (fibers[i].state == State::kAtWarp && (fibers[i].given & 1) != 0) votes |= 1U << (i - first);
  for (std::size_t i = first; i < last; ++i) {
    if (fibers[i].state == State::kDone) continue;
    fibers[i].votes = votes;
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

// As far as the warp comes without the others: so a barrier that is missing shows.
bool run_warp(std::size_t first, std::size_t last) {
  bool moved = false;
  for (std::size_t n = first; n < last; ++n) {
    const std::size_t i = backwards ? first + last - 1 - n : n;
    if (fibers[i].state == State::kReady) turn(i), moved = true;
  }
  return release_warp(first, last) || moved;
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
  const std::size_t warps = (threads + 31) / 32;
  while (true) {
    bool moved = false, left = false;
    for (std::size_t n = 0; n < warps; ++n) {
      const std::size_t first = 32 * (backwards ? warps - 1 - n : n);
      const std::size_t last = std::min(first + 32, threads);
      while (run_warp(first, last)) moved = true;
      for (std::size_t i = first; i < last; ++i) left = left || fibers[i].state != State::kDone;
    }
    if (!left) return;
    if (!release_block(threads) && !moved) {
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

unsigned ballot(bool vote) {
  Fiber* f = running;
  f->given = vote ? 1 : 0, f->from_lane = static_cast<int>(threadIdx.x % 32);
  give_way(State::kAtWarp);
  return f->votes;
}

void run_grid(Kernel kernel, unsigned blocks, unsigned threads,
              const std::function<void()>& body) {
  if (fibers.size() < threads) fibers.resize(threads);
  body_now = &body;
  gridDim = dim3(blocks);
  chance = chance * 6364136223846793005U + 1442695040888963407U;
  backwards = chance >> 63 != 0;
  const auto known = barrier_free.find(kernel);
  const bool plain = known != barrier_free.end() && known->second;
  waited = false, running = nullptr;
  for (unsigned n = 0; n < blocks; ++n) {
    blockIdx.x = backwards ? blocks - 1 - n : n;
    if (plain) {
      for (unsigned i = 0; i < threads; ++i) {
        threadIdx.x = backwards ? threads - 1 - i : i;
        body();
      }
    } else {
      run_block(threads);
    }
  }
  barrier_free.emplace(kernel, !waited);
}

}  // namespace emulated

unsigned __ballot_sync(unsigned, bool vote) { return emulated::ballot(vote); }
