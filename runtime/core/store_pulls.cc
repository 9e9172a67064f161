#include <algorithm>
#include <utility>

#include <rondo/base/check.h>
#include <rondo/base/branch_marks.h>
#include <rondo/base/limits.h>
#include <rondo/core/store_directory.h>

// StoreDirectory: opening objects, and pulling those of other nodes.

namespace rondo::core {

Place StoreDirectory::place_of(std::uint32_t id) const {
  const Extent& extent = extents_.at(id);
  return {options_.node, options_.peer, id, extent.generation, extent.bytes};
}

void StoreDirectory::tell_opened(const Waiter& waiter, std::uint32_t id, Effects& out) {
  out.send(waiter.process,
           ObjectOpened{waiter.request, place_of(id), extents_.at(id).fd, options_.pid});
}

bool StoreDirectory::is_unsealed(const Place& place) const {
  const auto it = extents_.find(place.extent);
  return it != extents_.end() && it->second.state == State::kGranted && !it->second.pulling &&
         it->second.generation == place.generation;
}

// Whether it is worth waiting for that object; then it waits.
bool StoreDirectory::await_seal(Early early) {
  if (freed_.contains(early.object) || early_.size() >= kWaitingMax) return false;
  early_.push_back(std::move(early));
  return true;
}

// The object is sealed now, or never will be.
void StoreDirectory::serve_early(TimeNs now, ObjectId object, Effects& out) {
  std::vector<Early> left;
  const auto sealed = objects_.find(object);
  for (Early& early : std::exchange(early_, {})) {
    if (early.object != object) {
      left.push_back(std::move(early));
    } else if (sealed == objects_.end()) {
      refuse_early(early, out);
    } else if (early.piece) {
      send_piece(now, early.process, *early.piece, out);
    } else {
      tell_opened({early.process, early.request}, sealed->second, out);
    }
  }
  early_ = std::move(left);
}

void StoreDirectory::refuse_early(const Early& early, Effects& out) {
  const Failure failure{ErrorCode::kObjectLost,
                        "the object is no longer in the store of its node"};
  if (early.piece) out.send(early.process, ChunkMissing{early.piece->request, failure});
  else out.send(early.process, ObjectMissing{early.request, failure});
}

void StoreDirectory::open(TimeNs now, ProcessId process, JobId job, const ObjectOpen& ask,
                          Effects& out) {
  const Waiter waiter{process, ask.request};
  if (const auto it = objects_.find(ask.object); it != objects_.end()) {
    tell_opened(waiter, it->second, out);
    return;
  }
  if (const auto it = pulls_.find(ask.object); it != pulls_.end()) {
    it->second.waiters.push_back(waiter);
    return;
  }
  const auto refuse = [&](ErrorCode code, const std::string& text) {
    out.send(process, ObjectMissing{ask.request, {code, text}});
  };
  if (ask.source.node == options_.node && is_unsealed(ask.source) &&
      await_seal({ask.object, process, ask.request, {}, now}))
    return;
  if (ask.source.node == options_.node || !ask.source.node_peer.id || ask.source.bytes == 0) {
    refuse(ErrorCode::kObjectLost, "the object is no longer in the store of this node");
    return;
  }
  const std::uint32_t id = reserve({}, ask.source.bytes, out);
  if (id == 0) {
    refuse(ErrorCode::kOverloaded, "the store of this node has no room for a copy of " +
                                       std::to_string(ask.source.bytes) + " bytes");
    return;
  }
  Extent& extent = extents_.at(id);
  extent.pulling = true;
  extent.object = ask.object;
  extent.bytes = ask.source.bytes;
  extent.job = job;
  Pull& pull = pulls_[ask.object];
  pull.owner = ask.owner;
  pull.source = ask.source;
  pull.extent = id;
  pull.created = extent.state == State::kGranted;
  pull.waiters.push_back(waiter);
  pull.job = job;
  out.learn(ask.source.node_peer);
  if (pull.created) ask_pieces(ask.object, pull, out);
}

void StoreDirectory::ask_pieces(ObjectId object, Pull& pull, Effects& out) {
  while (pull.pieces.size() < kPiecesAhead && pull.asked < pull.source.bytes) {
    const RequestId request{next_request_++};
    pull.pieces[request] = pull.asked;
    pieces_[request] = object;
    out.send(pull.source.node_peer.id, ChunkRequest{request, object, {}, pull.asked});
    pull.asked += limits::kChunkBytes;
  }
}

void StoreDirectory::send_piece(TimeNs now, ProcessId to, const ChunkRequest& ask, Effects& out) {
  const auto it = objects_.find(ask.object);
  if (it == objects_.end() && await_seal({ask.object, to, {}, ask, now})) return;
  if (it == objects_.end() || ask.offset >= extents_.at(it->second).bytes) {
    out.send(to, ChunkMissing{ask.request,
                              {ErrorCode::kObjectLost,
                               "the object is no longer in the store of its node"}});
    return;
  }
  const Extent& extent = extents_.at(it->second);
  out.add(ReadChunk{to, ask.request, it->second, ask.offset,
                    std::min<std::uint64_t>(limits::kChunkBytes, extent.bytes - ask.offset),
                    extent.bytes});
}

bool StoreDirectory::on_chunk(TimeNs now, ProcessId from, const Chunk& chunk, Effects& out) {
  const auto asked = pieces_.find(chunk.request);
  if (asked == pieces_.end()) return false;
  const ObjectId object = asked->second;
  Pull& pull = pulls_.at(object);
  if (pull.source.node_peer.id != from) return true;
  const std::uint64_t offset = pull.pieces.at(chunk.request);
  const std::uint64_t wanted =
      std::min<std::uint64_t>(limits::kChunkBytes, pull.source.bytes - offset);
  if (chunk.offset != offset || chunk.total != pull.source.bytes || chunk.bytes.size() != wanted) {
    fail_pull(now, object, {ErrorCode::kObjectLost, "its node sent pieces that do not fit"}, out);
    return true;
  }
  pull.pieces.erase(chunk.request);
  pieces_.erase(asked);
  pull.written += wanted;
  out.add(WriteChunk{pull.extent, offset, chunk.bytes});
  if (pull.written == pull.source.bytes) {
    finish_pull(object, out);
  } else {
    ask_pieces(object, pull, out);
  }
  return true;
}

bool StoreDirectory::on_missing(TimeNs now, const ChunkMissing& missing, Effects& out) {
  const auto asked = pieces_.find(missing.request);
  if (asked == pieces_.end()) return false;
  fail_pull(now, asked->second, missing.failure, out);
  return true;
}

void StoreDirectory::finish_pull(ObjectId object, Effects& out) {
  const auto it = pulls_.find(object);
  const Pull pull = std::move(it->second);
  pulls_.erase(it);
  Extent& extent = extents_.at(pull.extent);
  extent.pulling = false;
  extent.state = State::kSealed;
  extent.owner = pull.owner;
  objects_[object] = pull.extent;
  out.learn(pull.owner);
  out.send(pull.owner.id, ObjectCopied{object, place_of(pull.extent)});
  for (const Waiter& waiter : pull.waiters) tell_opened(waiter, pull.extent, out);
}

void StoreDirectory::fail_pull(TimeNs now, ObjectId object, Failure failure, Effects& out) {
  const auto it = pulls_.find(object);
  const Pull pull = std::move(it->second);
  pulls_.erase(it);
  hit(Branch::kPullFailed);
  for (const auto& [request, offset] : pull.pieces) pieces_.erase(request);
  for (const Waiter& waiter : pull.waiters)
    out.send(waiter.process, ObjectMissing{waiter.request, failure});
  if (pull.extent == 0) return;
  Extent& extent = extents_.at(pull.extent);
  extent.pulling = false;
  extent.object = {};
  extent.writer = {};
  if (extent.state == State::kGranted) to_free(now, pull.extent, out);
}

void StoreDirectory::node_died(TimeNs now, NodeId node, Effects& out) {
  std::vector<ObjectId> lost;
  for (const auto& [object, pull] : pulls_)
    if (pull.source.node == node) lost.push_back(object);
  for (const ObjectId object : lost)
    fail_pull(now, object, {ErrorCode::kObjectLost, "the node that had the object is dead"}, out);
}

Listing StoreDirectory::listing(const std::string& node_name) const {
  Listing out;
  for (const auto& [object, id] : objects_) {
    const Extent& extent = extents_.at(id);
    out.rows.push_back({{"id", to_string(object)},
                        {"bytes", static_cast<std::int64_t>(extent.bytes)},
                        {"owner", to_string(object.owner)},
                        {"nodes", node_name},
                        {"refs", KeepersOf{id, extent.generation, object.owner}}});
  }
  return out;
}

}  // namespace rondo::core
