#include <rondo/actors/timeline.h>

#include <algorithm>

#include <nlohmann/json.hpp>

#include <rondo/actors/safetensors.h>

namespace rondo::actors {

std::string_view to_string(SpanKind kind) {
  return kind == SpanKind::kForward ? "forward" : "backward";
}

void Timeline::add(const std::vector<std::vector<StageSpan>>& spans) {
  for (std::size_t party = 0; party < spans.size(); ++party) {
    for (const StageSpan& span : spans[party]) {
      if (entries_.size() == kSpansMax) {
        ++left_out_;
        continue;
      }
      const int at = static_cast<int>(party);
      entries_.push_back({at / stages_, at % stages_, span});
    }
  }
}

std::string Timeline::to_json() const {
  using nlohmann::json;
  std::int64_t zero = INT64_MAX;
  for (const Entry& entry : entries_) zero = std::min(zero, entry.span.begin_ns);
  json events = json::array();
  int replicas = 0;
  for (const Entry& entry : entries_) {
    const StageSpan& span = entry.span;
    replicas = std::max(replicas, entry.replica + 1);
    events.push_back({{"name", std::string(to_string(span.kind))},
                      {"ph", "X"},
                      {"pid", entry.replica},
                      {"tid", entry.stage},
                      {"ts", static_cast<double>(span.begin_ns - zero) / 1e3},
                      {"dur", static_cast<double>(span.end_ns - span.begin_ns) / 1e3},
                      {"args",
                       {{"step", span.step},
                        {"microbatch", span.microbatch},
                        {"kept", span.kept}}}});
  }
  for (int replica = 0; replica < replicas; ++replica) {
    events.push_back({{"name", "process_name"}, {"ph", "M"}, {"pid", replica},
                      {"args", {{"name", "replica " + std::to_string(replica)}}}});
    for (int stage = 0; stage < stages_; ++stage)
      events.push_back({{"name", "thread_name"}, {"ph", "M"}, {"pid", replica}, {"tid", stage},
                        {"args", {{"name", "stage " + std::to_string(stage)}}}});
  }
  return json{{"traceEvents", std::move(events)}, {"spansLeftOut", left_out_}}.dump() + "\n";
}

Result<void> Timeline::save(const std::string& path) const {
  const std::string text = to_json();
  const std::string_view all = text;
  return write_whole(path, {&all, 1}, {Durability::kQuick, {}});
}

}  // namespace rondo::actors
