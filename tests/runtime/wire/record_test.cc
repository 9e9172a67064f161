#include <cstring>

#include <gtest/gtest.h>

#include <rondo/wire/codec.h>
#include <rondo/wire/record.h>

#include "random_message.h"

namespace rondo::wire {
namespace {

using Next = RecordReader::Next;

Bytes payload(std::size_t size) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 7);
  return bytes;
}

Bytes mixture(Prng& prng, int records) {
  Bytes out;
  RecordWriter writer(out);
  for (int i = 0; i < records; ++i) {
    std::vector<core::RefEntry> refs(prng.one_in(3) ? prng.below(4) : 0);
    for (core::RefEntry& ref : refs) test::fill(prng, ref);
    const Bytes bytes = test::random_bytes(prng, 100);
    switch (prng.below(4)) {
      case 0: writer.call({.number = prng.next()}, bytes, refs); break;
      case 1: writer.reply({.slot = static_cast<std::uint32_t>(prng.next())}, bytes, refs); break;
      case 2: writer.control(test::random_message(prng, prng.below(test::kMessageKinds))); break;
      case 3:
        writer.introduction(test::random_text(prng, limits::kAddressBytesMax), NodeId{prng.next()});
        break;
    }
  }
  return out;
}

TEST(Record, CallsRepliesAndControlComeBackInOrder) {
  Bytes out;
  RecordWriter writer(out);
  const std::vector<core::RefEntry> refs = {
      {{ProcessId{5}, 6, 7}, "ipc:///tmp/a", NodeId{8}},
      {{ProcessId{9}, 1, 2}, "", NodeId{}},
      {{ProcessId{3}, 4, 5}, std::string(limits::kAddressBytesMax, 'x'), NodeId{1}}};
  writer.introduction("ipc:///run/p", NodeId{77});
  writer.call({.kind = core::CallKind::kActor, .slot = 3, .number = 11, .caller = 2}, payload(13),
              refs);
  writer.reply({.status = core::ReplyStatus::kFailed, .slot = 4}, payload(0), {});
  writer.control(core::WaitBegin{LeaseId{77}});

  RecordReader reader(out);
  ASSERT_EQ(reader.next(), Next::kIntroduction);
  EXPECT_EQ(as_text(reader.payload()), "ipc:///run/p");
  EXPECT_EQ(reader.home(), NodeId{77});
  ASSERT_EQ(reader.next(), Next::kCall);
  EXPECT_EQ(reader.call().kind, core::CallKind::kActor);
  EXPECT_EQ(reader.call().slot, 3u);
  EXPECT_EQ(reader.call().number, 11u);
  EXPECT_EQ(reader.call().caller, 2u);
  EXPECT_EQ(to_bytes(reader.payload()), payload(13));
  EXPECT_EQ(std::vector(reader.refs().begin(), reader.refs().end()), refs);
  ASSERT_EQ(reader.next(), Next::kReply);
  EXPECT_EQ(reader.reply().status, core::ReplyStatus::kFailed);
  EXPECT_TRUE(reader.payload().empty());
  EXPECT_TRUE(reader.refs().empty());
  ASSERT_EQ(reader.next(), Next::kControl);
  EXPECT_EQ(std::get<core::WaitBegin>(decode(reader.payload()).value()).lease, LeaseId{77});
  EXPECT_EQ(reader.next(), Next::kEnd);
  EXPECT_EQ(reader.next(), Next::kEnd);
}

TEST(Record, PayloadsLieAlignedInAnAlignedFrame) {
  Bytes out;
  RecordWriter writer(out);
  for (std::size_t size = 0; size < 20; ++size) writer.call({}, payload(size), {});
  RecordReader reader(out);
  for (std::size_t size = 0; size < 20; ++size) {
    ASSERT_EQ(reader.next(), Next::kCall);
    EXPECT_EQ(reader.payload().size(), size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(reader.payload().data()) % 8, 0u);
  }
}

TEST(Record, ReadsAFrameThatIsNotAligned) {
  Prng prng(1);
  const Bytes out = mixture(prng, 40);
  Bytes shifted(out.size() + 1);
  std::memcpy(shifted.data() + 1, out.data(), out.size());
  RecordReader reader(ByteView(shifted).subspan(1));
  int records = 0;
  for (Next next = reader.next(); next != Next::kEnd; next = reader.next(), ++records) {
    ASSERT_NE(next, Next::kBad) << reader.why();
    if (next == Next::kControl) {
      EXPECT_TRUE(decode(reader.payload()).ok());
    }
  }
  EXPECT_EQ(records, 40);
}

TEST(Record, TheAnnouncedLengthIsAtLeastTheRealOne) {
  Prng prng(2);
  for (int i = 0; i < 100; ++i) {
    std::vector<core::RefEntry> refs(prng.below(5));
    for (core::RefEntry& ref : refs) test::fill(prng, ref);
    const Bytes bytes = test::random_bytes(prng, 300);
    Bytes out;
    RecordWriter(out).call({}, bytes, refs);
    EXPECT_EQ(out.size(), record_bytes(bytes.size(), refs));
  }
}

TEST(Record, EveryTruncationIsBadAndStaysBad) {
  Bytes out;
  const std::vector<core::RefEntry> refs = {{{ProcessId{5}, 6, 7}, "ipc:///tmp/a", NodeId{8}}};
  RecordWriter(out).call({}, payload(21), refs);
  for (std::size_t size = 1; size < out.size(); ++size) {
    RecordReader reader(ByteView(out).first(size));
    EXPECT_EQ(reader.next(), Next::kBad);
    EXPECT_FALSE(reader.why().empty());
    EXPECT_EQ(reader.next(), Next::kBad);
  }
}

TEST(Record, FlippedBitsNeverReadOutside) {
  Prng prng(3);
  std::size_t bad = 0;
  for (int round = 0; round < 5'000; ++round) {
    Bytes out = mixture(prng, 4);
    for (std::uint64_t flips = 1 + prng.below(6); flips > 0; --flips)
      out[prng.below(out.size())] ^= static_cast<std::byte>(1u << prng.below(8));
    out.resize(out.size() - prng.below(9));
    out.shrink_to_fit();
    RecordReader reader(out);
    std::uint64_t sum = 0;   // touch every byte of every view
    while (true) {
      const Next next = reader.next();
      if (next == Next::kEnd) break;
      if (next == Next::kBad) {
        ++bad;
        break;
      }
      for (const std::byte b : reader.payload()) sum += static_cast<std::uint64_t>(b);
      for (const core::RefEntry& ref : reader.refs()) sum += ref.owner.size();
      if (next == Next::kControl) (void)decode(reader.payload()).ok();
    }
    EXPECT_LT(sum, UINT64_MAX);
  }
  EXPECT_GT(bad, 1'000u);
}

TEST(Record, RefusesKindsAndStatesThatDoNotExist) {
  Bytes out;
  RecordWriter(out).call({.kind = static_cast<core::CallKind>(9)}, {}, {});
  EXPECT_EQ(RecordReader(out).next(), Next::kBad);
  out.clear();
  RecordWriter(out).reply({.status = static_cast<core::ReplyStatus>(9)}, {}, {});
  EXPECT_EQ(RecordReader(out).next(), Next::kBad);
  out.assign(16, std::byte{});
  out[0] = std::byte{16};
  out[4] = std::byte{200};
  EXPECT_EQ(RecordReader(out).next(), Next::kBad);
}

}  // namespace
}  // namespace rondo::wire
