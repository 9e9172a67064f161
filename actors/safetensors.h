#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <rondo/base/result.h>

// safetensors: named tensors in one file that PyTorch, NumPy and others read (u64 header length,
// JSON header, then the bytes, contiguous from 0).
//
// A file is written whole beside its place, synced, renamed, and the folder synced: after a crash
// there is the old file or the new one, never half of one. Reading trusts nothing: every length,
// offset, shape and type is checked before use, and a file that was cut short or tampered with is
// one sentence.
//
// Plain values; any thread. The whole file is held in memory: not for models larger than that.

namespace rondo::actors {

enum class DType : unsigned char { kF32, kF64, kI64 };

struct StoredTensor {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::string bytes;
};

struct TensorFile {
  std::map<std::string, std::string> metadata;
  std::map<std::string, StoredTensor> tensors;

  void put(const std::string& name, std::vector<std::int64_t> shape, std::span<const float> values);
  void put(const std::string& name, double value);
  void put(const std::string& name, std::int64_t value);

  // kInvalid, naming the tensor, when it is absent or of another type or shape.
  [[nodiscard]] Result<void> get(const std::string& name, const std::vector<std::int64_t>& shape,
                                 std::span<float> out) const;
  [[nodiscard]] Result<double> number(const std::string& name) const;
  [[nodiscard]] Result<std::int64_t> integer(const std::string& name) const;
};

// How a file is written. kDurable: it outlasts a crash of the machine; kQuick: what can be made
// again need not wait for the disk. `at`, for tests, is told where the writing stands.
enum class Durability : unsigned char { kDurable, kQuick };
enum class WritePoint : unsigned char {
  kHalf,     // half of the bytes are in the file beside, the old file is in its place
  kWhole,    // all of them are, and on the disk; the old file is in its place
  kRenamed,  // the new file is in its place, its folder is not on the disk yet
};
struct WriteOptions {
  Durability durability = Durability::kDurable;
  std::function<void(WritePoint)> at;
};

// kUnavailable when the disk or folder refuses; what was there before stays.
[[nodiscard]] Result<void> write_tensors(const std::string& path, const TensorFile& file,
                                         const WriteOptions& options = {});

// kNotFound when it cannot be opened, kInvalid when it is no safetensors file or was cut short.
[[nodiscard]] Result<TensorFile> read_tensors(const std::string& path);

// Writes `parts` to `path` so that a reader finds the old file or the new one.
[[nodiscard]] Result<void> write_whole(const std::string& path,
                                       std::span<const std::string_view> parts,
                                       const WriteOptions& options = {});

// The name of the file beside, which is left when a writer is killed.
[[nodiscard]] std::string unfinished_name(const std::string& path);

}  // namespace rondo::actors
