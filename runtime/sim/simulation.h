#pragma once

#include <cstdint>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <rondo/base/branch_marks.h>
#include <rondo/sim/sim_head.h>
#include <rondo/sim/sim_node.h>
#include <rondo/sim/workload.h>

// Simulation: one seed, whole. A head, 3–7 nodes, at least 3 drivers with their jobs; faults drawn
// from the seed while the programs run (safety phase); then everything is healed, and within a
// bound of simulated time every call must have its answer and nobody may hold anything (liveness).

namespace rondo::sim {

struct Scenes {               // what the seed had to show
  std::uint32_t cycles_found = 0;          // of waits
  std::uint32_t drivers_without_node = 0;  // their node died, they went on alone
  std::uint32_t nodes_gone_together = 0;   // the most at one time
};

struct Outcome {
  std::string failure;        // "" if every checker is content
  std::string failed_by;      // which checker objected
  std::uint64_t trace = 0;
  std::uint64_t events = 0;
  std::uint32_t calls = 0;
  std::uint32_t faults = 0;
  Scenes seen;
  std::array<std::uint32_t, kBranches> branches{};   // how often each was hit
  std::string story;          // the faults, a line each
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, const Defects& defects);
  ~Simulation();
  [[nodiscard]] Outcome run();
  void set_verbose() { world_.set_verbose(); }

 private:
  struct Home {                 // a machine with a node daemon and its supervisor
    std::string name;
    std::uint32_t machine = 0;
    ProcessId node;
    TimeNs restart_at = kNever;
    bool stays_down = false;
  };

  void build();
  void start_node(Home&);
  void start_driver(Home&, std::uint32_t calls);
  void supervise();             // dead daemons come back
  bool run_until(DurationNs at_most, const std::function<bool()>& done);

  // faults.cc
  void plan_faults();
  void fault_after(DurationNs);
  void strike();
  void worsen_weather();
  void cut_one_way();
  void pause_something();
  void crash_head();
  void crash_node();
  void crash_two_nodes();
  void kill_node(Home&, bool whole);
  void lay_trap();
  void trap_caller();
  void kill_unheard(Endpoint& worker);
  void crash_worker();
  void keep_busy(std::vector<ProcessId>& workers) const;
  void crash_driver();
  void heal();
  void tell(const std::string& line);

  [[nodiscard]] std::vector<SimProcess*> drivers() const;
  [[nodiscard]] SimNode* node_of(const Home&) const;
  [[nodiscard]] bool all_answered() const;
  [[nodiscard]] bool at_rest() const;
  void look_now_and_then();
  void close_cycles();          // of waits, and watch them being found
  void rest();                  // everything is dropped, nothing may be held

  MarkSheet branches_;
  World world_;
  SharedActors actors_;
  Disk disk_;
  ClusterTimes times_;
  std::vector<Home> homes_;
  std::uint32_t head_machine_ = 0;
  ProcessId head_;
  TimeNs head_back_at_ = kNever;
  bool healed_ = false;
  std::uint32_t faults_ = 0;
  std::uint32_t driver_crashes_ = 0;
  Scenes seen_;
  std::uint64_t looked_at_ = 0;
  std::string story_;
};

[[nodiscard]] Outcome run_seed(std::uint64_t seed, const Defects& defects = {});

}  // namespace rondo::sim
