#include <cstring>
#include <functional>
#include <map>
#include <memory>

#include <gtest/gtest.h>

#include <rondo/base/prng.h>
#include <rondo/wire/record.h>
#include <rondo/wire/station.h>

namespace rondo::wire {
namespace {

constexpr core::Token kToken{7, 9};

// Everything that arrives, as lines.
struct Diary final : Handler {
  std::vector<std::string> lines;
  std::vector<core::Peer> peers;
  std::vector<NodeId> homes;
  std::vector<std::pair<ByteView, SharedBytes>> held;
  std::function<void()> after_message = [] {};

  void on_peer(const core::Peer& peer, NodeId home) override {
    peers.push_back(peer);
    homes.push_back(home);
  }
  void on_message(ProcessId from, core::Message&& message) override {
    if (const auto* m = std::get_if<core::Goodbye>(&message))
      lines.push_back(std::to_string(from.value) + " says " + m->reason);
    else
      lines.push_back(std::to_string(from.value) + " message " + std::to_string(message.index()));
    after_message();
  }
  void on_call(ProcessId from, const core::CallHeader& header, ByteView payload,
               std::span<const core::RefEntry> refs, const SharedBytes& frame) override {
    lines.push_back(std::to_string(from.value) + " calls " + std::to_string(header.number) + " " +
                    std::string(as_text(payload)) + " " + std::to_string(refs.size()));
    held.emplace_back(payload, frame);
  }
  void on_reply(ProcessId from, const core::ReplyHeader& header, ByteView payload,
                std::span<const core::RefEntry>, const SharedBytes&) override {
    lines.push_back(std::to_string(from.value) + " replies " + std::to_string(header.slot) + " " +
                    std::string(as_text(payload)));
  }
};

struct Party {
  explicit Party(std::uint64_t id, core::Token token = kToken, Station::Options more = {})
      : peer{ProcessId{id}, "ipc:///p" + std::to_string(id)} {
    more.self = peer;
    more.token = token;
    station = std::make_unique<Station>(more);
  }
  core::Peer peer;
  std::unique_ptr<Station> station;
  Diary diary;

