// Built only where NCCL's header is found: NcclApi's entries and numbers are those of nccl.h.
#include <nccl.h>

#include <cstddef>
#include <type_traits>

#include <rondo/actors/collective/nccl_api.h>

namespace rondo::collective {
namespace {

// Alike for the calling convention: integers and enums of one size, pointers, structs of one size.
template <class A, class B>
constexpr bool alike() {
  constexpr auto is_number = [](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    return std::is_integral_v<T> || std::is_enum_v<T>;
  };
  if constexpr (std::is_pointer_v<A>) return std::is_pointer_v<B>;
  else if constexpr (std::is_class_v<A>) return std::is_class_v<B> && sizeof(A) == sizeof(B);
  else
    return is_number(static_cast<A*>(nullptr)) && is_number(static_cast<B*>(nullptr)) &&
           sizeof(A) == sizeof(B);
}

template <class A, class B>
struct SameCall : std::false_type {};
template <class R, class... A, class S, class... B>
  requires(sizeof...(A) == sizeof...(B))
struct SameCall<R (*)(A...), S (*)(B...)>
    : std::bool_constant<alike<R, S>() && (alike<A, B>() && ...)> {};

#define SAME(entry, name) \
  static_assert(SameCall<decltype(NcclApi::entry), decltype(&name)>::value, #name)
SAME(get_version, ncclGetVersion);
SAME(get_unique_id, ncclGetUniqueId);
SAME(comm_init, ncclCommInitRankConfig);
SAME(comm_get_async_error, ncclCommGetAsyncError);
SAME(comm_abort, ncclCommAbort);
SAME(comm_finalize, ncclCommFinalize);
SAME(comm_destroy, ncclCommDestroy);
SAME(get_error_string, ncclGetErrorString);
SAME(get_last_error, ncclGetLastError);
SAME(all_reduce, ncclAllReduce);
SAME(broadcast, ncclBroadcast);
SAME(send, ncclSend);
SAME(recv, ncclRecv);
SAME(group_start, ncclGroupStart);
SAME(group_end, ncclGroupEnd);
#undef SAME

static_assert(nccl::kSuccess == ncclSuccess && nccl::kInProgress == ncclInProgress);
static_assert(nccl::kFloat32 == ncclFloat32 && nccl::kFloat64 == ncclFloat64);
static_assert(nccl::kSum == ncclSum && nccl::kMax == ncclMax);
static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));
static_assert(sizeof(nccl::Config) <= sizeof(ncclConfig_t));
static_assert(offsetof(nccl::Config, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(nccl::Config, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(nccl::Config, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(offsetof(nccl::Config, net_name) == offsetof(ncclConfig_t, netName));
static_assert(offsetof(nccl::Config, split_share) == offsetof(ncclConfig_t, splitShare));

}  // namespace
}  // namespace rondo::collective
