#include <rondo/core/lease_table.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

namespace rondo::core {

Shape LeaseTable::free() const {
  Shape free = total_;
  free -= leased_;
  free -= actors_;
  free.cpu_milli = std::max<std::int64_t>(free.cpu_milli, 0);
  free.gpu_milli = std::max<std::int64_t>(free.gpu_milli, 0);
  free.memory_bytes = std::max<std::int64_t>(free.memory_bytes, 0);
  return free;
}

bool LeaseTable::fits(const Shape& shape) const { return shape.fits_in(free()); }

bool LeaseTable::ask(LeaseWish wish) {
  RONDO_CHECK(!full());
  for (const auto& [id, lease] : leases_)
    if (lease.owner == wish.owner.id && lease.request == wish.request) return false;
  wish.order = next_order_++;
  return wishes_.emplace(std::pair(wish.owner.id, wish.request), std::move(wish)).second;
}

bool LeaseTable::cancel(ProcessId owner, RequestId request) {
  return wishes_.erase({owner, request}) == 1;
}

std::vector<LeaseWish> LeaseTable::in_turn() const {
  // An owner's first wish counts as the lease after those that it holds, its second as one more.
  std::map<ProcessId, std::vector<const LeaseWish*>> by_owner;
  for (const auto& [key, wish] : wishes_) by_owner[key.first].push_back(&wish);
  std::vector<std::tuple<std::uint64_t, std::uint64_t, const LeaseWish*>> turns;
  for (auto& [owner, wishes] : by_owner) {
    std::sort(wishes.begin(), wishes.end(),
              [](const LeaseWish* a, const LeaseWish* b) { return a->order < b->order; });
    const auto held = held_.find(owner);
    std::uint64_t rank = held == held_.end() ? 0 : held->second;
    for (const LeaseWish* wish : wishes) turns.emplace_back(rank++, wish->order, wish);
  }
  std::sort(turns.begin(), turns.end(), [](const auto& a, const auto& b) {
    return std::tie(std::get<0>(a), std::get<1>(a)) < std::tie(std::get<0>(b), std::get<1>(b));
  });
  std::vector<LeaseWish> out;
  out.reserve(turns.size());
  for (const auto& turn : turns) out.push_back(*std::get<2>(turn));
  return out;
}

std::vector<LeaseWish> LeaseTable::cancel_job(JobId job) {
  std::vector<LeaseWish> out;
  for (const auto& [key, wish] : wishes_)
    if (wish.job == job) out.push_back(wish);
  for (const LeaseWish& wish : out) cancel(wish.owner.id, wish.request);
  return out;
}

Lease LeaseTable::grant(TimeNs now, ProcessId owner, RequestId request, ProcessId worker) {
  const auto it = wishes_.find({owner, request});
  RONDO_CHECK(it != wishes_.end());
  const LeaseWish& wish = it->second;
  RONDO_CHECK(fits(wish.shape));
  Lease lease;
  lease.id = {next_lease_++};
  lease.request = request;
  lease.owner = owner;
  lease.worker = worker;
  lease.job = wish.job;
  lease.shape = wish.shape;
  lease.granted = now;
  leased_ += lease.shape;
  ++held_[owner];
  leases_[lease.id] = lease;
  wishes_.erase(it);
  return lease;
}

void LeaseTable::remove(const Lease& lease) {
  if (!lease.waiting) leased_ -= lease.shape;
  std::erase(resumes_, lease.id);
  const auto held = held_.find(lease.owner);
  if (--held->second == 0) held_.erase(held);
  leases_.erase(LeaseId(lease.id));   // last: `lease` may be the entry
}

std::optional<Lease> LeaseTable::give_back(LeaseId id, ProcessId owner) {
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.owner != owner) return std::nullopt;
  const Lease lease = it->second;
  remove(lease);
  return lease;
}

template <class Pred>
std::vector<Lease> LeaseTable::drop_if(Pred pred) {
  std::vector<Lease> out;
  for (const auto& [id, lease] : leases_)
    if (pred(lease)) out.push_back(lease);
  for (const Lease& lease : out) remove(lease);
  return out;
}

