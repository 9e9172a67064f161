#include <rondo/core/persist_gate.h>

#include <algorithm>

#include <rondo/base/check.h>

namespace rondo::core {

void PersistGate::pass(Effects step, Effects& out) {
  for (Effect& effect : step.list) {
    if (auto* row = std::get_if<Persist>(&effect)) {
      row->number = ++written_;
      out.add(std::move(effect));
    } else if (written_ > durable_) {
      held_.emplace_back(written_, std::move(effect));
    } else {
      out.add(std::move(effect));
    }
  }
}

void PersistGate::on_durable(std::uint64_t number, Effects& out) {
  RONDO_CHECK_LE(number, written_);
  durable_ = std::max(durable_, number);
  while (!held_.empty() && held_.front().first <= durable_) {
    out.add(std::move(held_.front().second));
    held_.pop_front();
  }
}

void PersistGate::check_invariants() const {
  RONDO_CHECK_LE(durable_, written_);
  std::uint64_t last = durable_;
  for (const auto& [number, effect] : held_) {
    RONDO_CHECK_LE(last, number);
    RONDO_CHECK_LT(durable_, number);
    last = number;
  }
}

}  // namespace rondo::core
