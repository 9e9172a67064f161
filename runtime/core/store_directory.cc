#include <rondo/core/store_directory.h>

#include <algorithm>
#include <utility>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

// Extents: grants, recycling, deaths. Objects of other nodes: store_pulls.cc.

namespace rondo::core {

std::uint64_t StoreDirectory::rounded(std::uint64_t bytes) {
  if (bytes > UINT64_MAX - kGrainBytes) return UINT64_MAX;
  return std::max<std::uint64_t>((bytes + kGrainBytes - 1) / kGrainBytes, 1) * kGrainBytes;
}

void StoreDirectory::grant(TimeNs now, ProcessId process, JobId job, const ExtentRequest& ask,
                           Effects& out) {
  const std::uint64_t capacity = rounded(ask.bytes);
  if (try_grant(process, job, ask, out)) return;
  if (could_drain(capacity) && waiting_.size() < kWaitingMax) {
    waiting_.push_back({process, job, ask, now});
    return;
  }
  out.send(process,
           ExtentRefused{ask.request,
                         {ErrorCode::kOverloaded,
                          "the store of this node is full: " + std::to_string(reserved_) + " of " +
                              std::to_string(options_.bytes_max) + " bytes are taken, " +
                              std::to_string(ask.bytes) +
                              " more were wanted: drop refs, or give it more (--store-bytes)"}});
}

bool StoreDirectory::try_grant(ProcessId process, JobId job, const ExtentRequest& ask,
                               Effects& out) {
  const std::uint32_t id = reserve(process, ask.bytes, out);
  if (id == 0) return false;
  Extent& extent = extents_.at(id);
  extent.job = job;
  extent.request = ask.request;
  if (extent.state == State::kGranted) tell_granted(id, out);
  return true;
}

// An extent for `process` (0: a pull), kGranted if it is there already, else kCreating.
std::uint32_t StoreDirectory::reserve(ProcessId process, std::uint64_t bytes, Effects& out) {
  const std::uint64_t capacity = rounded(bytes);
  if (capacity > options_.bytes_max) return 0;
  std::uint32_t id = recycle(process, capacity, false);
  if (id == 0 && capacity > options_.bytes_max - reserved_) {
    id = recycle(process, capacity, true);
    if (id == 0 && !make_room(capacity, out)) return 0;
  }
  if (id == 0) {
    id = next_extent_++;
    reserved_ += capacity;
    extents_[id].capacity = capacity;
    out.add(CreateExtent{id, capacity});
  } else {
    extents_.at(id).state = State::kGranted;
  }
  Extent& extent = extents_.at(id);
  ++extent.generation;
  extent.writer = process;
  return id;
}

// The best fit among the free: those that this process wrote last come first.
std::uint32_t StoreDirectory::recycle(ProcessId process, std::uint64_t capacity, bool any_size) {
  std::uint32_t best = 0;
  const auto rank = [&](const Extent& e) {
    return std::tuple(e.writer != process, e.capacity, UINT64_MAX - e.freed);
  };
  for (const auto& [id, extent] : extents_) {
    if (extent.state != State::kFree || extent.capacity < capacity) continue;
    if (!any_size && extent.capacity / 2 > capacity) continue;
    if (best == 0 || rank(extent) < rank(extents_.at(best))) best = id;
  }
  return best;
}

// Gives free extents back to the system, longest free first, until this fits.
bool StoreDirectory::make_room(std::uint64_t capacity, Effects& out) {
  std::vector<std::pair<std::uint64_t, std::uint32_t>> free;
  std::uint64_t room = options_.bytes_max - reserved_;
  for (const auto& [id, extent] : extents_) {
    if (extent.state != State::kFree) continue;
    free.emplace_back(extent.freed, id);
    room += extent.capacity;
  }
  if (room < capacity) return false;
  std::sort(free.begin(), free.end());
  for (const auto& [freed, id] : free) {
    if (capacity <= options_.bytes_max - reserved_) break;
    destroy(id, out);
  }
  return true;
}

bool StoreDirectory::could_drain(std::uint64_t capacity) const {
  std::uint64_t room = options_.bytes_max - reserved_;
  for (const auto& [id, extent] : extents_)
    if (extent.state == State::kFree || extent.state == State::kDraining) room += extent.capacity;
  return room >= capacity;
}

void StoreDirectory::destroy(std::uint32_t id, Effects& out) {
  const auto it = extents_.find(id);
  reserved_ -= it->second.capacity;
  extents_.erase(it);
  out.add(DestroyExtent{id});
}

void StoreDirectory::tell_granted(std::uint32_t id, Effects& out) {
  const Extent& extent = extents_.at(id);
  out.send(extent.writer, ExtentGrant{extent.request, id, extent.generation, extent.capacity,
                                      extent.fd, options_.pid});
}

void StoreDirectory::on_created(TimeNs now, std::uint32_t id, std::int64_t fd, Effects& out) {
  const auto it = extents_.find(id);
  if (it == extents_.end() || it->second.fd >= 0) return;
  Extent& extent = it->second;
  if (fd < 0) {
    const Extent gone = extent;
    reserved_ -= extent.capacity;
    extents_.erase(it);
    const Failure failure{ErrorCode::kOverloaded,
                          "the machine could not make " + std::to_string(gone.capacity) +
                              " bytes of shared memory: it is out of memory"};
    if (gone.state != State::kCreating) return;
    if (gone.pulling) {
      pulls_.at(gone.object).extent = 0;
      fail_pull(now, gone.object, failure, out);
    } else if (gone.writer) {
      out.send(gone.writer, ExtentRefused{gone.request, failure});
    }
    return;
  }
  extent.fd = fd;
  if (extent.pulling) {
    extent.state = State::kGranted;
    Pull& pull = pulls_.at(extent.object);
    pull.created = true;
    ask_pieces(extent.object, pull, out);
  } else if (extent.writer) {
    extent.state = State::kGranted;
    tell_granted(id, out);
  } else {
    to_free(now, id, out);   // who wanted it died meanwhile
  }
}

void StoreDirectory::give_back(TimeNs now, ProcessId process, const ExtentReturn& back,
                               Effects& out) {
  const auto it = extents_.find(back.extent);
  if (it == extents_.end()) return;
  const Extent& extent = it->second;
  if (extent.state == State::kGranted && extent.writer == process && !extent.pulling &&
      extent.generation == back.generation)
    to_free(now, back.extent, out);
}

void StoreDirectory::to_free(TimeNs now, std::uint32_t id, Effects& out) {
  Extent& extent = extents_.at(id);
  extent.state = State::kFree;
  extent.object = {};
  extent.pulling = false;
  extent.bytes = 0;
  extent.job = {};
  extent.freed = next_freed_++;
  serve_waiting(now, out);
}

void StoreDirectory::serve_waiting(TimeNs now, Effects& out) {
  std::vector<Waiting> left;
  for (Waiting& w : std::exchange(waiting_, {})) {
    if (try_grant(w.process, w.job, w.ask, out)) continue;
    if (now - w.since < kWaitMax) {
      left.push_back(std::move(w));
      continue;
    }
    out.send(w.process, ExtentRefused{w.ask.request,
                                      {ErrorCode::kOverloaded,
                                       "the store of this node is full, and what was freed is "
                                       "still read: drop values, or give it more "
                                       "(--store-bytes)"}});
  }
  waiting_ = std::move(left);
}

void StoreDirectory::seal(TimeNs now, ProcessId process, const ObjectSealed& sealed,
                          Effects& out) {
  const auto it = extents_.find(sealed.extent);
  if (it == extents_.end()) return;
  Extent& extent = it->second;
  if (extent.state != State::kGranted || extent.writer != process || extent.pulling ||
      extent.generation != sealed.generation || sealed.bytes > extent.capacity)
    return;
  if (freed_.contains(sealed.object)) {   // the owner's word was faster
    hit(Branch::kFreedBeforeSealed);
    to_free(now, sealed.extent, out);
    serve_early(now, sealed.object, out);
    return;
  }
  drop(now, sealed.object, out);   // an earlier attempt's
  extent.state = State::kSealed;
  extent.object = sealed.object;
  extent.owner = sealed.owner;
  extent.bytes = sealed.bytes;
  objects_[sealed.object] = sealed.extent;
  serve_early(now, sealed.object, out);
}

void StoreDirectory::free(TimeNs now, ObjectId object, Effects& out) {
  if (freed_.insert(object).second) {
    freed_order_.push_back(object);
    if (freed_order_.size() > kFreedMax) {
      freed_.erase(freed_order_.front());
      freed_order_.pop_front();
    }
  }
  drop(now, object, out);
  serve_early(now, object, out);
}

void StoreDirectory::drop(TimeNs now, ObjectId object, Effects& out) {
  if (pulls_.contains(object))
    fail_pull(now, object, {ErrorCode::kObjectLost, "its owner dropped it"}, out);
  const auto it = objects_.find(object);
  if (it == objects_.end()) return;
  const std::uint32_t id = it->second;
  objects_.erase(it);
  drain(id, out);
}

void StoreDirectory::drain(std::uint32_t id, Effects& out) {
  Extent& extent = extents_.at(id);
  extent.state = State::kDraining;
  extent.object = {};
  extent.owner = {};
  out.add(WatchExtent{id, extent.generation});
}

void StoreDirectory::on_unheld(TimeNs now, std::uint32_t id, std::uint32_t generation,
                               Effects& out) {
  const auto it = extents_.find(id);
  if (it != extents_.end() && it->second.state == State::kDraining &&
      it->second.generation == generation)
    to_free(now, id, out);
}

void StoreDirectory::process_died(TimeNs now, ProcessId process, Effects& out) {
  std::erase_if(waiting_, [&](const Waiting& w) { return w.process == process; });
  std::erase_if(early_, [&](const Early& e) { return e.process == process; });
  for (auto& [object, pull] : pulls_)
    std::erase_if(pull.waiters, [&](const Waiter& w) { return w.process == process; });
  std::vector<std::uint32_t> unsealed;
  for (auto& [id, extent] : extents_) {
    if (extent.writer != process) continue;
    // Its reply may be lost with it: so the owner hears from us that there is something to free.
    if (extent.state == State::kSealed && !extent.owner.address.empty() &&
        extent.object.owner != process) {
      out.learn(extent.owner);
      out.send(extent.owner.id, ObjectCopied{extent.object, place_of(id)});
    }
    if (extent.state == State::kCreating) extent.writer = {};   // freed when it is there
    if (extent.state == State::kGranted) unsealed.push_back(id);
  }
  for (const std::uint32_t id : unsealed) to_free(now, id, out);
  std::vector<ObjectId> owned;
  for (const auto& [object, id] : objects_)
    if (object.owner == process) owned.push_back(object);
  for (const auto& [object, pull] : pulls_)
    if (object.owner == process) owned.push_back(object);
  for (const ObjectId object : owned) free(now, object, out);
}

void StoreDirectory::end_job(TimeNs now, JobId job, Effects& out) {
  std::erase_if(waiting_, [&](const Waiting& w) { return w.job == job; });
  std::vector<ObjectId> of_job;
  for (const auto& [object, id] : objects_)
    if (extents_.at(id).job == job) of_job.push_back(object);
  for (const auto& [object, pull] : pulls_)
    if (pull.job == job) of_job.push_back(object);
  for (const ObjectId object : of_job) free(now, object, out);
}

void StoreDirectory::on_deadline(TimeNs now, Effects& out) {
  if (!waiting_.empty()) serve_waiting(now, out);
  while (!early_.empty() && now - early_.front().since >= kSealWaitMax) {
    refuse_early(early_.front(), out);
    early_.erase(early_.begin());
  }
}

TimeNs StoreDirectory::next_deadline() const {
  TimeNs next = kNever;
  for (const Waiting& w : waiting_) next = std::min(next, w.since + kWaitMax);
  if (!early_.empty()) next = std::min(next, early_.front().since + kSealWaitMax);
  return next;
}

void StoreDirectory::check_invariants() const {
  std::uint64_t reserved = 0;
  for (const auto& [id, extent] : extents_) {
    reserved += extent.capacity;
    if (extent.state == State::kSealed) {
      RONDO_CHECK_EQ(objects_.at(extent.object), id);
      RONDO_CHECK_LE(extent.bytes, extent.capacity);
    }
    if (extent.pulling) RONDO_CHECK_EQ(pulls_.at(extent.object).extent, id);
    if (extent.state != State::kCreating) RONDO_CHECK(extent.fd >= 0);
  }
  RONDO_CHECK_EQ(reserved, reserved_);
  RONDO_CHECK_LE(reserved_, options_.bytes_max);
  for (const auto& [object, id] : objects_)
    RONDO_CHECK(extents_.at(id).state == State::kSealed && extents_.at(id).object == object);
  for (const auto& [request, object] : pieces_)
    RONDO_CHECK(pulls_.at(object).pieces.contains(request));
  for (const auto& [object, pull] : pulls_) RONDO_CHECK(!objects_.contains(object));
}

}  // namespace rondo::core
