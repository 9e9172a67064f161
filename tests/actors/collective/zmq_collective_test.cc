#include <rondo/actors/collective/zmq_collective.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <thread>

#include <gtest/gtest.h>

#include "ranks.h"

namespace rondo::collective {
namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kForks = false;   // ThreadSanitizer does not follow a fork of its threads
#else
constexpr bool kForks = true;
#endif

std::unique_ptr<ZmqPost> must_bind(const std::string& address) {
  auto post = ZmqPost::bind(address);
  EXPECT_TRUE(post) << post.error().what();
  return std::move(post).value();
}

void expect_sum(Collective& self, std::size_t count) {
  const int size = self.member().size;
  auto data = values_of<double>(self.member().rank, count);
  const auto done = self.all_reduce(std::span<const double>(data), std::span<double>(data));
  ASSERT_TRUE(done) << done.error().what();
  const auto sum = tree_sum<double>(size, count);
  EXPECT_EQ(std::memcmp(data.data(), sum.data(), count * sizeof(double)), 0);
}

TEST(ZmqCollectiveTest, TheBitsDoNotDependOnTheRingsPieces) {
  constexpr std::size_t kCount = 30'011;
  for (const std::size_t chunk : {std::size_t{64}, std::size_t{4096}, std::size_t{512} << 10}) {
    Group group = zmq_group({.size = 4}, Route::kBySize, chunk);
    on_threads(4, [&](int rank) { expect_sum(*group[static_cast<std::size_t>(rank)], kCount); });
  }
}

// Whoever does not come is missed at the start, not in the first sum with its long patience.
TEST(ZmqCollectiveTest, AJoinThatWaitsForAllEndsWhenOneDoesNotCome) {
  for (const bool comes : {true, false}) {
    std::vector<std::unique_ptr<ZmqPost>> posts;
    std::vector<std::string> addresses;
    for (int rank = 0; rank < 2; ++rank) {
      posts.push_back(must_bind("tcp://127.0.0.1:*"));
      addresses.push_back(posts.back()->address());
    }
    on_threads(comes ? 2 : 1, [&](int rank) {
      const auto joined = ZmqCollective::join(
          std::move(posts[static_cast<std::size_t>(rank)]),
          {rank, 2, Incarnation{1}, seconds(600)},
          {.key = 3, .addresses = addresses,
           .join_timeout = comes ? seconds(60) : milliseconds(200)});
      ASSERT_EQ(joined.ok(), comes);
      if (comes) return expect_sum(*joined.value(), 3000);
      EXPECT_EQ(joined.error().code(), ErrorCode::kTimeout) << joined.error().what();
      EXPECT_NE(std::string(joined.error().what()).find("within 200 ms"), std::string::npos)
          << joined.error().what();
    });
  }
}

// Rank 0 stays, rank 1 is born again at the same address; what the old one sent late is dropped.
TEST(ZmqCollectiveTest, FramesOfAnOlderIncarnationOrAnotherGroupAreDropped) {
  const Folder folder;
  const std::string zero = "ipc://" + folder.path() + "/0";
  const std::string one = "ipc://" + folder.path() + "/1";
  const auto join = [&](int rank, std::uint64_t incarnation, std::uint64_t key,
                        DurationNs timeout = seconds(20)) {
    auto joined = ZmqCollective::join(
        must_bind(rank == 0 ? zero : one + std::to_string(incarnation) + std::to_string(key)),
        {rank, 2, Incarnation{incarnation}, timeout},
        {.key = key, .addresses = {zero, one + std::to_string(incarnation) + std::to_string(key)}});
    EXPECT_TRUE(joined);
    return std::move(joined).value();
  };
  auto newer = join(0, 2, 7);
  std::vector<float> data(5000, 1.0F);
  const auto send_in_vain = [&](std::unique_ptr<ZmqCollective> old) {
    EXPECT_FALSE(old->all_reduce(std::span<const float>(data), std::span<float>(data)));
  };
  send_in_vain(join(1, 1, 7, milliseconds(300)));
  send_in_vain(join(1, 2, 8, milliseconds(300)));
  auto fits = join(1, 2, 7);
  on_threads(2, [&](int rank) {
    ZmqCollective& self = rank == 0 ? *newer : *fits;
    auto mine = values_of<float>(rank, 3000);
    const auto done = self.all_reduce(std::span<const float>(mine), std::span<float>(mine));
    ASSERT_TRUE(done) << done.error().what();
    EXPECT_EQ(std::memcmp(mine.data(), tree_sum<float>(2, 3000).data(), 3000 * sizeof(float)), 0);
  });
  EXPECT_GE(newer->dropped(), 2U);
}

TEST(ZmqCollectiveTest, ARankThatIsBehindLearnsThatItsIncarnationIsOver) {
  std::vector<std::unique_ptr<ZmqPost>> posts;
  ZmqCollective::Options options{.key = 7};
  for (int rank = 0; rank < 2; ++rank) {
    posts.push_back(must_bind("tcp://127.0.0.1:*"));
    options.addresses.push_back(posts.back()->address());
  }
  on_threads(2, [&](int rank) {
    const auto at = static_cast<std::size_t>(rank);
    const DurationNs timeout = rank == 0 ? seconds(20) : seconds(2);   // rank 1 waits in vain
    auto joined = ZmqCollective::join(std::move(posts[at]),
                                      {rank, 2, Incarnation{at + 4}, timeout}, options);
    ASSERT_TRUE(joined);
    const auto done = joined.value()->barrier();
    ASSERT_FALSE(done);
    if (rank == 0) {
      EXPECT_EQ(done.error().code(), ErrorCode::kCancelled);
      EXPECT_NE(std::string(done.error().what()).find("rank 1 is already at incarnation 5"),
                std::string::npos)
          << done.error().what();
    }
  });
}

TEST(ZmqCollectiveTest, ALookSeesThatARankHasLeftAndKeepsEverythingElse) {
  Group group = zmq_group({.size = 2}, Route::kTree);
  on_threads(2, [&](int rank) {
    Collective& self = *group[static_cast<std::size_t>(rank)];
    for (int call = 0; call < 50; ++call) {
      for (int look = 0; look < 20; ++look) EXPECT_FALSE(self.look());   // while frames come in
      expect_sum(self, 3000);
    }
    if (rank == 1) return self.leave("its job has ended");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    std::optional<Error> seen;
    while (!seen && std::chrono::steady_clock::now() < end) seen = self.look();
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->code(), ErrorCode::kCancelled);
    EXPECT_NE(std::string(seen->what()).find("its job has ended"), std::string::npos);
    const auto done = self.barrier();
    ASSERT_FALSE(done);
    EXPECT_EQ(std::string(done.error().what()), seen->what());
  });
}

