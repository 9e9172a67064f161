#pragma once

#include <cstdint>
#include <vector>

#include <rondo/actors/layout.h>
#include <rondo/base/result.h>

// Cuts one long sequence into what training reads: N parallel streams, each read from its start in
// segments of T steps, so that the state at a segment's end is the state at the next one's start
// (Karpathy's char-rnn does the same). The last `val_frac` of every stream is held out: the model
// never sees it, and each stream's held-out part follows what it saw.
//
// A text gives whole segments only, counted as char-rnn counts them. A series is too short to
// waste: its held-out part is counted in rows, and the last segment of each part may be shorter.
//
// Owns the data. Immutable after construction; any thread.

namespace rondo::actors {

// Numbers for a first stage or a loss: ids of tokens, or values; time-major [steps, rows]. One of
// the two is empty.
struct Feed {
  std::vector<std::int32_t> ids;
  std::vector<float> values;
};

struct Segment {
  std::int64_t start = 0;  // in each stream
  int steps = 0;
};

class Streams {
 public:
  struct Options {
    int batch = 50;
    int seq = 50;
    double val_frac = 0.05;
  };
  // kOverloaded, in words, when the data are too few for the options. The target of an element is
  // the next one.
  static Result<Streams> of_tokens(std::vector<std::int32_t> tokens, const Options& options);
  static Result<Streams> of_series(std::vector<float> values, const Options& options);

  [[nodiscard]] const std::vector<Segment>& training() const { return training_; }
  [[nodiscard]] const std::vector<Segment>& validation() const { return validation_; }

  // What the rows of `segment` read and what they should say.
  [[nodiscard]] Feed inputs(const Segment& segment, Span rows) const;
  [[nodiscard]] Feed targets(const Segment& segment, Span rows) const;

 private:
  [[nodiscard]] Feed gather(const Segment& segment, Span rows, std::int64_t shift) const;

  Feed data_;
  std::int64_t stream_length_ = 0;
  std::vector<Segment> training_;
  std::vector<Segment> validation_;
};

}  // namespace rondo::actors
