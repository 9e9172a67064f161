#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <rondo/core/effects.h>

// JobFiles: fetches what a node lacks of a job's executable and libraries, by content hash, from
// the job's home node, once, in pieces; several at a time, a few pieces ahead of each.
//
// A file is there when the host found its content to match its hash. A job's files have come when
// all have, or failed when one cannot come: take_done() tells.

namespace rondo::core {

class JobFiles {
 public:
  static constexpr std::uint32_t kPiecesAhead = 4;

  void want(JobId, const Peer& source, const std::vector<std::string>& hashes, Effects& out);
  bool on_chunk(ProcessId from, const Chunk&, Effects& out);   // false: not one of ours
  bool on_missing(const ChunkMissing&, Effects& out);          // false: not one of ours
  void on_written(const std::string& hash, bool ok, Effects& out);
  void source_lost(ProcessId, const std::string& why, Effects& out);
  void forget_job(JobId);

  struct Done {
    JobId job;
    std::optional<Failure> failure;
  };
  [[nodiscard]] std::vector<Done> take_done();
  void check_invariants() const;

 private:
  struct Fetch {
    ProcessId source;
    std::uint64_t asked = 0;      // next offset to ask for
    std::uint64_t written = 0;
    std::uint64_t total = 0;      // 0: not known yet
    std::uint32_t ahead = 0;
    std::set<JobId> jobs;
  };

  void ask(const std::string& hash, Fetch&, Effects& out);
  void fail(const std::string& hash, const std::string& why);
  void drop_requests(const std::string& hash);

  std::map<std::string, Fetch> fetches_;
  std::map<RequestId, std::string> requests_;
  std::map<JobId, std::set<std::string>> missing_;
  std::vector<Done> done_;
  std::uint64_t next_request_ = std::uint64_t{1} << 62;   // apart from the store's
};

}  // namespace rondo::core
