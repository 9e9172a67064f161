#include <rondo/store/file_cache.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <vector>

#include <rondo/base/ids.h>
#include <rondo/base/limits.h>

namespace rondo::store {

namespace fs = std::filesystem;

namespace {
constexpr const char* kTemporaryPrefix = ".part-";
constexpr std::size_t kReadBytes = std::size_t{1} << 20;
constexpr std::uint64_t kFileBytesMax = std::uint64_t{8} << 30;

std::string hex128(XXH128_hash_t hash) { return hex(hash.high64) + hex(hash.low64); }

bool is_hash(std::string_view name) {
  return name.size() == 32 && std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) { XXH3_128bits_reset(state_); }
  ~Hasher() { XXH3_freeState(state_); }
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void add(ByteView bytes) { XXH3_128bits_update(state_, bytes.data(), bytes.size()); }
  [[nodiscard]] std::string finish() const { return hex128(XXH3_128bits_digest(state_)); }

 private:
  XXH3_state_t* state_;
};

Error file_error(const std::string& what, const std::string& path, int number) {
  const ErrorCode code =
      number == ENOSPC || number == EDQUOT ? ErrorCode::kOverloaded : ErrorCode::kUnavailable;
  return {code, what + " " + path + ": " + errno_text(number)};
}

// Calls `each` with piece after piece of the file.
template <class Each>
Result<std::uint64_t> read_all(int fd, Each each) {
  std::vector<std::byte> piece(kReadBytes);
  std::uint64_t offset = 0;
  for (;;) {
    const ssize_t n = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0)
      return Error(ErrorCode::kUnavailable, "a file could not be read: " + errno_text(errno));
    if (n == 0) return offset;
    if (auto done = each(offset, ByteView(piece.data(), static_cast<std::size_t>(n))); !done)
      return done.error();
    offset += static_cast<std::uint64_t>(n);
  }
}

Result<void> write_at(int fd, std::uint64_t offset, ByteView bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return file_error("could not write", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return {};
}
}  // namespace

Result<std::string> hash_of_fd(int fd) {
  Hasher hasher;
  const auto read = read_all(fd, [&](std::uint64_t, ByteView bytes) {
    hasher.add(bytes);
    return Result<void>();
  });
  if (!read) return read.error();
  return hasher.finish();
}

std::string hash_of(ByteView bytes) { return hex128(XXH3_128bits(bytes.data(), bytes.size())); }

// A file that arrives in chunks. Which have come is a set of offsets, so that one sent twice does
// nothing.
struct FileCache::Partial {
  OwnedFd fd;
  std::string path;
  std::uint64_t total = 0;
  std::uint64_t received = 0;
  std::set<std::uint64_t> offsets;
};

FileCache::FileCache(Options options) : options_(std::move(options)) {}

FileCache::~FileCache() {
  for (const auto& [hash, partial] : partials_) ::unlink(partial->path.c_str());
}

Result<std::unique_ptr<FileCache>> FileCache::open(Options options) {
  std::error_code failed;
  fs::create_directory(options.folder, failed);  // not its parents: they may have been taken away
  if (failed)
    return Error(ErrorCode::kUnavailable,
                 "could not make " + options.folder + ": " + failed.message());
  if (::chmod(options.folder.c_str(), 0700) != 0)
    return file_error("could not use", options.folder, errno);
  std::unique_ptr<FileCache> cache(new FileCache(std::move(options)));
  if (auto scanned = cache->scan(); !scanned) return scanned.error();
  return cache;
}

// What an earlier life left: whole files stay, pieces go. By age, so that the oldest goes first.
Result<void> FileCache::scan() {
  std::error_code failed;
  std::vector<std::pair<fs::file_time_type, std::string>> found;
  for (const auto& entry : fs::directory_iterator(options_.folder, failed)) {
    const std::string name = entry.path().filename();
    std::error_code ignored;
    if (name.starts_with(kTemporaryPrefix)) fs::remove(entry.path(), ignored);
    if (name.starts_with("lib-")) fs::remove_all(entry.path(), ignored);
    if (is_hash(name) && entry.is_regular_file(ignored))
      found.emplace_back(entry.last_write_time(ignored), name);
  }
  if (failed)
    return Error(ErrorCode::kUnavailable,
                 "could not read " + options_.folder + ": " + failed.message());
  std::sort(found.begin(), found.end());
  for (const auto& [time, name] : found) {
    std::error_code ignored;
    File& file = files_[name];
    file.bytes = fs::file_size(place(name), ignored);
    file.used = ++clock_;
    bytes_ += file.bytes;
  }
  return {};
}

std::string FileCache::place(const std::string& hash) const { return options_.folder + "/" + hash; }

