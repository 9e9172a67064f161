#include <rondo/actors/safetensors.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include <rondo/actors/text.h>

namespace rondo::actors {

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

namespace {

constexpr std::uint64_t kHeaderBytesMax = 100u << 20;

struct DTypeInfo {
  DType dtype;
  const char* name;
  std::size_t bytes;
};
constexpr DTypeInfo kDTypes[] = {
    {DType::kF32, "F32", 4}, {DType::kF64, "F64", 8}, {DType::kI64, "I64", 8}};

const DTypeInfo& info(DType dtype) { return kDTypes[static_cast<std::size_t>(dtype)]; }

std::string shown(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::int64_t dim : shape) text += (text.size() > 1 ? "," : "") + std::to_string(dim);
  return text + "]";
}

Error broken(const std::string& path, const std::string& why) {
  return {ErrorCode::kInvalid, "'" + path + "' is not a whole safetensors file: " + why};
}

Error foreign(const std::string& path, const std::string& why) {
  return {ErrorCode::kInvalid, "'" + path + "' is no checkpoint: " + why};
}

Error refused(const std::string& what, const std::string& path) {
  return {ErrorCode::kUnavailable,
          "cannot " + what + " '" + path + "': " + std::system_category().message(errno)};
}

// Elements of `shape` if they take exactly `bytes`; guards against overflow.
bool fits(const std::vector<std::int64_t>& shape, std::size_t element, std::uint64_t bytes) {
  std::uint64_t count = 1;
  for (std::int64_t dim : shape) {
    if (dim < 0) return false;
    if (dim != 0 && count > kHeaderBytesMax * 1024 / static_cast<std::uint64_t>(dim)) return false;
    count *= static_cast<std::uint64_t>(dim);
  }
  return count * element == bytes;
}

Result<StoredTensor> read_entry(const std::string& path, const std::string& name,
                                const nlohmann::json& entry, std::string_view data,
                                std::uint64_t& next) {
  const std::string where = "tensor '" + name + "' ";
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") ||
      !entry.contains("data_offsets"))
    return broken(path, where + "lacks dtype, shape or data_offsets");
  StoredTensor tensor;
  const DTypeInfo* type = nullptr;
  for (const DTypeInfo& candidate : kDTypes)
    if (entry["dtype"] == candidate.name) type = &candidate;
  if (type == nullptr) return broken(path, where + "is neither F32, F64 nor I64");
  tensor.dtype = type->dtype;
  if (!entry["shape"].is_array() || entry["shape"].size() > 8)
    return broken(path, where + "has no shape");
  for (const auto& dim : entry["shape"]) {
    if (!dim.is_number_unsigned()) return broken(path, where + "has a shape that is no number");
    tensor.shape.push_back(dim.get<std::int64_t>());
  }
  const auto& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned())
    return broken(path, where + "has no offsets");
  const auto begin = offsets[0].get<std::uint64_t>();
  const auto end = offsets[1].get<std::uint64_t>();
  if (end < begin || end > data.size())
    return broken(path, where + "ends at byte " + std::to_string(end) + " of " +
                            std::to_string(data.size()) + ": was it cut short?");
  if (!fits(tensor.shape, type->bytes, end - begin))
    return broken(path, where + "has bytes that do not fit its shape " + shown(tensor.shape));
  tensor.bytes = data.substr(begin, end - begin);
  next += end - begin;
  return tensor;
}

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  [[nodiscard]] int fd() const { return fd_; }

 private:
  int fd_;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return true;
}

template <class T>
std::string bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

void TensorFile::put(const std::string& name, std::vector<std::int64_t> shape,
                     std::span<const float> values) {
  tensors[name] = {DType::kF32, std::move(shape), bytes_of(values)};
}
void TensorFile::put(const std::string& name, double value) {
  tensors[name] = {DType::kF64, {1}, bytes_of(std::span<const double>(&value, 1))};
}
void TensorFile::put(const std::string& name, std::int64_t value) {
  tensors[name] = {DType::kI64, {1}, bytes_of(std::span<const std::int64_t>(&value, 1))};
}

namespace {
Result<const StoredTensor*> find(const TensorFile& file, const std::string& name, DType dtype,
                                 const std::vector<std::int64_t>& shape) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end())
    return Error(ErrorCode::kInvalid, "the checkpoint has no tensor '" + name + "'");
  if (found->second.dtype != dtype || found->second.shape != shape)
    return Error(ErrorCode::kInvalid, "the checkpoint's tensor '" + name + "' is " +
                                          info(found->second.dtype).name +
                                          shown(found->second.shape) + ", but " +
                                          info(dtype).name + shown(shape) + " is needed");
  return &found->second;
}
}  // namespace

