#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include <rondo/base/time.h>
#include <rondo/core/types.h>

// LeaseTable: a node's books of what it has lent.
//
// Picture a library with a few desks. Readers queue for a desk; who sits at fewest goes first; a
// reader who waits for something in the stacks frees the desk meanwhile and has the next free one
// before new readers; who sat long while others stand is asked to come back later.
//
// Always: total = leased (waiting leases excluded) + actors + free. Actors are placed by the head
// and are never refused, so the free share may be below zero for a while: then no task starts.
// Which worker serves a lease is the pool's business (worker_pool.h); the node joins the two.

namespace rondo::core {

struct LeaseWish {             // a request that waits
  RequestId request;
  Peer owner;
  JobId job;
  Shape shape;
  std::uint32_t hops = 0;
  std::uint64_t order = 0;     // of arrival
  TimeNs since;
};

struct Lease {
  LeaseId id;
  RequestId request;
  ProcessId owner;
  ProcessId worker;
  JobId job;
  Shape shape;
  TimeNs granted;
  bool waiting = false;        // its running task waits: its share is free
  bool revoked = false;        // asked back
};

class LeaseTable {
 public:
  static constexpr std::size_t kWishesMax = 65'536;

  explicit LeaseTable(const Shape& total) : total_(total) {}

  [[nodiscard]] Shape free() const;                 // never below zero
  [[nodiscard]] bool fits(const Shape&) const;      // into what is free; nothing always fits
  void take_actor(const Shape& shape) { actors_ += shape; }
  void give_actor(const Shape& shape) { actors_ -= shape; }

  [[nodiscard]] bool full() const { return wishes_.size() >= kWishesMax; }
  bool ask(LeaseWish);                              // false: asked before. Requires: !full().
  bool cancel(ProcessId owner, RequestId);
  [[nodiscard]] std::vector<LeaseWish> in_turn() const;   // fewest leases first, then first come
  [[nodiscard]] std::size_t waiting() const { return wishes_.size(); }
  std::vector<LeaseWish> cancel_job(JobId);

  // Requires: the wish waits and fits.
  Lease grant(TimeNs now, ProcessId owner, RequestId, ProcessId worker);
  std::optional<Lease> give_back(LeaseId, ProcessId owner);
  std::vector<Lease> drop_worker(ProcessId);        // it died
  std::vector<Lease> drop_owner(ProcessId);         // it died: its wishes go too
  std::vector<Lease> drop_job(JobId);

  bool wait_begin(LeaseId, ProcessId worker);       // false: no such lease
  bool wait_end(LeaseId, ProcessId worker);         // false: no such lease
  std::vector<Lease> resume();                      // those that have their share again, in turn
  [[nodiscard]] bool resumes_wait() const { return !resumes_.empty(); }

  // Leases to ask back now: others wait, and these owners have had more for `hold`.
  std::vector<Lease> revoke(TimeNs now, DurationNs hold);
  [[nodiscard]] TimeNs next_revoke(DurationNs hold) const;   // kNever: nobody waits

  [[nodiscard]] const Lease* find(LeaseId) const;
  [[nodiscard]] const std::map<LeaseId, Lease>& leases() const { return leases_; }
  void check_invariants() const;

 private:
  template <class Pred>
  std::vector<Lease> drop_if(Pred);
  void remove(const Lease&);

  Shape total_;
  Shape leased_;
  Shape actors_;
  std::map<LeaseId, Lease> leases_;
  std::map<std::pair<ProcessId, RequestId>, LeaseWish> wishes_;
  std::map<ProcessId, std::uint64_t> held_;         // leases by owner
  std::deque<LeaseId> resumes_;                     // waiting leases that want their share again
  TimeNs revoke_checked_;
  std::uint64_t next_lease_ = 1;
  std::uint64_t next_order_ = 1;
};

}  // namespace rondo::core
