#include <rondo/ops/lengths.h>

#include <algorithm>
#include <numeric>

namespace rondo::ops {

std::string Lengths::fault(std::span<const Dim> lengths, Dim steps) {
  if (lengths.empty()) return "no lengths are given: a batch has at least one sequence";
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    const std::string name = "lengths[" + std::to_string(i) + "] is " + std::to_string(lengths[i]);
    if (lengths[i] < 1) return name + ": a sequence has at least one step";
    if (lengths[i] > steps)
      return name + ": the batch has only " + std::to_string(steps) + " steps";
  }
  return {};
}

Lengths::Lengths(std::span<const Dim> lengths) {
  OPS_CHECK(!lengths.empty());
  const Dim longest = *std::max_element(lengths.begin(), lengths.end());
  OPS_CHECK(fault(lengths, longest).empty());
  const auto of = [&](Dim sequence) { return lengths[static_cast<std::size_t>(sequence)]; };
  sequence_.resize(lengths.size());
  std::iota(sequence_.begin(), sequence_.end(), Dim{0});
  std::stable_sort(sequence_.begin(), sequence_.end(), [&](Dim a, Dim b) { return of(a) > of(b); });
  for (const Dim sequence : sequence_) {
    if (length_.empty() || length_.back() != of(sequence))
      groups_.push_back({static_cast<Dim>(length_.size()), 0, of(sequence)});
    ++groups_.back().count;
    length_.push_back(of(sequence));
  }
  at_.push_back(0);
  Dim running = batch();
  for (Dim t = 0; t < longest; ++t) {
    while (length(running - 1) <= t) --running;
    at_.push_back(at_.back() + running);
  }
}

Lengths Lengths::all_equal(Dim steps, Dim batch) {
  OPS_CHECK(steps > 0 && batch > 0);
  return Lengths(std::vector<Dim>(static_cast<std::size_t>(batch), steps));
}

Dim Lengths::cut(int part, int parts) const {
  if (equal()) return batch() * part / parts;
  Dim place = 0;
  for (Dim before = 0; place < batch() && before * parts < rows() * part; ++place)
    before += length(place);
  return place;
}

namespace {

// body(packed row, time, place) for every row, in parts of some time steps.
template <class Body>
void for_rows(const Executor& executor, const Lengths& lengths, const Body& body) {
  constexpr Dim kSteps = 8;
  executor.run(static_cast<int>((lengths.steps() + kSteps - 1) / kSteps), [&](int part) {
    for (Dim t = part * kSteps; t < std::min(lengths.steps(), (part + 1) * kSteps); ++t)
      for (Dim k = 0; k < lengths.count(t); ++k) body(lengths.at(t) + k, t, k);
  });
}

}  // namespace

template <class U>
void pack_rows(const Executor& executor, const Lengths& lengths, In<U> padded, View<U> packed) {
  const Dim batch = lengths.batch(), width = packed.count() / lengths.rows();
  OPS_CHECK(padded.dim(0) >= lengths.steps() && padded.dim(1) == batch);
  OPS_CHECK(packed.count() == lengths.rows() * width);
  OPS_CHECK(padded.count() == padded.dim(0) * batch * width);
  for_rows(executor, lengths, [&](Dim row, Dim t, Dim place) {
    std::copy_n(padded.data() + (t * batch + lengths.sequence(place)) * width, width,
                packed.data() + row * width);
  });
}

template <class U>
void unpack_rows(const Executor& executor, const Lengths& lengths, In<U> packed, View<U> padded) {
  const Dim batch = lengths.batch(), width = packed.count() / lengths.rows();
  OPS_CHECK(padded.dim(0) >= lengths.steps() && padded.dim(1) == batch);
  OPS_CHECK(packed.count() == lengths.rows() * width);
  OPS_CHECK(padded.count() == padded.dim(0) * batch * width);
  for_rows(executor, lengths, [&](Dim row, Dim t, Dim place) {
    std::copy_n(packed.data() + row * width, width,
                padded.data() + (t * batch + lengths.sequence(place)) * width);
  });
  for (Dim place = 0; place < batch; ++place)
    for (Dim t = lengths.length(place); t < padded.dim(0); ++t)
      std::fill_n(padded.data() + (t * batch + lengths.sequence(place)) * width, width, U(0));
}

template <class U>
void reverse_rows(const Executor& executor, const Lengths& lengths, In<U> packed,
                  View<U> reversed) {
  const Dim width = packed.count() / lengths.rows();
  OPS_CHECK(packed.count() == lengths.rows() * width && reversed.count() == packed.count());
  for_rows(executor, lengths, [&](Dim row, Dim t, Dim place) {
    const Dim from = lengths.at(lengths.length(place) - 1 - t) + place;
    std::copy_n(packed.data() + from * width, width, reversed.data() + row * width);
  });
}

#define RONDO_INSTANTIATE(U)                                                     \
  template void pack_rows(const Executor&, const Lengths&, In<U>, View<U>);      \
  template void unpack_rows(const Executor&, const Lengths&, In<U>, View<U>);    \
  template void reverse_rows(const Executor&, const Lengths&, In<U>, View<U>);
RONDO_INSTANTIATE(float)
RONDO_INSTANTIATE(double)
RONDO_INSTANTIATE(std::int32_t)
#undef RONDO_INSTANTIATE

}  // namespace rondo::ops
