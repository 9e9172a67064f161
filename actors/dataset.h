#pragma once

#include <vector>

#include <rondo/actors/run_spec.h>
#include <rondo/actors/streams.h>
#include <rondo/base/result.h>

// From the file that a run names to the streams that it learns from.
//
// A new run's spec learns here what only the data can tell (vocabulary, scale, test rows, sizes,
// hash); a resumed run's spec is compared with them: other bytes would be another run. Any thread.

namespace rondo::actors {

[[nodiscard]] std::uint64_t hash_of(std::string_view bytes);

// Fills in the data's part of a new run's spec. kNotFound: no such file or column; kInvalid: bad
// content.
[[nodiscard]] Result<void> describe_data(const std::string& bytes, RunSpec& spec);

// The streams of a described run. kOverloaded when the data are too few for batch and seq.
[[nodiscard]] Result<Streams> load_streams(const std::string& bytes, const RunSpec& spec);

}  // namespace rondo::actors
