#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <rondo/base/result.h>
#include <rondo/core/effects.h>
#include <rondo/host/work_thread.h>
#include <rondo/store/file_cache.h>

// What a node's workers run: the job's executable and libraries out of the node's cache, and the
// thread on which files are read, hashed and written so that the node's loop never waits for a
// disk.
//
// Everything but `run` and `finish` is to be called on that thread (inside a task given to `run`).

namespace rondo::host {

class JobFiles {
 public:
  static Result<std::unique_ptr<JobFiles>> open(const std::string& folder);

  void run(std::function<void()> task) { thread_.run(std::move(task)); }  // any thread; in order

  void finish() { thread_.finish(); }  // the owner only

  // Which of the job's files are missing here. At home they are taken from the driver's process.
  struct Checked {
    std::vector<std::string> missing;
    std::optional<core::Failure> failure;
  };
  Checked check(const core::JobSpec& job, bool home);
  // Where a worker's program and libraries lie, pinned for the job until `release`.
  struct Program {
    std::string executable;
    std::string library_folder;  // "": none
  };
  Result<Program> program(const core::JobSpec& job);
  void release(JobId job);

  // nullopt: more pieces are to come; else whether the file is whole and has this hash.
  std::optional<bool> write(const core::WriteFile& piece);
  core::Message read(const core::ReadFile& wanted);  // Chunk or ChunkMissing

 private:
  struct Pinned {
    Program program;
    std::vector<std::string> hashes;
  };
  explicit JobFiles(std::unique_ptr<store::FileCache> cache);
  void import_libraries(const core::JobSpec& job);
  void import_mapped(std::int64_t pid, std::vector<std::pair<std::string, std::string>>& wanted,
                     bool by_name);

  std::unique_ptr<store::FileCache> cache_;
  std::map<JobId, Pinned> pinned_;
  WorkThread thread_;  // last: its tasks use the rest
};

}  // namespace rondo::host
