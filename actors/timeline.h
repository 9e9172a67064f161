#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <rondo/actors/layout.h>
#include <rondo/base/result.h>

// When each stage worked on what: rondo train --timeline FILE, for ui.perfetto.dev or
// chrome://tracing.
//
// A stage writes down the begin and end of every forward and backward, and how many microbatches'
// activations it keeps then. These spans come with the version that it seals. Picture them as the
// usual drawing of a pipeline: a row a stage, and where the rows are filled at the same moment the
// stages overlap. Times are each machine's own monotonic clock: rows of one machine compare.
//
// Plain values and one file at the end. One thread. Not for long runs: what goes beyond kSpansMax
// is left out, and the file says so.

namespace rondo::actors {

enum class SpanKind : unsigned char { kForward, kBackward };
[[nodiscard]] std::string_view to_string(SpanKind kind);

struct StageSpan {
  SpanKind kind = SpanKind::kForward;
  int microbatch = 0;
  int kept = 0;  // microbatches between forward and backward, this one included
  std::int64_t step = 0;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

class Timeline {
 public:
  static constexpr std::size_t kSpansMax = 1'000'000;

  explicit Timeline(const Layout& layout) : stages_(layout.stages) {}

  // What a step's stages did: by replica, then by stage.
  void add(const std::vector<std::vector<StageSpan>>& spans);
  [[nodiscard]] std::string to_json() const;  // Trace Event Format, complete events
  [[nodiscard]] Result<void> save(const std::string& path) const;

 private:
  struct Entry {
    int replica = 0;
    int stage = 0;
    StageSpan span;
  };

  int stages_;
  std::size_t left_out_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace rondo::actors
