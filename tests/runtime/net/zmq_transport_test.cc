#include <csignal>
#include <ctime>
#include <memory>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <filesystem>

#include <rondo/net/zmq_transport.h>
#include <rondo/wire/station.h>

#include "scratch.h"

namespace rondo::net {
namespace {

TimeNs now() {
  timespec t{};
  clock_gettime(CLOCK_BOOTTIME, &t);
  return {t.tv_sec * 1'000'000'000 + t.tv_nsec};
}

SharedBytes text(const std::string& s) { return share(to_bytes(as_bytes(s))); }

// Polls until so many frames are there; gives up after 20 s.
std::vector<SharedBytes> receive(Transport& at, std::size_t count) {
  std::vector<SharedBytes> frames;
  const TimeNs end = now() + seconds(20);
  while (frames.size() < count && now() < end) at.poll(milliseconds(100), frames);
  return frames;
}

struct End {  // a bound transport
  explicit End(const core::Address& address, std::uint64_t id,
               std::shared_ptr<ZmqContext> context = {})
      : transport({.context = std::move(context)}) {
    const auto bound = transport.bind(address);
    EXPECT_TRUE(bound.ok()) << (bound.ok() ? "" : bound.error().what());
    if (bound.ok()) peer = {ProcessId{id}, bound.value()};
  }
  ZmqTransport transport;
  core::Peer peer;
};

TEST(ZmqTransport, MovesFramesBothWaysOverIpcAndTcp) {
  const Scratch folder;
  const std::string any_port = "tcp://127.0.0.1:*";
  for (const bool tcp : {false, true}) {
    End a(tcp ? any_port : folder.ipc("a"), 1);
    End b(tcp ? any_port : folder.ipc("b"), 2);
    EXPECT_EQ(a.transport.address(), a.peer.address);
    EXPECT_EQ(a.peer.address.find('*'), std::string::npos);
    a.transport.learn(b.peer);
    b.transport.learn(a.peer);
    a.transport.send(b.peer.id, text("to b"));  // before anybody is connected: not lost
    auto got = receive(b.transport, 1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(as_text(*got[0]), "to b");
    b.transport.send(a.peer.id, text("to a"));
    got = receive(a.transport, 1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(as_text(*got[0]), "to a");
  }
}

TEST(ZmqTransport, LargeFramesArriveWholeAndLetTheirBytesGo) {
  const Scratch folder;
  std::weak_ptr<const Bytes> left;
  {
    const auto context = std::make_shared<ZmqContext>();
    End a(folder.ipc("a"), 1, context);
    End b(folder.ipc("b"), 2, context);
    a.transport.learn(b.peer);
    Bytes bytes(limits::kFrameBytesMax);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 31 >> 3);
    const Bytes copy = bytes;
    SharedBytes frame = share(std::move(bytes));
    left = frame;
    a.transport.send(b.peer.id, std::move(frame));
    const auto got = receive(b.transport, 1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_TRUE(*got[0] == copy);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(got[0]->data()) % 8, 0u);
  }
  EXPECT_TRUE(left.expired());
}

TEST(ZmqTransport, AGreetingNeedsNoId) {
  const Scratch folder;
  End a(folder.ipc("a"), 1);
  End b(folder.ipc("b"), 2);
  a.transport.greet(b.peer.address, text("hello, whoever"));
  const auto got = receive(b.transport, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(as_text(*got[0]), "hello, whoever");
}

TEST(ZmqTransport, ASecondListenerIsRefusedInOneSentence) {
  const Scratch folder;
  for (const std::string& address : {folder.ipc("a"), std::string("tcp://127.0.0.1:*")}) {
    End a(address, 1);
    ZmqTransport second({});
    const auto refused = second.bind(a.peer.address);
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code(), ErrorCode::kUnavailable);
    EXPECT_NE(std::string(refused.error().what()).find("listens there"), std::string::npos);
    ZmqTransport third({});
    EXPECT_FALSE(third.bind("tcp://0.0.0.0:4000").ok());
    EXPECT_EQ(third.address(), "");
  }
}

TEST(ZmqTransport, ItsSocketEndsWithIt) {
  const Scratch folder;
  const std::string path = folder.ipc("a").substr(6);
  {
    End a(folder.ipc("a"), 1);
    EXPECT_TRUE(std::filesystem::is_socket(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ZmqTransport, PollComesBackInTimeAndOnWake) {
  const Scratch folder;
  End a(folder.ipc("a"), 1);
  std::vector<SharedBytes> frames;
  TimeNs start = now();
  a.transport.poll({0}, frames);
  a.transport.poll(milliseconds(30), frames);
  EXPECT_GE((now() - start).ns, milliseconds(29).ns);

  a.transport.wake();  // before poll
  start = now();
  a.transport.poll(seconds(10), frames);
  EXPECT_LT((now() - start).ns, seconds(5).ns);

  for (int i = 0; i < 200; ++i) {  // during poll, at any moment of it
    std::thread waker([&] { a.transport.wake(); });
    a.transport.poll({-1}, frames);
    waker.join();
  }
  EXPECT_TRUE(frames.empty());
}

TEST(ZmqTransport, SpinningSeesFramesAndWakesToo) {
  const Scratch folder;
  End a(folder.ipc("a"), 1);
  End b(folder.ipc("b"), 2);
  a.transport.learn(b.peer);
  b.transport.set_spin(milliseconds(50));
  for (int i = 0; i < 20; ++i) {
    a.transport.send(b.peer.id, text(std::to_string(i)));
    const auto got = receive(b.transport, 1);
    ASSERT_EQ(got.size(), 1u);
    EXPECT_EQ(as_text(*got[0]), std::to_string(i));
  }
  b.transport.wake();
  std::vector<SharedBytes> none;
  b.transport.poll({-1}, none);
  EXPECT_TRUE(none.empty());
}

TEST(ZmqTransport, TheRoleMayPassFromThreadToThread) {
  const Scratch folder;
  const auto context = std::make_shared<ZmqContext>();
  End a(folder.ipc("a"), 1, context);
  End b(folder.ipc("b"), 2, context);
  a.transport.learn(b.peer);
  for (int i = 0; i < 50; ++i) {
    std::thread([&] { a.transport.send(b.peer.id, text("x")); }).join();
    std::thread([&] { EXPECT_EQ(receive(b.transport, 1).size(), 1u); }).join();
  }
}

TEST(ZmqTransport, FramesForUnknownOrForgottenPeersAreDroppedAndCounted) {
  const Scratch folder;
  End a(folder.ipc("a"), 1);
  a.transport.send(ProcessId{77}, text("x"));
  a.transport.learn({ProcessId{78}, "tcp://example.org:1"});
  a.transport.send(ProcessId{78}, text("x"));
  a.transport.learn({ProcessId{79}, folder.ipc("nobody")});
  a.transport.send(ProcessId{79}, text("waits"));
  a.transport.forget(ProcessId{79});
  a.transport.send(ProcessId{79}, text("x"));
  EXPECT_EQ(a.transport.stats().dropped_unknown, 3u);
  EXPECT_EQ(a.transport.stats().sent, 1u);
}

TEST(ZmqTransport, AFloodForASilentPeerNeverBlocksAndIsBounded) {
  const Scratch folder;
  End a(folder.ipc("a"), 1);
  a.transport.learn({ProcessId{2}, folder.ipc("nobody")});
  const SharedBytes frame = share(Bytes(64));
  const TimeNs start = now();
  for (int i = 0; i < 300'000; ++i) a.transport.send(ProcessId{2}, frame);
  EXPECT_LT((now() - start).ns, seconds(20).ns);
  const auto& stats = a.transport.stats();
  EXPECT_EQ(stats.sent + stats.dropped_full, 300'000u);
  EXPECT_GT(stats.dropped_full, 100'000u);
}

TEST(ZmqTransport, APeerThatListensLaterIsReached) {
  const Scratch folder;
  End a(folder.ipc("a"), 1);
  a.transport.learn({ProcessId{2}, folder.ipc("b")});
  a.transport.send(ProcessId{2}, text("early"));
  End b(folder.ipc("b"), 2);
  const auto got = receive(b.transport, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(as_text(*got[0]), "early");
}

TEST(ZmqTransport, ManyPeersShareAContext) {
  const Scratch folder;
  const auto context = std::make_shared<ZmqContext>();
  End hub(folder.ipc("hub"), 1, context);
  std::vector<std::unique_ptr<ZmqTransport>> others;
  for (int i = 0; i < 100; ++i) {
    others.push_back(std::make_unique<ZmqTransport>(ZmqTransport::Options{.context = context}));
    others.back()->learn(hub.peer);
    others.back()->send(hub.peer.id, text("x"));
  }
  EXPECT_EQ(receive(hub.transport, 100).size(), 100u);
}

// ---- with stations: nothing is lost, whatever the transport loses ----------------------------

constexpr int kCalls = 20'000;

// Answers every call; checks that calls and replies come once and in order.
struct Echo final : wire::Handler {
  explicit Echo(End& e) : end(e), station({.self = e.peer, .token = {}}) {}
  End& end;
  wire::Station station;
  std::uint64_t calls = 0;
  std::uint64_t replies = 0;
  bool in_order = true;
  std::vector<wire::OutFrame> out;
  std::vector<SharedBytes> frames;

  void on_peer(const core::Peer& peer, NodeId) override {
    station.learn(peer);
    end.transport.learn(peer);
  }
  void on_message(ProcessId, core::Message&&) override {}
  void on_call(ProcessId from, const core::CallHeader& header, ByteView payload,
               std::span<const core::RefEntry>, const SharedBytes&) override {
    in_order = in_order && header.number == ++calls;
    station.reply(from, {.slot = header.slot}, payload, {});
  }
  void on_reply(ProcessId, const core::ReplyHeader& header, ByteView,
                std::span<const core::RefEntry>, const SharedBytes&) override {
    in_order = in_order && header.slot == ++replies;
  }
  void turn(DurationNs timeout = milliseconds(20)) {
    station.on_deadline(now());
    station.flush(now(), out);
    for (wire::OutFrame& f : out) end.transport.send(f.to, std::move(f.frame));
    out.clear();
    end.transport.poll(timeout, frames);
    for (const SharedBytes& frame : frames) station.on_frame(now(), frame, *this);
    frames.clear();
  }
};

// A process that echoes until it is killed, or until it has answered so many calls and knows it.
class Child {
 public:
  Child(const Scratch& folder, std::uint64_t calls_max) : pid_(fork()) {  // before any context
    if (pid_ != 0) return;
    int code = 1;
    {
      End end(folder.ipc("child"), 2);
      Echo echo(end);
      while (echo.calls < calls_max || !echo.station.settled()) echo.turn();
      code = echo.in_order ? 0 : 1;
    }
    _exit(code);
  }
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void signal(int number) const { EXPECT_EQ(kill(pid_, number), 0); }
  bool has_ended(int& status) {
    if (waitpid(pid_, &status, WNOHANG) != pid_) return false;
    pid_ = 0;
    return true;
  }

 private:
  pid_t pid_;
};

TEST(ZmqTransport, StationsOfTwoProcessesExchangeCallsOnceAndInOrder) {
  const Scratch folder;
  Child child(folder, kCalls);
  End end(folder.ipc("parent"), 1);
  Echo me(end);
  const core::Peer other{ProcessId{2}, folder.ipc("child")};
  me.on_peer(other, {});
  std::uint32_t sent = 0;
  const TimeNs limit = now() + seconds(60);
  int status = -1;
  while (!child.has_ended(status) && now() < limit) {
    for (; sent < kCalls && sent - me.replies < 1'000; ++sent)
      me.station.call(other.id, {.slot = sent + 1, .number = sent + 1}, as_bytes("12345678"), {});
    me.turn();
  }
  EXPECT_EQ(me.replies, static_cast<std::uint64_t>(kCalls));
  EXPECT_TRUE(me.in_order);
  EXPECT_EQ(status, 0);
}

TEST(ZmqTransport, CallsSurviveALongStopOfTheReceiver) {
  const Scratch folder;
  Child child(folder, UINT64_MAX);
  End end(folder.ipc("parent"), 1);
  Echo me(end);
  const core::Peer other{ProcessId{2}, folder.ipc("child")};
  me.on_peer(other, {});
  std::uint32_t sent = 0;
  const auto call = [&](std::uint32_t count) {
    for (; count > 0; --count) {
      ++sent;
      me.station.call(other.id, {.slot = sent, .number = sent}, Bytes(1'000), {});
    }
  };
  const TimeNs limit = now() + seconds(60);
  call(100);
  while (me.replies < 100 && now() < limit) me.turn();
  child.signal(SIGSTOP);
  const TimeNs go_on = now() + milliseconds(1'200);  // several resends
  while (now() < go_on) {
    if (sent < 5'000) call(100);
    me.turn(milliseconds(5));
  }
  EXPECT_EQ(me.replies, 100u);
  EXPECT_GT(me.station.stats().resent, 0u);
  child.signal(SIGCONT);
  while (me.replies < sent && now() < limit) me.turn();
  EXPECT_EQ(me.replies, sent);
  EXPECT_TRUE(me.in_order);
}

// Who restarts listens at the same address under another id: it never hears what was meant for the
// dead one.
TEST(ZmqTransport, ARestartedPeerHearsNothingOfItsPredecessors) {
  const Scratch folder;
  const auto context = std::make_shared<ZmqContext>();
  End a(folder.ipc("a"), 1, context);
  Echo me(a);
  const auto turns = [](Echo& x, Echo& y, auto&& done) {
    const TimeNs limit = now() + seconds(20);
    while (!done() && now() < limit) {
      x.turn(milliseconds(1));
      y.turn(milliseconds(1));
    }
  };
  {
    End first("tcp://127.0.0.1:*", 2, context);
    Echo old(first);
    me.on_peer(first.peer, {});
    me.station.call(first.peer.id, {.slot = 1, .number = 1}, {}, {});
    turns(me, old, [&] { return me.replies == 1; });
    EXPECT_EQ(old.calls, 1u);
  }
  me.station.call(ProcessId{2}, {.slot = 2, .number = 2}, {}, {});  // nobody is there
  me.turn(milliseconds(1));

  End second("tcp://127.0.0.1:*", 3, context);
  Echo young(second);
  me.end.transport.learn({ProcessId{2}, second.peer.address});  // as if at the same address
  const TimeNs resent_by = now() + limits::kResendAfter * 3;
  turns(me, young, [&] { return now() > resent_by; });
  EXPECT_EQ(young.calls, 0u);
  EXPECT_GT(young.station.stats().dropped_stranger, 0u);

  me.station.forget(ProcessId{2});
  me.end.transport.forget(ProcessId{2});
  me.on_peer(second.peer, {});
  me.station.call(second.peer.id, {.slot = 2, .number = 1}, {}, {});
  turns(me, young, [&] { return me.replies == 2; });
  EXPECT_EQ(me.replies, 2u);
  EXPECT_EQ(young.calls, 1u);
}

}  // namespace
}  // namespace rondo::net
