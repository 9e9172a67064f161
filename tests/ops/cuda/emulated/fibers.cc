// A block's threads as fibers: each runs until it ends or waits at a barrier of its block or warp.
// From launch to launch blocks and threads take turns from the first to the last or the other way
// round, by chance, so that what depends on their order differs between two runs of a check.
// A kernel whose first launch met no barrier runs its threads as plain calls from then on.
//
// The blocks of a launch that is cooperative or has dynamic shared memory are alive at once. They
// run in rounds; in each round a block goes as far as it comes without the others, and by chance
// some, or some of their warps, do not run at all, so that one is ahead of another by whatever its
// waits allow. A thread that looks for what another block writes (look) goes on in the next round.

#if defined(__SANITIZE_ADDRESS__) || !defined(__x86_64__)
#define RONDO_UCONTEXT 1   // AddressSanitizer follows it from stack to stack
#include <ucontext.h>
#endif

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

#ifdef RONDO_UCONTEXT

struct Place {   // where a stack goes on
  ucontext_t context{};
};
void change(Place& from, Place& to) { swapcontext(&from.context, &to.context); }
void place_at(Place& place, char* stack, void (*entry)()) {
  getcontext(&place.context);
  place.context.uc_stack.ss_sp = stack;
  place.context.uc_stack.ss_size = kStackBytes;
  place.context.uc_link = nullptr;
  makecontext(&place.context, entry, 0);
}

#else

// swapcontext without its two system calls: what a call must keep, by the x86-64 ABI.
struct Place {
  void* stack = nullptr;
};
extern "C" void rondo_emulated_change(void** from, void* to);
asm(R"(
  .text
  .type rondo_emulated_change, @function
rondo_emulated_change:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size rondo_emulated_change, .-rondo_emulated_change
)");
void change(Place& from, Place& to) { rondo_emulated_change(&from.stack, to.stack); }
void place_at(Place& place, char* stack, void (*entry)()) {
  auto* top = reinterpret_cast<void**>(stack + kStackBytes);
  top -= reinterpret_cast<std::uintptr_t>(top) % 16 / sizeof(void*);
  *--top = nullptr;   // where entry would return to
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  place.stack = top;
}

#endif

enum class State : unsigned char { kReady, kAtBlock, kAtWarp, kLooking, kDone };

struct Fiber {
  Place place;
  std::unique_ptr<char[]> stack = std::make_unique_for_overwrite<char[]>(kStackBytes);
  State state = State::kDone;
  std::uint64_t given = 0, taken = 0;
  unsigned votes = 0;         // the lowest bits of what the warp's threads gave
  int from_lane = 0;
  Together work = nullptr;    // what the warp does together
};

struct Block {
  unsigned number = 0;
  Fiber* fibers = nullptr;
  std::size_t threads = 0;
  std::vector<unsigned char> shared;
};

std::vector<Fiber> fibers;
std::uint64_t chance = 1;
bool backwards = false;
bool waited = false;                  // some thread of this launch
std::map<Kernel, bool> barrier_free;   // by what its first launch did
Place scheduler;
Fiber* running = nullptr;
Block* block_now = nullptr;
const std::function<void()>* body_now = nullptr;

unsigned draw() {
  chance = chance * 6364136223846793005U + 1442695040888963407U;
  return static_cast<unsigned>(chance >> 40);
}

[[noreturn]] void give_up(const char* why) {
  std::fprintf(stderr, "emulated GPU: %s\n", why);
  std::abort();
}

void entry() {
  (*body_now)();
  running->state = State::kDone;
  change(running->place, scheduler);
}

void give_way(State state) {
  Fiber* mine = running;
  if (mine == nullptr) give_up("a barrier in a kernel that had none at first");
  waited = true;
  mine->state = state;
  change(mine->place, scheduler);
}

void turn(Block& b, std::size_t index) {
  threadIdx.x = static_cast<unsigned>(index);
  blockIdx.x = b.number;
  block_now = &b;
  running = &b.fibers[index];
  change(scheduler, running->place);
}

// Lanes that wait together hand over their values and do what they came for.
void join_warp(Fiber* first, std::size_t lanes) {
  unsigned votes = 0;
  void* given[32] = {};
  Together work = nullptr;
  bool all = true, any = false;
  for (std::size_t i = 0; i < lanes; ++i) {
    if (first[i].state == State::kDone) {
      all = false;
      continue;
    }
    if ((first[i].given & 1) != 0) votes |= 1U << i;
    given[i] = reinterpret_cast<void*>(first[i].given);
    if (any && first[i].work != work) give_up("the lanes of a warp do different things together");
    work = first[i].work, any = true;
  }
  if (work != nullptr && (!all || lanes != 32)) give_up("a product without all lanes of its warp");
  for (std::size_t i = 0; i < lanes; ++i) {
    if (first[i].state == State::kDone) continue;
    first[i].votes = votes;
    first[i].taken = first[first[i].from_lane].given;
    first[i].state = State::kReady;
  }
  if (work != nullptr) work(given);
}

// All threads of a warp that still run wait for one another.
bool release_warp(Fiber* first, std::size_t lanes) {
  bool any = false;
  for (std::size_t i = 0; i < lanes; ++i) {
    if (first[i].state == State::kDone) continue;
    if (first[i].state != State::kAtWarp) return false;
    any = true;
  }
  if (any) join_warp(first, lanes);
  return any;
}

