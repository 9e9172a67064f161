#include <cstring>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include <rondo/base/prng.h>
#include <rondo/core/link.h>

namespace rondo::core {
namespace {

constexpr ProcessId kA{11};
constexpr ProcessId kB{22};

Bytes letter(std::uint64_t number, std::size_t bytes = 8) {
  Bytes frame(kFrameHeadBytes + std::max<std::size_t>(8, bytes));
  std::memcpy(frame.data() + kFrameHeadBytes, &number, sizeof(number));
  return frame;
}

std::uint64_t number_of(const SharedBytes& frame) {
  std::uint64_t number = 0;
  std::memcpy(&number, frame->data() + kFrameHeadBytes, sizeof(number));
  return number;
}

struct Desk {                        // a link and what it delivered
  Link link;
  std::vector<SharedBytes> in = {};
  std::vector<SharedBytes> out = {};

  void take(TimeNs now, const SharedBytes& frame) {
    const auto head = read_head(*frame);
    ASSERT_TRUE(head.has_value());
    link.on_frame(now, *head, frame, in, out);
  }
};

TEST(Link, DeliversInOrderAndOnce) {
  Desk a{Link(kA, kB, {})};
  Desk b{Link(kB, kA, {})};
  for (std::uint64_t n = 1; n <= 3; ++n) a.link.send(TimeNs{0}, letter(n), a.out);
  b.take(TimeNs{1}, a.out[2]);
  b.take(TimeNs{1}, a.out[1]);
  EXPECT_TRUE(b.in.empty());
  b.take(TimeNs{1}, a.out[0]);
  b.take(TimeNs{1}, a.out[1]);
  ASSERT_EQ(b.in.size(), 3u);
  for (std::uint64_t n = 1; n <= 3; ++n) EXPECT_EQ(number_of(b.in[n - 1]), n);
  EXPECT_EQ(b.link.duplicates(), 1u);
}

TEST(Link, AFrameIsSharedNotCopiedOnItsWay) {
  Desk a{Link(kA, kB, {})};
  Bytes frame = letter(1);
  const std::byte* where = frame.data();
  a.link.send(TimeNs{0}, std::move(frame), a.out);
  EXPECT_EQ(a.out[0]->data(), where);
}

TEST(Link, AcknowledgesInWhateverGoesBack) {
  Desk a{Link(kA, kB, {})};
  Desk b{Link(kB, kA, {})};
  a.link.send(TimeNs{0}, letter(1), a.out);
  b.take(TimeNs{1}, a.out[0]);
  b.link.send(TimeNs{2}, letter(9), b.out);
  a.take(TimeNs{3}, b.out[0]);
  EXPECT_EQ(a.link.unacked(), 0u);
  EXPECT_FALSE(a.link.next_deadline().has_value() && a.link.unacked() > 0);
  b.out.clear();
  b.link.on_deadline(TimeNs{} + limits::kAckAfter * 3, b.out);
  EXPECT_TRUE(b.out.empty());   // nothing more is owed
}

TEST(Link, AcknowledgesByItselfWhenNothingGoesBack) {
  Desk a{Link(kA, kB, {})};
  Desk b{Link(kB, kA, {})};
  a.link.send(TimeNs{0}, letter(1), a.out);
  b.take(TimeNs{0}, a.out[0]);
  ASSERT_EQ(b.link.next_deadline(), TimeNs{} + limits::kAckAfter);
  b.link.on_deadline(TimeNs{1}, b.out);
  EXPECT_TRUE(b.out.empty());
  b.link.on_deadline(TimeNs{} + limits::kAckAfter, b.out);
  ASSERT_EQ(b.out.size(), 1u);
  a.take(TimeNs{} + limits::kAckAfter, b.out[0]);
  EXPECT_TRUE(a.in.empty());    // an acknowledgement delivers nothing
  EXPECT_EQ(a.link.unacked(), 0u);
  EXPECT_FALSE(a.link.next_deadline().has_value());
  EXPECT_FALSE(b.link.next_deadline().has_value());
}

TEST(Link, AcknowledgesAtOnceAfterManyFrames) {
  Desk a{Link(kA, kB, {})};
  Desk b{Link(kB, kA, {})};
  for (std::uint64_t n = 1; n <= Link::Options{}.frames_per_ack; ++n)
    a.link.send(TimeNs{0}, letter(n), a.out);
  for (const SharedBytes& frame : a.out) b.take(TimeNs{5}, frame);
  EXPECT_EQ(b.link.next_deadline(), TimeNs{5});
}

TEST(Link, SendsAgainWithDoublingUpToItsMaximum) {
  Desk a{Link(kA, kB, {})};
  a.link.send(TimeNs{0}, letter(1), a.out);
  a.out.clear();
  TimeNs last{0};
  DurationNs wait = limits::kResendAfter;
  for (int i = 0; i < 8; ++i) {
    const auto due = a.link.next_deadline();
    ASSERT_EQ(due, last + wait);
    a.link.on_deadline(*due - DurationNs{1}, a.out);
    EXPECT_TRUE(a.out.empty());
    a.link.on_deadline(*due, a.out);
    ASSERT_EQ(a.out.size(), 1u);
    EXPECT_EQ(number_of(a.out[0]), 1u);
    a.out.clear();
    last = *due;
    wait = std::min(wait * 2, limits::kResendAfterMax);
  }
  EXPECT_EQ(wait, limits::kResendAfterMax);
}

TEST(Link, ASilenceOverManyFramesIsMadeUpForInBursts) {
  Link::Options options;
  options.resend_frames = 10;
  Desk a{Link(kA, kB, {}, options)};
  Desk b{Link(kB, kA, {})};
  for (std::uint64_t n = 1; n <= 100; ++n) a.link.send(TimeNs{0}, letter(n), a.out);
  a.out.clear();   // all lost
  TimeNs now = *a.link.next_deadline();
  a.link.on_deadline(now, a.out);
  EXPECT_EQ(a.out.size(), 10u);
  int turns = 0;
  while (b.in.size() < 100 && turns < 20) {
    ++turns;
    for (const SharedBytes& frame : std::exchange(a.out, {})) b.take(now, frame);
    now = now + limits::kAckAfter;
    b.link.on_deadline(now, b.out);
    for (const SharedBytes& frame : std::exchange(b.out, {})) a.take(now, frame);
  }
  EXPECT_EQ(b.in.size(), 100u);
  EXPECT_LE(turns, 11);         // a burst an acknowledgement, not a burst a deadline
  EXPECT_EQ(b.link.duplicates(), 0u);
}

TEST(Link, FullIsAnAnswer) {
  Link::Options options;
  options.frames_unacked_max = 4;
  Desk a{Link(kA, kB, {}, options)};
  Desk b{Link(kB, kA, {})};
  for (std::uint64_t n = 1; n <= 4; ++n) {
    EXPECT_FALSE(a.link.full());
    a.link.send(TimeNs{0}, letter(n), a.out);
  }
  EXPECT_TRUE(a.link.full());
  EXPECT_DEATH(a.link.send(TimeNs{0}, letter(5), a.out), "full");
  b.take(TimeNs{0}, a.out[0]);
  b.link.send(TimeNs{0}, letter(1), b.out);
  a.take(TimeNs{0}, b.out[0]);
  EXPECT_FALSE(a.link.full());
  EXPECT_EQ(a.link.unacked(), 3u);
}

TEST(Link, BytesInFlightAreBoundedToo) {
  Link::Options options;
  options.bytes_unacked_max = 1'000;
  Desk a{Link(kA, kB, {}, options)};
  a.link.send(TimeNs{0}, letter(1, 5'000), a.out);   // one frame always goes
  EXPECT_TRUE(a.link.full());
}

TEST(Link, FramesFarAheadAreNotKept) {
  Link::Options options;
  options.frames_ahead_max = 8;
  Desk a{Link(kA, kB, {})};
  Desk b{Link(kB, kA, {}, options)};
  for (std::uint64_t n = 1; n <= 30; ++n) a.link.send(TimeNs{0}, letter(n), a.out);
  for (std::size_t i = 1; i < 30; ++i) b.take(TimeNs{0}, a.out[i]);
  b.link.check_invariants();
  b.take(TimeNs{0}, a.out[0]);
  EXPECT_EQ(b.in.size(), 8u);   // 1, and 2 to 8; the rest comes again
}

TEST(Link, AnAcknowledgementOfFramesNeverSentIsIgnored) {
  Desk a{Link(kA, kB, {})};
  a.link.send(TimeNs{0}, letter(1), a.out);
  FrameHead head;
  head.ack = 1'000;
  Bytes frame(kFrameHeadBytes);
  write_head(head, frame);
  a.take(TimeNs{0}, share(std::move(frame)));
  EXPECT_EQ(a.link.unacked(), 1u);
  a.link.check_invariants();
}

TEST(Link, DatagramsGoOutsideTheStream) {
  Desk a{Link(kA, kB, {})};
  Desk b{Link(kB, kA, {})};
  a.link.send(TimeNs{0}, letter(1), a.out);
  const SharedBytes datagram = a.link.datagram(letter(77));
  b.take(TimeNs{0}, datagram);
  b.take(TimeNs{0}, datagram);
  ASSERT_EQ(b.in.size(), 2u);   // at once, as often as it comes, before its turn
  EXPECT_EQ(number_of(b.in[0]), 77u);
  EXPECT_EQ(a.link.unacked(), 1u);
}

TEST(Link, HeadsThatCannotBeAreRefused) {
  EXPECT_FALSE(read_head(Bytes(kFrameHeadBytes - 1)).has_value());
  EXPECT_FALSE(read_head(Bytes(kFrameHeadBytes)).has_value());   // no magic
  Bytes frame = letter(1);
  write_head({}, frame);
  EXPECT_TRUE(read_head(frame).has_value());
  frame.push_back({});
  EXPECT_FALSE(read_head(frame).has_value());                    // longer than it says
}

// Two desks and a post that loses, doubles, delays and reorders.
class Post {
 public:
  Post(std::uint64_t seed, std::uint64_t loss, std::uint64_t doubles)
      : prng_(seed), loss_(loss), doubles_(doubles) {}

  void run(std::uint64_t letters) {
    std::uint64_t sent_a = 0;
    std::uint64_t sent_b = 0;
    while (b_.in.size() < letters || a_.in.size() < letters) {
      ASSERT_LT(now_.ns, seconds(3'600).ns) << a_.in.size() << " and " << b_.in.size();
      for (int i = 0; i < 3; ++i) {
        if (sent_a < letters && !a_.link.full() && prng_.one_in(2))
          a_.link.send(now_, letter(++sent_a), a_.out);
        if (sent_b < letters && !b_.link.full() && prng_.one_in(3))
          b_.link.send(now_, letter(++sent_b), b_.out);
      }
      carry(a_, true);
      carry(b_, false);
      step();
      a_.link.check_invariants();
      b_.link.check_invariants();
    }
    for (std::uint64_t n = 1; n <= letters; ++n) {
      ASSERT_EQ(number_of(a_.in[n - 1]), n);
      ASSERT_EQ(number_of(b_.in[n - 1]), n);
    }
    ASSERT_EQ(a_.in.size(), letters);
    ASSERT_EQ(b_.in.size(), letters);
  }
  [[nodiscard]] std::uint64_t resent() const { return a_.link.resent() + b_.link.resent(); }
  [[nodiscard]] TimeNs now() const { return now_; }

 private:
  struct Flight {
    bool to_b = false;
    SharedBytes frame;
  };

  void carry(Desk& from, bool to_b) {
    for (const SharedBytes& frame : std::exchange(from.out, {}))
      for (int copies = prng_.percent(doubles_) ? 2 : 1; copies > 0; --copies) {
        if (prng_.percent(loss_)) continue;
        const DurationNs delay = microseconds(prng_.between(10, prng_.one_in(10) ? 300'000 : 900));
        air_.emplace(now_ + delay, Flight{to_b, frame});
      }
  }

  void step() {
    TimeNs next = now_ + milliseconds(1);
    if (!air_.empty()) next = std::min(next, air_.begin()->first);
    now_ = std::max(now_, next);
    while (!air_.empty() && air_.begin()->first <= now_) {
      const Flight flight = air_.begin()->second;
      air_.erase(air_.begin());
      (flight.to_b ? b_ : a_).take(now_, flight.frame);
    }
    a_.link.on_deadline(now_, a_.out);
    b_.link.on_deadline(now_, b_.out);
  }

  static Link::Options narrow() {
    Link::Options options;
    options.frames_unacked_max = 200;
    options.frames_ahead_max = 50;
    return options;
  }

  Prng prng_;
  std::uint64_t loss_;
  std::uint64_t doubles_;
  TimeNs now_{0};
  Desk a_{Link(kA, kB, {}, narrow())};
  Desk b_{Link(kB, kA, {}, narrow())};
  std::multimap<TimeNs, Flight> air_;
};

TEST(Link, DeliversExactlyOnceInOrderOverABadPost) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Post post(seed, seed % 31, seed % 50);
    post.run(600);
    if (HasFatalFailure()) return;
  }
}

TEST(Link, IsTheSameForTheSameSeed) {
  Post one(7, 20, 20);
  Post two(7, 20, 20);
  one.run(500);
  two.run(500);
  EXPECT_EQ(one.now(), two.now());
  EXPECT_EQ(one.resent(), two.resent());
  EXPECT_GT(one.resent(), 0u);
}

}  // namespace
}  // namespace rondo::core