  std::vector<OutFrame> flush(TimeNs now = {}) {
    std::vector<OutFrame> out;
    station->flush(now, out);
    return out;
  }
  void take(const SharedBytes& frame, TimeNs now = {}) { station->on_frame(now, frame, diary); }
  void say(const Party& to, const std::string& text) {
    station->send(to.peer.id, core::Goodbye{text});
  }
};

using Lines = std::vector<std::string>;

TEST(Station, CallsRepliesAndMessagesArriveInTheOrderOfSending) {
  Party a(1);
  Party b(2);
  a.station->set_home(NodeId{44});
  a.station->learn(b.peer);
  const std::vector<core::RefEntry> refs = {{{ProcessId{5}, 6, 7}, "ipc:///x", NodeId{}}};
  a.say(b, "one");
  a.station->call(b.peer.id, {.number = 2}, as_bytes("two"), refs);
  a.say(b, "three");
  a.station->reply(b.peer.id, {.slot = 4}, as_bytes("four"), {});
  const auto frames = a.flush();
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_EQ(frames[0].to, b.peer.id);
  b.take(frames[0].frame);
  EXPECT_EQ(b.diary.lines,
            (Lines{"1 says one", "1 calls 2 two 1", "1 says three", "1 replies 4 four"}));
  EXPECT_EQ(b.diary.peers, std::vector{a.peer});   // so that b can answer
  EXPECT_EQ(b.diary.homes, std::vector{NodeId{44}});   // and hears when it is gone
  b.say(a, "back");
  a.take(b.flush().at(0).frame);
  EXPECT_EQ(a.diary.lines, Lines{"2 says back"});
}

TEST(Station, GathersManyCallsInAFrameUpToItsGoal) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  for (std::uint64_t n = 0; n < 10'000; ++n)
    a.station->call(b.peer.id, {.number = n}, as_bytes("12345678"), {});
  const auto frames = a.flush();
  EXPECT_LE(frames.size(), 11u);
  for (const OutFrame& f : frames) {
    EXPECT_LE(f.frame->size(), limits::kFrameBytesGoal + 200);
    b.take(f.frame);
  }
  EXPECT_EQ(b.diary.lines.size(), 10'000u);
  EXPECT_TRUE(a.flush().empty());
}

TEST(Station, BulkyRecordsNeverMakeAFrameTooLong) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  const Bytes bulk(std::size_t{5} << 20);
  for (int i = 0; i < 3; ++i) {
    a.station->call(b.peer.id, {}, as_bytes("small"), {});
    a.station->call(b.peer.id, {}, bulk, {});
  }
  for (const OutFrame& f : a.flush()) {
    EXPECT_LE(f.frame->size(), limits::kFrameBytesMax);
    b.take(f.frame);
  }
  EXPECT_EQ(b.diary.lines.size(), 6u);
}

TEST(Station, AHeldFrameKeepsItsPayload) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.station->call(b.peer.id, {}, as_bytes("still here"), {});
  {
    auto frames = a.flush();
    b.take(frames[0].frame);
  }
  a.station.reset();
  EXPECT_EQ(as_text(b.diary.held[0].first), "still here");
  EXPECT_EQ(b.diary.held[0].second.use_count(), 1);
}

TEST(Station, DropsFramesWithAWrongTokenBeforeAnythingElse) {
  Party a(1, {1, 2});
  Party b(2);
  a.station->learn(b.peer);
  a.say(b, "let me in");
  b.take(a.flush()[0].frame);
  EXPECT_TRUE(b.diary.lines.empty());
  EXPECT_TRUE(b.diary.peers.empty());
  EXPECT_EQ(b.station->stats().dropped_token, 1u);
  EXPECT_FALSE(b.station->knows(a.peer.id));
}

TEST(Station, DropsFramesForAnotherProcess) {
  Party a(1);
  Party b(2);
  Party reborn(3);   // listens where b listened
  a.station->learn(b.peer);
  a.say(b, "are you there");
  reborn.take(a.flush()[0].frame);
  EXPECT_TRUE(reborn.diary.lines.empty());
  EXPECT_EQ(reborn.station->stats().dropped_stranger, 1u);
}

SharedBytes of_version(const SharedBytes& frame, std::uint32_t version) {
  Bytes other = *frame;
  std::memcpy(other.data(), &version, sizeof(version));
  return share(std::move(other));
}

TEST(Station, OfAnotherVersionOnlyHelloAndRefusedAreRead) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.station->send(b.peer.id, core::Hello{.self = a.peer, .version = 99});
  a.say(b, "not for you");
  a.station->send(b.peer.id, core::Refused{{ErrorCode::kUnavailable, "other version"}});
  b.take(of_version(a.flush()[0].frame, 99));
  EXPECT_EQ(b.diary.lines, (Lines{"1 message 0", "1 message 2"}));
  EXPECT_EQ(b.diary.peers, std::vector{a.peer});
  EXPECT_EQ(b.station->stats().dropped_version, 1u);
  b.station->send(a.peer.id, core::Refused{{ErrorCode::kUnavailable, "version 1 here"}});
  a.take(of_version(b.flush().at(0).frame, 1));
  EXPECT_EQ(a.diary.lines, Lines{"2 message 2"});
}

TEST(Station, AGreetingReachesWhoeverListensThere) {
  Party a(1);
  Party b(2);
  const SharedBytes greeting = a.station->greeting({.self = a.peer, .role = core::Role::kClient});
  b.take(greeting);
  b.take(greeting);   // twice does no harm
  EXPECT_EQ(b.diary.lines, (Lines{"1 message 0", "1 message 0"}));
  b.say(a, "welcome");
  a.take(b.flush()[0].frame);
  EXPECT_EQ(a.diary.lines, Lines{"2 says welcome"});
  EXPECT_EQ(a.diary.peers, std::vector{b.peer});
}

TEST(Station, AForgottenPeerIsNeitherHeardNorWrittenTo) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.say(b, "old");
  const auto late = a.flush();
  b.station->learn(a.peer);
  b.say(a, "never sent");
  b.station->forget(a.peer.id);
  b.station->learn(a.peer);   // dead is dead
  b.say(a, "nor this");
  b.take(late[0].frame);
  EXPECT_TRUE(b.flush().empty());
  EXPECT_TRUE(b.diary.lines.empty());
  EXPECT_EQ(b.station->stats().dropped_unsent, 1u);
  EXPECT_EQ(b.station->stats().dropped_stranger, 1u);
  EXPECT_FALSE(b.station->next_deadline().has_value() && !b.station->settled());
  b.station->check_invariants();
}