bool FileCache::has(const std::string& hash) const {
  const std::lock_guard lock(mutex_);
  return files_.contains(hash);
}

Result<std::string> FileCache::path(const std::string& hash) {
  const std::lock_guard lock(mutex_);
  const auto at = files_.find(hash);
  if (at == files_.end()) return Error(ErrorCode::kNotFound, "this node has no file " + hash);
  at->second.used = ++clock_;
  if (at->second.verified) return place(hash);
  const OwnedFd fd(::open(place(hash).c_str(), O_RDONLY | O_CLOEXEC));
  const auto found = fd ? hash_of_fd(fd.get())
                        : Result<std::string>(file_error("could not open", place(hash), errno));
  if (found && found.value() == hash) {
    at->second.verified = true;
    return place(hash);
  }
  ::unlink(place(hash).c_str());  // damaged while nobody looked: it will be fetched again
  bytes_ -= at->second.bytes;
  files_.erase(at);
  return Error(ErrorCode::kNotFound,
               "the file " + hash + " of this node was damaged and has been removed");
}

Result<std::uint64_t> FileCache::size(const std::string& hash) const {
  const std::lock_guard lock(mutex_);
  const auto at = files_.find(hash);
  if (at == files_.end()) return Error(ErrorCode::kNotFound, "this node has no file " + hash);
  return at->second.bytes;
}

void FileCache::pin(const std::string& hash) {
  const std::lock_guard lock(mutex_);
  if (const auto at = files_.find(hash); at != files_.end()) ++at->second.pins;
}

void FileCache::unpin(const std::string& hash) {
  const std::lock_guard lock(mutex_);
  if (const auto at = files_.find(hash); at != files_.end() && at->second.pins > 0)
    --at->second.pins;
}

// Requires: mutex_ held.
Result<void> FileCache::make_room(std::uint64_t bytes) {
  while (bytes_ + bytes > options_.bytes_max) {
    auto oldest = files_.end();
    for (auto at = files_.begin(); at != files_.end(); ++at)
      if (at->second.pins == 0 && (oldest == files_.end() || at->second.used < oldest->second.used))
        oldest = at;
    if (oldest == files_.end())
      return Error(ErrorCode::kOverloaded, "no room for " + std::to_string(bytes) +
                                               " bytes of a program in " + options_.folder +
                                               ", which may hold " +
                                               std::to_string(options_.bytes_max) + ": end a job");
    ::unlink(place(oldest->first).c_str());
    bytes_ -= oldest->second.bytes;
    files_.erase(oldest);
  }
  return {};
}

// Requires: mutex_ held; `temporary` has these bytes. It becomes the file, or goes.
Result<void> FileCache::admit(const std::string& hash, const std::string& temporary,
                              std::uint64_t bytes) {
  if (files_.contains(hash)) {
    ::unlink(temporary.c_str());
    return {};
  }
  Result<void> room = make_room(bytes);
  if (room && ::rename(temporary.c_str(), place(hash).c_str()) != 0)
    room = file_error("could not rename", temporary, errno);
  if (!room) {
    ::unlink(temporary.c_str());
    return room;
  }
  files_[hash] = {.bytes = bytes, .used = ++clock_, .pins = 0, .verified = true};
  bytes_ += bytes;
  return {};
}

std::string FileCache::temporary() {
  return options_.folder + "/" + kTemporaryPrefix + std::to_string(::getpid()) + "-" +
         std::to_string(++temporaries_);
}

Result<std::string> FileCache::add_from_fd(int fd) {
  struct stat status = {};
  if (::fstat(fd, &status) != 0)
    return Error(ErrorCode::kUnavailable, "a program could not be read: " + errno_text(errno));
  std::string path;
  {
    const std::lock_guard lock(mutex_);
    if (auto room = make_room(static_cast<std::uint64_t>(status.st_size)); !room)
      return room.error();
    path = temporary();
  }
  OwnedFd copy(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700));
  if (!copy) return file_error("could not write", path, errno);
  Hasher hasher;
  const auto bytes = read_all(fd, [&](std::uint64_t offset, ByteView piece) {
    hasher.add(piece);
    return write_at(copy.get(), offset, piece, path);
  });
  copy.reset();  // closed before it may be executed: an open writer makes that fail
  if (!bytes) {
    ::unlink(path.c_str());
    return bytes.error();
  }
  const std::string hash = hasher.finish();
  const std::lock_guard lock(mutex_);
  if (auto admitted = admit(hash, path, bytes.value()); !admitted) return admitted.error();
  return hash;
}

Result<std::string> FileCache::add_from_path(const std::string& path) {
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return file_error("could not open", path, errno);
  return add_from_fd(fd.get());
}

