#include <rondo/actors/dataset.h>

#include <span>

#include <xxhash.h>

#include <rondo/actors/csv.h>

namespace rondo::actors {

namespace {

Result<void> describe_text(const std::string& bytes, RunSpec& spec) {
  auto vocabulary = vocabulary_of(bytes, spec.data.tokens);
  if (!vocabulary) return Error(vocabulary.error().code(),
                                "'" + spec.data.path + "': " + vocabulary.error().what());
  spec.data.vocabulary = std::move(vocabulary).value();
  spec.model.inputs = spec.model.outputs = spec.data.vocabulary.size();
  return {};
}

Result<void> describe_series(const std::string& bytes, RunSpec& spec) {
  const auto rows = read_column(spec.data.path, bytes, spec.data.column);
  if (!rows) return rows.error();
  const auto count = static_cast<int>(rows.value().size());
  if (count == 0)
    return Error(ErrorCode::kInvalid,
                 spec.data.path + " has a header row and no others: nothing to learn from");
  if (spec.data.test_rows < 0) spec.data.test_rows = count / 3;
  if (spec.data.test_rows >= count)
    return Error(ErrorCode::kOverloaded,
                 "--test-rows " + std::to_string(spec.data.test_rows) + " leaves nothing to learn "
                     "from: " + spec.data.path + " has " + std::to_string(count) +
                     (count == 1 ? " row" : " rows"));
  const auto training = static_cast<std::size_t>(count - spec.data.test_rows);
  const auto scale = fit_scale(std::span(rows.value()).first(training));
  if (!scale) return Error(scale.error().code(), spec.data.path + ": " + scale.error().what());
  spec.data.scale = scale.value();
  spec.model.inputs = spec.model.outputs = 1;
  return {};
}

}  // namespace

std::uint64_t hash_of(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Result<void> describe_data(const std::string& bytes, RunSpec& spec) {
  spec.data.hash = hash_of(bytes);
  return spec.model.data == DataKind::kTokens ? describe_text(bytes, spec)
                                              : describe_series(bytes, spec);
}

Result<Streams> load_streams(const std::string& bytes, const RunSpec& spec) {
  const Streams::Options options{spec.batch, spec.seq, spec.val_frac};
  if (spec.model.data == DataKind::kTokens) {
    auto tokens = encode(spec.data.vocabulary, bytes);
    if (!tokens) return tokens.error();
    return Streams::of_tokens(std::move(tokens).value(), options);
  }
  const auto rows = read_column(spec.data.path, bytes, spec.data.column);
  if (!rows) return rows.error();
  const std::size_t training = rows.value().size() - static_cast<std::size_t>(spec.data.test_rows);
  auto values = to_learnable(spec.data.scale, std::span(rows.value()).first(training));
  if (!values) return values.error();
  return Streams::of_series(std::move(values).value(), options);
}

}  // namespace rondo::actors
