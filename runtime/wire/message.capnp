@0xf042b8990183b2cc;

# The protocol of Rondo: what its processes say to one another.
#
# Vocabulary
#   Process      The head, a node, a driver or a worker, as long as it runs. Its id is 64 random
#                bits, never used again: who restarts is somebody else, so every message that names
#                a process is fenced by that alone.
#   Head         Knows nodes, jobs, actors and names. Its work grows with those, never with calls.
#   Node         One daemon a machine: workers, leases, store; its processes reach the head by it.
#   Owner        The process that made a ref, and answers for it.
#   Lease        One worker slot of a node, lent to an owner for tasks of one shape.
#   Incarnation  The number of an actor's or head's birth. Messages of an older one are ignored.
#   Place        Sealed bytes in one node's store, by extent and generation.
#
# Frames
#   A frame is one message of the transport: FrameHead (64 bytes: the data section of the struct
#   below, nothing around it), then a payload of records, at most 8 MiB together. A record is 8-byte
#   aligned: its length u32 (all of it), kind u16, padding u16, then
#     1 call, 2 reply    fixed layouts of core/call.h, the bytes of the value, its refs
#     3 control          one Message of this file in Cap'n Proto's stream framing
#     4 introduction     the sender's node u64 (0: none yet), then its address; the first record of
#                        the first frame of a link
#   Sizes are judged before anything is allocated.
#
# Delivery
#   Between two living processes, all that is sent over the link arrives once and in the order of
#   sending: calls, replies and control alike. Frames are numbered from 1, acknowledged cumulatively
#   in whatever goes back (or within 20 ms), sent again after 200 ms, doubling to 2 s, and never
#   given up: only the death of the peer ends a link, and then nothing is known of the
#   unacknowledged rest. Between other pairs there is no order.
#   A message marked (datagram) goes outside: it may be lost, doubled or late.
#   Whatever acts names what it acts on by id and incarnation: done twice, it does nothing more.
#   A question bears a RequestId of the asker, its answer the same; an asker repeats it to a new
#   head or node.
#
# Versions and tokens
#   FrameHead, the records' heads, Hello and Refused never change. Of a frame with another version
#   only those two are read; Refused says in words what differs. A frame without the listener's
#   token is dropped before anything is decoded. Fields are added at the end of a struct, and never
#   removed or given another meaning within a version.

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("rondo::wire::schema");

struct FrameHead {            # data only
  version @0 :UInt32;
  magic @1 :UInt16;           # 0x6f72
  flags @2 :UInt16;           # 1: a datagram
  tokenHigh @3 :UInt64;
  tokenLow @4 :UInt64;
  from @5 :UInt64;
  to @6 :UInt64;              # 0: whoever listens there; then the payload is one Hello
  sequence @7 :UInt64;        # 0: outside the stream
  ack @8 :UInt64;             # the sender has all frames up to this one
  payloadBytes @9 :UInt32;
  reserved @10 :UInt32;
}

# ---- nouns
#   -----------------------------------------------------------------------------------------

struct ActorId { creator @0 :UInt64; number @1 :UInt64; }
struct ObjectId { owner @0 :UInt64; index @1 :UInt32; generation @2 :UInt32; }
# where a process listens: at most 200 bytes
struct Peer { id @0 :UInt64; address @1 :Text; }
struct Shape { cpuMilli @0 :Int64; gpuMilli @1 :Int64; memoryBytes @2 :Int64; }
struct Failure { code @0 :ErrorCode; text @1 :Text; }     # one sentence, at most 16 KiB

enum ErrorCode {
  none @0;                    # never sent
  taskFailed @1;
  actorDied @2;
  objectLost @3;
  timeout @4;
  cancelled @5;
  overloaded @6;
  notFound @7;
  invalid @8;
  unavailable @9;
}

enum Role { head @0; node @1; driver @2; worker @3; client @4; }
enum ActorState { unknown @0; pending @1; starting @2; alive @3; restarting @4; dead @5; }

struct Place {
  node @0 :UInt64;
  nodePeer @1 :Peer;
  extent @2 :UInt32;
  generation @3 :UInt32;
  bytes @4 :UInt64;
}

struct RefEntry {
  owner @0 :UInt64;
  index @1 :UInt32;
  generation @2 :UInt32;
  ownerNode @3 :UInt64;
  address @4 :Text;
}

struct Value {                # of an object, as it travels
  refs @0 :List(RefEntry);    # inside the value; whoever keeps the value keeps these
  union {
    inline @1 :Data;
    stored @2 :Place;
    failed @3 :Failure;
  }
}