TEST(Station, AHandlerMayForgetThePeerWhoseFrameIsBeingRead) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.say(b, "one");
  a.say(b, "two");
  b.diary.after_message = [&] { b.station->forget(a.peer.id); };
  b.take(a.flush()[0].frame);
  EXPECT_EQ(b.diary.lines, Lines{"1 says one"});
  b.station->check_invariants();
}

TEST(Station, AHandlerMayAnswerAtOnce) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.say(b, "ping");
  b.diary.after_message = [&] { b.say(a, "pong"); };
  b.take(a.flush()[0].frame);
  const auto answer = b.flush();
  ASSERT_EQ(answer.size(), 1u);   // and it carries the acknowledgement
  a.take(answer[0].frame);
  EXPECT_EQ(a.diary.lines, Lines{"2 says pong"});
  EXPECT_TRUE(a.station->settled());
}

TEST(Station, ARecordThatDoesNotDecodeEndsTheLinkAloud) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.station->call(b.peer.id, {.kind = static_cast<core::CallKind>(9)}, {}, {});
  a.say(b, "after it");
  b.take(a.flush()[0].frame);
  const auto broken = b.station->take_broken();
  ASSERT_EQ(broken.size(), 1u);
  EXPECT_EQ(broken[0].peer, a.peer.id);
  EXPECT_EQ(broken[0].why, "it sent a call of a kind that does not exist");
  EXPECT_TRUE(b.diary.lines.empty());
  a.say(b, "later");
  b.take(a.flush()[0].frame);
  b.say(a, "unsaid");
  EXPECT_TRUE(b.diary.lines.empty());
  EXPECT_TRUE(b.flush().empty());
  EXPECT_TRUE(b.station->take_broken().empty());
}

