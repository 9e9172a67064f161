#pragma once

#include <cstdint>
#include <string>

#include <rondo/base/bytes.h>
#include <rondo/base/ids.h>
#include <rondo/base/result.h>
#include <rondo/core/link.h>
#include <rondo/core/types.h>

// What a worker process must know before it can say Hello: written by its node's host, read by the
// engine in worker mode.
//
//   node:    launcher passes exec::pack_worker_start(encode(start)) at exec::kWorkerStartFd and the
//            marks page at exec::kWorkerMarksFd
//   worker:  auto bytes = exec::take_worker_start();  decode(*bytes)
//            store::MarksPage::attach(exec::take_inherited(exec::kWorkerMarksFd))
//
// Values; any thread. Decoding what another release wrote fails in words.

namespace rondo::host {

struct WorkerStart {
  ProcessId self;  // the id that the node expects in its Hello
  core::Peer node;
  NodeId node_id;
  JobId job;
  std::int64_t node_pid = 0;  // for exec::ParentWatch
  core::Token token;          // of every frame
  std::string socket_folder;  // where it binds "ipc://FOLDER/w-ID"; "": tcp://127.0.0.1:*
  std::string label;          // "Counter c" or "tasks": for people
  std::string log_path;       // its stdout and stderr
  ActorId actor;              // 0: for tasks, or kept warm
  std::string node_name;
  std::uint64_t fingerprint = 0;  // of the driver's registry: must be the worker's
  auto operator<=>(const WorkerStart&) const = default;
};

[[nodiscard]] Bytes encode(const WorkerStart& start);
[[nodiscard]] Result<WorkerStart> decode_worker_start(ByteView bytes);

// Where a process of this cluster listens: "ipc://FOLDER/KIND-ID", or a free port of the loopback
// when there is no folder.
[[nodiscard]] core::Address listen_address(const std::string& socket_folder,
                                           const std::string& kind, ProcessId id);

}  // namespace rondo::host
