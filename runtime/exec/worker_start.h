#pragma once

#include <optional>
#include <string>

#include <rondo/base/bytes.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// How a process learns that it is a worker: an inherited descriptor with what it must know, named
// by one variable of the environment. argv stays the program's own. The node packs, the worker
// takes; what is inside is host/'s business.

namespace rondo::exec {

constexpr const char* kWorkerVariable = "RONDO_WORKER";  // the descriptor's number
// where the launcher should map the packed descriptor
constexpr int kWorkerStartFd = 3;
constexpr int kWorkerMarksFd = 4;  // store::MarksPage
constexpr std::size_t kWorkerStartBytesMax = std::size_t{1} << 20;

// A sealed memfd with these bytes. Pass as (fd, kWorkerStartFd) with "RONDO_WORKER=3" in the
// environment.
Result<OwnedFd> pack_worker_start(ByteView bytes);
[[nodiscard]] std::string worker_variable();  // "RONDO_WORKER=3"

// Worker mode: the bytes, once. Closes the descriptor and unsets the variable, so that programs
// which the worker starts are not taken for workers. nullopt: this process is no worker. Call
// before other threads use the environment.
std::optional<Bytes> take_worker_start();
// An inherited descriptor, to close on exec from now on; empty if it is not open.
OwnedFd take_inherited(int number);

}  // namespace rondo::exec
