#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include <rondo/base/bytes.h>
#include <rondo/base/ids.h>
#include <rondo/base/limits.h>
#include <rondo/base/time.h>

// Link: one reliable, ordered stream of frames between two living processes, over a transport that
// may lose, double, delay and reorder.
//
// Picture two clerks who number their letters. Each keeps a copy of what the other has not yet
// confirmed, and sends the copies again when no confirmation comes; each opens letters strictly by
// number and throws a second copy away. "I have all up to 17" is written on whatever letter goes
// back anyway; only when none goes for a while, it gets its own.
//
// A frame is kFrameHeadBytes for the head, then a payload that the link never reads. Its owner
// builds it with the head's room in front, so that a payload is neither copied nor allocated again
// on its way. A copy that is sent again still bears its first acknowledgement: acknowledgements
// only grow, so an old one says nothing false.
//
// Who restarts is another ProcessId, hence another link: there is no handshake and no reset. A link
// never gives up; whoever learns that the peer is dead drops it. Full is an answer: the owner then
// keeps its own queue.
//
// Loop thread only. Pure: `now` comes in with every call.

namespace rondo::core {

// what every frame to a TCP listener must bear; zero where the folder's mode guards
struct Token {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  auto operator<=>(const Token&) const = default;
};

// In front of every frame, little-endian, as written. The schema's FrameHead is the same bytes.
struct FrameHead {
  std::uint32_t version = limits::kProtocolVersion;
  std::uint16_t magic = kMagic;
  std::uint16_t flags = 0;
  Token token;
  ProcessId from;
  ProcessId to;                   // 0: whoever listens there; only for a Hello outside the link
  // from 1; 0: outside the stream (a datagram, or only an acknowledgement)
  std::uint64_t sequence = 0;
  std::uint64_t ack = 0;          // the sender has all of the receiver's frames up to this one
  std::uint32_t payload_bytes = 0;
  std::uint32_t reserved = 0;

  static constexpr std::uint16_t kMagic = 0x6f72;       // "ro"
  static constexpr std::uint16_t kDatagram = 1;         // flag: the payload is outside the stream
};
static_assert(sizeof(FrameHead) == 64);
constexpr std::size_t kFrameHeadBytes = sizeof(FrameHead);

// The head of a whole frame; nullopt if these bytes cannot be one (short, other magic, other length
// than it says).
[[nodiscard]] std::optional<FrameHead> read_head(ByteView frame);
// Requires: frame begins with kFrameHeadBytes of room. Sets payload_bytes by itself.
void write_head(FrameHead head, Bytes& frame);

class Link {
 public:
  struct Options {
    DurationNs resend_after = limits::kResendAfter;
    DurationNs resend_after_max = limits::kResendAfterMax;
    DurationNs ack_after = limits::kAckAfter;
    std::size_t frames_unacked_max = limits::kFramesUnackedMax;
    std::size_t bytes_unacked_max = std::size_t{128} << 20;   // and always one frame
    std::size_t frames_ahead_max = limits::kFramesAheadMax;
    std::size_t bytes_ahead_max = std::size_t{64} << 20;
    std::size_t frames_per_ack = 64;       // an acknowledgement at once after so many frames...
    std::size_t bytes_per_ack = std::size_t{1} << 20;         // ...or bytes
    std::size_t resend_frames = 64;        // of one burst
    std::size_t resend_bytes = std::size_t{1} << 20;
  };

  Link(ProcessId self, ProcessId peer, Token token);
  Link(ProcessId self, ProcessId peer, Token token, Options options);

  // No room for another frame until the peer acknowledges.
  [[nodiscard]] bool full() const;
  // Numbers the frame, keeps it for resending and puts it into `out`. Requires: !full(), room for
  // the head in front.
  void send(TimeNs now, Bytes frame, std::vector<SharedBytes>& out);
  // The same frame outside the stream: not kept, not in order.
  [[nodiscard]] SharedBytes datagram(Bytes frame);

  // A frame from the peer, its head already judged (version, token, from, to). Frames whose turn
  // has come go into `in`, in order, each once; a datagram goes there as it is. `out`: frames to
  // send again.
  void on_frame(TimeNs now, const FrameHead& head, SharedBytes frame, std::vector<SharedBytes>& in,
                std::vector<SharedBytes>& out);
  // Sends what is due: frames again, an acknowledgement that found no letter to go with.
  void on_deadline(TimeNs now, std::vector<SharedBytes>& out);
  [[nodiscard]] std::optional<TimeNs> next_deadline() const;

  [[nodiscard]] ProcessId peer() const { return peer_; }
  [[nodiscard]] std::size_t unacked() const { return static_cast<std::size_t>(sent_ - acked_); }
  [[nodiscard]] std::size_t unacked_bytes() const { return unacked_bytes_; }
  [[nodiscard]] std::uint64_t received() const { return received_; }   // in order, so far
  [[nodiscard]] std::uint64_t resent() const { return resent_; }       // frames, for the inspector
  [[nodiscard]] std::uint64_t duplicates() const { return duplicates_; }
  void check_invariants() const;

 private:
  FrameHead head(std::uint64_t sequence, std::uint16_t flags);
  SharedBytes& kept(std::uint64_t sequence) { return ring_[sequence & (ring_.size() - 1)]; }
  void on_ack(TimeNs now, std::uint64_t ack, std::vector<SharedBytes>& out);
  void accept(TimeNs now, std::uint64_t sequence, SharedBytes frame, std::vector<SharedBytes>& in);
  void resend(std::vector<SharedBytes>& out);
  void owe_ack(TimeNs due);

  ProcessId self_;
  ProcessId peer_;
  Token token_;
  Options options_;

  // Outward.
  // frames (acked_, sent_], at their number modulo the (power of two) size
  std::vector<SharedBytes> ring_;
  std::uint64_t sent_ = 0;               // the newest number given
  std::uint64_t acked_ = 0;              // the peer has all up to here
  std::size_t unacked_bytes_ = 0;
  DurationNs resend_after_;              // now, after doublings
  TimeNs resend_at_ = kNever;
  // frames up to here were sent before the last silence: suspects
  std::uint64_t recover_to_ = 0;
  std::uint64_t recovered_to_ = 0;       // ...and up to here were sent again since

  // Inward.
  std::uint64_t received_ = 0;           // have all up to here
  std::map<std::uint64_t, SharedBytes> ahead_;   // came before their turn
  std::size_t ahead_bytes_ = 0;
  std::size_t owed_frames_ = 0;          // received since the last acknowledgement left
  std::size_t owed_bytes_ = 0;
  TimeNs ack_at_ = kNever;

  std::uint64_t resent_ = 0;
  std::uint64_t duplicates_ = 0;
};

}  // namespace rondo::core
