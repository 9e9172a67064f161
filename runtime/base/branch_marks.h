#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

// Branch marks: proof that a branch which only a fault can reach was reached.
//
// Code that mends something says `hit(Branch::kX)` when it does. Nobody reads it there, nothing is
// decided by it: without a MarkSheet on this thread it does nothing at all. A test that plays
// faults puts a sheet under the code, and asks afterwards which branches were never hit.
//
//   MarkSheet sheet;                      // from here on, for this thread
//   run_the_cluster();
//   sheet.hits(Branch::kLeaseReclaimed)   // how often
//
// Any thread; each has its own sheet. A sheet must end on its thread, the youngest first.

namespace rondo {

#define RONDO_BRANCHES(M)                                                                        \
  M(kFrameResent) M(kNodeSuspectedReached) M(kNodeDeclaredDead) M(kNodeNeverCameBack)              \
  M(kDeadNodeRefused) M(kHeadResumed) M(kNodeRejoined) M(kWishesSaidAgain) M(kEndedWhileHeadAway)  \
  M(kTermFenced) M(kTermUnfenced) M(kActorRestarted) M(kRestartDelayed) M(kBudgetUsedUp)           \
  M(kStartSaidAgain) M(kActorNotWanted) M(kDeathToldToNewHead) M(kWorkerNotStarted)                \
  M(kLeaseReclaimed) M(kLeaseOfDeadWorker) M(kLeaseRevoked) M(kLeaseAskedAgain) M(kTaskReturned)   \
  M(kTaskNotBegun) M(kTaskTriedAgain) M(kTaskSpent) M(kCallNotBegun) M(kCallTriedAgain)            \
  M(kCallSpent) M(kBoundCallMissed) M(kCallBeforeWelcome)              \
  M(kNodeTookProcesses) M(kLateWordOfTheLost) M(kOwnerLost) M(kOwnerAskedAbout) M(kLateDeathTold)  \
  M(kHolderDropped) M(kFreedBeforeSealed) M(kLeftoverTold) M(kOwnerOfSealedDead) \
  M(kPullFailed) M(kFileSourceLost) M(kWaitProbed) M(kCycleBroken)

enum class Branch : std::uint8_t {
#define RONDO_BRANCH(name) name,
  RONDO_BRANCHES(RONDO_BRANCH)
#undef RONDO_BRANCH
      kCount
};
inline constexpr std::size_t kBranches = static_cast<std::size_t>(Branch::kCount);

[[nodiscard]] const char* name_of(Branch);
void hit(Branch);

class MarkSheet {
 public:
  MarkSheet();
  ~MarkSheet();
  MarkSheet(const MarkSheet&) = delete;
  MarkSheet& operator=(const MarkSheet&) = delete;
  [[nodiscard]] std::uint32_t hits(Branch b) const { return hits_[static_cast<std::size_t>(b)]; }
  [[nodiscard]] const std::array<std::uint32_t, kBranches>& all() const { return hits_; }

 private:
  friend void hit(Branch);
  std::array<std::uint32_t, kBranches> hits_{};
  MarkSheet* below_;
};

}  // namespace rondo