std::vector<Lease> LeaseTable::drop_worker(ProcessId worker) {
  return drop_if([&](const Lease& lease) { return lease.worker == worker; });
}

std::vector<Lease> LeaseTable::drop_owner(ProcessId owner) {
  std::erase_if(wishes_, [&](const auto& entry) { return entry.first.first == owner; });
  return drop_if([&](const Lease& lease) { return lease.owner == owner; });
}

std::vector<Lease> LeaseTable::drop_job(JobId job) {
  return drop_if([&](const Lease& lease) { return lease.job == job; });
}

bool LeaseTable::wait_begin(LeaseId id, ProcessId worker) {
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.worker != worker) return false;
  if (!it->second.waiting) {
    it->second.waiting = true;
    leased_ -= it->second.shape;
  }
  return true;
}

bool LeaseTable::wait_end(LeaseId id, ProcessId worker) {
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.worker != worker) return false;
  if (it->second.waiting && std::find(resumes_.begin(), resumes_.end(), id) == resumes_.end())
    resumes_.push_back(id);
  return true;
}

std::vector<Lease> LeaseTable::resume() {
  std::vector<Lease> out;
  while (!resumes_.empty()) {
    Lease& lease = leases_.at(resumes_.front());
    if (!fits(lease.shape)) break;   // nobody overtakes
    lease.waiting = false;
    leased_ += lease.shape;
    out.push_back(lease);
    resumes_.pop_front();
  }
  return out;
}

std::vector<Lease> LeaseTable::revoke(TimeNs now, DurationNs hold) {
  std::vector<Lease> out;
  if (wishes_.empty() && resumes_.empty()) return out;
  if (now < revoke_checked_ + hold) return out;
  revoke_checked_ = now;
  std::size_t on_their_way = 0;
  std::uint64_t fewest = UINT64_MAX;   // leases of the poorest who waits
  for (const auto& [key, wish] : wishes_) {
    const auto held = held_.find(key.first);
    fewest = std::min(fewest, held == held_.end() ? 0 : held->second);
  }
  Lease* richest = nullptr;            // of the owner with most leases, the oldest
  std::uint64_t most = resumes_.empty() ? fewest : 0;
  for (auto& [id, lease] : leases_) {
    if (lease.revoked) {
      if (!lease.waiting) ++on_their_way;
      continue;
    }
    if (lease.waiting || now - lease.granted < hold) continue;
    const std::uint64_t held = held_.at(lease.owner);
    if (held > most) {
      most = held;
      richest = &lease;
    }
  }
  if (richest != nullptr && on_their_way < wishes_.size() + resumes_.size()) {
    hit(Branch::kLeaseRevoked);
    richest->revoked = true;
    out.push_back(*richest);
  }
  return out;
}

TimeNs LeaseTable::next_revoke(DurationNs hold) const {
  if (wishes_.empty() && resumes_.empty()) return kNever;
  return revoke_checked_ + hold;
}

const Lease* LeaseTable::find(LeaseId id) const {
  const auto it = leases_.find(id);
  return it == leases_.end() ? nullptr : &it->second;
}

void LeaseTable::check_invariants() const {
  Shape leased;
  std::map<ProcessId, std::uint64_t> held;
  for (const auto& [id, lease] : leases_) {
    RONDO_CHECK_EQ(id, lease.id);
    if (!lease.waiting) leased += lease.shape;
    ++held[lease.owner];
  }
  RONDO_CHECK(leased == leased_);
  RONDO_CHECK(held == held_);
  std::set<LeaseId> seen;
  for (const LeaseId id : resumes_) {
    RONDO_CHECK(seen.insert(id).second);
    RONDO_CHECK(leases_.at(id).waiting);
  }
  RONDO_CHECK(actors_.cpu_milli >= 0 && actors_.gpu_milli >= 0 && actors_.memory_bytes >= 0);
  RONDO_CHECK_LE(leased_.cpu_milli, total_.cpu_milli);
}

}  // namespace rondo::core
