#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>

// Every identity is its own type, so that a node cannot be passed where an actor is wanted.
// Values; ordered (std::map iteration is part of determinism); printable as the short hexadecimal
// that people see.

namespace rondo {

template <class Tag>
struct Id {
  std::uint64_t value = 0;
  auto operator<=>(const Id&) const = default;
  explicit operator bool() const { return value != 0; }
};

// A running process of the cluster (head, node, driver or worker). Never reused: a restarted
// process is another one, so every message that names it is fenced by itself.
using ProcessId = Id<struct ProcessTag>;
using NodeId =
    Id<struct NodeTag>;  // a node daemon; a restarted daemon keeps its name and gets a new id
using JobId = Id<struct JobTag>;          // a driver's run
using LeaseId = Id<struct LeaseTag>;      // a worker slot lent to an owner; unique at its node
using RequestId = Id<struct RequestTag>;  // chosen by the asker, unique in its process: makes
                                          // questions idempotent

// The fencing number of an actor, a head or a group: raised at every birth; older ones are ignored.
using Incarnation = Id<struct IncarnationTag>;

// Chosen by the process that spawns, so that spawn never waits.
struct ActorId {
  ProcessId creator;
  std::uint64_t number = 0;
  auto operator<=>(const ActorId&) const = default;
  explicit operator bool() const { return number != 0; }
};

// A ref: slot `index` of its owner's table in its `generation`.
struct ObjectId {
  ProcessId owner;
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  auto operator<=>(const ObjectId&) const = default;
  explicit operator bool() const { return static_cast<bool>(owner); }
};

template <class Tag>
std::string to_string(Id<Tag> id);
std::string to_string(ActorId id);
std::string to_string(ObjectId id);
std::string hex(std::uint64_t value);  // 16 digits

template <class Tag>
std::string to_string(Id<Tag> id) {
  return hex(id.value);
}

template <class Tag>
std::ostream& operator<<(std::ostream& out, Id<Tag> id) {
  return out << hex(id.value);
}
inline std::ostream& operator<<(std::ostream& out, ActorId id) { return out << to_string(id); }
inline std::ostream& operator<<(std::ostream& out, ObjectId id) { return out << to_string(id); }

}  // namespace rondo

template <class Tag>
struct std::hash<rondo::Id<Tag>> {
  std::size_t operator()(rondo::Id<Tag> id) const noexcept {
    return id.value * 0x9E3779B97F4A7C15ull;
  }
};
template <>
struct std::hash<rondo::ActorId> {
  std::size_t operator()(const rondo::ActorId& id) const noexcept {
    return (id.creator.value ^ (id.number * 0xC2B2AE3D27D4EB4Full)) * 0x9E3779B97F4A7C15ull;
  }
};
template <>
struct std::hash<rondo::ObjectId> {
  std::size_t operator()(const rondo::ObjectId& id) const noexcept {
    const std::uint64_t slot = (std::uint64_t{id.generation} << 32) | id.index;
    return (id.owner.value ^ (slot * 0xC2B2AE3D27D4EB4Full)) * 0x9E3779B97F4A7C15ull;
  }
};
