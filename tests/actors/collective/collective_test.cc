#include <rondo/actors/collective/collective.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <latch>
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "ranks.h"

// What holds for every way to carry a collective; the ways are the parameter.

namespace rondo::collective {
namespace {

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  if (a.size() != b.size()) return false;
  return a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

// 17 and 1000 floats are no whole cache lines, 5000 no whole pieces of the ring, 70,001 no whole
// pieces of shared memory.
const std::vector<std::size_t> kCounts = {0, 1, 15, 16, 17, 1000, 5000, 70'001};

class CollectiveTest : public testing::TestWithParam<std::string> {
 protected:
  static Group group(const GroupSpec& spec) { return group_of(GetParam(), spec); }
  static void each(Group& group, const std::function<void(int, Collective&)>& body) {
    on_threads(static_cast<int>(group.size()),
               [&](int rank) { body(rank, *group[static_cast<std::size_t>(rank)]); });
  }
};

template <class T>
void expect_tree_sum(Collective& rank, std::size_t count, bool in_place) {
  const auto mine = values_of<T>(rank.member().rank, count);
  std::vector<T> out = in_place ? mine : std::vector<T>(count, T{-1});
  const auto done =
      rank.all_reduce(std::span<const T>(in_place ? out : mine), std::span<T>(out));
  ASSERT_TRUE(done) << done.error().what();
  EXPECT_TRUE(same_bits<T>(out, tree_sum<T>(rank.member().size, count)))
      << count << " elements, rank " << rank.member().rank << " of " << rank.member().size;
}

TEST_P(CollectiveTest, SumsInTheFixedTreeForEveryGroupSize) {
  for (int size = 1; size <= 7; ++size) {
    Group ranks = group({.size = size});
    each(ranks, [&](int, Collective& rank) {
      for (const std::size_t count : kCounts) {
        expect_tree_sum<float>(rank, count, false);
        expect_tree_sum<double>(rank, count / 2, true);
      }
    });
  }
}

TEST_P(CollectiveTest, ReduceScatterThenAllGatherGivesTheSameBits) {
  for (const int size : {1, 2, 3, 5}) {
    Group ranks = group({.size = size});
    each(ranks, [&](int rank, Collective& self) {
      for (const std::size_t count : kCounts) {
        const auto mine = values_of<float>(rank, count);
        std::vector<float> part(self.my_part(count, Dtype::kFloat32).count);
        std::vector<float> whole(count);
        ASSERT_TRUE(self.reduce_scatter(std::span<const float>(mine), std::span<float>(part)));
        ASSERT_TRUE(self.all_gather(std::span<const float>(part), std::span<float>(whole)));
        EXPECT_TRUE(same_bits<float>(whole, tree_sum<float>(size, count))) << count;
      }
    });
  }
}

TEST_P(CollectiveTest, BroadcastsFromEveryRoot) {
  Group ranks = group({.size = 5});
  each(ranks, [&](int rank, Collective& self) {
    for (int root = 0; root < 5; ++root)
      for (const std::size_t count : kCounts) {
        auto data = values_of<float>(rank, count);
        ASSERT_TRUE(self.broadcast(std::span<float>(data), root));
        EXPECT_TRUE(same_bits<float>(data, values_of<float>(root, count)));
      }
  });
}

TEST_P(CollectiveTest, TheMaximumKeepsANanOfAnyRank) {
  Group ranks = group({.size = 3});
  each(ranks, [&](int rank, Collective& self) {
    std::vector<double> data = {1.0 * rank, -1.0 * rank, 0.0};
    if (rank == 1) data[2] = std::numeric_limits<double>::quiet_NaN();
    ASSERT_TRUE(self.all_reduce(std::span<const double>(data), std::span(data), Combine::kMax));
    EXPECT_EQ(data[0], 2.0);
    EXPECT_EQ(data[1], 0.0);
    EXPECT_TRUE(std::isnan(data[2]));
  });
}

TEST_P(CollectiveTest, NobodyLeavesABarrierBeforeAllHaveCome) {
  Group ranks = group({.size = 3});
  std::atomic<int> come{0};
  each(ranks, [&](int, Collective& self) {
    for (int round = 1; round <= 50; ++round) {
      ++come;
      ASSERT_TRUE(self.barrier());
      EXPECT_GE(come.load(), round * 3);
    }
  });
}

// Calls of every kind and many sizes in a row, so that quick ranks are ahead of slow ones.
TEST_P(CollectiveTest, ManyDifferentCallsInARowGiveTheTreesBits) {
  for (const int size : {2, 5}) {
    Group ranks = group({.size = size});
    each(ranks, [&](int rank, Collective& self) {
      std::uint32_t draw = 7;   // the same calls on every rank
      for (int call = 0; call < 300; ++call) {
        draw = draw * 1664525U + 1013904223U;
        const std::size_t count = (draw >> 8) % (call % 10 == 0 ? 20'000 : 200);
        auto data = values_of<float>(rank, count);
        const auto sum = tree_sum<float>(size, count);
        const auto view = std::span<const float>(data);
        std::vector<float> part(self.my_part(count, Dtype::kFloat32).count);
        switch (draw >> 29) {
          case 0:
          case 1:
          case 2:
            ASSERT_TRUE(self.all_reduce(view, std::span(data)));
            ASSERT_TRUE(same_bits<float>(data, sum)) << call;
            break;
          case 3:
          case 4: {
            ASSERT_TRUE(self.reduce_scatter(view, std::span(part)));
            const auto mine = std::span(sum).subspan(self.my_part(count, Dtype::kFloat32).begin);
            ASSERT_TRUE(same_bits<float>(part, mine.first(part.size()))) << call;
            break;
          }
          case 5:
            part.assign(part.size(), static_cast<float>(rank));
            ASSERT_TRUE(self.all_gather(std::span<const float>(part), std::span(data)));
            for (int other = 0; other < size; ++other) {
              const Part range = part_of(count, Dtype::kFloat32, other, size);
              for (std::size_t i = 0; i < range.count; ++i)
                ASSERT_EQ(data[range.begin + i], static_cast<float>(other)) << call;
            }
            break;
          case 6:
            ASSERT_TRUE(self.broadcast(std::span(data), call % size));
            ASSERT_TRUE(same_bits<float>(data, values_of<float>(call % size, count))) << call;
            break;
          default: ASSERT_TRUE(self.barrier());
        }
      }
    });
  }
}

struct Disagreement {
  const char* name;
  std::function<Result<void>(Collective&)> odd;   // what rank 1 does instead
  const char* words;
};

TEST_P(CollectiveTest, RanksThatDisagreeGetASentenceEachAndNoHang) {
  std::vector<float> data(600);
  std::vector<double> wide(600);
  const auto span = [](auto& v) { return std::span(v); };
  const std::vector<Disagreement> cases = {
      {"size",
       [&](Collective& c) {
         auto in = values_of<float>(1, 599);
         return c.all_reduce(std::span<const float>(in), span(in));
       },
       "all_reduce (sum) of 599 float32"},
      {"dtype",
       [&](Collective& c) { return c.all_reduce(std::span<const double>(wide), span(wide)); },
       "all_reduce (sum) of 600 float64"},
      {"combine",
       [&](Collective& c) {
         auto in = values_of<float>(1, 600);
         return c.all_reduce(std::span<const float>(in), span(in), Combine::kMax);
       },
       "all_reduce (max) of 600 float32"},
      {"operation", [](Collective& c) { return c.barrier(); }, "barrier"},
      {"broadcast",
       [&](Collective& c) {
         auto in = values_of<float>(1, 600);
         return c.broadcast(span(in), 1);
       },
       "broadcast from rank 1 of 600 float32"},
  };
  for (const Disagreement& one : cases) {
    Group ranks = group({.size = 3});
    std::latch all_met(3);   // the disagreement also ends a barrier that others are still in
    each(ranks, [&](int rank, Collective& self) {
      const auto met = self.barrier();
      all_met.arrive_and_wait();
      ASSERT_TRUE(met) << met.error().what();
      auto mine = values_of<float>(rank, 600);
      const auto done =
          rank == 1 ? one.odd(self) : self.all_reduce(std::span<const float>(mine), span(mine));
      ASSERT_FALSE(done) << one.name;
      EXPECT_EQ(done.error().code(), ErrorCode::kInvalid) << done.error().what();
      const std::string what = done.error().what();
      EXPECT_NE(what.find(one.words), std::string::npos) << what;
      EXPECT_NE(what.find("all_reduce (sum) of 600 float32"), std::string::npos) << what;
      const auto later = self.barrier();   // the incarnation is over
      ASSERT_FALSE(later);
      EXPECT_EQ(std::string(later.error().what()), what);
    });
  }
}

TEST_P(CollectiveTest, ARankThatDoesNotComeEndsTheOthersByTheTimeout) {
  Group ranks = group({.size = 3, .timeout = milliseconds(300)});
  const auto began = std::chrono::steady_clock::now();
  each(ranks, [&](int rank, Collective& self) {
    if (rank == 1) return;
    const auto done = self.barrier();
    ASSERT_FALSE(done);
    const ErrorCode code = done.error().code();   // the first to give up tells the other
    EXPECT_TRUE(code == ErrorCode::kTimeout || code == ErrorCode::kCancelled);
    EXPECT_NE(std::string(done.error().what()).find("300 ms"), std::string::npos)
        << done.error().what();
  });
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(15));
}

TEST_P(CollectiveTest, AbortEndsAllWaitsAndTheNextIncarnationWorks) {
  for (std::uint64_t incarnation = 1; incarnation <= 3; ++incarnation) {
    Group ranks = group({.size = 3, .incarnation = {incarnation}});
    std::latch summed(3);   // an abort also ends what others have not finished yet
    each(ranks, [&](int rank, Collective& self) {
      expect_tree_sum<float>(self, 5000, false);
      summed.arrive_and_wait();
      if (rank == 2) self.abort("a rank was born again");
      const auto done = self.barrier();   // between machines the others hear of it with this call
      ASSERT_FALSE(done);
      EXPECT_EQ(done.error().code(), ErrorCode::kCancelled);
      EXPECT_NE(std::string(done.error().what()).find("a rank was born again"), std::string::npos)
          << done.error().what();
    });
  }
}

TEST_P(CollectiveTest, AbortFromAnotherThreadEndsAWait) {
  Group ranks = group({.size = 2});
  on_threads(2, [&](int thread) {   // rank 1 never comes
    if (thread == 1) return ranks[0]->abort("its job has ended");
    const auto done = ranks[0]->barrier();
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), ErrorCode::kCancelled);
  });
}

TEST_P(CollectiveTest, AWrongCallIsToldToEverybody) {
  Group ranks = group({.size = 2});
  each(ranks, [&](int rank, Collective& self) {
    std::vector<float> in(10), out(rank == 0 ? 9 : 10);
    const auto done = self.all_reduce(std::span<const float>(in), std::span<float>(out));
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code(), rank == 0 ? ErrorCode::kInvalid : ErrorCode::kCancelled);
    EXPECT_NE(std::string(done.error().what()).find("10 and 9"), std::string::npos)
        << done.error().what();
  });
}

INSTANTIATE_TEST_SUITE_P(Ways, CollectiveTest, testing::Values("shm", "ring", "tree"),
                         [](const auto& way) { return way.param; });

TEST(PartTest, PartsAreWholeCacheLinesWithoutGaps) {
  for (const std::size_t count : kCounts)
    for (int size = 1; size <= 5; ++size) {
      std::size_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Part part = part_of(count, Dtype::kFloat32, rank, size);
        EXPECT_EQ(part.begin, next);
        if (part.count != 0) {
          EXPECT_EQ(part.begin % 16, 0U);
        }
        next = part.begin + part.count;
      }
      EXPECT_EQ(next, count);
    }
}

TEST(MemberTest, AMemberThatCannotBeIsRefusedInWords) {
  EXPECT_FALSE(complaint_about({0, 1, Incarnation{1}}));
  EXPECT_TRUE(complaint_about({1, 1, Incarnation{1}}));
  EXPECT_TRUE(complaint_about({0, 65, Incarnation{1}}));
  EXPECT_TRUE(complaint_about({0, 2, Incarnation{}}));
  EXPECT_TRUE(complaint_about({0, 2, Incarnation{1}, DurationNs{}}));
}

}  // namespace
}  // namespace rondo::collective
