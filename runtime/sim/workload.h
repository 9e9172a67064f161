#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <rondo/sim/sim_process.h>

// Workload: a driver's program, drawn from the seed: it submits, calls, spawns, puts, passes refs
// on, drops them, kills an actor now and then, and looks at every value that comes.

namespace rondo::sim {

struct SharedActors {   // handles that programs have told one another
  std::vector<ActorId> all;
};

class Workload {
 public:
  Workload(SimProcess&, SharedActors&, std::uint32_t calls);

  void start();             // Hello is answered: the job, then the first step
  void look();              // some cell is no longer pending
  void ended();             // the cluster has ended the job
  void stop_making() { left_ = 0; }
  // A cycle of waits over two actors of its own: first they are made, then it is closed.
  void make_pair();
  void close_cycle();
  [[nodiscard]] std::string cycle_said() const;   // code and text of what it came to
  [[nodiscard]] bool running() const { return job_runs_ && !ended_; }
  [[nodiscard]] bool made_all() const { return left_ == 0; }
  // "" if every ref that is held has its value or its failure.
  [[nodiscard]] std::string pending() const;
  void kill_actors();
  void drop_all();
  [[nodiscard]] std::uint32_t calls_made() const { return made_; }

 private:
  struct Held {
    CellRef cell;
    bool seen = false;
    bool holds_ref = false;   // the value has a ref inside
    bool stored = false;
    std::string what;         // for the story of a failure
  };

  void begin_job();
  void step();
  void make_something();
  void make_task();
  void make_call();
  void make_actor();
  void make_walk();
  void hold(CellRef, bool holds_ref, bool stored, std::string what);
  [[nodiscard]] const Held* some_held();
  [[nodiscard]] std::vector<CellRef> arguments(std::uint64_t percent);

  SimProcess& process_;
  SharedActors& actors_;
  Prng random_;
  std::uint32_t left_;
  std::uint32_t made_ = 0;
  bool ended_ = false;
  CellRef job_started_;
  bool job_runs_ = false;
  std::vector<Held> held_;
  std::vector<ActorId> mine_;
  ActorId pair_[2];
  CellRef cycle_;
};

}  // namespace rondo::sim
