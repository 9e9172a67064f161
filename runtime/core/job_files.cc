#include <rondo/core/job_files.h>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>
#include <rondo/base/limits.h>

namespace rondo::core {

void JobFiles::want(JobId job, const Peer& source, const std::vector<std::string>& hashes,
                    Effects& out) {
  if (hashes.empty()) {
    done_.push_back({job, std::nullopt});
    return;
  }
  out.learn(source);
  for (const std::string& hash : hashes) {
    missing_[job].insert(hash);
    auto [it, is_new] = fetches_.try_emplace(hash);
    it->second.jobs.insert(job);
    if (!is_new) continue;
    it->second.source = source.id;
    ask(hash, it->second, out);
  }
}

void JobFiles::ask(const std::string& hash, Fetch& fetch, Effects& out) {
  // The first piece tells how long the file is; then a few are under way at once.
  while (fetch.ahead < (fetch.total == 0 ? 1 : kPiecesAhead) &&
         (fetch.total == 0 || fetch.asked < fetch.total)) {
    const RequestId request{next_request_++};
    requests_[request] = hash;
    out.send(fetch.source, ChunkRequest{request, {}, hash, fetch.asked});
    fetch.asked += limits::kChunkBytes;
    ++fetch.ahead;
  }
}

bool JobFiles::on_chunk(ProcessId from, const Chunk& chunk, Effects& out) {
  const auto asked = requests_.find(chunk.request);
  if (asked == requests_.end()) return false;
  const std::string hash = asked->second;
  Fetch& fetch = fetches_.at(hash);
  if (fetch.source != from) return true;
  requests_.erase(asked);
  --fetch.ahead;
  const bool whole = chunk.bytes.size() == limits::kChunkBytes ||
                     chunk.offset + chunk.bytes.size() == chunk.total;
  if (chunk.offset != fetch.written || chunk.total == 0 || !whole ||
      (fetch.total != 0 && chunk.total != fetch.total)) {
    fail(hash, "the home node sent pieces that do not fit together");
    return true;
  }
  fetch.total = chunk.total;
  fetch.written += chunk.bytes.size();
  out.add(WriteFile{hash, chunk.offset, chunk.total, chunk.bytes});
  ask(hash, fetch, out);
  return true;
}

bool JobFiles::on_missing(const ChunkMissing& missing, Effects&) {
  const auto asked = requests_.find(missing.request);
  if (asked == requests_.end()) return false;
  const std::string hash = asked->second;
  fail(hash, missing.failure.text);
  return true;
}

void JobFiles::on_written(const std::string& hash, bool ok, Effects&) {
  const auto it = fetches_.find(hash);
  if (it == fetches_.end()) return;
  if (!ok) {
    fail(hash, "what the home node sent does not match its content hash, or the disk is full");
    return;
  }
  const std::set<JobId> jobs = it->second.jobs;
  drop_requests(hash);
  fetches_.erase(it);
  for (const JobId job : jobs) {
    const auto waits = missing_.find(job);
    if (waits == missing_.end()) continue;
    waits->second.erase(hash);
    if (!waits->second.empty()) continue;
    missing_.erase(waits);
    done_.push_back({job, std::nullopt});
  }
}

void JobFiles::fail(const std::string& hash, const std::string& why) {
  const std::set<JobId> jobs = fetches_.at(hash).jobs;
  drop_requests(hash);
  fetches_.erase(hash);
  for (const JobId job : jobs) {
    if (missing_.erase(job) == 0) continue;
    done_.push_back({job, Failure{ErrorCode::kUnavailable,
                                  "the job's file " + hash.substr(0, 16) +
                                      " could not be fetched from its home node: " + why}});
  }
}

void JobFiles::source_lost(ProcessId source, const std::string& why, Effects&) {
  std::vector<std::string> lost;
  for (const auto& [hash, fetch] : fetches_)
    if (fetch.source == source) lost.push_back(hash);
  if (!lost.empty()) hit(Branch::kFileSourceLost);
  for (const std::string& hash : lost) fail(hash, why);
}

void JobFiles::forget_job(JobId job) {
  missing_.erase(job);
  for (auto& [hash, fetch] : fetches_) fetch.jobs.erase(job);
}

void JobFiles::drop_requests(const std::string& hash) {
  std::erase_if(requests_, [&](const auto& entry) { return entry.second == hash; });
}

std::vector<JobFiles::Done> JobFiles::take_done() { return std::exchange(done_, {}); }

void JobFiles::check_invariants() const {
  for (const auto& [request, hash] : requests_) RONDO_CHECK(fetches_.contains(hash));
  for (const auto& [job, hashes] : missing_) {
    RONDO_CHECK(!hashes.empty());
    for (const std::string& hash : hashes) RONDO_CHECK(fetches_.at(hash).jobs.contains(job));
  }
}

}  // namespace rondo::core