struct ActorSpec {
  id @0 :ActorId;
  job @1 :UInt64;
  name @2 :Text;              # "": unnamed; else unique in the cluster while it lives
  className @3 :Text;
  shape @4 :Shape;
  maxRestarts @5 :Int32;      # -1: without end
  maxTaskRetries @6 :Int32;
  maxPending @7 :UInt32;      # 0: the default
  arguments @8 :Data;         # resolved, at most 512 KiB, kept for restarts
}

struct ActorInfo {
  id @0 :ActorId;
  name @1 :Text;
  className @2 :Text;
  incarnation @3 :UInt64;
  state @4 :ActorState;
  process @5 :Peer;           # alive
  node @6 :UInt64;
  pid @7 :Int64;
  restarts @8 :Int32;
  maxTaskRetries @9 :Int32;
  maxPending @10 :UInt32;
  cause @11 :Text;            # why it restarts or is dead
  code @12 :ErrorCode;        # dead: what its callers get
}

struct NodeInfo {
  id @0 :UInt64;
  peer @1 :Peer;
  name @2 :Text;
  total @3 :Shape;
  free @4 :Shape;
  alive @5 :Bool;
  pid @6 :Int64;
  machine @7 :UInt64;         # equal on one machine
}

struct JobSpec {              # what a node needs to start a job's workers
  id @0 :UInt64;
  driver @1 :Peer;
  driverPid @2 :Int64;
  home @3 :UInt64;            # the driver's node: it holds the files
  homePeer @4 :Peer;
  executableHash @5 :Text;
  executableName @6 :Text;
  libraries @7 :List(Text);   # "hash name"
  arguments @8 :List(Text);
  environment @9 :List(Text);
  directory @10 :Text;
  fingerprint @11 :UInt64;    # of the registry: names and structural types
}

# ---- joining
#   ---------------------------------------------------------------------------------------

# process → its node, node → head, client → head or node: the first message
struct Hello {
  self @0 :Peer;
  role @1 :Role;
  pid @2 :Int64;
  job @3 :UInt64;             # workers: theirs
  version @4 :UInt32;
  release @5 :Text;
}
struct Welcome {              # the answer
  node @0 :UInt64;            # of the answering node; 0 from a head
  nodeName @1 :Text;
  cluster @2 :UInt64;
  nodePid @3 :Int64;          # whose descriptors these are
  boardFd @4 :Int64;          # the store's generations
  holdFd @5 :Int64;           # this process's page of holds
}
# the other answer: other version, no member, no such job; the link ends
struct Refused { failure @0 :Failure; }
struct Goodbye { reason @0 :Text; }       # process → its node: it ends by its own will

# ---- membership: head ↔ node
#   -------------------------------------------------------------------------

struct NodeJoin {             # after Hello, and again to every new head; answered by NodeAccepted
  node @0 :NodeInfo;
  living @1 :List(ActorInfo);
  deaths @2 :List(ActorInfo); # actors that died while no head listened
}
struct NodeAccepted { head @0 :UInt64; term @1 :Int64; heartbeatEvery @2 :Int64; }   # nanoseconds
struct Heartbeat {            # (datagram) node → head, answered by HeartbeatAck
  node @0 :UInt64;
  number @1 :UInt64;
  free @2 :Shape;
  backlog @3 :UInt32;
}
# (datagram) renews the membership term, counted from when `number` left
struct HeartbeatAck {
  head @0 :UInt64;
  node @1 :UInt64;
  number @2 :UInt64;
}
# (datagram) head → another node: can you hear this one? Answered by ProbePong
struct ProbeNode {
  request @0 :UInt64;
  target @1 :Peer;
  targetNode @2 :UInt64;
}
struct ProbePing { request @0 :UInt64; replyTo @1 :Peer; }   # (datagram) node → suspected node
# (datagram) suspected node → asking node → head
struct ProbePong { request @0 :UInt64; node @1 :UInt64; }
# head → every node, at every change
struct ClusterView { version @0 :UInt64; nodes @1 :List(NodeInfo); }

# ---- jobs
#   ------------------------------------------------------------------------------------------

# driver → node → head, answered by JobStarted
struct StartJob { request @0 :UInt64; job @1 :JobSpec; }
struct JobStarted { request @0 :UInt64; job @1 :UInt64; }
struct QueryJob { job @0 :UInt64; }                          # node → head, answered by JobInfo
struct JobInfo { job @0 :JobSpec; }
struct EndJob { job @0 :UInt64; cause @1 :Text; }            # node → head → nodes

# ---- actors
#   ----------------------------------------------------------------------------------------

