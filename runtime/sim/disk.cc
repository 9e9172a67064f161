#include <rondo/sim/disk.h>

#include <utility>

namespace rondo::sim {

void Disk::write(std::uint64_t number, std::string key, std::optional<Bytes> value) {
  pending_.push_back({number, std::move(key), std::move(value)});
}

void Disk::sync(std::uint64_t number) {
  while (!pending_.empty() && pending_.front().number <= number) {
    Write& row = pending_.front();
    if (row.value) rows_[row.key] = std::move(*row.value);
    else rows_.erase(row.key);
    if (row.value && row.key.starts_with("actor/")) last_key_ = row.key;
    pending_.pop_front();
  }
}

void Disk::lose_last() { rows_.erase(last_key_); }

std::uint64_t Disk::written() const { return pending_.empty() ? 0 : pending_.back().number; }

}  // namespace rondo::sim
