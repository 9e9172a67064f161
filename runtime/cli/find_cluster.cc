#include "find_cluster.h"

#include <rondo/store/dirs.h>

#include "exit_code.h"

namespace rondo::cli {

host::ClusterPlace find_cluster(const std::string& address) {
  if (!host::address_is_named(address)) static_cast<void>(need(store::open_home(), kMachine));
  auto place = host::locate(address);
  if (place) return std::move(place).value();
  throw Exit{place.error().code() == ErrorCode::kInvalid ? kUsage : kNoCluster,
             place.error().what()};
}

}  // namespace rondo::cli
