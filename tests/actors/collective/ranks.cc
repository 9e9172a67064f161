#include "ranks.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>

#include <rondo/actors/collective/shm_collective.h>
#include <rondo/base/check.h>

namespace rondo::collective {

void on_threads(int size, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int rank = 0; rank < size; ++rank) threads.emplace_back(body, rank);
  for (std::thread& thread : threads) thread.join();
}

std::vector<int> on_processes(int size, const std::function<int(int)>& body) {
  std::vector<pid_t> pids;
  for (int rank = 0; rank < size; ++rank) {
    const pid_t pid = ::fork();
    if (pid == 0) std::_Exit(body(rank));
    pids.push_back(pid);
  }
  std::vector<int> statuses;
  for (const pid_t pid : pids) {
    int status = -1;
    ::waitpid(pid, &status, 0);
    statuses.push_back(status);
  }
  return statuses;
}

Group shm_group(const GroupSpec& spec, std::size_t arena_bytes) {
  auto fd = ShmSegment::make({spec.size, spec.incarnation, arena_bytes});
  RONDO_CHECK(fd.ok());
  Group group(static_cast<std::size_t>(spec.size));
  on_threads(spec.size, [&](int rank) {
    auto joined = ShmCollective::join({rank, spec.size, spec.incarnation, spec.timeout},
                                      {.handle = {::getpid(), fd.value().get()},
                                       .arena_bytes = arena_bytes,
                                       .join_timeout = spec.join_timeout});
    ASSERT_TRUE(joined) << joined.error().what();
    group[static_cast<std::size_t>(rank)] = std::move(joined).value();
  });
  return group;
}

Group zmq_group(const GroupSpec& spec, Route route, std::size_t chunk_bytes) {
  std::vector<std::unique_ptr<ZmqPost>> posts;
  ZmqCollective::Options options{.key = 77, .route = route, .chunk_bytes = chunk_bytes};
  for (int rank = 0; rank < spec.size; ++rank) {
    auto post = ZmqPost::bind("tcp://127.0.0.1:*");
    RONDO_CHECK(post.ok());
    options.addresses.push_back(post.value()->address());
    posts.push_back(std::move(post).value());
  }
  Group group;
  for (int rank = 0; rank < spec.size; ++rank) {
    auto joined = ZmqCollective::join(std::move(posts[static_cast<std::size_t>(rank)]),
                                      {rank, spec.size, spec.incarnation, spec.timeout}, options);
    RONDO_CHECK(joined.ok());
    group.push_back(std::move(joined).value());
  }
  return group;
}

Group group_of(const std::string& kind, const GroupSpec& spec) {
  if (kind == "ring") return zmq_group(spec, Route::kRing);
  if (kind == "tree") return zmq_group(spec, Route::kTree);
  RONDO_CHECK_EQ(kind, std::string("shm"));
  return shm_group(spec);
}

template <class T>
std::vector<T> values_of(int rank, std::size_t count) {
  std::vector<T> values(count);
  std::uint32_t state = 12345U + static_cast<std::uint32_t>(rank) * 7919U;
  for (T& value : values) {
    state = state * 1664525U + 1013904223U;
    const int exponent = static_cast<int>(state >> 28);   // sizes apart: rounding shows the order
    value = std::ldexp(static_cast<T>(static_cast<std::int32_t>(state << 4)), exponent - 36);
  }
  return values;
}

template <class T>
std::vector<T> tree_sum(int size, std::size_t count) {
  std::vector<std::vector<T>> level;
  for (int rank = 0; rank < size; ++rank) level.push_back(values_of<T>(rank, count));
  while (level.size() > 1) {
    std::vector<std::vector<T>> next;
    for (std::size_t i = 0; i < level.size(); i += 2) {
      next.push_back(level[i]);
      if (i + 1 == level.size()) continue;
      for (std::size_t k = 0; k < count; ++k) next.back()[k] = level[i][k] + level[i + 1][k];
    }
    level = std::move(next);
  }
  return level[0];
}

template std::vector<float> values_of(int, std::size_t);
template std::vector<double> values_of(int, std::size_t);
template std::vector<float> tree_sum(int, std::size_t);
template std::vector<double> tree_sum(int, std::size_t);

Folder::Folder() {
  std::string path = std::filesystem::temp_directory_path() / "rondo-collective-XXXXXX";
  RONDO_CHECK(::mkdtemp(path.data()) != nullptr);
  path_ = path;
}
Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace rondo::collective
