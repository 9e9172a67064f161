#pragma once

#include <map>
#include <vector>

#include <rondo/core/call_table.h>
#include <rondo/core/object_table.h>
#include <rondo/core/process_port.h>

// Writes a call to its executing process: numbers it on its link, puts the values of its awaited
// refs in their places, and names the refs that travel with it. Loop only.

namespace rondo::core {

class CallSender {
 public:
  CallSender(ObjectTable& objects, ProcessPort& port) : objects_(objects), port_(port) {}

  // Requires: every awaited ref is ready. `target`: the lease, or the actor's incarnation.
  void send(TimeNs now, Call&, ProcessId to, std::uint64_t target);
  void forget(ProcessId peer);

  // The payload with every kRef argument replaced by its value, and the entries of all refs (in
  // `entries`). Also used for constructor arguments.
  void resolve(ByteView payload, std::span<const CellRef> refs);
  [[nodiscard]] const Bytes& resolved() const { return payload_; }
  [[nodiscard]] const std::vector<RefEntry>& entries() const { return entries_; }

 private:
  void put_value(const Cell&, std::uint32_t ref_number);

  ObjectTable& objects_;
  ProcessPort& port_;
  std::map<ProcessId, std::uint64_t> numbers_;  // the last number used on each link
  ProcessId last_peer_;
  std::uint64_t* last_number_ = nullptr;
  Bytes payload_;                  // scratch
  std::vector<RefEntry> entries_;  // scratch
};

}  // namespace rondo::core
