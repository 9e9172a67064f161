#include <rondo/sim/checkers/checkers.h>

namespace rondo::sim {

std::vector<std::unique_ptr<Checker>> all_checkers(const Checks& checks) {
  std::vector<std::unique_ptr<Checker>> out;
  out.push_back(newest_incarnation());
  out.push_back(caller_order());
  out.push_back(one_result());
  out.push_back(retries_hold(checks));
  out.push_back(references(checks));
  out.push_back(nothing_held());
  out.push_back(leases_add_up());
  out.push_back(acknowledged_survive());
  out.push_back(budgets_hold());
  out.push_back(queues_bounded());
  return out;
}

}  // namespace rondo::sim
