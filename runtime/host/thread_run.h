#pragma once

#include <rondo/host/process_host.h>

// What an executing thread carries with it: so that a wait inside a body is known to be one.

namespace rondo::host {

struct ProcessHost::ThreadRun {
  ProcessHost* host = nullptr;
  core::RunId run;
  bool is_call = false;              // false: a constructor
  std::atomic<bool> resumed{false};  // its cpu is back
};

}  // namespace rondo::host
