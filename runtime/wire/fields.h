#pragma once

// The fields of every struct that travels, listed once: for the encoder, the decoder and the test
// that fills them all. The encoder refuses to compile when a struct of core/message.h or
// core/types.h has a field that is not listed here; add it to message.capnp too.
//
//   N  a number, id, enum or bool      T  a text, bounded by its message
//   S  a struct                        A  an address: kAddressBytesMax
//   L  a list of structs               W  a name: kNameBytesMax
//   X  a list of texts                 E  a sentence: cut at kErrorBytesMax
//   D  bytes, with their bound
// Each is (field of the struct, Name of the schema).

#define RONDO_FIELDS_ActorId(N, A, W, E, T, S, L, X, D) N(creator, Creator) N(number, Number)
#define RONDO_FIELDS_ObjectId(N, A, W, E, T, S, L, X, D) \
  N(owner, Owner) N(index, Index) N(generation, Generation)
#define RONDO_FIELDS_Peer(N, A, W, E, T, S, L, X, D) N(id, Id) A(address, Address)
#define RONDO_FIELDS_Shape(N, A, W, E, T, S, L, X, D) \
  N(cpu_milli, CpuMilli) N(gpu_milli, GpuMilli) N(memory_bytes, MemoryBytes)
#define RONDO_FIELDS_Failure(N, A, W, E, T, S, L, X, D) N(code, Code) E(text, Text)
#define RONDO_FIELDS_Place(N, A, W, E, T, S, L, X, D) \
  N(node, Node) S(node_peer, NodePeer) N(extent, Extent) N(generation, Generation) \
  N(bytes, Bytes)
#define RONDO_FIELDS_ActorSpec(N, A, W, E, T, S, L, X, D) \
  S(id, Id) N(job, Job) W(name, Name) W(class_name, ClassName) S(shape, Shape) \
  N(max_restarts, MaxRestarts) N(max_task_retries, MaxTaskRetries) N(max_pending, MaxPending) \
  D(arguments, Arguments, kSpawnBytesMax)
#define RONDO_FIELDS_ActorInfo(N, A, W, E, T, S, L, X, D) \
  S(id, Id) W(name, Name) W(class_name, ClassName) N(incarnation, Incarnation) N(state, State) \
  S(process, Process) N(node, Node) N(pid, Pid) N(restarts, Restarts) \
  N(max_task_retries, MaxTaskRetries) N(max_pending, MaxPending) E(cause, Cause) N(code, Code)
#define RONDO_FIELDS_NodeInfo(N, A, W, E, T, S, L, X, D) \
  N(id, Id) S(peer, Peer) W(name, Name) S(total, Total) S(free, Free) N(alive, Alive) \
  N(pid, Pid) N(machine, Machine)
#define RONDO_FIELDS_JobSpec(N, A, W, E, T, S, L, X, D) \
  N(id, Id) S(driver, Driver) N(driver_pid, DriverPid) N(home, Home) S(home_peer, HomePeer) \
  W(executable_hash, ExecutableHash) T(executable_name, ExecutableName) X(libraries, Libraries) \
  X(arguments, Arguments) X(environment, Environment) T(directory, Directory) \
  N(fingerprint, Fingerprint)
#define RONDO_FIELDS_BegunMark(N, A, W, E, T, S, L, X, D) N(caller, Caller) N(number, Number)
#define RONDO_FIELDS_Hello(N, A, W, E, T, S, L, X, D) \
  S(self, Self) N(role, Role) N(pid, Pid) N(job, Job) N(version, Version) W(release, Release)
#define RONDO_FIELDS_Welcome(N, A, W, E, T, S, L, X, D) \
  N(node, Node) W(node_name, NodeName) N(cluster, Cluster) N(node_pid, NodePid) \
  N(board_fd, BoardFd) N(hold_fd, HoldFd)
#define RONDO_FIELDS_Refused(N, A, W, E, T, S, L, X, D) S(failure, Failure)
#define RONDO_FIELDS_Goodbye(N, A, W, E, T, S, L, X, D) E(reason, Reason)
#define RONDO_FIELDS_NodeJoin(N, A, W, E, T, S, L, X, D) \
  S(node, Node) L(living, Living) L(deaths, Deaths)