# process → node → head; idempotent by id
struct SpawnActor { spec @0 :ActorSpec; }
# process → node → head: answered by ActorUpdate now, and at every change
struct WatchActor {
  request @0 :UInt64;         # for a name
  actor @1 :ActorId;
  name @2 :Text;
}
# head → watching nodes → watching processes
struct ActorUpdate { request @0 :UInt64; actor @1 :ActorInfo; }
struct KillActor { actor @0 :ActorId; }                      # process → node → head
# head → node, after it is durable; answered by ActorStarted or ActorExited
struct StartActor {
  spec @0 :ActorSpec;
  incarnation @1 :UInt64;
  job @2 :JobSpec;
}
struct StopActor { actor @0 :ActorId; incarnation @1 :UInt64; cause @2 :Text; }   # head → node
struct CreateActor { spec @0 :ActorSpec; incarnation @1 :UInt64; }   # node → its new worker
struct ActorCreated {         # worker → node: the constructor ended
  actor @0 :ActorId;
  incarnation @1 :UInt64;
  failure @2 :List(Failure);  # empty: alive
}
struct ActorStarted { actor @0 :ActorInfo; }                 # node → head
struct ActorExited {          # node → head: the process is gone, or the constructor threw
  actor @0 :ActorId;
  incarnation @1 :UInt64;
  cause @2 :Text;
  constructorThrew @3 :Bool;
}

# ---- leases: owner ↔ node
#   ----------------------------------------------------------------------------

# answered by LeaseGrant, LeaseRedirect or LeaseRefused; idempotent by (owner, request)
struct LeaseRequest {
  request @0 :UInt64;
  owner @1 :Peer;
  job @2 :UInt64;
  shape @3 :Shape;
  hops @4 :UInt32;            # redirects so far
  ownerNode @5 :UInt64;       # when that node is lost, so are its owners' leases
}
struct LeaseCancel { request @0 :UInt64; owner @1 :UInt64; }
struct LeaseGrant { request @0 :UInt64; lease @1 :UInt64; worker @2 :Peer; node @3 :UInt64; }
struct LeaseRedirect { request @0 :UInt64; node @1 :Peer; }
struct LeaseRefused { request @0 :UInt64; failure @1 :Failure; }
struct LeaseReturn { lease @0 :UInt64; owner @1 :UInt64; }
# node → owner: answered by LeaseReturn, in a while
struct LeaseRevoke { lease @0 :UInt64; }
# worker → node: its task waits, its cpu is free
struct WaitBegin { lease @0 :UInt64; }
# worker → node: it wants it back; answered by WaitResume
struct WaitEnd { lease @0 :UInt64; }
struct WaitResume { lease @0 :UInt64; }

# ---- deaths
#   ----------------------------------------------------------------------------------------

# calls of `caller` up to this may have begun
struct BegunMark { caller @0 :UInt64; number @1 :UInt64; }
struct ProcessDied {          # node → nodes → their processes
  process @0 :UInt64;         # 0: every process of that node
  node @1 :UInt64;
  pid @2 :Int64;
  cause @3 :Text;
  begun @4 :List(BegunMark);
}
# process → its node → that process's node: does it still live? Only a death is answered, by
# ProcessDied: for processes and nodes that came after it was told
struct ProcessQuery { process @0 :UInt64; node @1 :UInt64; }

# ---- refs: process ↔ process
#   -------------------------------------------------------------------------

# holder → owner: RefRegistered now, ObjectReady when it is
struct RefRegister { object @0 :ObjectId; }
struct RefRegistered { object @0 :ObjectId; }
struct RefRelease { object @0 :ObjectId; }                   # holder → owner
struct ObjectReady { object @0 :ObjectId; value @1 :Value; } # owner → holder
# receiver of a value → sender: its refs are registered
struct RefsKept { object @0 :ObjectId; }

# ---- the store: process ↔ node, node ↔ node
#   ------------------------------------------------------------

# answered by ExtentGrant or ExtentRefused
struct ExtentRequest { request @0 :UInt64; bytes @1 :UInt64; }
struct ExtentGrant {          # memory that this process may write until it seals it
  request @0 :UInt64;
  extent @1 :UInt32;
  generation @2 :UInt32;
  bytes @3 :UInt64;
  fd @4 :Int64;               # of the node's process: /proc/PID/fd/FD
  nodePid @5 :Int64;
}
struct ExtentRefused { request @0 :UInt64; failure @1 :Failure; }
struct ExtentReturn { extent @0 :UInt32; generation @1 :UInt32; }
struct ObjectSealed {         # process → its node: this extent now is this object, immutable
  object @0 :ObjectId;
  owner @1 :Peer;
  extent @2 :UInt32;
  generation @3 :UInt32;
  bytes @4 :UInt64;
  ownerNode @5 :UInt64;       # when that node is lost, the object goes
}
# process → its node: have it here; answered by ObjectOpened or ObjectMissing
struct ObjectOpen {
  request @0 :UInt64;
  object @1 :ObjectId;
  owner @2 :Peer;
  source @3 :Place;
  ownerNode @4 :UInt64;
}
struct ObjectOpened { request @0 :UInt64; place @1 :Place; fd @2 :Int64; nodePid @3 :Int64; }
struct ObjectMissing { request @0 :UInt64; failure @1 :Failure; }
struct ObjectCopied { object @0 :ObjectId; place @1 :Place; }    # node → owner: another copy
struct ObjectFree { object @0 :ObjectId; }                   # owner → every node with a copy
struct ChunkRequest {         # answered by Chunk or ChunkMissing
  request @0 :UInt64;
  object @1 :ObjectId;
  fileHash @2 :Text;          # instead of an object
  offset @3 :UInt64;
}
# at most 1 MiB
struct Chunk { request @0 :UInt64; offset @1 :UInt64; total @2 :UInt64; bytes @3 :Data; }
struct ChunkMissing { request @0 :UInt64; failure @1 :Failure; }