// A barrier of the block counts all its threads; one that has ended cannot come any more.
bool release_block(const Block& b) {
  for (std::size_t i = 0; i < b.threads; ++i)
    if (b.fibers[i].state != State::kAtBlock) return false;
  for (std::size_t i = 0; i < b.threads; ++i) b.fibers[i].state = State::kReady;
  return true;
}

// As far as the warp comes without the others: so a barrier that is missing shows.
bool run_warp(Block& b, std::size_t first, std::size_t last) {
  bool moved = false;
  for (std::size_t n = first; n < last; ++n) {
    const std::size_t i = backwards ? first + last - 1 - n : n;
    if (b.fibers[i].state == State::kReady) turn(b, i), moved = true;
  }
  return release_warp(b.fibers + first, last - first) || moved;
}

void begin(Block& b, unsigned number, Fiber* first, std::size_t threads, std::size_t shared) {
  b.number = number, b.fibers = first, b.threads = threads;
  b.shared.assign(shared, 0xff);   // what nobody wrote reads as NaN
  for (std::size_t i = 0; i < threads; ++i) {
    Fiber& f = first[i];
    place_at(f.place, f.stack.get(), entry);
    f.state = State::kReady;
  }
}

struct Round {
  bool left = false;      // some thread has not ended
  bool looking = false;   // some thread looks for another block's doing
};

// As far as the block comes by itself, without the warps in `resting` (a bit each).
Round run_block(Block& b, unsigned resting = 0) {
  const std::size_t warps = (b.threads + 31) / 32;
  while (true) {
    bool moved = false;
    Round round;
    for (std::size_t n = 0; n < warps; ++n) {
      const std::size_t first = 32 * (backwards ? warps - 1 - n : n);
      const std::size_t last = std::min(first + 32, b.threads);
      while ((resting >> (first / 32) & 1) == 0 && run_warp(b, first, last)) moved = true;
      for (std::size_t i = first; i < last; ++i) {
        round.left = round.left || b.fibers[i].state != State::kDone;
        round.looking = round.looking || b.fibers[i].state == State::kLooking;
      }
    }
    if (!round.left) return round;
    if (release_block(b) || moved) continue;
    if (round.looking || resting != 0) return round;
    give_up("a barrier that not all threads reach");
  }
}

void run_together(const Launch& launch) {
  std::vector<Block> blocks(launch.blocks);
  const unsigned missing = told("stuck") ? launch.blocks - 1 : launch.blocks;
  for (unsigned n = 0; n < launch.blocks; ++n)
    begin(blocks[n], n, &fibers[std::size_t{n} * launch.threads], launch.threads,
          launch.shared_bytes);
  for (bool left = true; left;) {
    left = false;
    const unsigned first = draw() % launch.blocks;
    for (unsigned k = 0; k < launch.blocks; ++k) {
      const unsigned n = (first + k) % launch.blocks;
      if (n == missing) continue;
      if (draw() % 4 == 0) {   // not in this round
        left = true;
        continue;
      }
      for (std::size_t i = 0; i < launch.threads; ++i)
        if (blocks[n].fibers[i].state == State::kLooking) blocks[n].fibers[i].state = State::kReady;
      left = run_block(blocks[n], draw() & draw()).left || left;
    }
  }
}

}  // namespace

void barrier() { give_way(State::kAtBlock); }
void look() { give_way(State::kLooking); }

std::uint64_t exchange(std::uint64_t mine, int from_lane) {
  Fiber* f = running;
  f->given = mine, f->from_lane = from_lane, f->work = nullptr;
  give_way(State::kAtWarp);
  return f->taken;
}

unsigned ballot(bool vote) {
  (void)exchange(vote ? 1 : 0, static_cast<int>(threadIdx.x % 32));
  return running->votes;
}

void together(Together work, void* mine) {
  Fiber* f = running;
  f->given = reinterpret_cast<std::uint64_t>(mine);
  f->from_lane = static_cast<int>(threadIdx.x % 32), f->work = work;
  give_way(State::kAtWarp);
}

unsigned char* dynamic_shared() { return block_now->shared.data(); }

void run_grid(const Launch& launch, const std::function<void()>& body) {
  const std::size_t alive =
      launch.together() ? std::size_t{launch.blocks} * launch.threads : launch.threads;
  if (fibers.size() < alive) fibers.resize(alive);
  body_now = &body;
  gridDim = dim3(launch.blocks);
  backwards = draw() % 2 != 0;
  waited = false, running = nullptr;
  if (launch.together()) return run_together(launch);
  const auto known = barrier_free.find(launch.kernel);
  const bool plain = known != barrier_free.end() && known->second;
  Block block;
  for (unsigned n = 0; n < launch.blocks; ++n) {
    blockIdx.x = backwards ? launch.blocks - 1 - n : n;
    if (plain) {
      for (unsigned i = 0; i < launch.threads; ++i) {
        threadIdx.x = backwards ? launch.threads - 1 - i : i;
        body();
      }
    } else {
      begin(block, blockIdx.x, fibers.data(), launch.threads, launch.shared_bytes);
      (void)run_block(block);
    }
  }
  barrier_free.emplace(launch.kernel, !waited);
}

}  // namespace emulated

unsigned __ballot_sync(unsigned, bool vote) { return emulated::ballot(vote); }
