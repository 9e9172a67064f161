#pragma once

#include <memory>
#include <vector>

#include <rondo/sim/checks.h>

// One rule a file (REFERENCES: effects only from the newest incarnation, order per caller, one
// result a call, refs readable or failed in words, nothing held at rest, leased + free = total,
// acknowledged writes survive, budgets hold, queues bounded, no silent drop).

namespace rondo::sim {

std::unique_ptr<Checker> newest_incarnation();
std::unique_ptr<Checker> caller_order();
std::unique_ptr<Checker> one_result();
std::unique_ptr<Checker> retries_hold(const Checks&);
std::unique_ptr<Checker> references(const Checks&);
std::unique_ptr<Checker> nothing_held();
std::unique_ptr<Checker> leases_add_up();
std::unique_ptr<Checker> acknowledged_survive();
std::unique_ptr<Checker> budgets_hold();
std::unique_ptr<Checker> queues_bounded();

std::vector<std::unique_ptr<Checker>> all_checkers(const Checks&);

}  // namespace rondo::sim
