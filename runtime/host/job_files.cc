#include <rondo/host/job_files.h>

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <set>
#include <utility>

#include <rondo/base/limits.h>
#include <rondo/base/log.h>
#include <rondo/base/owned_fd.h>

namespace rondo::host {

namespace {

// "hash name" → both.
std::pair<std::string, std::string> split(const std::string& line) {
  const std::size_t at = line.find(' ');
  if (at == std::string::npos) return {line, ""};
  return {line.substr(0, at), line.substr(at + 1)};
}

std::vector<std::string> hashes_of(const core::JobSpec& job) {
  std::vector<std::string> hashes{job.executable_hash};
  for (const std::string& line : job.libraries) hashes.push_back(split(line).first);
  return hashes;
}

// Files that a process has mapped, each once, without those that are deleted.
std::set<std::string> mapped_files(std::int64_t pid) {
  std::set<std::string> paths;
  std::ifstream in("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(in, line);) {
    const std::size_t at = line.find('/');
    if (at != std::string::npos && line.find(".so", at) != std::string::npos &&
        !line.ends_with(" (deleted)"))
      paths.insert(line.substr(at));
  }
  return paths;
}

std::string file_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

Result<std::unique_ptr<JobFiles>> JobFiles::open(const std::string& folder) {
  store::FileCache::Options options;
  options.folder = folder;
  auto cache = store::FileCache::open(std::move(options));
  if (!cache) return cache.error();
  return std::unique_ptr<JobFiles>(new JobFiles(std::move(cache).value()));
}

JobFiles::JobFiles(std::unique_ptr<store::FileCache> cache)
    : cache_(std::move(cache)), thread_("rondo-files") {}

JobFiles::Checked JobFiles::check(const core::JobSpec& job, bool home) {
  Checked checked;
  if (home && !cache_->has(job.executable_hash)) {
    const std::string path = "/proc/" + std::to_string(job.driver_pid) + "/exe";
    auto added = cache_->add_from_path(path);
    if (!added) {
      checked.failure = {added.error().code(), "the driver's executable could not be copied: " +
                                                   std::string(added.error().what())};
      return checked;
    }
  }
  if (home) import_libraries(job);
  std::vector<std::string> lacking;
  if (!cache_->has(job.executable_hash)) {
    checked.missing.push_back(job.executable_hash);
    lacking.push_back(job.executable_name);
  }
  for (const std::string& line : job.libraries) {
    const auto [hash, name] = split(line);
    if (cache_->has(hash)) continue;
    checked.missing.push_back(hash);
    lacking.push_back(name);
  }
  if (home && !lacking.empty()) {
    std::string names;
    for (const std::string& name : lacking) names += (names.empty() ? "" : ", ") + name;
    checked.failure = {
        ErrorCode::kUnavailable,
        "these files of the job are gone or have changed since the driver started: " + names +
            "; start it again"};
  }
  return checked;
}

// The loader asks for "libfoo.so.2" and maps "libfoo.so.2.0.1": look first at files that begin so,
// then, for what is still wanted, at all.
void JobFiles::import_libraries(const core::JobSpec& job) {
  std::vector<std::pair<std::string, std::string>> wanted;
  for (const std::string& line : job.libraries)
    if (auto pair = split(line); !cache_->has(pair.first)) wanted.push_back(std::move(pair));
  for (const bool by_name : {true, false})
    if (!wanted.empty()) import_mapped(job.driver_pid, wanted, by_name);
}

void JobFiles::import_mapped(std::int64_t pid,
                             std::vector<std::pair<std::string, std::string>>& wanted,
                             bool by_name) {
  for (const std::string& path : mapped_files(pid)) {
    const auto named = [&](const auto& pair) { return file_name(path).starts_with(pair.second); };
    if (by_name && std::none_of(wanted.begin(), wanted.end(), named)) continue;
    const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) continue;
    const auto hash = store::hash_of_fd(fd.get());
    if (!hash) continue;
    const auto same = [&](const auto& pair) { return pair.first == hash.value(); };
    const auto it = std::find_if(wanted.begin(), wanted.end(), same);
    if (it == wanted.end()) continue;
    if (auto added = cache_->add_from_fd(fd.get()); !added) log_warn(added.error().what());
    std::erase_if(wanted, same);
  }
}

Result<JobFiles::Program> JobFiles::program(const core::JobSpec& job) {
  const auto known = pinned_.find(job.id);
  if (known != pinned_.end()) return known->second.program;
  Pinned pinned;
  pinned.hashes = hashes_of(job);
  for (const std::string& hash : pinned.hashes) cache_->pin(hash);
  const auto give_back = [&] {
    for (const std::string& hash : pinned.hashes) cache_->unpin(hash);
  };
  auto executable = cache_->path(job.executable_hash);
  if (!executable) {
    give_back();
    return Error(executable.error().code(),
                 "the executable " + job.executable_name +
                     " cannot be used here: " + executable.error().what());
  }
  pinned.program.executable = std::move(executable).value();
  if (!job.libraries.empty()) {
    auto folder = cache_->library_folder(to_string(job.id), job.libraries);
    if (!folder) {
      give_back();
      return folder.error();
    }
    pinned.program.library_folder = std::move(folder).value();
  }
  return pinned_.emplace(job.id, std::move(pinned)).first->second.program;
}

void JobFiles::release(JobId job) {
  const auto it = pinned_.find(job);
  if (it == pinned_.end()) return;
  for (const std::string& hash : it->second.hashes) cache_->unpin(hash);
  cache_->remove_library_folder(to_string(job));
  pinned_.erase(it);
}

std::optional<bool> JobFiles::write(const core::WriteFile& piece) {
  const bool last = piece.offset + piece.bytes.size() >= piece.total;
  auto progress = cache_->write_chunk(piece.hash, piece.offset, piece.total, piece.bytes);
  if (!progress) {
    log_warn(progress.error().what());
    cache_->abandon(piece.hash);
    return false;
  }
  if (progress.value().complete) return true;
  if (!last) return std::nullopt;
  cache_->abandon(piece.hash);  // pieces are missing in between
  return false;
}

core::Message JobFiles::read(const core::ReadFile& wanted) {
  auto piece = cache_->read_chunk(wanted.hash, wanted.offset, limits::kChunkBytes);
  if (!piece)
    return core::ChunkMissing{wanted.request, {piece.error().code(), piece.error().what()}};
  return core::Chunk{wanted.request, wanted.offset, piece.value().total,
                     std::move(piece.value().bytes)};
}

}  // namespace rondo::host
