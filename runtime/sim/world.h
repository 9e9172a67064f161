#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/prng.h>
#include <rondo/base/time.h>
#include <rondo/core/types.h>
#include <rondo/sim/defects.h>
#include <rondo/sim/network.h>

// World: simulated time. One queue of events, one thread, one seed.
//
// Picture a film that is cut together frame by frame: whatever will happen lies in a box with the
// minute on it; the next one is taken out, happens, and puts new ones in. Nothing else moves. Two
// runs of one seed are the same film, and `trace` is its fingerprint.
//
// An event is for a process, or for the world itself. Events for the dead are thrown away; those
// for a process that is stopped (a machine or a process on pause) wait until it goes on, in order.

namespace rondo::sim {

class Endpoint;
class Checks;

struct Machine {          // a computer: processes on it stop and die together
  NodeId node;            // that lives there now
  bool dead = false;
  TimeNs paused_until;
};

class World {
 public:
  World(std::uint64_t seed, const Defects& defects);
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  [[nodiscard]] TimeNs now() const { return now_; }
  [[nodiscard]] Prng& random() { return random_; }
  [[nodiscard]] const Defects& defects() const { return defects_; }
  [[nodiscard]] Checks& checks() { return *checks_; }
  [[nodiscard]] Network& network() { return network_; }
  // One time in n, if this defect is on. Draws nothing otherwise.
  [[nodiscard]] bool planted(bool defect, std::uint64_t n) {
    return defect && random_.one_in(n);
  }

  // `target` 0: for the world itself.
  void after(DurationNs, ProcessId target, std::function<void()> event);
  bool step();   // false: nothing is left
  void run_until(TimeNs);
  void note(std::uint64_t fact);   // into the trace
  [[nodiscard]] std::uint64_t trace() const { return trace_; }
  [[nodiscard]] std::uint64_t events() const { return events_; }

  void set_verbose() { verbose_ = true; }   // every message is printed
  [[nodiscard]] bool verbose() const { return verbose_; }

  // Processes. They live as long as the world; the dead are emptied.
  Endpoint& add(std::unique_ptr<Endpoint>);
  [[nodiscard]] Endpoint* find(ProcessId) const;
  [[nodiscard]] bool alive(ProcessId) const;
  [[nodiscard]] Endpoint* at(const core::Address&) const;   // who listens there now
  void kill(ProcessId);
  [[nodiscard]] std::vector<Endpoint*> living() const;
  std::uint32_t add_machine();
  [[nodiscard]] Machine& machine(std::uint32_t index) { return machines_[index]; }
  [[nodiscard]] std::uint32_t machines() const {
    return static_cast<std::uint32_t>(machines_.size());
  }
  [[nodiscard]] ProcessId fresh_id() { return ProcessId{random_.next() | 1}; }

  // Traps: a fault that waits for its moment. Whoever gets there springs it, once.
  enum class Moment : std::uint8_t {
    kStoring,   // a body asks for memory for a result; `whom`: its caller
    kSealing,   // the result is there
    kPulling    // a node is asked for an object that lies there
  };
  void set_trap(Moment moment, std::function<void(Endpoint&, ProcessId)> what) {
    traps_[moment] = std::move(what);
  }
  void spring(Moment, Endpoint& who, ProcessId whom = {});
  void clear_traps() { traps_.clear(); }

  // A frame on its way: lost, doubled, late, or there.
  void carry(const Endpoint& from, const core::Address& to, const SharedBytes& frame);

 private:
  struct Event {
    TimeNs at;
    std::uint64_t order = 0;
    ProcessId target;
    std::function<void()> run;
  };
  static bool later(const Event& a, const Event& b);
  void push(Event);
  [[nodiscard]] TimeNs paused_until(const Endpoint&) const;

  Prng random_;
  Defects defects_;
  bool verbose_ = false;
  TimeNs now_{1'000'000'000};
  std::vector<Event> queue_;
  std::uint64_t order_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t trace_ = 0x9E3779B97F4A7C15ull;
  std::vector<Machine> machines_;
  std::map<ProcessId, std::unique_ptr<Endpoint>> endpoints_;
  std::map<core::Address, ProcessId> listening_;
  std::map<Moment, std::function<void(Endpoint&, ProcessId)>> traps_;
  Network network_;
  std::unique_ptr<Checks> checks_;
};

}  // namespace rondo::sim
