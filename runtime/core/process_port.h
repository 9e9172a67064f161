#pragma once

#include <span>
#include <string>

#include <rondo/core/call.h>
#include <rondo/core/message.h>

// What a Process machine asks of the world around it. The host carries it out with sockets and
// threads, the simulator with an event queue. Calls come in the order in which they must take
// effect; none of them re-enters the machine.

namespace rondo::core {

struct RunId {  // a call that executes here: valid from `run` until Process::finish
  std::uint32_t index = 0;
  auto operator<=>(const RunId&) const = default;
};

class ProcessPort {
 public:
  virtual ~ProcessPort() = default;

  virtual void learn(const Peer&) = 0;  // where a process listens; before the first message to it
  virtual void forget(ProcessId) = 0;   // it is dead: nothing comes from it or goes to it any more
  virtual void send(ProcessId, const Message&) = 0;
  virtual void call(ProcessId, const CallHeader&, ByteView payload, std::span<const RefEntry>) = 0;
  virtual void reply(ProcessId, const ReplyHeader&, ByteView payload,
                     std::span<const RefEntry>) = 0;

  virtual void run(RunId) = 0;     // execute Process::incoming(run), then Process::finish
  virtual void resume(RunId) = 0;  // the waiting run has its cpu again
  virtual void construct(const CreateActor&) = 0;  // make the actor, then Process::constructed
  virtual void filled() = 0;                       // some cell is no longer pending: wake who waits
  virtual void end(const std::string& cause) = 0;  // this process must end (refused, job over)
  [[nodiscard]] virtual std::string name_of(CallKind,
                                            std::uint32_t function) = 0;  // "norm", "Counter.add"
};

}  // namespace rondo::core