Result<void> TensorFile::get(const std::string& name, const std::vector<std::int64_t>& shape,
                             std::span<float> out) const {
  const auto tensor = find(*this, name, DType::kF32, shape);
  if (!tensor) return tensor.error();
  RONDO_CHECK_EQ(tensor.value()->bytes.size(), out.size_bytes());
  std::memcpy(out.data(), tensor.value()->bytes.data(), out.size_bytes());
  return {};
}

Result<double> TensorFile::number(const std::string& name) const {
  const auto tensor = find(*this, name, DType::kF64, {1});
  if (!tensor) return tensor.error();
  double value = 0;
  std::memcpy(&value, tensor.value()->bytes.data(), sizeof value);
  return value;
}

Result<std::int64_t> TensorFile::integer(const std::string& name) const {
  const auto tensor = find(*this, name, DType::kI64, {1});
  if (!tensor) return tensor.error();
  std::int64_t value = 0;
  std::memcpy(&value, tensor.value()->bytes.data(), sizeof value);
  return value;
}

std::string unfinished_name(const std::string& path) { return path + ".part"; }

namespace {
// Both halves of the bytes, with `half_done` between them.
bool write_parts(int fd, std::span<const std::string_view> parts,
                 const std::function<void()>& half_done) {
  std::size_t all = 0;
  for (std::string_view part : parts) all += part.size();
  std::size_t left = all / 2;  // of the first half
  bool told = false;
  for (std::string_view part : parts) {
    if (!told && part.size() >= left) {
      if (!write_all(fd, part.substr(0, left))) return false;
      part.remove_prefix(left);
      half_done();
      told = true;
    } else if (!told) {
      left -= part.size();
    }
    if (!write_all(fd, part)) return false;
  }
  return true;
}

Result<void> write_beside(const std::string& path, std::span<const std::string_view> parts,
                          const WriteOptions& options) {
  const std::string beside = unfinished_name(path);
  const File file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (file.fd() < 0) return refused("create", beside);
  const auto half_done = [&] {
    if (options.at) options.at(WritePoint::kHalf);
  };
  if (!write_parts(file.fd(), parts, half_done) ||
      (options.durability == Durability::kDurable && ::fsync(file.fd()) != 0)) {
    const Error error = refused("write", path);
    ::unlink(beside.c_str());
    return error;
  }
  return {};
}
}  // namespace

Result<void> write_whole(const std::string& path, std::span<const std::string_view> parts,
                         const WriteOptions& options) {
  if (auto wrote = write_beside(path, parts, options); !wrote) return wrote;
  if (options.at) options.at(WritePoint::kWhole);
  const std::string beside = unfinished_name(path);
  if (::rename(beside.c_str(), path.c_str()) != 0) {
    const Error error = refused("rename to", path);
    ::unlink(beside.c_str());
    return error;
  }
  if (options.at) options.at(WritePoint::kRenamed);
  if (options.durability == Durability::kQuick) return {};
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const File directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.fd() < 0 || ::fsync(directory.fd()) != 0) return refused("sync", folder);
  return {};
}

Result<void> write_tensors(const std::string& path, const TensorFile& file,
                           const WriteOptions& options) {
  nlohmann::json header = nlohmann::json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : file.tensors) {
    header[name] = {{"dtype", info(tensor.dtype).name},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const auto length = static_cast<std::uint64_t>(text.size());
  std::vector<std::string_view> parts{
      {reinterpret_cast<const char*>(&length), sizeof length}, text};
  for (const auto& entry : file.tensors) parts.push_back(entry.second.bytes);
  return write_whole(path, parts, options);
}

Result<TensorFile> read_tensors(const std::string& path) {
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return bytes.error();
  const std::string_view all = bytes.value();
  if (all.empty()) return foreign(path, "it is empty");
  if (all.size() < 8) return foreign(path, "it has " + std::to_string(all.size()) + " bytes");
  std::uint64_t length = 0;
  std::memcpy(&length, all.data(), sizeof length);
  if (length > kHeaderBytesMax)
    return foreign(path, "it does not begin as a safetensors file does");
  if (length > all.size() - 8) return broken(path, "its header is cut short");
  const std::string_view data = all.substr(8 + length);
  const auto header = nlohmann::json::parse(all.substr(8, length), nullptr, false);
  if (!header.is_object()) return foreign(path, "its header is not a JSON object");
  TensorFile file;
  std::uint64_t used = 0;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return broken(path, "its metadata is no object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) return broken(path, "its metadata '" + key + "' is no text");
        file.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    Result<StoredTensor> tensor = read_entry(path, name, entry, data, used);
    if (!tensor) return tensor.error();
    file.tensors[name] = std::move(tensor).value();
  }
  if (used != data.size())
    return broken(path, "its tensors take " + std::to_string(used) + " bytes, but " +
                            std::to_string(data.size()) + " follow the header");
  return file;
}

}  // namespace rondo::actors