TEST(Station, ABacklogBeyondItsBoundEndsTheLinkAloud) {
  Party a(1, kToken, {.link = {.frames_unacked_max = 4}, .backlog_bytes_max = 1'000'000});
  Party b(2);
  a.station->learn(b.peer);
  const Bytes bulk(100'000);
  std::vector<OutFrame> out;
  for (int i = 0; i < 8; ++i) {
    a.station->call(b.peer.id, {}, bulk, {});
    a.station->flush({}, out);
  }
  EXPECT_EQ(out.size(), 4u);
  EXPECT_TRUE(a.station->congested(b.peer.id));
  EXPECT_TRUE(a.station->take_broken().empty());
  for (int i = 0; i < 20; ++i) a.station->call(b.peer.id, {}, bulk, {});
  ASSERT_EQ(a.station->take_broken().size(), 1u);
  a.station->check_invariants();
}

TEST(Station, WhatAFullLinkDidNotTakeFollowsWhenItIsAcknowledged) {
  Party a(1, kToken, {.link = {.frames_unacked_max = 2}});
  Party b(2);
  a.station->learn(b.peer);
  Lines wanted;
  for (int i = 0; i < 7; ++i) {
    a.station->call(b.peer.id, {.number = 1}, Bytes(limits::kFrameBytesGoal, std::byte{'x'}), {});
    wanted.push_back("1 calls 1 " + std::string(limits::kFrameBytesGoal, 'x') + " 0");
  }
  TimeNs now{};
  for (int turn = 0; turn < 20 && !a.station->settled(); ++turn) {
    for (const OutFrame& f : a.flush(now)) b.take(f.frame, now);
    now = now + limits::kAckAfter;
    b.station->on_deadline(now);
    for (const OutFrame& f : b.flush(now)) a.take(f.frame, now);
  }
  EXPECT_TRUE(a.station->settled());
  EXPECT_EQ(b.diary.lines, wanted);
}

TEST(Station, DatagramsPassOutsideTheLink) {
  Party a(1);
  Party b(2);
  a.station->learn(b.peer);
  a.say(b, "in the stream");
  const auto stream = a.flush();
  a.station->datagram(b.peer.id, core::Goodbye{"outside"});
  const auto outside = a.flush();
  b.take(outside[0].frame);
  b.take(stream[0].frame);
  b.take(outside[0].frame);
  EXPECT_EQ(b.diary.lines, (Lines{"1 says outside", "1 says in the stream", "1 says outside"}));
}

TEST(Station, ManyPeersAreFoundAndForgotten) {
  Party a(1);
  std::vector<std::unique_ptr<Party>> others;
  for (std::uint64_t id = 10; id < 110; ++id) {
    others.push_back(std::make_unique<Party>(id));
    a.station->learn(others.back()->peer);
  }
  for (int round = 0; round < 3; ++round)
    for (const auto& other : others) a.say(*other, "x");
  EXPECT_EQ(a.flush().size(), 100u);
  for (std::size_t i = 0; i < others.size(); i += 2) a.station->forget(others[i]->peer.id);
  Party fresh(999);
  a.station->learn(fresh.peer);
  for (const auto& other : others) a.say(*other, "y");
  a.say(fresh, "z");
  EXPECT_EQ(a.flush().size(), 51u);
  a.station->check_invariants();
}

TEST(Station, FlippedBitsInFramesNeverCrash) {
  Prng prng(1);
  for (int round = 0; round < 3'000; ++round) {
    Party a(1);
    Party b(2);
    a.station->learn(b.peer);
    a.say(b, "something");
    a.station->send(b.peer.id, core::Hello{.self = a.peer});
    a.station->call(b.peer.id, {}, as_bytes("payload"), {});
    Bytes bytes = *a.flush()[0].frame;
    for (std::uint64_t flips = 1 + prng.below(4); flips > 0; --flips)
      bytes[prng.below(bytes.size())] ^= static_cast<std::byte>(1u << prng.below(8));
    if (prng.one_in(4)) bytes.resize(prng.below(bytes.size() + 1));
    b.take(share(std::move(bytes)));
    b.station->check_invariants();
    b.flush();
  }
}

// Three parties over a post that loses, doubles and reorders: per pair, everything arrives once and
// in order.
class BadPost {
 public:
  explicit BadPost(std::uint64_t seed) : prng_(seed) {
    for (std::uint64_t id = 1; id <= 3; ++id) parties_.push_back(std::make_unique<Party>(id));
    for (const auto& from : parties_)
      for (const auto& to : parties_)
        if (from != to) from->station->learn(to->peer);
  }

  void run(int rounds) {
    for (int round = 0; round < rounds || !settled(); ++round) {
      ASSERT_LT(now_.ns, seconds(1'000).ns);
      if (round < rounds) talk();
      carry();
    }
    for (const auto& to : parties_) {
      std::map<std::string, std::vector<std::string>> by_sender;
      for (const std::string& line : to->diary.lines)
        by_sender[line.substr(0, 1)].push_back(line);
      ASSERT_EQ(by_sender, wanted_[to->peer.id]);
      to->station->check_invariants();
    }
  }

 private:
  void talk() {
    Party& from = *parties_[prng_.below(3)];
    Party& to = *parties_[prng_.below(3)];
    if (from.peer == to.peer) return;
    const std::string me = std::to_string(from.peer.id.value);
    auto& wanted = wanted_[to.peer.id][me];
    for (std::uint64_t n = prng_.below(4); n > 0; --n) {
      const std::string text = std::to_string(++number_);
      if (prng_.one_in(2)) {
        from.say(to, text);
        wanted.push_back(me + " says " + text);
      } else {
        from.station->call(to.peer.id, {.number = number_}, as_bytes(text), {});
        wanted.push_back(me + " calls " + text + " " + text + " 0");
      }
    }
  }

  void carry() {
    now_ = now_ + microseconds(prng_.between(1, 30'000));
    for (const auto& party : parties_) {
      party->station->on_deadline(now_);
      for (const OutFrame& f : party->flush(now_))
        for (int copies = prng_.percent(20) ? 2 : 1; copies > 0; --copies)
          if (!prng_.percent(25))
            air_.emplace(now_ + microseconds(prng_.between(0, 50'000)), f);
    }
    while (!air_.empty() && air_.begin()->first <= now_) {
      const OutFrame f = air_.begin()->second;
      air_.erase(air_.begin());
      parties_[f.to.value - 1]->take(f.frame, now_);
    }
  }

  bool settled() {
    for (const auto& party : parties_)
      if (!party->station->settled()) return false;
    return true;
  }

  Prng prng_;
  TimeNs now_{};
  std::uint64_t number_ = 0;
  std::vector<std::unique_ptr<Party>> parties_;
  std::multimap<TimeNs, OutFrame> air_;
  std::map<ProcessId, std::map<std::string, std::vector<std::string>>> wanted_;
};

TEST(Station, EverythingArrivesOnceAndInOrderOverABadPost) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    BadPost(seed).run(400);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace rondo::wire
