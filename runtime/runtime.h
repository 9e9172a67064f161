#pragma once

#include <memory>

#include <rondo/context.h>
#include <rondo/engine.h>
#include <rondo/error.h>

// Runtime: this program's part in a cluster. Make one in main, after the Registry is filled:
//
//   int main(int argc, char** argv) {
//     rondo::Registry registry;
//     registry.task("norm", norm);
//     rondo::Runtime rt(argc, argv, registry);
//     std::printf("%g\n", rt.get(rt.submit(norm, std::vector{3.0, 4.0})));
//   }
//
// The address is --rondo-address=A, else RONDO_ADDRESS, else a private cluster on this machine;
// --rondo-* arguments are removed from argv. The same executable is started again as the cluster's
// workers: there the constructor serves and never returns, so code before it runs in every worker
// and should only register.
//
// One living Runtime a process (a second throws kInvalid); after its destruction another may be
// made. The destructor ends the job: its actors, workers and memory. The verbs are Context's.

namespace rondo {

namespace detail {
// Made before, and destroyed after, the Context part.
struct RuntimeParts {
  RuntimeParts(int& argc, char** argv, const Registry& registry);
  ~RuntimeParts();
  RuntimeParts(const RuntimeParts&) = delete;
  RuntimeParts& operator=(const RuntimeParts&) = delete;

  std::unique_ptr<Engine> engine;
  Session* session_ptr = nullptr;
};
}  // namespace detail

class Runtime : private detail::RuntimeParts, public Context {
 public:
  Runtime(int& argc, char** argv, const Registry& registry)
      : RuntimeParts(argc, argv, registry), Context(*session_ptr) {}
};

// For programs that make their Runtime late, as tests do: in a worker it serves and never returns,
// elsewhere it returns at once. Call it first in main, after registering.
void serve_if_worker(int& argc, char** argv, const Registry& registry);

// Ends this process with this exit code, at once and from any thread, also while a Runtime is being
// made or destroyed: for programs that handle Ctrl-C themselves. Nothing is destroyed or flushed;
// workers end with the process, and the folder of a private cluster is removed.
[[noreturn]] inline void end_now(int code) { detail::end_process(code); }

}  // namespace rondo
