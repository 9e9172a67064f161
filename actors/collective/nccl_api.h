#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include <rondo/base/result.h>

// NCCL's entry points, found at run time: the program is built without NCCL and runs without it.
//
// load() opens the library and says in one sentence why it is not used: not there, an entry point
// missing, a version that is too old or unknown. The library stays loaded for the life of the
// process. Names, numbers and layouts are NCCL's (nccl.h 2.18 to 2.x, whose interface only grows);
// tests/actors/collective/nccl_signatures.cc compares them with its header where that is found.
// Immutable after load: any thread.

namespace rondo::collective {

struct NcclComm;   // ncclComm: NCCL's own
struct NcclId {    // ncclUniqueId
  char bytes[128];
};

namespace nccl {

// ncclResult_t, ncclDataType_t, ncclRedOp_t
inline constexpr int kSuccess = 0;
inline constexpr int kInProgress = 7;
inline constexpr int kFloat32 = 7;
inline constexpr int kFloat64 = 8;
inline constexpr int kSum = 0;
inline constexpr int kMax = 2;
inline constexpr int kVersionMin = 21800;   // 2.18: the last change of what is used here
inline constexpr int kVersionEnd = 30000;

// ncclConfig_t as of 2.18: NCCL reads `size` bytes and takes its defaults for the rest.
struct Config {
  std::size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = kVersionMin;
  int blocking = 0;   // calls return at once; comm_get_async_error says when they are done
  int cga_cluster_size = INT32_MIN;
  int min_ctas = INT32_MIN;
  int max_ctas = INT32_MIN;
  const char* net_name = nullptr;
  int split_share = INT32_MIN;
};

}  // namespace nccl

struct NcclApi {
  int version = 0;     // as 21805
  std::string path;

  int (*get_version)(int* version) = nullptr;
  int (*get_unique_id)(NcclId* id) = nullptr;
  int (*comm_init)(NcclComm** comm, int ranks, NcclId id, int rank, nccl::Config* config) = nullptr;
  int (*comm_get_async_error)(NcclComm* comm, int* error) = nullptr;
  int (*comm_abort)(NcclComm* comm) = nullptr;
  int (*comm_finalize)(NcclComm* comm) = nullptr;
  int (*comm_destroy)(NcclComm* comm) = nullptr;
  const char* (*get_error_string)(int result) = nullptr;
  const char* (*get_last_error)(NcclComm* comm) = nullptr;
  int (*all_reduce)(const void* in, void* out, std::size_t count, int dtype, int op, NcclComm* comm,
                    void* stream) = nullptr;
  int (*broadcast)(const void* in, void* out, std::size_t count, int dtype, int root,
                   NcclComm* comm, void* stream) = nullptr;
  int (*send)(const void* in, std::size_t count, int dtype, int peer, NcclComm* comm,
              void* stream) = nullptr;
  int (*recv)(void* out, std::size_t count, int dtype, int peer, NcclComm* comm,
              void* stream) = nullptr;
  int (*group_start)() = nullptr;
  int (*group_end)() = nullptr;

  [[nodiscard]] std::string version_words() const;   // "2.18.5"

  // `path`: a file, or a name that the system looks up.
  static Result<std::shared_ptr<const NcclApi>> load(const std::string& path);
  // The one that RONDO_NCCL_LIBRARY names, or the system's.
  static Result<std::shared_ptr<const NcclApi>> find();
};

}  // namespace rondo::collective
