#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include <rondo/base/owned_fd.h>
#include <rondo/exec/pidfd.h>
#include <rondo/host/clock.h>
#include <rondo/host/control_client.h>
#include <rondo/store/dirs.h>

#include "exit_code.h"
#include "find_cluster.h"
#include "options.h"

// `rondo down`: ends a cluster of this RONDO_HOME, and nothing else.

namespace rondo::cli {

namespace {

constexpr DurationNs kWithin = seconds(15);

std::string line_in(const std::string& path) {
  const auto text = store::read_file(path);
  return text ? text.value().substr(0, text.value().find('\n')) : std::string();
}

// The supervisor holds its lock for as long as it lives, so the pid in its file is its own.
void end_supervisor(const store::ClusterPaths& paths) {
  const std::string text = line_in(paths.folder + "/supervisor.pid");
  pid_t pid = 0;
  std::from_chars(text.data(), text.data() + text.size(), pid);
  const OwnedFd watch = pid > 1 ? exec::open_pidfd(pid) : OwnedFd();
  if (!watch || !exec::send_signal(watch, SIGTERM)) {
    if (errno == ESRCH) return;  // it has just ended
    throw Exit{kMachine,
               "the supervisor in " + paths.folder + " cannot be told: " + errno_text(errno)};
  }
  pollfd gone{watch.get(), POLLIN, 0};
  if (::poll(&gone, 1, static_cast<int>(kWithin.ns / 1'000'000)) == 1) return;
  throw Exit{kMachine, "the supervisor (pid " + text + ") does not end: kill -9 " + text};
}

// Daemons that were started one by one: the head tells its nodes; nodes without a head are told
// too.
void tell(const std::string& address, const host::ClusterPlace& place) {
  host::ClusterPlace there = place;
  there.address = address;
  const auto client = host::ControlClient::connect(there, seconds(2));
  if (client) static_cast<void>(client.value()->shutdown("rondo down").ok());
}

void tell_all(const host::ClusterPlace& place) {
  const store::ClusterPaths paths{place.folder};
  tell(line_in(paths.address()), place);
  std::error_code failed;
  for (const auto& node : std::filesystem::directory_iterator(paths.folder + "/nodes", failed))
    if (const std::string address = line_in(node.path().string() + "/address"); !address.empty())
      tell(address, place);
}

// The last one out removes the folder: when that is us, nobody is left.
void wait_until_alone(const std::string& home, const std::string& name, bool alone) {
  const TimeNs limit = host::boot_time() + kWithin;
  while (!alone && host::boot_time() < limit) {
    ::poll(nullptr, 0, 50);
    alone = need(store::ClusterFolder::enter(home, name), kMachine).leave_and_remove();
  }
  if (!alone)
    throw Exit{kMachine, "some process of " + home + "/" + name + " does not end: see who holds " +
                             home + "/" + name + "/lock"};
}

}  // namespace

int run_down(const AskOptions& options) {
  const host::ClusterPlace place = find_cluster(options.address);
  if (place.folder.empty())
    throw Exit{kNoCluster, place.address +
                               " is not a cluster of this RONDO_HOME: rondo down ends "
                               "only what was started here"};
  const std::string home = need(store::open_home(), kMachine);
  const std::string name = store::ClusterPaths{place.folder}.name();
  store::ClusterFolder folder = need(store::ClusterFolder::enter(home, name), kMachine);
  if (const auto free = folder.own("supervisor"); free) tell_all(place);
  else end_supervisor(folder.paths());
  wait_until_alone(home, name, folder.leave_and_remove());
  std::printf("%s is down\n", place.folder.c_str());
  return kDone;
}

}  // namespace rondo::cli
