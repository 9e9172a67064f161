#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/core/call.h>
#include <rondo/core/link.h>
#include <rondo/core/message.h>

// Station: a process's post office. Messages, calls and replies to a peer are gathered into one
// frame until flush(); frames that arrive are judged, put in order by the peer's Link and handed
// over record by record.
//
// Used by the real host and by the simulator alike: frames are bytes, carried by whoever owns the
// station.
//
//   station.send(head, message);  station.call(worker, header, payload, refs);   // any number
//   station.flush(now, out);            for (auto& f : out) transport.send(f.to, f.frame);
//   station.on_frame(now, frame, handler);                                       // then flush
//   station.on_deadline(now);           when next_deadline() has come; then flush
//
// What a peer sends first on a link bears its address and its node (on_peer), so that a process can
// answer whoever calls it, and knows who is gone with a node. A frame with a wrong token, of
// another version or for another process is dropped before anything is decoded, and counted; of
// another version's frames only Hello and Refused are read, so that a refusal can be said in words.
// A record that does not decode, or a backlog beyond backlog_bytes_max, breaks the link: nothing
// more goes either way, and take_broken() tells the owner, who treats the peer as dead.
//
// One thread at a time: the one that has the loop's role. Never blocks, never reads a clock.

namespace rondo::wire {

// Who hears of what arrives, in order. `frame` holds the bytes that the views point into: keep it
// to keep them. A handler may use the station (send, learn, forget...), except on_frame.
class Handler {
 public:
  virtual ~Handler() = default;
  // first of a link: where the sender listens, and its node (0: not of any)
  virtual void on_peer(const core::Peer& peer, NodeId home) = 0;
  virtual void on_message(ProcessId from, core::Message&& message) = 0;
  virtual void on_call(ProcessId from, const core::CallHeader& header, ByteView payload,
                       std::span<const core::RefEntry> refs, const SharedBytes& frame) = 0;
  virtual void on_reply(ProcessId from, const core::ReplyHeader& header, ByteView payload,
                        std::span<const core::RefEntry> refs, const SharedBytes& frame) = 0;
};

struct OutFrame {
  ProcessId to;
  SharedBytes frame;
};

struct Broken {
  ProcessId peer;
  std::string why;
};

class Station {
 public:
  static constexpr std::size_t kPeersMax = 65'536;
  // remembered, so that their late frames stay unheard
  static constexpr std::size_t kForgottenMax = 65'536;

  struct Options {
    core::Peer self;
    NodeId home;                       // of self, if known by now
    core::Token token;
    core::Link::Options link = {};
    std::size_t backlog_bytes_max = std::size_t{512} << 20;   // of one peer, behind a full link
  };
  struct Stats {                       // frames and records since the start
    std::uint64_t frames_out = 0;
    std::uint64_t frames_in = 0;
    std::uint64_t records_out = 0;
    std::uint64_t records_in = 0;
    std::uint64_t bytes_out = 0;
    std::uint64_t bytes_in = 0;
    std::uint64_t dropped_malformed = 0;   // no frame at all, or a datagram that does not decode
    std::uint64_t dropped_token = 0;
    std::uint64_t dropped_version = 0;
    // for another process, from a forgotten one, or beyond kPeersMax
    std::uint64_t dropped_stranger = 0;
    std::uint64_t dropped_unsent = 0;      // sent to a peer never learnt, forgotten or broken
    std::uint64_t resent = 0;
    std::uint64_t duplicates = 0;
  };

  explicit Station(Options options);
  ~Station();
  Station(const Station&) = delete;
  Station& operator=(const Station&) = delete;

  // Where this process lives: for those that it writes to from now on.
  void set_home(NodeId home) { options_.home = home; }
  // From now on this process may be written to. Its frames are heard without that. A forgotten one
  // stays forgotten.
  void learn(const core::Peer& peer);
  // It is dead, or nothing more is wanted of it: what waits is dropped, its later frames are
  // unheard, for good.
  void forget(ProcessId peer);
  [[nodiscard]] bool knows(ProcessId peer) const;

  // All of these wait for flush(). To a peer that is unknown, forgotten or broken: dropped and
  // counted. Requires: to is another process; a message fits its limit (codec.h).
  void send(ProcessId to, const core::Message& message);
  void call(ProcessId to, const core::CallHeader& header, ByteView payload,
            std::span<const core::RefEntry> refs);
  void reply(ProcessId to, const core::ReplyHeader& header, ByteView payload,
             std::span<const core::RefEntry> refs);
  // outside the link: may be lost, doubled, late
  void datagram(ProcessId to, const core::Message& message);

  // A whole frame with a Hello for whoever listens at an address (Transport::greet): the first word
  // to a process whose id is not known yet. May be lost: say it again until the answer comes.
  [[nodiscard]] SharedBytes greeting(const core::Hello& hello) const;

  // Closes the gathered frames and gives out all that may leave now.
  void flush(TimeNs now, std::vector<OutFrame>& out);
  [[nodiscard]] bool wants_flush() const { return !dirty_.empty() || !loose_.empty(); }

  void on_frame(TimeNs now, const SharedBytes& frame, Handler& handler);
  void on_deadline(TimeNs now);
  // Never late; may be early, which costs a look.
  [[nodiscard]] std::optional<TimeNs> next_deadline() const;

  // More bytes wait for this peer than its link takes: hold back calls until it is false.
  [[nodiscard]] bool congested(ProcessId peer) const;
  // Everything sent has been acknowledged (all peers, or one): a process may end without losing its
  // last words.
  [[nodiscard]] bool settled() const;
  [[nodiscard]] bool settled(ProcessId peer) const;
  [[nodiscard]] std::vector<Broken> take_broken();
  [[nodiscard]] Stats stats() const;
  void check_invariants() const;

 private:
  struct PeerState;

  PeerState* find(ProcessId id) const;
  PeerState* find_or_add(ProcessId id);
  PeerState* target(ProcessId to, std::size_t record_bytes);
  PeerState* admit(const core::FrameHead& head, const SharedBytes& frame, Handler& handler);
  void close(PeerState& peer);
  void appended(PeerState& peer);
  void mark(PeerState& peer);
  void pump(TimeNs now, PeerState& peer);
  void break_link(PeerState& peer, std::string why);
  void note_deadline(const PeerState& peer);
  void deliver(PeerState& peer, const SharedBytes& frame, bool datagram, Handler& handler);
  void read_loose(ProcessId from, const SharedBytes& frame, Handler& handler);

  Options options_;
  std::vector<std::unique_ptr<PeerState>> peers_;          // by slot; the order of iteration
  std::vector<std::size_t> free_slots_;
  std::unordered_map<ProcessId, PeerState*> by_id_;        // looked up, never iterated
  mutable PeerState* last_ = nullptr;                      // the peer of the last look-up
  std::unordered_map<ProcessId, std::uint64_t> forgotten_; // when, by count; never iterated
  std::vector<ProcessId> forgotten_ring_;
  std::uint64_t forgotten_count_ = 0;
  std::vector<PeerState*> dirty_;                          // have something for flush()
  // datagrams, resends and acknowledgements that wait for flush()
  std::vector<OutFrame> loose_;
  std::vector<Broken> broken_;
  // forgotten inside a handler: freed after it
  std::vector<std::unique_ptr<PeerState>> dead_;
  Bytes control_;                                          // scratch
  std::vector<SharedBytes> in_;                            // scratch
  std::vector<SharedBytes> out_;                           // scratch
  TimeNs earliest_ = kNever;
  bool delivering_ = false;
  Stats stats_;
};

}  // namespace rondo::wire
