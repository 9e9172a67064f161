#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <thread>
#include <vector>

#include <rondo/base/prng.h>
#include <rondo/store/hold_table.h>

#include "child_process.h"

namespace rondo::store {
namespace {

struct Holds {
  std::shared_ptr<GenerationBoard> board = GenerationBoard::create().value();
  HoldScanner scanner;
  std::shared_ptr<HoldTable> table = add(ProcessId{1});

  std::shared_ptr<HoldTable> add(ProcessId process) {
    const int fd = scanner.add(process).value();
    return std::make_shared<HoldTable>(HoldPage::attach(::getpid(), fd).value(), board);
  }
};

TEST(HoldTable, NamesAnExtentUntilTheLastRelease) {
  Holds holds;
  ASSERT_TRUE(holds.table->hold(5, 3).ok());
  ASSERT_TRUE(holds.table->hold(5, 3).ok());
  EXPECT_TRUE(holds.scanner.held(5, 3));
  EXPECT_FALSE(holds.scanner.held(5, 2));
  holds.table->release(5, 3);
  EXPECT_TRUE(holds.scanner.held(5, 3));
  holds.table->release(5, 3);
  EXPECT_FALSE(holds.scanner.held(5, 3));
}

TEST(HoldTable, RefusesARetiredGenerationForEver) {
  Holds holds;
  holds.board->retire(5, 3);
  EXPECT_EQ(holds.table->hold(5, 3).error().code(), ErrorCode::kObjectLost);
  EXPECT_EQ(holds.table->hold(5, 2).error().code(), ErrorCode::kObjectLost);
  EXPECT_TRUE(holds.table->hold(5, 4).ok());
  EXPECT_EQ(holds.table->hold(kExtentsMax, 1).error().code(), ErrorCode::kObjectLost);
  holds.board->retire(5, 2);  // late and of no effect
  EXPECT_EQ(holds.table->hold(5, 3).error().code(), ErrorCode::kObjectLost);
}

TEST(HoldTable, FullIsAnAnswerAndSlotsComeBack) {
  Holds holds;
  for (std::uint32_t extent = 0; extent < HoldPage::kSlots; ++extent)
    ASSERT_TRUE(holds.table->hold(extent, 1).ok());
  EXPECT_EQ(holds.table->hold(HoldPage::kSlots, 1).error().code(), ErrorCode::kOverloaded);
  EXPECT_TRUE(holds.table->hold(0, 1).ok());  // held already: needs no slot
  EXPECT_EQ(holds.scanner.held_keys().size(), HoldPage::kSlots);
  holds.table->release(77, 1);
  EXPECT_TRUE(holds.table->hold(HoldPage::kSlots, 1).ok());
  EXPECT_TRUE(holds.scanner.held(HoldPage::kSlots, 1));
  EXPECT_FALSE(holds.scanner.held(77, 1));
}

TEST(HoldTable, DeadProcessHoldsNothing) {
  Holds holds;
  const auto other = holds.add(ProcessId{2});
  ASSERT_TRUE(other->hold(1, 1).ok());
  ASSERT_TRUE(holds.table->hold(2, 1).ok());
  EXPECT_EQ(holds.scanner.held_keys().size(), 2U);
  EXPECT_EQ(holds.scanner.holders(1, 1, {}), 1U);
  EXPECT_EQ(holds.scanner.holders(1, 1, ProcessId{2}), 0U);
  EXPECT_EQ(holds.scanner.holders(1, 2, {}), 0U);
  holds.scanner.remove(ProcessId{2});
  EXPECT_EQ(holds.scanner.held_keys(), std::vector{HoldPage::key(2, 1)});
}

TEST(HoldTable, ForkedCopyDoesNotLetGoForItsParent) {
  Holds holds;
  ASSERT_TRUE(holds.table->hold(1, 1).ok());
  in_child_process([&] {
    holds.table->release(1, 1);
    return 0;
  });
  EXPECT_TRUE(holds.scanner.held(1, 1));
}

// Readers hold, check and read while the node retires, looks, and writes over what nobody holds.
// What they share is two words an extent: a reader that was not seen finds another generation in
// them. They are atomic because TSan cannot follow an order that goes through two maps of one page.
TEST(HoldTable, NodeNeverReusesWhatAReaderReads) {
  constexpr std::uint32_t kExtents = 4;
  constexpr int kRounds = 2'000;
  Holds holds;
  std::atomic<std::uint32_t> current[kExtents];
  std::atomic<std::uint64_t> memory[kExtents][2];
  for (auto& generation : current) generation = 1;
  for (auto& words : memory) words[0] = words[1] = 1;
  std::atomic<bool> ended{false};
  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> wrong{0};
  const auto second = holds.add(ProcessId{2});
  const auto read = [&](HoldTable& table, std::uint64_t seed) {
    Prng random(seed);
    while (!ended.load(std::memory_order_relaxed)) {
      const auto extent = static_cast<std::uint32_t>(random.below(kExtents));
      const std::uint32_t generation = current[extent].load(std::memory_order_acquire);
      if (!table.hold(extent, generation)) continue;
      for (const auto& word : memory[extent])
        if (word.load(std::memory_order_relaxed) != generation) ++wrong;
      table.release(extent, generation);
      ++reads;
    }
  };
  std::vector<std::thread> readers;
  readers.emplace_back([&] { read(*holds.table, 1); });
  readers.emplace_back([&] { read(*holds.table, 2); });
  readers.emplace_back([&] { read(*second, 3); });
  std::uint64_t reused = 0;
  Prng random(4);
  for (int round = 0; round < kRounds || reads < 1'000 || reused < 1'000; ++round) {
    const auto extent = static_cast<std::uint32_t>(random.below(kExtents));
    const std::uint32_t generation = current[extent].load(std::memory_order_relaxed);
    holds.board->retire(extent, generation);
    while (holds.scanner.held(extent, generation)) std::this_thread::yield();
    for (auto& word : memory[extent]) word.store(generation + 1, std::memory_order_relaxed);
    current[extent].store(generation + 1, std::memory_order_release);
    ++reused;
    if (round % 64 == 0) std::this_thread::yield();
  }
  ended = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0U);
}

}  // namespace
}  // namespace rondo::store
