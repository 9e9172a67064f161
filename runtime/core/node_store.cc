#include <rondo/core/node.h>

#include <rondo/base/branch_marks.h>

// Node: messages about the store and the job's files.

namespace rondo::core {

void Node::on(Step& step, ProcessId from, const ExtentRequest& ask) {
  if (processes_.contains(from)) store_.grant(step.now, from, job_of(from), ask, step.out);
}

void Node::on(Step& step, ProcessId from, const ExtentReturn& back) {
  store_.give_back(step.now, from, back, step.out);
}

void Node::on(Step& step, ProcessId from, const ObjectSealed& sealed) {
  if (!processes_.contains(from)) return;
  store_.seal(step.now, from, sealed, step.out);
  if (book_.dead(sealed.object.owner, sealed.owner_node)) {
    hit(Branch::kOwnerOfSealedDead);
    store_.free(step.now, sealed.object, step.out);   // nobody is left who would
  } else if (!processes_.contains(sealed.object.owner)) {
    book_.meet(sealed.object.owner, sealed.owner_node);
  }
}

void Node::on(Step& step, ProcessId from, const ObjectOpen& ask) {
  if (!processes_.contains(from)) return;
  if (book_.dead(ask.object.owner, ask.owner_node)) {
    step.out.send(from, ObjectMissing{ask.request,
                                      {ErrorCode::kObjectLost,
                                       "its owner died: " + book_.why(ask.object.owner,
                                                                      ask.owner_node)}});
    return;
  }
  if (!processes_.contains(ask.object.owner)) book_.meet(ask.object.owner, ask.owner_node);
  if (book_.dead(ask.source.node) && !store_.holds(ask.object)) {
    step.out.send(from, ObjectMissing{ask.request,
                                      {ErrorCode::kObjectLost,
                                       "nobody has a copy of object " + to_string(ask.object) +
                                           ": " + book_.why({}, ask.source.node)}});
    return;
  }
  store_.open(step.now, from, job_of(from), ask, step.out);
}

void Node::on(Step& step, ProcessId from, const ObjectFree& freed) {
  if (freed.object.owner == from) store_.free(step.now, freed.object, step.out);
}

void Node::on(Step& step, ProcessId from, const ChunkRequest& ask) {
  if (!ask.file_hash.empty()) {
    step.out.add(ReadFile{from, ask.request, ask.file_hash, ask.offset});
  } else {
    store_.send_piece(step.now, from, ask, step.out);
  }
}

void Node::on(Step& step, ProcessId from, const Chunk& chunk) {
  if (!store_.on_chunk(step.now, from, chunk, step.out) &&
      files_.on_chunk(from, chunk, step.out))
    take_files(step);
}

void Node::on(Step& step, ProcessId, const ChunkMissing& missing) {
  if (!store_.on_missing(step.now, missing, step.out) && files_.on_missing(missing, step.out))
    take_files(step);
}

void Node::on_extent_created(TimeNs now, std::uint32_t extent, std::int64_t fd, Effects& out) {
  store_.on_created(now, extent, fd, out);
}

void Node::on_extent_unheld(TimeNs now, std::uint32_t extent, std::uint32_t generation,
                            Effects& out) {
  store_.on_unheld(now, extent, generation, out);
}

}  // namespace rondo::core