# ---- waits
#   -----------------------------------------------------------------------------------------

# along task → ref → owner → executing actor → its wait; home again, it is a cycle
struct WaitProbe {
  origin @0 :UInt64;
  wait @1 :UInt64;
  object @2 :ObjectId;        # the ref to follow next
  chain @3 :List(Text);       # "A.f", "B.g"
  originPeer @4 :Peer;
}
struct WaitCycle { wait @0 :UInt64; chain @1 :List(Text); }  # → origin: its probe came home

# ---- inspection: client ↔ head or node
#   -----------------------------------------------------------------

struct Inspect { request @0 :UInt64; what @1 :Text; }        # answered by Inspected
struct Inspected { request @0 :UInt64; text @1 :Text; failure @2 :List(Failure); }
struct Shutdown { cause @0 :Text; }                          # client → head → nodes

# (datagram) node → driver: what a worker printed, for the driver's terminal
struct LogLines {
  nodeName @0 :Text;
  label @1 :Text;             # "Counter c" or "tasks"
  pid @2 :Int64;
  lines @3 :List(Text);
}

struct Message {
  union {
    hello @0 :Hello;
    welcome @1 :Welcome;
    refused @2 :Refused;
    goodbye @3 :Goodbye;
    nodeJoin @4 :NodeJoin;
    nodeAccepted @5 :NodeAccepted;
    heartbeat @6 :Heartbeat;
    heartbeatAck @7 :HeartbeatAck;
    probeNode @8 :ProbeNode;
    probePing @9 :ProbePing;
    probePong @10 :ProbePong;
    clusterView @11 :ClusterView;
    startJob @12 :StartJob;
    jobStarted @13 :JobStarted;
    queryJob @14 :QueryJob;
    jobInfo @15 :JobInfo;
    endJob @16 :EndJob;
    spawnActor @17 :SpawnActor;
    watchActor @18 :WatchActor;
    actorUpdate @19 :ActorUpdate;
    killActor @20 :KillActor;
    startActor @21 :StartActor;
    stopActor @22 :StopActor;
    createActor @23 :CreateActor;
    actorCreated @24 :ActorCreated;
    actorStarted @25 :ActorStarted;
    actorExited @26 :ActorExited;
    leaseRequest @27 :LeaseRequest;
    leaseCancel @28 :LeaseCancel;
    leaseGrant @29 :LeaseGrant;
    leaseRedirect @30 :LeaseRedirect;
    leaseRefused @31 :LeaseRefused;
    leaseReturn @32 :LeaseReturn;
    leaseRevoke @33 :LeaseRevoke;
    waitBegin @34 :WaitBegin;
    waitEnd @35 :WaitEnd;
    waitResume @36 :WaitResume;
    processDied @37 :ProcessDied;
    refRegister @38 :RefRegister;
    refRegistered @39 :RefRegistered;
    refRelease @40 :RefRelease;
    objectReady @41 :ObjectReady;
    refsKept @42 :RefsKept;
    extentRequest @43 :ExtentRequest;
    extentGrant @44 :ExtentGrant;
    extentRefused @45 :ExtentRefused;
    extentReturn @46 :ExtentReturn;
    objectSealed @47 :ObjectSealed;
    objectOpen @48 :ObjectOpen;
    objectOpened @49 :ObjectOpened;
    objectMissing @50 :ObjectMissing;
    objectCopied @51 :ObjectCopied;
    objectFree @52 :ObjectFree;
    chunkRequest @53 :ChunkRequest;
    chunk @54 :Chunk;
    chunkMissing @55 :ChunkMissing;
    waitProbe @56 :WaitProbe;
    waitCycle @57 :WaitCycle;
    inspect @58 :Inspect;
    inspected @59 :Inspected;
    shutdown @60 :Shutdown;
    logLines @61 :LogLines;
    processQuery @62 :ProcessQuery;
  }
}