// Requires: mutex_ held.
Result<FileCache::Partial*> FileCache::partial_of(const std::string& hash, std::uint64_t total) {
  auto& partial = partials_[hash];
  if (partial && partial->total == total) return partial.get();
  if (partial)
    return Error(ErrorCode::kInvalid, "the pieces of " + hash + " do not agree on its size");
  auto fresh = std::make_unique<Partial>();
  Result<void> made = make_room(total);
  if (made) {
    fresh->path = temporary();
    fresh->total = total;
    fresh->fd.reset(::open(fresh->path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700));
    if (!fresh->fd) made = file_error("could not write", fresh->path, errno);
  }
  if (!made) {
    partials_.erase(hash);
    return made.error();
  }
  partial = std::move(fresh);
  return partial.get();
}

Result<FileCache::Progress> FileCache::write_chunk(const std::string& hash, std::uint64_t offset,
                                                   std::uint64_t total, ByteView bytes) {
  if (!is_hash(hash)) return Error(ErrorCode::kInvalid, "no hash of a file: " + hash.substr(0, 64));
  if (total == 0 || total > kFileBytesMax || offset > total || bytes.size() > total - offset ||
      bytes.empty())
    return Error(ErrorCode::kInvalid, "a piece of " + hash + " lies outside of it");
  const std::lock_guard lock(mutex_);
  if (files_.contains(hash)) return Progress{total, true};
  auto partial = partial_of(hash, total);
  if (!partial) return partial.error();
  Partial& part = *partial.value();
  if (part.offsets.insert(offset).second) {
    if (auto written = write_at(part.fd.get(), offset, bytes, part.path); !written) {
      abandon_locked(hash);
      return written.error();
    }
    part.received += bytes.size();
  }
  if (part.received < total) return Progress{part.received, false};
  return finish(hash, part);
}

// Requires: mutex_ held; every byte has come.
Result<FileCache::Progress> FileCache::finish(const std::string& hash, Partial& part) {
  const auto found = hash_of_fd(part.fd.get());
  if (!found || found.value() != hash) {
    abandon_locked(hash);
    return Error(ErrorCode::kUnavailable,
                 "the file " + hash + " arrived damaged and was dropped: fetch it again");
  }
  const std::string path = part.path;
  const std::uint64_t total = part.total;
  partials_.erase(hash);  // closes it, so that it may be executed
  if (auto admitted = admit(hash, path, total); !admitted) return admitted.error();
  return Progress{total, true};
}

void FileCache::abandon_locked(const std::string& hash) {
  const auto at = partials_.find(hash);
  if (at == partials_.end()) return;
  ::unlink(at->second->path.c_str());
  partials_.erase(at);
}

void FileCache::abandon(const std::string& hash) {
  const std::lock_guard lock(mutex_);
  abandon_locked(hash);
}

Result<FileCache::Piece> FileCache::read_chunk(const std::string& hash, std::uint64_t offset,
                                               std::size_t bytes_max) const {
  const auto total = size(hash);
  if (!total) return total.error();
  const OwnedFd fd(::open(place(hash).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error(ErrorCode::kNotFound, "this node has no file " + hash + " any more");
  Piece piece{{}, total.value()};
  if (offset >= piece.total) return piece;
  piece.bytes.resize(
      std::min<std::uint64_t>({bytes_max, limits::kChunkBytes, piece.total - offset}));
  for (std::size_t done = 0; done < piece.bytes.size();) {
    const ssize_t n = ::pread(fd.get(), piece.bytes.data() + done, piece.bytes.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return file_error("could not read", place(hash), n < 0 ? errno : EIO);
    done += static_cast<std::size_t>(n);
  }
  return piece;
}

Result<std::string> FileCache::library_folder(const std::string& job,
                                              const std::vector<std::string>& libraries) {
  const std::string folder = options_.folder + "/lib-" + job;
  std::error_code failed;
  fs::create_directory(folder, failed);
  if (failed)
    return Error(ErrorCode::kUnavailable, "could not make " + folder + ": " + failed.message());
  for (const std::string& line : libraries) {
    const std::size_t blank = line.find(' ');
    const std::string hash = line.substr(0, blank);
    const std::string name = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (!is_hash(hash) || name.empty() || name.find('/') != std::string::npos)
      return Error(ErrorCode::kInvalid, "no library's line: " + line.substr(0, 64));
    auto file = path(hash);
    if (!file) return file.error();
    const std::string link = folder + "/" + name;
    if (::symlink(file.value().c_str(), link.c_str()) != 0 && errno != EEXIST)
      return file_error("could not make", link, errno);
  }
  return folder;
}

void FileCache::remove_library_folder(const std::string& job) {
  std::error_code ignored;
  fs::remove_all(options_.folder + "/lib-" + job, ignored);
}

std::uint64_t FileCache::bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace rondo::store
