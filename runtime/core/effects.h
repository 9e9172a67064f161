#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <rondo/core/message.h>

// What a machine wants done. Machines only compute; the host (or the simulator) carries these out
// in the order of the list, and comes back through the machine's on_... inputs where an answer is
// named below.
//
// An effect is carried out at most once and never taken back. One that cannot be carried out
// because its process is already gone is dropped: the machine hears of the death by itself.

namespace rondo::core {

// ---- talking ---------------------------------------------------------------------------------
// Where a process listens: comes before the first Send to it.
struct Learn {
  Peer peer;
};
// Over the link: once, in order.
struct Send {
  ProcessId to;
  Message message;
};
// Outside the link: may be lost.
struct Datagram {
  ProcessId to;
  Message message;
};
// It is dead: drop its link, never talk to it again.
struct Forget {
  ProcessId process;
};

// ---- the head's durable state ----------------------------------------------------------------
// Rows are written in the order of their numbers; on_durable(number) says that all up to `number`
// are on disk. If a write fails the host answers kUnavailable to everyone and ends the head.
struct Persist {
  std::uint64_t number = 0;
  std::string key;
  std::optional<Bytes> value;   // nullopt: the row goes
};

// ---- worker processes (node) -----------------------------------------------------------------
// The worker says Hello to the node under this id, or on_process_exited tells why it did not.
struct StartWorker {
  ProcessId worker;
  JobSpec job;
  Shape shape;         // what it is started for: a hint for thread counts
  ActorId actor;       // 0: for tasks, or kept warm
  std::string label;   // for its log and its command line: "Counter c" or "tasks"
};
// A warm worker was given this actor: from now on its log is the actor's.
struct LabelWorker {
  ProcessId worker;
  ActorId actor;
  std::string label;
};
// SIGKILL; on_process_exited follows.
struct StopWorker {
  ProcessId worker;
  std::string cause;
};

// ---- the job's files (node) ------------------------------------------------------------------
// Executable and libraries, by content hash, in the node's cache; at home the host imports them
// from the driver. → on_files_checked(job, missing hashes or a failure)
struct CheckFiles {
  JobSpec job;
  bool home = false;
};
// The host sends Chunk or ChunkMissing to `to`.
struct ReadFile {
  ProcessId to;
  RequestId request;
  std::string hash;
  std::uint64_t offset = 0;
};
// Pieces come in order; the one with offset + size = total makes the file whole:
// → on_file_written(hash, ok), where ok says that the content has this hash.
struct WriteFile {
  std::string hash;
  std::uint64_t offset = 0;
  std::uint64_t total = 0;
  Bytes bytes;
};

// ---- the store (node) ------------------------------------------------------------------------
// → on_extent_created(extent, fd or -1)
struct CreateExtent {
  std::uint32_t extent = 0;
  std::uint64_t bytes = 0;
};
struct DestroyExtent {
  std::uint32_t extent = 0;
};
// It was freed: → on_extent_unheld once no living process's hold table names it.
struct WatchExtent {
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
};
// The host sends Chunk{request, offset, total, bytes} to `to`.
struct ReadChunk {
  ProcessId to;
  RequestId request;
  std::uint32_t extent = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::uint64_t total = 0;
};
struct WriteChunk {
  std::uint32_t extent = 0;
  std::uint64_t offset = 0;
  Bytes bytes;
};

// ---- membership (node) -----------------------------------------------------------------------
// Write it into the page that the workers read: past it they stay silent.
struct RenewTerm {
  TimeNs until;
};
struct Fenced {};     // the term ran out (the page says so by itself): for logs and checkers
struct Unfenced {};   // the head confirmed the node again

// ---- people ----------------------------------------------------------------------------------
// Rows for `rondo list`: the host makes a JSON array of objects of it and sends Inspected.
// A cell that only the host can fill: the processes here that keep an object, its owner among them.
struct KeepersOf {
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  ProcessId owner;
};
using ListingCell = std::variant<std::string, std::int64_t, KeepersOf>;
using ListingRow = std::vector<std::pair<std::string, ListingCell>>;
struct Listing {
  std::vector<ListingRow> rows;
};
struct Answer {
  ProcessId to;
  RequestId request;
  Listing listing;
};
// The log of a worker or actor: the host sends Inspected.
struct ShowLog {
  ProcessId to;
  RequestId request;
  std::string id;
};

// This head or node must end, every worker of it first. What was sent before still leaves.
struct Exit {
  Failure failure;   // kUnavailable: refused by the head; kCancelled: asked to
};

using Effect = std::variant<Learn, Send, Datagram, Forget, Persist, StartWorker, LabelWorker,
                            StopWorker, CheckFiles, ReadFile, WriteFile, CreateExtent,
                            DestroyExtent, WatchExtent, ReadChunk, WriteChunk, RenewTerm, Fenced,
                            Unfenced, Answer, ShowLog, Exit>;

struct Effects {
  std::vector<Effect> list;

  void add(Effect effect) { list.push_back(std::move(effect)); }
  void send(ProcessId to, Message message) { add(Send{to, std::move(message)}); }
  void datagram(ProcessId to, Message message) { add(Datagram{to, std::move(message)}); }
  void learn(const Peer& peer) { add(Learn{peer}); }
};

}  // namespace rondo::core
