#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include <rondo/core/types.h>

// Control messages: what heads, nodes and processes say to one another, apart from calls and
// replies (call.h).
//
// A link (link.h) delivers them once and in order between two living processes, and never between
// others: who restarts is another process. Messages marked (datagram) go outside the link and may
// be lost, doubled or late. Every command names what it acts on by id and incarnation, so that
// doing it twice does nothing the second time. The schema wire/message.capnp is the same list as a
// document of the protocol.

namespace rondo::core {

// ---- joining
struct Hello {  // process → its node, node → head, client verb → head or node: the first message on
                // a link
  Peer self;
  Role role = Role::kDriver;
  std::int64_t pid = 0;
  JobId job;                  // workers: theirs
  std::uint32_t version = 0;  // limits::kProtocolVersion
  std::string release;
};
struct Welcome {  // the answer
  NodeId node;    // of the answering node; 0 from a head
  std::string node_name;
  std::uint64_t cluster = 0;
  std::int64_t node_pid =
      0;  // set by the node's host: whose descriptors these are, for /proc/PID/fd/FD
  std::int64_t board_fd = -1;  // store/generations.h
  std::int64_t hold_fd = -1;   // store/hold_table.h: this process's page
};
struct Refused {  // the other answer: of another version, not a member, no such job; the link ends
  Failure failure;
};
struct Goodbye {  // process → its node: it ends by its own will
  std::string reason;
};

// ---- membership (head ↔ node)
struct NodeJoin {  // after Hello, and again to every new head
  NodeInfo node;
  std::vector<ActorInfo> living;  // actors that live there now, with incarnation and process
  std::vector<ActorInfo> deaths;  // actors that died while no head listened
};
struct NodeAccepted {
  Incarnation head;
  DurationNs term;
  DurationNs heartbeat_every;
};
struct Heartbeat {  // (datagram) node → head
  NodeId node;
  std::uint64_t number = 0;
  Shape free;
  std::uint32_t backlog = 0;  // lease requests that wait there
};
struct HeartbeatAck {  // (datagram) head → node: renews the membership term counted from when
                       // `number` left
  Incarnation head;
  NodeId node;
  std::uint64_t number = 0;
};
struct ProbeNode {  // (datagram) head → another node: can you hear this suspected node?
  RequestId request;
  Peer target;
  NodeId target_node;
};
struct ProbePing {  // (datagram) node → suspected node
  RequestId request;
  Peer reply_to;
};
struct ProbePong {  // (datagram) suspected node → asking node → head
  RequestId request;
  NodeId node;
};
struct ClusterView {  // head → every node, whenever it changes
  std::uint64_t version = 0;
  std::vector<NodeInfo> nodes;  // living, and dead ones for a while
};

// ---- jobs
struct StartJob {
  RequestId request;
  JobSpec job;
};  // driver → node → head
struct JobStarted {
  RequestId request;
  JobId job;
};  // head → node → driver
struct QueryJob {
  JobId job;
};  // node → head
struct JobInfo {
  JobSpec job;
};  // head → node
struct EndJob {
  JobId job;
  std::string cause;
};  // node → head → nodes: workers of the job end

// ---- actors
struct SpawnActor {
  ActorSpec spec;
};                    // process → node → head; idempotent by id
struct WatchActor {   // process → node → head: say now and at every change what this actor is
  RequestId request;  // for a name
  ActorId actor;
  std::string name;
};
struct ActorUpdate {
  RequestId request;
  ActorInfo actor;
};  // head → nodes that watch → processes that watch
struct KillActor {
  ActorId actor;
};  // process → node → head
struct StartActor {
  ActorSpec spec;
  Incarnation incarnation;
  JobSpec job;
};  // head → node, after it is durable
struct StopActor {
  ActorId actor;
  Incarnation incarnation;
  std::string cause;
};  // head → node
struct CreateActor {
  ActorSpec spec;
  Incarnation incarnation;
};                     // node → its new worker
struct ActorCreated {  // worker → node: the constructor ended
  ActorId actor;
  Incarnation incarnation;
  std::vector<Failure> failure;  // empty: alive
};
struct ActorStarted {
  ActorInfo actor;
};                    // node → head
struct ActorExited {  // node → head: the process is gone, or the constructor threw
  ActorId actor;
  Incarnation incarnation;
  std::string cause;
  bool constructor_threw = false;
};

// ---- leases (owner ↔ node)
struct LeaseRequest {  // wants one worker for tasks of this shape; idempotent by (owner, request)
  RequestId request;
  Peer owner;
  JobId job;
  Shape shape;
  std::uint32_t hops = 0;  // redirects so far
  NodeId owner_node;       // where the owner lives: when that node is lost, so are its leases
};
struct LeaseCancel {
  RequestId request;
  ProcessId owner;
};
struct LeaseGrant {
  RequestId request;
  LeaseId lease;
  Peer worker;
  NodeId node;
};
struct LeaseRedirect {
  RequestId request;
  Peer node;
};  // ask there
struct LeaseRefused {
  RequestId request;
  Failure failure;
};  // never placeable, or the worker does not start
struct LeaseReturn {
  LeaseId lease;
  ProcessId owner;
};
struct LeaseRevoke {
  LeaseId lease;
};  // node → owner: finish what is sent, then return it
struct WaitBegin {
  LeaseId lease;
};  // worker → node: its running task waits, its cpu is free
struct WaitEnd {
  LeaseId lease;
};  // worker → node: it wants its cpu back, before new leases
struct WaitResume {
  LeaseId lease;
};  // node → worker

// ---- deaths
struct BegunMark {  // calls of `caller` (0: of everybody) numbered up to this may have begun
  ProcessId caller;
  std::uint64_t number = 0;
};
// of everybody, and whatever they sent: when the marks are not known any more
inline constexpr BegunMark kAnyMayHaveBegun{{}, UINT64_MAX};
struct ProcessDied {  // node → nodes → their processes. process 0: every process of that node (it
                      // was lost)
  ProcessId process;
  NodeId node;
  std::int64_t pid = 0;
  std::string cause;  // "killed by signal 9 (SIGKILL), log /run/.../worker.log"
  std::vector<BegunMark> begun;
};
struct ProcessQuery {  // process → its node → that process's node: does it still live there? Only a
                       // death is answered (ProcessDied): for those who came after it was told
  ProcessId process;
  NodeId node;
};

// ---- refs (process ↔ process)
struct RefRegister {
  ObjectId object;
};  // holder → owner: holds it, and wants its value
struct RefRegistered {
  ObjectId object;
};  // owner → holder
struct RefRelease {
  ObjectId object;
};  // holder → owner
struct ObjectReady {
  ObjectId object;
  Value value;
};  // owner → holder
struct RefsKept {
  ObjectId object;
};  // receiver of a value → its sender: every ref in it is registered

// ---- the store (process ↔ node, node ↔ node)
struct ExtentRequest {
  RequestId request;
  std::uint64_t bytes = 0;
};
struct ExtentGrant {  // shared memory that this process may write until it seals it
  RequestId request;
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint64_t bytes = 0;
  std::int64_t fd = -1;  // of the node's process: opened through /proc/PID/fd/FD
  std::int64_t node_pid = 0;
};
struct ExtentRefused {
  RequestId request;
  Failure failure;
};
struct ExtentReturn {
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
};                     // granted, not used
struct ObjectSealed {  // process → its node: the extent now is this object, immutable
  ObjectId object;
  Peer owner;
  std::uint32_t extent = 0;
  std::uint32_t generation = 0;
  std::uint64_t bytes = 0;
  NodeId owner_node;  // where the owner lives: when that node is lost, the object goes
};
struct ObjectOpen {
  RequestId request;
  ObjectId object;
  Peer owner;
  Place source;
  NodeId owner_node;
};  // process → its node: have it here
struct ObjectOpened {
  RequestId request;
  Place place;
  std::int64_t fd = -1;
  std::int64_t node_pid = 0;
};
struct ObjectMissing {
  RequestId request;
  Failure failure;
};
struct ObjectCopied {
  ObjectId object;
  Place place;
};  // node → owner: another copy
struct ObjectFree {
  ObjectId object;
};  // owner → every node with a copy
struct ChunkRequest {
  RequestId request;
  ObjectId object;
  std::string file_hash;
  std::uint64_t offset = 0;
};
struct Chunk {
  RequestId request;
  std::uint64_t offset = 0;
  std::uint64_t total = 0;
  Bytes bytes;
};
struct ChunkMissing {
  RequestId request;
  Failure failure;
};

// ---- waits
struct WaitProbe {  // follows a chain of waits: task → ref → owner → executing actor → its wait
  ProcessId origin;  // who asks, and about which wait
  std::uint64_t wait = 0;
  ObjectId object;                 // the ref to follow next
  std::vector<std::string> chain;  // "A.f", "B.g"
  Peer origin_peer;
};
struct WaitCycle {
  std::uint64_t wait = 0;
  std::vector<std::string> chain;
};  // → origin: its probe came home

// ---- inspection (client verb ↔ head or node)
struct Inspect {
  RequestId request;
  std::string what;
};  // nodes, actors, workers, objects, jobs, status, log ID
struct Inspected {
  RequestId request;
  std::string text;
  std::vector<Failure> failure;
};  // a JSON array, or log text
struct Shutdown {
  std::string cause;
};                 // client verb → head or node; head → nodes
struct LogLines {  // (datagram) node → driver: what a worker printed, for the driver's terminal
  std::string node_name;
  std::string label;  // "Counter c" or "tasks"
  std::int64_t pid = 0;
  std::vector<std::string> lines;
};

using AnyMessage =
    std::variant<Hello, Welcome, Refused, Goodbye, NodeJoin, NodeAccepted, Heartbeat, HeartbeatAck,
                 ProbeNode, ProbePing, ProbePong, ClusterView, StartJob, JobStarted, QueryJob,
                 JobInfo, EndJob, SpawnActor, WatchActor, ActorUpdate, KillActor, StartActor,
                 StopActor, CreateActor, ActorCreated, ActorStarted, ActorExited, LeaseRequest,
                 LeaseCancel, LeaseGrant, LeaseRedirect, LeaseRefused, LeaseReturn, LeaseRevoke,
                 WaitBegin, WaitEnd, WaitResume, ProcessDied, RefRegister, RefRegistered,
                 RefRelease, ObjectReady, RefsKept, ExtentRequest, ExtentGrant, ExtentRefused,
                 ExtentReturn, ObjectSealed, ObjectOpen, ObjectOpened, ObjectMissing, ObjectCopied,
                 ObjectFree, ChunkRequest, Chunk, ChunkMissing, WaitProbe, WaitCycle, Inspect,
                 Inspected, Shutdown, LogLines, ProcessQuery>;

// One message. Its copies and moves are compiled once, in message.cc: for so many kinds they would
// cost every file that sees a message seconds.
struct Message : AnyMessage {
  template <class T>
  requires(!std::is_same_v<std::remove_cvref_t<T>, Message> &&
           std::is_constructible_v<AnyMessage, T>) Message(T&& kind)
      : AnyMessage(std::forward<T>(kind)) {}  // NOLINT: a kind is a message
  Message();
  Message(const Message&);
  Message(Message&&) noexcept;
  Message& operator=(const Message&);
  Message& operator=(Message&&) noexcept;
  ~Message();
};

}  // namespace rondo::core
