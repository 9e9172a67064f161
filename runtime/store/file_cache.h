#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include <rondo/base/bytes.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>

// A node's executables and libraries, by the hash of their bytes (XXH128, 32 hex digits).
//
// A file appears under its name only whole and verified: it is written beside, then renamed. So a
// crash leaves nothing that looks like a file, and two writers of one hash do no harm. The first
// use in a process's life checks the bytes again. Each node has a folder of its own, even on one
// machine.
//
// Any thread. Full: the files that were not used for longest and are not pinned go; if that is not
// enough, kOverloaded.

namespace rondo::store {

// the whole file, from its beginning
[[nodiscard]] Result<std::string> hash_of_fd(int fd);
[[nodiscard]] std::string hash_of(ByteView bytes);

class FileCache {
 public:
  struct Options {
    std::string folder;  // made if need be, mode 0700
    std::uint64_t bytes_max = std::uint64_t{4} << 30;
  };
  static Result<std::unique_ptr<FileCache>> open(Options options);
  ~FileCache();

  [[nodiscard]] bool has(const std::string& hash) const;
  // Where the file lies, checked, executable. It stays there while it is pinned. kNotFound.
  Result<std::string> path(const std::string& hash);
  [[nodiscard]] Result<std::uint64_t> size(const std::string& hash) const;
  void pin(const std::string& hash);  // counted: a job uses it
  void unpin(const std::string& hash);

  Result<std::string> add_from_fd(int fd);  // answers the hash
  Result<std::string> add_from_path(const std::string& path);

  // Chunks from another node, in any order, each once. The last one verifies and renames.
  struct Progress {
    std::uint64_t received = 0;
    bool complete = false;
  };
  Result<Progress> write_chunk(const std::string& hash, std::uint64_t offset, std::uint64_t total,
                               ByteView bytes);
  void abandon(const std::string& hash);  // forgets an incomplete file
  // To serve a chunk to another node: up to `bytes_max` bytes from `offset`.
  struct Piece {
    Bytes bytes;
    std::uint64_t total = 0;
  };
  Result<Piece> read_chunk(const std::string& hash, std::uint64_t offset,
                           std::size_t bytes_max) const;

  // A folder with the libraries ("hash name") under their own names, for LD_LIBRARY_PATH. Requires:
  // has() each.
  Result<std::string> library_folder(const std::string& job,
                                     const std::vector<std::string>& libraries);
  void remove_library_folder(const std::string& job);

  [[nodiscard]] std::uint64_t bytes() const;

 private:
  struct Partial;
  struct File {
    std::uint64_t bytes = 0;
    std::uint64_t used = 0;  // of clock_: larger is later
    unsigned pins = 0;
    bool verified = false;
  };
  explicit FileCache(Options options);
  Result<void> scan();
  Result<void> make_room(std::uint64_t bytes);
  [[nodiscard]] std::string place(const std::string& hash) const;
  [[nodiscard]] std::string temporary();
  Result<Partial*> partial_of(const std::string& hash, std::uint64_t total);
  Result<Progress> finish(const std::string& hash, Partial& part);
  void abandon_locked(const std::string& hash);
  Result<void> admit(const std::string& hash, const std::string& temporary, std::uint64_t bytes);

  const Options options_;
  mutable std::mutex mutex_;
  std::map<std::string, File> files_;                         // guarded by mutex_
  std::map<std::string, std::unique_ptr<Partial>> partials_;  // guarded by mutex_
  std::uint64_t bytes_ = 0;                                   // guarded by mutex_
  std::uint64_t clock_ = 0;                                   // guarded by mutex_
  std::uint64_t temporaries_ = 0;                             // guarded by mutex_
};

}  // namespace rondo::store
