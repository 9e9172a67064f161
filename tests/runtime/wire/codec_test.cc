#include <cstring>

#include <gtest/gtest.h>

#include <rondo/wire/codec.h>

#include "random_message.h"

namespace rondo::wire {
namespace {

using test::kMessageKinds;
using test::random_message;

TEST(Codec, EveryMessageWithRandomContentsComesBackTheSame) {
  Prng prng(1);
  for (std::size_t kind = 0; kind < kMessageKinds; ++kind)
    for (int round = 0; round < 50; ++round) {
      const core::Message message = random_message(prng, kind);
      const Bytes bytes = encode(message);
      EXPECT_EQ(bytes.size() % 8, 0u);
      const Result<core::Message> back = decode(bytes);
      ASSERT_TRUE(back.ok()) << "kind " << kind << ": " << back.error().what();
      ASSERT_TRUE(test::same(message, back.value())) << "kind " << kind << " round " << round;
    }
}

TEST(Codec, TheComparisonOfThisTestSeesADifference) {
  core::Message a = core::LeaseRequest{.hops = 1};
  core::Message b = core::LeaseRequest{.hops = 2};
  EXPECT_FALSE(test::same(a, b));
  EXPECT_FALSE(test::same(core::Message(core::WaitBegin{}), core::Message(core::WaitEnd{})));
}

TEST(Codec, ReadsBytesThatAreNotAligned) {
  Prng prng(2);
  for (std::size_t shift = 1; shift < 8; ++shift) {
    const core::Message message = random_message(prng, 4);
    const Bytes bytes = encode(message);
    Bytes shifted(shift);
    shifted.insert(shifted.end(), bytes.begin(), bytes.end());
    const auto back = decode(ByteView(shifted).subspan(shift, bytes.size()));
    ASSERT_TRUE(back.ok());
    EXPECT_TRUE(test::same(message, back.value()));
  }
}

TEST(Codec, AppendsBehindWhatIsThere) {
  Bytes out(64, std::byte{7});
  encode(core::KillActor{{ProcessId{3}, 9}}, out);
  EXPECT_EQ(out[63], std::byte{7});
  const auto back = decode(ByteView(out).subspan(64));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(std::get<core::KillActor>(back.value()).actor, (ActorId{ProcessId{3}, 9}));
}

TEST(Codec, TruncatedMessagesAreErrorsNotCrashes) {
  Prng prng(3);
  for (std::size_t kind = 0; kind < kMessageKinds; ++kind) {
    const Bytes bytes = encode(random_message(prng, kind));
    for (std::size_t size = 0; size < bytes.size(); size += 1 + prng.below(64)) {
      const Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      (void)decode(cut).ok();   // whole prefixes of trailing data may still be messages
    }
    EXPECT_FALSE(decode(ByteView(bytes).first(0)).ok());
    EXPECT_FALSE(decode(ByteView(bytes).first(8)).ok());
  }
}

TEST(Codec, FlippedBitsAreErrorsOrOtherMessagesNotCrashes) {
  Prng prng(4);
  std::size_t refused = 0;
  std::size_t total = 0;
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes = encode(random_message(prng, prng.below(kMessageKinds)));
    for (std::uint64_t flips = 1 + prng.below(8); flips > 0; --flips) {
      // Half of them near the front, where the pointers are.
      const std::size_t front = std::min<std::size_t>(bytes.size(), 96);
      std::byte& hit = bytes[prng.below(prng.one_in(2) ? front : bytes.size())];
      hit ^= static_cast<std::byte>(1u << prng.below(8));
    }
    const auto back = decode(bytes);
    if (back.ok()) {
      (void)encoded_bytes(back.value());   // whatever decodes is within every limit of the sender
    } else {
      ++refused;
      EXPECT_EQ(back.error().code(), ErrorCode::kInvalid);
    }
    ++total;
  }
  EXPECT_GT(refused, total / 10);
}

TEST(Codec, RandomBytesAreErrorsNotCrashes) {
  Prng prng(5);
  for (int round = 0; round < 20'000; ++round) {
    Bytes bytes(8 * (1 + prng.below(64)));
    for (std::byte& b : bytes)
      b = static_cast<std::byte>(prng.one_in(3) ? prng.below(256) : prng.below(3));
    (void)decode(bytes).ok();
  }
}

TEST(Codec, CutsSentencesAtTheirLimitAndNotInsideACharacter) {
  std::string cause;
  while (cause.size() < 2 * limits::kErrorBytesMax) cause += "é";
  const auto back = decode(encode(core::Goodbye{cause}));
  ASSERT_TRUE(back.ok());
  const std::string& cut = std::get<core::Goodbye>(back.value()).reason;
  EXPECT_LE(cut.size(), limits::kErrorBytesMax);
  EXPECT_TRUE(cut.ends_with("é..."));
}

// Inspect and EndJob have the same shape and other limits: what no sender of ours would write is
// smuggled in by changing the union's number (behind the segment table and the root pointer).
TEST(Codec, RefusesATextLongerThanItsLimit) {
  const auto union_number = [](Bytes& bytes) {
    std::uint32_t more_segments = 0;
    std::memcpy(&more_segments, bytes.data(), sizeof(more_segments));
    return bytes.data() + (more_segments + 3) / 2 * 8 + 8;
  };
  const auto as_end_job = [&](std::size_t size) {
    Bytes bytes = encode(core::Inspect{RequestId{5}, std::string(size, 'n')});
    Bytes end_job = encode(core::EndJob{JobId{5}, "n"});
    std::memcpy(union_number(bytes), union_number(end_job), 8);
    return bytes;
  };
  const auto short_enough = decode(as_end_job(limits::kErrorBytesMax));
  ASSERT_TRUE(short_enough.ok());
  EXPECT_EQ(std::get<core::EndJob>(short_enough.value()).cause.size(), limits::kErrorBytesMax);
  const auto too_long = decode(as_end_job(limits::kErrorBytesMax + 1));
  ASSERT_FALSE(too_long.ok());
  EXPECT_STREQ(too_long.error().what(), "a message with a text longer than its limit");
}

TEST(CodecDeathTest, ANameBeyondItsLimitIsABugOfTheSender) {
  EXPECT_DEATH((void)encode(core::WatchActor{.name = std::string(limits::kNameBytesMax + 1, 'n')}),
               "bytes_max");
}

TEST(CodecDeathTest, AMessageBeyondItsLimitIsABugOfTheSender) {
  const core::Message big = core::Inspect{.what = std::string(limits::kControlBytesMax, 'n')};
  EXPECT_GT(encoded_bytes(big), message_bytes_max(big));
  EXPECT_DEATH((void)encode(big), "message_bytes_max");
}

TEST(Codec, AChunkOfFullSizeFits) {
  const core::Message chunk = core::Chunk{.total = 7, .bytes = Bytes(limits::kChunkBytes)};
  const auto back = decode(encode(chunk));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(std::get<core::Chunk>(back.value()).bytes.size(), limits::kChunkBytes);
}

}  // namespace
}  // namespace rondo::wire
