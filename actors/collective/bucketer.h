#pragma once

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/base/result.h>

// Bucketer: sums gradients while the backward pass still makes them.
//
// The gradients of all tensors lie one after another. A backward pass finishes the last tensors
// first, so buckets are filled from the end: as soon as all tensors of a bucket are ready, its sum
// begins on a thread of the Bucketer, while the pass goes on with the tensors before. Buckets are
// summed in one order on every rank, whatever becomes ready first, and their borders depend on the
// tensors' sizes alone: so the same bits from run to run, also where a library's sum depends on
// where it is cut.
//
// ready() and finish() from one thread; the Collective is this Bucketer's between the first
// ready() of a step and the return of finish(). Memory is the caller's and not touched by it from a
// tensor's ready() until finish() returns; it must outlive the Bucketer, whose end waits for a sum
// that is under way. A failure ends the step: finish() gives it, and every later one.

namespace rondo::collective {

class Bucketer {
 public:
  // `sizes`: elements of each tensor, in the order in which they lie. `bucket_bytes`: a bucket is
  // full when it has at least so many, so a large tensor is one of its own.
  Bucketer(Collective& group, std::vector<std::size_t> sizes, std::size_t bucket_bytes);
  ~Bucketer();   // a step that is not finished is aborted
  Bucketer(const Bucketer&) = delete;
  Bucketer& operator=(const Bucketer&) = delete;

  // Where the gradients lie and where their sums go, for the steps to come; both hold all tensors.
  // They may be one. Requires: no step under way.
  void use(std::span<const float> in, std::span<float> out);

  // A tensor's gradient is complete. Never waits. Requires: once a tensor and step.
  void ready(std::size_t tensor);
  // Waits until all sums are there; the next step may begin. Requires: all tensors are ready.
  Result<void> finish();

  // Elements [begin, begin + count), the last bucket first.
  [[nodiscard]] const std::vector<Part>& buckets() const { return buckets_; }

 private:
  void run();
  [[nodiscard]] std::string given_up() const;
  void sum_bucket(std::size_t bucket, std::unique_lock<std::mutex>& lock);

  Collective& group_;
  std::vector<std::size_t> bucket_of_;   // by tensor
  std::vector<std::size_t> tensors_;     // by bucket: how many
  std::vector<Part> buckets_;
  std::size_t elements_ = 0;

  std::mutex mutex_;
  std::condition_variable bell_;
  std::vector<std::size_t> open_;        // guarded: by bucket, tensors that are not yet ready
  std::vector<bool> is_ready_;           // guarded: by tensor
  std::size_t summed_ = 0;               // guarded: buckets of this step
  bool ends_ = false;                    // guarded
  bool begun_ = false;                   // guarded: a step is under way
  std::optional<Error> broken_;          // guarded
  std::span<const float> in_;
  std::span<float> out_;
  std::thread thread_;                   // last: it uses the others
};

}  // namespace rondo::collective
