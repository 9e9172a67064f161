#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include <rondo/base/bytes.h>

// Disk: the head's control store as it is when the power fails: what was synced is there, what was
// only written is not, and nothing in between. Batches are synced whole and in order.

namespace rondo::sim {

class Disk {
 public:
  using Rows = std::map<std::string, Bytes>;

  [[nodiscard]] const Rows& load() const { return rows_; }
  void write(std::uint64_t number, std::string key, std::optional<Bytes> value);
  void sync(std::uint64_t number);   // all up to this number
  void crash() { pending_.clear(); }   // what was not synced is gone
  void lose_last();                  // a planted defect: the last synced row is gone too
  [[nodiscard]] std::uint64_t written() const;
  [[nodiscard]] bool pending() const { return !pending_.empty(); }

 private:
  struct Write {
    std::uint64_t number = 0;
    std::string key;
    std::optional<Bytes> value;
  };
  Rows rows_;
  std::deque<Write> pending_;
  std::string last_key_;
};

}  // namespace rondo::sim