#define RONDO_FIELDS_NodeAccepted(N, A, W, E, T, S, L, X, D) \
  N(head, Head) N(term, Term) N(heartbeat_every, HeartbeatEvery)
#define RONDO_FIELDS_Heartbeat(N, A, W, E, T, S, L, X, D) \
  N(node, Node) N(number, Number) S(free, Free) N(backlog, Backlog)
#define RONDO_FIELDS_HeartbeatAck(N, A, W, E, T, S, L, X, D) \
  N(head, Head) N(node, Node) N(number, Number)
#define RONDO_FIELDS_ProbeNode(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(target, Target) N(target_node, TargetNode)
#define RONDO_FIELDS_ProbePing(N, A, W, E, T, S, L, X, D) N(request, Request) S(reply_to, ReplyTo)
#define RONDO_FIELDS_ProbePong(N, A, W, E, T, S, L, X, D) N(request, Request) N(node, Node)
#define RONDO_FIELDS_ClusterView(N, A, W, E, T, S, L, X, D) N(version, Version) L(nodes, Nodes)
#define RONDO_FIELDS_StartJob(N, A, W, E, T, S, L, X, D) N(request, Request) S(job, Job)
#define RONDO_FIELDS_JobStarted(N, A, W, E, T, S, L, X, D) N(request, Request) N(job, Job)
#define RONDO_FIELDS_QueryJob(N, A, W, E, T, S, L, X, D) N(job, Job)
#define RONDO_FIELDS_JobInfo(N, A, W, E, T, S, L, X, D) S(job, Job)
#define RONDO_FIELDS_EndJob(N, A, W, E, T, S, L, X, D) N(job, Job) E(cause, Cause)
#define RONDO_FIELDS_SpawnActor(N, A, W, E, T, S, L, X, D) S(spec, Spec)
#define RONDO_FIELDS_WatchActor(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(actor, Actor) W(name, Name)
#define RONDO_FIELDS_ActorUpdate(N, A, W, E, T, S, L, X, D) N(request, Request) S(actor, Actor)
#define RONDO_FIELDS_KillActor(N, A, W, E, T, S, L, X, D) S(actor, Actor)
#define RONDO_FIELDS_StartActor(N, A, W, E, T, S, L, X, D) \
  S(spec, Spec) N(incarnation, Incarnation) S(job, Job)
#define RONDO_FIELDS_StopActor(N, A, W, E, T, S, L, X, D) \
  S(actor, Actor) N(incarnation, Incarnation) E(cause, Cause)
#define RONDO_FIELDS_CreateActor(N, A, W, E, T, S, L, X, D) \
  S(spec, Spec) N(incarnation, Incarnation)
#define RONDO_FIELDS_ActorCreated(N, A, W, E, T, S, L, X, D) \
  S(actor, Actor) N(incarnation, Incarnation) L(failure, Failure)
#define RONDO_FIELDS_ActorStarted(N, A, W, E, T, S, L, X, D) S(actor, Actor)
#define RONDO_FIELDS_ActorExited(N, A, W, E, T, S, L, X, D) \
  S(actor, Actor) N(incarnation, Incarnation) E(cause, Cause) \
  N(constructor_threw, ConstructorThrew)
#define RONDO_FIELDS_LeaseRequest(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(owner, Owner) N(job, Job) S(shape, Shape) N(hops, Hops) \
  N(owner_node, OwnerNode)
#define RONDO_FIELDS_LeaseCancel(N, A, W, E, T, S, L, X, D) N(request, Request) N(owner, Owner)
#define RONDO_FIELDS_LeaseGrant(N, A, W, E, T, S, L, X, D) \
  N(request, Request) N(lease, Lease) S(worker, Worker) N(node, Node)
