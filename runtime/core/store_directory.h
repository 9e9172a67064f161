#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <rondo/core/effects.h>

// StoreDirectory: the books of a node's shared-memory store.
//
//   kCreating ──▶ kGranted ──seal──▶ kSealed ──free──▶ kDraining ──unheld──▶ kFree ──▶ kGranted …
//                    └── returned, or its writer died ────────────────────────▲
//
// An extent is memory; a (extent, generation) is what somebody was once granted, and never names
// anything else. The sum of all extents stays within the store's bound, and is reserved before
// memory is made. A free extent goes by preference to the process that wrote it last, which has it
// mapped. A freed one is granted again only when no reader's hold table names it.
//
// Objects of other nodes are pulled in pieces, a few under way at a time, and are then objects here
// like any other.

namespace rondo::core {

class StoreDirectory {
 public:
  struct Options {
    NodeId node;
    Peer peer;
    std::int64_t pid = 0;
    std::uint64_t bytes_max = 0;
  };
  static constexpr std::uint64_t kGrainBytes = 64 << 10;     // extents are multiples of this
  static constexpr std::uint32_t kPiecesAhead = 4;
  static constexpr std::size_t kWaitingMax = 4'096;
  static constexpr std::size_t kFreedMax = 65'536;           // remembered: ObjectSealed may be late
  static constexpr DurationNs kWaitMax = seconds(2);         // for a freed extent to drain
  static constexpr DurationNs kSealWaitMax = seconds(5);     // for an object that is not sealed yet

  explicit StoreDirectory(Options options) : options_(std::move(options)) {}

  void grant(TimeNs now, ProcessId, JobId, const ExtentRequest&, Effects& out);
  void give_back(TimeNs now, ProcessId, const ExtentReturn&, Effects& out);
  void seal(TimeNs now, ProcessId, const ObjectSealed&, Effects& out);
  void open(TimeNs now, ProcessId, JobId, const ObjectOpen&, Effects& out);
  void free(TimeNs now, ObjectId, Effects& out);             // its owner wants it no more
  void send_piece(TimeNs now, ProcessId to, const ChunkRequest&, Effects& out);
  bool on_chunk(TimeNs now, ProcessId from, const Chunk&, Effects& out);   // false: not one of ours
  bool on_missing(TimeNs now, const ChunkMissing&, Effects& out);          // false: not one of ours
  void on_created(TimeNs now, std::uint32_t extent, std::int64_t fd, Effects& out);
  void on_unheld(TimeNs now, std::uint32_t extent, std::uint32_t generation, Effects& out);

  // Its unsealed extents are free, its waits over, the objects that it owned go.
  void process_died(TimeNs now, ProcessId, Effects& out);
  void node_died(TimeNs now, NodeId, Effects& out);   // what is pulled from there is missing
  void end_job(TimeNs now, JobId, Effects& out);
  void on_deadline(TimeNs now, Effects& out);
  [[nodiscard]] TimeNs next_deadline() const;

  [[nodiscard]] std::uint64_t bytes_reserved() const { return reserved_; }
  [[nodiscard]] std::size_t objects() const { return objects_.size(); }
  [[nodiscard]] bool holds(ObjectId object) const { return objects_.contains(object); }
  [[nodiscard]] Listing listing(const std::string& node_name) const;
  void check_invariants() const;

 private:
  enum class State { kCreating, kGranted, kSealed, kDraining, kFree };
  struct Extent {
    std::uint64_t capacity = 0;
    std::uint32_t generation = 0;
    State state = State::kCreating;
    std::int64_t fd = -1;
    ProcessId writer;            // last; 0: this node (a pull)
    JobId job;
    RequestId request;           // of the grant that waits for kCreating
    ObjectId object;             // kSealed; or what is pulled into it
    Peer owner;                  // of the object; the address is empty if it is not known
    std::uint64_t bytes = 0;     // of the object
    std::uint64_t freed = 0;     // order of freeing
    bool pulling = false;
  };
  struct Waiter {
    ProcessId process;
    RequestId request;
  };
  struct Pull {
    Peer owner;
    Place source;
    std::uint32_t extent = 0;
    bool created = false;
    std::uint64_t asked = 0;
    std::uint64_t written = 0;
    std::map<RequestId, std::uint64_t> pieces;   // under way: their offsets
    std::vector<Waiter> waiters;
    JobId job;
  };
  // Asked for before its writer's word that it is sealed came: what the writer tells others may
  // reach them, and their questions us, sooner.
  struct Early {
    ObjectId object;
    ProcessId process;
    RequestId request;           // of an ObjectOpen, or
    std::optional<ChunkRequest> piece;
    TimeNs since;
  };
  struct Waiting {               // a grant that waits for an extent to drain
    ProcessId process;
    JobId job;
    ExtentRequest ask;
    TimeNs since;
  };

  [[nodiscard]] static std::uint64_t rounded(std::uint64_t bytes);
  std::uint32_t reserve(ProcessId, std::uint64_t bytes, Effects& out);   // 0: no room now
  std::uint32_t recycle(ProcessId, std::uint64_t capacity, bool any_size);
  bool make_room(std::uint64_t capacity, Effects& out);
  bool could_drain(std::uint64_t capacity) const;
  bool try_grant(ProcessId, JobId, const ExtentRequest&, Effects& out);
  void tell_granted(std::uint32_t extent, Effects& out);
  void to_free(TimeNs now, std::uint32_t extent, Effects& out);
  void drain(std::uint32_t extent, Effects& out);
  void drop(TimeNs now, ObjectId, Effects& out);
  void serve_waiting(TimeNs now, Effects& out);
  [[nodiscard]] bool is_unsealed(const Place&) const;
  bool await_seal(Early);
  void serve_early(TimeNs now, ObjectId, Effects& out);
  void refuse_early(const Early&, Effects& out);
  void destroy(std::uint32_t extent, Effects& out);
  void tell_opened(const Waiter&, std::uint32_t extent, Effects& out);
  [[nodiscard]] Place place_of(std::uint32_t extent) const;
  void ask_pieces(ObjectId, Pull&, Effects& out);
  void finish_pull(ObjectId, Effects& out);
  void fail_pull(TimeNs now, ObjectId, Failure, Effects& out);

  Options options_;
  std::map<std::uint32_t, Extent> extents_;
  std::map<ObjectId, std::uint32_t> objects_;
  std::map<ObjectId, Pull> pulls_;
  std::map<RequestId, ObjectId> pieces_;
  std::vector<Waiting> waiting_;
  std::vector<Early> early_;                   // oldest first
  std::set<ObjectId> freed_;                   // nothing is sealed under these names any more
  std::deque<ObjectId> freed_order_;
  std::uint64_t reserved_ = 0;
  std::uint32_t next_extent_ = 1;
  std::uint64_t next_freed_ = 1;
  std::uint64_t next_request_ = 1;
};

}  // namespace rondo::core
