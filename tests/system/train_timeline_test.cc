// What the stages of a pipeline did when: they overlap, and none keeps more activations than 1F1B
// allows.

#include <algorithm>
#include <cstdint>
#include <map>

#include "same_bits.h"

namespace rondo::actors {
namespace {

struct Span {
  double begin = 0;  // microseconds
  double end = 0;
};

struct Recorded {
  std::map<int, std::map<int, std::vector<Span>>> steps;  // of a step, by stage, in their order
  std::map<int, int> most_kept;                           // of a stage
};

Recorded read_timeline(const std::string& path) {
  Recorded all;
  const json trace = json::parse(slurp(path), nullptr, false);
  EXPECT_TRUE(trace.is_object()) << path;
  EXPECT_EQ(trace["spansLeftOut"], 0);
  for (const json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    const int stage = event["tid"];
    const double begin = event["ts"];
    all.steps[event["args"]["step"]][stage].push_back({begin, begin + event["dur"].get<double>()});
    int& most = all.most_kept[stage];
    most = std::max(most, event["args"]["kept"].get<int>());
  }
  return all;
}

double total(const std::vector<Span>& spans) {
  double sum = 0;
  for (const Span& span : spans) sum += span.end - span.begin;
  return sum;
}

// The time during which both work. Within a list nothing overlaps: an actor does one at a time.
double together(const std::vector<Span>& a, const std::vector<Span>& b) {
  double sum = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    sum += std::max(0.0, std::min(a[i].end, b[j].end) - std::max(a[i].begin, b[j].begin));
    if (a[i].end < b[j].end) ++i;
    else ++j;
  }
  return sum;
}

// Of each step: for what part of the time in which the less busy stage worked the other did too.
std::vector<double> shares(const Recorded& all) {
  std::vector<double> out;
  for (const auto& [step, stages] : all.steps) {
    const std::vector<Span>& first = stages.at(0);
    const std::vector<Span>& second = stages.at(1);
    out.push_back(together(first, second) / std::min(total(first), total(second)));
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::string> pipeline(std::vector<std::string> more) {
  more.insert(more.end(), {"--replicas", "1"});
  return more;
}

// A task takes some milliseconds here: on a machine whose cores have other work too, the system
// lets shorter ones run one after the other. The median is taken, for the same reason.
TEST_F(SameBits, TheTimelineShowsThatTwoStagesOverlap) {
  use_text(60000);
  train("run", pipeline({"--stages", "2", "--microbatches", "4", "--hidden", "256", "--batch", "48",
                         "--seq", "64", "--val-frac", "0", "--timeline", scratch_ / "trace.json"}));
  const Recorded all = read_timeline(scratch_ / "trace.json");
  EXPECT_GE(all.steps.size(), 10u);
  for (const auto& [step, stages] : all.steps) {
    ASSERT_EQ(stages.size(), 2u) << "step " << step;
    for (const auto& [stage, spans] : stages) EXPECT_EQ(spans.size(), 8u) << "step " << step;
  }
  const std::vector<double> all_shares = shares(all);
  const double median = all_shares[all_shares.size() / 2];
  std::printf("stages work at the same time for %.0f %% of the less busy one's work (median of %zu "
              "steps; %.0f to %.0f %%)\n",
              median * 100, all_shares.size(), all_shares.front() * 100, all_shares.back() * 100);
  EXPECT_GT(median, 0.4);
}

TEST_F(SameBits, AStageKeepsAtMostStagesMinusItsIndexActivations) {
  const std::vector<std::string> three{"--stages", "3", "--layers", "3", "--microbatches", "6"};
  train("plain", pipeline(three));
  std::vector<std::string> recorded = three;
  recorded.insert(recorded.end(), {"--timeline", scratch_ / "trace.json"});
  train("run", pipeline(recorded));
  const Recorded all = read_timeline(scratch_ / "trace.json");
  ASSERT_EQ(all.most_kept.size(), 3u);
  for (int stage = 0; stage < 3; ++stage) EXPECT_EQ(all.most_kept.at(stage), 3 - stage) << stage;
  expect_same("plain", "run");
}

}  // namespace
}  // namespace rondo::actors