#define RONDO_FIELDS_LeaseRedirect(N, A, W, E, T, S, L, X, D) N(request, Request) S(node, Node)
#define RONDO_FIELDS_LeaseRefused(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(failure, Failure)
#define RONDO_FIELDS_LeaseReturn(N, A, W, E, T, S, L, X, D) N(lease, Lease) N(owner, Owner)
#define RONDO_FIELDS_LeaseRevoke(N, A, W, E, T, S, L, X, D) N(lease, Lease)
#define RONDO_FIELDS_WaitBegin(N, A, W, E, T, S, L, X, D) N(lease, Lease)
#define RONDO_FIELDS_WaitEnd(N, A, W, E, T, S, L, X, D) N(lease, Lease)
#define RONDO_FIELDS_WaitResume(N, A, W, E, T, S, L, X, D) N(lease, Lease)
#define RONDO_FIELDS_ProcessDied(N, A, W, E, T, S, L, X, D) \
  N(process, Process) N(node, Node) N(pid, Pid) E(cause, Cause) L(begun, Begun)
#define RONDO_FIELDS_ProcessQuery(N, A, W, E, T, S, L, X, D) N(process, Process) N(node, Node)
#define RONDO_FIELDS_RefRegister(N, A, W, E, T, S, L, X, D) S(object, Object)
#define RONDO_FIELDS_RefRegistered(N, A, W, E, T, S, L, X, D) S(object, Object)
#define RONDO_FIELDS_RefRelease(N, A, W, E, T, S, L, X, D) S(object, Object)
#define RONDO_FIELDS_ObjectReady(N, A, W, E, T, S, L, X, D) S(object, Object) S(value, Value)
#define RONDO_FIELDS_RefsKept(N, A, W, E, T, S, L, X, D) S(object, Object)
#define RONDO_FIELDS_ExtentRequest(N, A, W, E, T, S, L, X, D) N(request, Request) N(bytes, Bytes)
#define RONDO_FIELDS_ExtentGrant(N, A, W, E, T, S, L, X, D) \
  N(request, Request) N(extent, Extent) N(generation, Generation) N(bytes, Bytes) N(fd, Fd) \
  N(node_pid, NodePid)
#define RONDO_FIELDS_ExtentRefused(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(failure, Failure)
#define RONDO_FIELDS_ExtentReturn(N, A, W, E, T, S, L, X, D) \
  N(extent, Extent) N(generation, Generation)
#define RONDO_FIELDS_ObjectSealed(N, A, W, E, T, S, L, X, D) \
  S(object, Object) S(owner, Owner) N(extent, Extent) N(generation, Generation) N(bytes, Bytes) \
  N(owner_node, OwnerNode)
#define RONDO_FIELDS_ObjectOpen(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(object, Object) S(owner, Owner) S(source, Source) \
  N(owner_node, OwnerNode)
#define RONDO_FIELDS_ObjectOpened(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(place, Place) N(fd, Fd) N(node_pid, NodePid)
#define RONDO_FIELDS_ObjectMissing(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(failure, Failure)
#define RONDO_FIELDS_ObjectCopied(N, A, W, E, T, S, L, X, D) S(object, Object) S(place, Place)
#define RONDO_FIELDS_ObjectFree(N, A, W, E, T, S, L, X, D) S(object, Object)
#define RONDO_FIELDS_ChunkRequest(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(object, Object) W(file_hash, FileHash) N(offset, Offset)
#define RONDO_FIELDS_Chunk(N, A, W, E, T, S, L, X, D) \
  N(request, Request) N(offset, Offset) N(total, Total) D(bytes, Bytes, kChunkBytes)
#define RONDO_FIELDS_ChunkMissing(N, A, W, E, T, S, L, X, D) \
  N(request, Request) S(failure, Failure)
#define RONDO_FIELDS_WaitProbe(N, A, W, E, T, S, L, X, D) \
  N(origin, Origin) N(wait, Wait) S(object, Object) X(chain, Chain) S(origin_peer, OriginPeer)
#define RONDO_FIELDS_WaitCycle(N, A, W, E, T, S, L, X, D) N(wait, Wait) X(chain, Chain)
#define RONDO_FIELDS_Inspect(N, A, W, E, T, S, L, X, D) N(request, Request) T(what, What)
#define RONDO_FIELDS_Inspected(N, A, W, E, T, S, L, X, D) \
  N(request, Request) T(text, Text) L(failure, Failure)
