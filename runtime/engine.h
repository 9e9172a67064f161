#pragma once

#include <memory>

#include <rondo/client.h>

// What Runtime stands on: the engine of this process, made by host/ and found at link time.
//
// The typed surface (context.h, actor.h) speaks only to a Client; Runtime's constructor starts an
// Engine and asks it for one. Whoever implements this header decides about daemons, private
// clusters and worker mode; a test may implement it without any process. Runtime owns the engine
// and destroys it last.
//
// Users do not call this.

namespace rondo {
class Registry;
}

namespace rondo::detail {

class Engine {
 public:
  // Ends the job: workers, sockets and memory of a private cluster too.
  virtual ~Engine() = default;
  virtual Client& client() = 0;  // lives as long as the engine
};

// Connects to the cluster named by --rondo-address or RONDO_ADDRESS, else starts a private one;
// removes --rondo-* arguments. In a process that a node started as a worker it serves and never
// returns. Throws kUnavailable (no such cluster, another version, no room for a private one) or
// kInvalid (an address that is none). Requires: `registry` is frozen.
std::unique_ptr<Engine> start_engine(int& argc, char** argv, const Registry& registry);

// Returns at once unless this process was started as a worker; then it serves and never returns.
void serve_if_worker(int& argc, char** argv, const Registry& registry);

// Ends the process: see end_now in runtime.h.
[[noreturn]] void end_process(int code);

}  // namespace rondo::detail
