#include <rondo/actors/collective/bucketer.h>

#include <utility>

#include <rondo/base/check.h>

namespace rondo::collective {

Bucketer::Bucketer(Collective& group, std::vector<std::size_t> sizes, std::size_t bucket_bytes)
    : group_(group), bucket_of_(sizes.size()) {
  for (const std::size_t size : sizes) elements_ += size;
  std::size_t begin = elements_;
  for (std::size_t tensor = sizes.size(); tensor-- > 0;) {
    const bool is_full =
        buckets_.empty() || buckets_.back().count * sizeof(float) >= bucket_bytes;
    if (is_full) {
      buckets_.push_back({});
      tensors_.push_back(0);
    }
    begin -= sizes[tensor];
    buckets_.back().begin = begin;
    buckets_.back().count += sizes[tensor];
    ++tensors_.back();
    bucket_of_[tensor] = buckets_.size() - 1;
  }
  open_ = tensors_;
  is_ready_.assign(sizes.size(), false);
  thread_ = std::thread([this] { run(); });
}

Bucketer::~Bucketer() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    if (begun_) group_.abort(given_up());   // ends a sum that waits
  }
  bell_.notify_all();
  thread_.join();
}

void Bucketer::use(std::span<const float> in, std::span<float> out) {
  const std::lock_guard lock(mutex_);
  RONDO_CHECK(!begun_);
  RONDO_CHECK_EQ(in.size(), elements_);
  RONDO_CHECK_EQ(out.size(), elements_);
  in_ = in;
  out_ = out;
}

void Bucketer::ready(std::size_t tensor) {
  const std::lock_guard lock(mutex_);
  RONDO_CHECK_LT(tensor, is_ready_.size());
  RONDO_CHECK(!is_ready_[tensor]);
  RONDO_CHECK_EQ(in_.size(), elements_);
  begun_ = true;
  is_ready_[tensor] = true;
  if (--open_[bucket_of_[tensor]] == 0) bell_.notify_all();
}

Result<void> Bucketer::finish() {
  std::unique_lock lock(mutex_);
  for (const bool ready : is_ready_) RONDO_CHECK(ready);
  bell_.wait(lock, [this] { return broken_ || summed_ == buckets_.size(); });
  summed_ = 0;
  open_ = tensors_;
  is_ready_.assign(is_ready_.size(), false);
  begun_ = false;
  if (broken_) return *broken_;
  return {};
}

// Bucket after bucket: one that is full waits for those before it.
void Bucketer::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    bell_.wait(lock, [this] {
      return ends_ || (!broken_ && summed_ < buckets_.size() && open_[summed_] == 0);
    });
    if (ends_) break;
    sum_bucket(summed_, lock);
  }
  if (begun_) group_.leave(given_up());
}

std::string Bucketer::given_up() const {
  return "a step's gradients were given up on rank " + std::to_string(group_.member().rank);
}

void Bucketer::sum_bucket(std::size_t bucket, std::unique_lock<std::mutex>& lock) {
  const Part range = buckets_[bucket];
  const auto in = in_.subspan(range.begin, range.count);
  const auto out = out_.subspan(range.begin, range.count);
  lock.unlock();
  Result<void> done = group_.all_reduce(in, out);
  lock.lock();
  if (!done) broken_ = done.error();
  else ++summed_;
  bell_.notify_all();
}

}  // namespace rondo::collective
