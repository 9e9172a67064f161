#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/base/result.h>

// ZmqPost: how the ranks of a group on several machines write to one another. Each binds one PULL
// and connects a PUSH to whom it writes to; every message is one frame with a head of 64 bytes.
//
// A frame of another group, of an older incarnation, or one that is no frame is dropped and
// counted. One of the next operation, from a rank that is already there, is kept until then.
// Nothing is sent twice: a lost connection shows as a wait that does not end in time, and the
// group is built anew. Addresses as for all of Rondo: ipc:// in a folder of this user, and
// tcp://127.0.0.1; the group's key, a random number that only its members know, is in every frame.
//
// One thread at a time. Sockets close with what waits in them sent, for at most half a second.

namespace rondo::collective {

// What a frame is about within its operation.
enum class Stage : std::uint32_t { kRing = 1, kUp, kDown, kDone };

struct FrameHead {
  std::uint32_t magic;
  std::uint16_t version;
  std::uint16_t abort;        // an ErrorCode, and the body is a sentence; else 0
  std::uint64_t key;
  std::uint64_t incarnation;
  std::uint32_t from;
  Stage stage;
  std::uint64_t number;       // of the operation
  std::uint64_t count, shape; // of the operation: describe()
  std::uint32_t chunk;
  std::uint16_t part, hop;    // ring: whose part, how far it has come
};
static_assert(sizeof(FrameHead) == 64);

// A received or a new frame.
class Frame {
 public:
  explicit Frame(std::size_t body_bytes = 0);
  ~Frame();
  Frame(Frame&& other) noexcept;
  Frame& operator=(Frame&& other) noexcept;

  [[nodiscard]] FrameHead& head();
  [[nodiscard]] std::span<std::byte> body();   // aligned to 8
  struct Message;
  [[nodiscard]] Message* message() { return message_.get(); }

 private:
  std::unique_ptr<Message> message_;
};

class ZmqPost {
 public:
  // Listens there; "tcp://127.0.0.1:*" picks a port, address() says which.
  static Result<std::unique_ptr<ZmqPost>> bind(const std::string& address);
  ~ZmqPost();
  ZmqPost(const ZmqPost&) = delete;
  ZmqPost& operator=(const ZmqPost&) = delete;

  [[nodiscard]] const std::string& address() const;
  // From now on frames of this group go out and come in. `addresses`: by rank.
  Result<void> enter(const Member& member, std::uint64_t key,
                     const std::vector<std::string>& addresses);
  // Of waits from here on, instead of the member's timeout.
  void wait_at_most(DurationNs timeout) { member_.timeout = timeout; }
  // The operation under way: frames of other ones wait or are dropped.
  void begin(std::uint64_t number, std::uint64_t count, std::uint64_t shape);
  // Fills in the head but for stage, chunk, part and hop. `frame` is used up. kUnavailable: who
  // listens at the rank's address does not speak as a rank does.
  Result<void> send(int to, Frame frame);
  // The next frame of this operation for which `wanted` holds; others of it wait.
  using Wanted = std::function<bool(const FrameHead&)>;
  Result<Frame> receive(const Wanted& wanted, const AbortFlag& flag);
  // Without waiting: an abort, or a newer incarnation, among what has come; keeps the rest. What it
  // found once, it and receive() give ever after.
  std::optional<Error> look();
  // Tells all other ranks, whatever they do.
  void send_abort(ErrorCode code, const std::string& reason);
  // Whether the last error came from another rank, who has told everybody.
  [[nodiscard]] bool was_told() const { return was_told_; }
  [[nodiscard]] std::uint64_t dropped() const { return dropped_; }

 private:
  ZmqPost();
  struct Sockets;
  friend void send_abort_to(const std::vector<std::string>&, std::uint64_t, Incarnation,
                            const std::string&);

  void speak_for(const Member& member, std::uint64_t key,
                 const std::vector<std::string>& addresses);
  void send_abort(int to, ErrorCode code, const std::string& reason);
  Result<void> connect(int to);
  Result<Frame> next(const AbortFlag& flag, std::int64_t deadline_ns);
  std::optional<Frame> poll(std::int64_t most_ns);
  [[nodiscard]] bool is_ours(Frame& frame);
  [[nodiscard]] std::optional<Error> complaint(Frame& frame);

  std::unique_ptr<Sockets> sockets_;
  Member member_;
  std::uint64_t key_ = 0;
  std::vector<std::string> addresses_;
  std::uint64_t number_ = 0, count_ = 0, shape_ = 0;
  std::vector<Frame> kept_;   // of this operation or the next; bounded by what two operations send
  std::uint64_t dropped_ = 0;
  bool was_told_ = false;
  std::optional<Error> over_;   // what look() found
};

// For who is no rank but heard that one died: ends the waits of that incarnation at these
// addresses, by rank; an empty one is left out. Waits until the words are sent, half a second at
// most.
void send_abort_to(const std::vector<std::string>& addresses, std::uint64_t key,
                   Incarnation incarnation, const std::string& reason);

}  // namespace rondo::collective