// What listens at rank 1's address is another program, with which no connection comes about.
TEST(ZmqCollectiveTest, ASendToAForeignListenerIsRefusedInWords) {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(at);
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(::listen(listener, 1), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size), 0);
  auto post = must_bind("tcp://127.0.0.1:*");
  const std::string theirs = "tcp://127.0.0.1:" + std::to_string(ntohs(at.sin_port));
  ASSERT_TRUE(post->enter({0, 2, Incarnation{1}}, 7, {post->address(), theirs}));
  ASSERT_TRUE(post->send(1, Frame(8)));
  const int connection = ::accept(listener, nullptr, nullptr);
  unsigned char greeting[64] = {0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 0};   // of ZeroMQ 3.0
  std::memcpy(greeting + 12, "FOREIGN", 7);                                  // its mechanism
  EXPECT_EQ(::send(connection, greeting, sizeof(greeting), MSG_NOSIGNAL), 64);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  Result<void> sent;
  while (sent && std::chrono::steady_clock::now() < end) {
    std::this_thread::yield();
    sent = post->send(1, Frame(8));
  }
  ::close(connection);
  ::close(listener);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code(), ErrorCode::kUnavailable);
  EXPECT_NE(std::string(sent.error().what()).find("rank 1 at " + theirs), std::string::npos)
      << sent.error().what();
  post->send_abort(ErrorCode::kCancelled, "all is over");   // reaches nobody, harms nobody
}

TEST(ZmqCollectiveTest, AddressesOnANetworkAreRefusedInWords) {
  const auto post = ZmqPost::bind("tcp://0.0.0.0:5555");
  ASSERT_FALSE(post);
  EXPECT_EQ(post.error().code(), ErrorCode::kInvalid);
  const auto joined = ZmqCollective::join(must_bind("tcp://127.0.0.1:*"), {0, 2, Incarnation{1}},
                                          {.addresses = {"tcp://127.0.0.1:1"}});
  ASSERT_FALSE(joined);
  EXPECT_NE(std::string(joined.error().what()).find("2 ranks came with 1 addresses"),
            std::string::npos);
}

// The context must be made after the fork, so every process binds its own.
TEST(ZmqCollectiveTest, AKilledRankEndsTheOthersWithinTheTimeout) {
  if (!kForks) GTEST_SKIP() << "processes are forked: not under ThreadSanitizer";
  const Folder folder;
  std::vector<std::string> addresses;
  for (int rank = 0; rank < 3; ++rank)
    addresses.push_back("ipc://" + folder.path() + "/" + std::to_string(rank));
  const auto began = std::chrono::steady_clock::now();
  const auto statuses = on_processes(3, [&](int rank) {
    auto post = ZmqPost::bind(addresses[static_cast<std::size_t>(rank)]);
    if (!post) return 1;
    auto joined =
        ZmqCollective::join(std::move(post).value(), {rank, 3, Incarnation{1}, seconds(4)},
                            {.key = 7, .addresses = addresses});
    if (!joined) return 1;
    std::vector<float> data(100'000, 1.0F);
    for (int call = 0; call < 1'000'000; ++call) {
      if (rank == 1 && call == 20) ::raise(SIGKILL);
      const auto done =
          joined.value()->all_reduce(std::span<const float>(data), std::span<float>(data));
      if (done) continue;
      const std::string what = done.error().what();
      return what.find("within 4000 ms") != std::string::npos && call >= 19 ? 0 : 2;
    }
    return 3;
  });
  EXPECT_EQ(statuses[0], 0);
  EXPECT_TRUE(WIFSIGNALED(statuses[1]) && WTERMSIG(statuses[1]) == SIGKILL);
  EXPECT_EQ(statuses[2], 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(60));
}

}  // namespace
}  // namespace rondo::collective