#define RONDO_FIELDS_Shutdown(N, A, W, E, T, S, L, X, D) E(cause, Cause)
#define RONDO_FIELDS_LogLines(N, A, W, E, T, S, L, X, D) \
  W(node_name, NodeName) T(label, Label) N(pid, Pid) X(lines, Lines)

// The structs above that are not messages by themselves (Value and RefEntry are written by hand).
#define RONDO_NOUNS(M) \
  M(ActorId) M(ObjectId) M(Peer) M(Shape) M(Failure) M(Place) M(ActorSpec) M(ActorInfo) \
  M(NodeInfo) M(JobSpec) M(BegunMark)

// core::Message, in its order, and the name of its union member.
#define RONDO_MESSAGES(M) \
  M(Hello, HELLO) \
  M(Welcome, WELCOME) \
  M(Refused, REFUSED) \
  M(Goodbye, GOODBYE) \
  M(NodeJoin, NODE_JOIN) \
  M(NodeAccepted, NODE_ACCEPTED) \
  M(Heartbeat, HEARTBEAT) \
  M(HeartbeatAck, HEARTBEAT_ACK) \
  M(ProbeNode, PROBE_NODE) \
  M(ProbePing, PROBE_PING) \
  M(ProbePong, PROBE_PONG) \
  M(ClusterView, CLUSTER_VIEW) \
  M(StartJob, START_JOB) \
  M(JobStarted, JOB_STARTED) \
  M(QueryJob, QUERY_JOB) \
  M(JobInfo, JOB_INFO) \
  M(EndJob, END_JOB) \
  M(SpawnActor, SPAWN_ACTOR) \
  M(WatchActor, WATCH_ACTOR) \
  M(ActorUpdate, ACTOR_UPDATE) \
  M(KillActor, KILL_ACTOR) \
  M(StartActor, START_ACTOR) \
  M(StopActor, STOP_ACTOR) \
  M(CreateActor, CREATE_ACTOR) \
  M(ActorCreated, ACTOR_CREATED) \
  M(ActorStarted, ACTOR_STARTED) \
  M(ActorExited, ACTOR_EXITED) \
  M(LeaseRequest, LEASE_REQUEST) \
  M(LeaseCancel, LEASE_CANCEL) \
  M(LeaseGrant, LEASE_GRANT) \
  M(LeaseRedirect, LEASE_REDIRECT) \
  M(LeaseRefused, LEASE_REFUSED) \
  M(LeaseReturn, LEASE_RETURN) \
  M(LeaseRevoke, LEASE_REVOKE) \
  M(WaitBegin, WAIT_BEGIN) \
  M(WaitEnd, WAIT_END) \
  M(WaitResume, WAIT_RESUME) \
  M(ProcessDied, PROCESS_DIED) \
  M(RefRegister, REF_REGISTER) \
  M(RefRegistered, REF_REGISTERED) \
  M(RefRelease, REF_RELEASE) \
  M(ObjectReady, OBJECT_READY) \
  M(RefsKept, REFS_KEPT) \
  M(ExtentRequest, EXTENT_REQUEST) \
  M(ExtentGrant, EXTENT_GRANT) \
  M(ExtentRefused, EXTENT_REFUSED) \
  M(ExtentReturn, EXTENT_RETURN) \
  M(ObjectSealed, OBJECT_SEALED) \
  M(ObjectOpen, OBJECT_OPEN) \
  M(ObjectOpened, OBJECT_OPENED) \
  M(ObjectMissing, OBJECT_MISSING) \
  M(ObjectCopied, OBJECT_COPIED) \
  M(ObjectFree, OBJECT_FREE) \
  M(ChunkRequest, CHUNK_REQUEST) \
  M(Chunk, CHUNK) \
  M(ChunkMissing, CHUNK_MISSING) \
  M(WaitProbe, WAIT_PROBE) \
  M(WaitCycle, WAIT_CYCLE) \
  M(Inspect, INSPECT) \
  M(Inspected, INSPECTED) \
  M(Shutdown, SHUTDOWN) \
  M(LogLines, LOG_LINES) \
  M(ProcessQuery, PROCESS_QUERY)
