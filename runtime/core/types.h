#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/error.h>
#include <rondo/base/ids.h>
#include <rondo/base/time.h>

// The nouns that the machines share: small values, comparable, without behaviour.

namespace rondo::core {

using Address =
    std::string;  // "ipc:///run/.../p-1f" or "tcp://127.0.0.1:4000": where a process listens

struct Peer {  // a process and where it listens
  ProcessId id;
  Address address;
  auto operator<=>(const Peer&) const = default;
};

// What a task or actor takes from its node while it runs. Whole units and thousandths: no floating
// point in decisions.
struct Shape {
  std::int64_t cpu_milli = 0;
  std::int64_t gpu_milli = 0;
  std::int64_t memory_bytes = 0;
  auto operator<=>(const Shape&) const = default;
  [[nodiscard]] bool fits_in(const Shape& free) const {
    return cpu_milli <= free.cpu_milli && gpu_milli <= free.gpu_milli &&
           memory_bytes <= free.memory_bytes;
  }
  Shape& operator+=(const Shape& o) {
    cpu_milli += o.cpu_milli;
    gpu_milli += o.gpu_milli;
    memory_bytes += o.memory_bytes;
    return *this;
  }
  Shape& operator-=(const Shape& o) {
    cpu_milli -= o.cpu_milli;
    gpu_milli -= o.gpu_milli;
    memory_bytes -= o.memory_bytes;
    return *this;
  }
};

struct Failure {  // an Error that travels: code and one sentence
  ErrorCode code = ErrorCode::kTaskFailed;
  std::string text;
  auto operator<=>(const Failure&) const = default;
};

// Sealed bytes in one node's store: extent and generation name them, the node's process opens them.
struct Place {
  NodeId node;
  Peer node_peer;
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint64_t bytes = 0;
  auto operator<=>(const Place&) const = default;
};

// A ref inside a value: the object and where its owner listens.
struct RefEntry {
  ObjectId id;
  Address owner;
  NodeId owner_node;
  auto operator<=>(const RefEntry&) const = default;
};

// The value of an object as it travels: inline bytes, a place in a store, or the failure.
struct Value {
  enum class Kind : std::uint8_t { kInline, kStored, kFailed };
  Kind kind = Kind::kInline;
  SharedBytes bytes;           // kInline
  Place place;                 // kStored
  Failure failure;             // kFailed
  std::vector<RefEntry> refs;  // refs inside the value; whoever keeps the value keeps these
};

enum class Role : std::uint8_t { kHead, kNode, kDriver, kWorker, kClient };

enum class ActorState : std::uint8_t {
  kUnknown,   // the head has no such actor or name
  kPending,   // accepted; waits for a node with room
  kStarting,  // a node starts its process
  kAlive,
  kRestarting,  // died within its budget; calls wait
  kDead,        // never comes back; `cause` says why
};

struct ActorSpec {
  ActorId id;
  JobId job;
  std::string name;  // "" = unnamed; else unique in the cluster while it lives
  std::string class_name;
  Shape shape;
  std::int32_t max_restarts = 0;      // -1: without end
  std::int32_t max_task_retries = 0;  // of its callers' calls; kept here so that every handle knows
  std::uint32_t max_pending = 0;      // 0: the default of limits.h
  Bytes arguments;                    // resolved constructor arguments, kept for restarts
  auto operator<=>(const ActorSpec&) const = default;
};

struct ActorInfo {
  ActorId id;
  std::string name;
  std::string class_name;
  Incarnation incarnation;
  ActorState state = ActorState::kUnknown;
  Peer process;  // kAlive
  NodeId node;
  std::int64_t pid = 0;
  std::int32_t restarts = 0;
  std::int32_t max_task_retries = 0;
  std::uint32_t max_pending = 0;
  std::string cause;                       // why it restarts or is dead
  ErrorCode code = ErrorCode::kActorDied;  // kDead: kInvalid when it could never have lived
  auto operator<=>(const ActorInfo&) const = default;
};

struct NodeInfo {
  NodeId id;
  Peer peer;
  std::string name;
  Shape total;
  Shape free;
  bool alive = true;
  std::int64_t pid = 0;
  std::uint64_t machine = 0;  // hash of the boot id: equal on one machine
  auto operator<=>(const NodeInfo&) const = default;
};

// What a node needs to start a job's workers.
struct JobSpec {
  JobId id;
  Peer driver;
  std::int64_t driver_pid = 0;
  NodeId home;  // the driver's node: it holds the files
  Peer home_peer;
  std::string executable_hash;
  std::string executable_name;
  std::vector<std::string>
      libraries;  // "hash name" of every non-libc library that the driver had loaded
  std::vector<std::string> arguments;  // argv, for a worker's command line as people see it
  std::vector<std::string> environment;
  std::string directory;
  std::uint64_t fingerprint = 0;  // of the registry: names and structural types
  auto operator<=>(const JobSpec&) const = default;
};

}  // namespace rondo::core
