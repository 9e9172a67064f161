#include <rondo/actors/streams.h>

#include <algorithm>
#include <cmath>
#include <string>

#include <rondo/base/check.h>

namespace rondo::actors {

namespace {

std::vector<Segment> segments(std::int64_t first, std::int64_t last, int seq) {
  std::vector<Segment> all;
  for (std::int64_t at = first; at < last; at += seq)
    all.push_back({at, static_cast<int>(std::min<std::int64_t>(seq, last - at))});
  return all;
}

}  // namespace

Result<Streams> Streams::of_tokens(std::vector<std::int32_t> tokens, const Options& options) {
  const std::int64_t wide = std::int64_t{options.batch} * options.seq;
  const auto size = static_cast<std::int64_t>(tokens.size());
  const std::int64_t count = size == 0 ? 0 : (size - 1) / wide;
  if (count < 1)
    return Error(ErrorCode::kOverloaded,
                 "the text has " + std::to_string(size) +
                     (size == 1 ? " character" : " characters") + ", but a batch of " +
                     std::to_string(options.batch) + " sequences of " +
                     std::to_string(options.seq) + " needs " + std::to_string(wide + 1) +
                     ": give a longer text, or a smaller --batch or --seq");
  // char-rnn rounds the training part down; a run without validation is asked for by a fraction of
  // 0
  std::int64_t train = count;
  if (options.val_frac > 0 && count > 1)
    train = std::clamp<std::int64_t>(
        static_cast<std::int64_t>(std::floor(static_cast<double>(count) * (1 - options.val_frac))),
        1, count - 1);
  Streams streams;
  streams.data_.ids = std::move(tokens);
  streams.stream_length_ = count * options.seq;
  streams.training_ = segments(0, train * options.seq, options.seq);
  streams.validation_ = segments(train * options.seq, streams.stream_length_, options.seq);
  return streams;
}

Result<Streams> Streams::of_series(std::vector<float> values, const Options& options) {
  const auto size = static_cast<std::int64_t>(values.size());
  const std::int64_t length = size == 0 ? 0 : (size - 1) / options.batch;
  if (length < 2)
    return Error(ErrorCode::kOverloaded,
                 "the series leaves " + std::to_string(size) +
                     (size == 1 ? " training value" : " training values") + ", but --batch " +
                     std::to_string(options.batch) + " needs at least " +
                     std::to_string(2 * options.batch + 1));
  std::int64_t held = static_cast<std::int64_t>(std::llround(
      static_cast<double>(length) * options.val_frac));
  if (options.val_frac > 0) held = std::clamp<std::int64_t>(held, 1, length - 1);
  Streams streams;
  streams.data_.values = std::move(values);
  streams.stream_length_ = length;
  streams.training_ = segments(0, length - held, options.seq);
  streams.validation_ = segments(length - held, length, options.seq);
  return streams;
}

Feed Streams::gather(const Segment& segment, Span rows, std::int64_t shift) const {
  Feed feed;
  const auto fill = [&](const auto& from, auto& to) {
    if (from.empty()) return;
    to.reserve(static_cast<std::size_t>(segment.steps) * static_cast<std::size_t>(rows.count));
    for (std::int64_t step = 0; step < segment.steps; ++step) {
      for (int row = rows.first; row < rows.first + rows.count; ++row) {
        const std::int64_t at = row * stream_length_ + segment.start + step + shift;
        to.push_back(from[static_cast<std::size_t>(at)]);
      }
    }
  };
  fill(data_.ids, feed.ids);
  fill(data_.values, feed.values);
  return feed;
}

Feed Streams::inputs(const Segment& segment, Span rows) const { return gather(segment, rows, 0); }
Feed Streams::targets(const Segment& segment, Span rows) const { return gather(segment, rows, 1); }

}  // namespace rondo::actors
