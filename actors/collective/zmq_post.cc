#include <rondo/actors/collective/zmq_post.h>

#include <zmq.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include <rondo/base/check.h>
// tidy: allow include-dag, because which addresses Rondo listens at is one rule
#include <rondo/net/address.h>
// tidy: allow include-dag, because how calls of libzmq are checked is one rule
#include <rondo/net/zmq_call.h>

namespace rondo::collective {

namespace {

using net::check_zmq;
using net::set_zmq;

constexpr std::uint32_t kMagic = 0x436F6C6Cu;
constexpr std::uint16_t kVersion = 1;
constexpr std::int64_t kFrameBytesMax = std::int64_t{8} << 20;
constexpr int kLingerMs = 500;
constexpr int kReconnectMs = 50;
constexpr std::int64_t kNapNs = 10'000'000;   // between two looks at the abort flag
constexpr std::int64_t kLookNs = 20'000;      // for the first frame before sleeping

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// The bytes lie behind `aligned`: a frame that came unaligned is copied there.
struct Frame::Message {
  zmq_msg_t message;
  Message() { check_zmq(zmq_msg_init(&message), "zmq_msg_init"); }
  explicit Message(std::size_t bytes) {
    check_zmq(zmq_msg_init_size(&message, bytes), "zmq_msg_init_size");
  }
  ~Message() { check_zmq(zmq_msg_close(&message), "zmq_msg_close"); }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;
  std::byte* data() { return static_cast<std::byte*>(zmq_msg_data(&message)); }
  std::size_t size() { return zmq_msg_size(&message); }
  void align() {
    if (reinterpret_cast<std::uintptr_t>(data()) % alignof(FrameHead) == 0) return;
    zmq_msg_t copy;
    check_zmq(zmq_msg_init_size(&copy, size()), "zmq_msg_init_size");
    std::memcpy(zmq_msg_data(&copy), data(), size());
    check_zmq(zmq_msg_move(&message, &copy), "zmq_msg_move");
    check_zmq(zmq_msg_close(&copy), "zmq_msg_close");
  }
};

Frame::Frame(std::size_t body_bytes)
    : message_(std::make_unique<Message>(sizeof(FrameHead) + body_bytes)) {
  message_->align();
  head() = FrameHead{};
}
Frame::~Frame() = default;
Frame::Frame(Frame&& other) noexcept = default;
Frame& Frame::operator=(Frame&& other) noexcept = default;
FrameHead& Frame::head() { return *reinterpret_cast<FrameHead*>(message_->data()); }
std::span<std::byte> Frame::body() {
  return std::span(message_->data(), message_->size()).subspan(sizeof(FrameHead));
}

struct ZmqPost::Sockets {
  void* context = zmq_ctx_new();
  void* pull = nullptr;
  std::vector<void*> push;   // by rank; null until the first frame
  std::string address;

  ~Sockets() {
    for (void* socket : push)
      if (socket != nullptr) check_zmq(zmq_close(socket), "zmq_close");
    if (pull != nullptr) check_zmq(zmq_close(pull), "zmq_close");
    while (check_zmq(zmq_ctx_term(context), "zmq_ctx_term", {EINTR}) != 0) {}
  }
  void* open(int type) {
    void* socket = zmq_socket(context, type);
    if (socket == nullptr) return nullptr;
    check_zmq(zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &kFrameBytesMax, sizeof(kFrameBytesMax)),
          "zmq_setsockopt");
    set_zmq(socket, ZMQ_LINGER, kLingerMs);
    set_zmq(socket, ZMQ_RECONNECT_IVL, kReconnectMs);
    set_zmq(socket, ZMQ_SNDHWM, 0);   // bounded by the operation: nobody gets ahead of the others
    set_zmq(socket, ZMQ_RCVHWM, 0);
    return socket;
  }
};

ZmqPost::ZmqPost() : sockets_(std::make_unique<Sockets>()) {}
ZmqPost::~ZmqPost() = default;
const std::string& ZmqPost::address() const { return sockets_->address; }

Result<std::unique_ptr<ZmqPost>> ZmqPost::bind(const std::string& address) {
  if (auto good = net::check_address(address); !good) return good.error();
  if (auto ready = net::prepare_listening(address); !ready) return ready.error();
  std::unique_ptr<ZmqPost> post(new ZmqPost());
  Sockets& sockets = *post->sockets_;
  sockets.pull = sockets.open(ZMQ_PULL);
  if (sockets.pull == nullptr || zmq_bind(sockets.pull, address.c_str()) != 0)
    return Error(ErrorCode::kUnavailable,
                 "a rank cannot listen at " + address + ": " + zmq_strerror(zmq_errno()));
  std::array<char, 256> real{};
  std::size_t size = real.size();
  check_zmq(zmq_getsockopt(sockets.pull, ZMQ_LAST_ENDPOINT, real.data(), &size), "zmq_getsockopt");
  sockets.address = real.data();
  return post;
}

Result<void> ZmqPost::enter(const Member& member, std::uint64_t key,
                            const std::vector<std::string>& addresses) {
  if (auto wrong = complaint_about(member)) return *wrong;
  if (addresses.size() != static_cast<std::size_t>(member.size))
    return Error(ErrorCode::kInvalid, "a group of " + std::to_string(member.size) +
                                          " ranks came with " + std::to_string(addresses.size()) +
                                          " addresses");
  for (const std::string& one : addresses)
    if (auto good = net::check_address(one); !good) return good.error();
  speak_for(member, key, addresses);
  return {};
}

void ZmqPost::speak_for(const Member& member, std::uint64_t key,
                        const std::vector<std::string>& addresses) {
  member_ = member;
  key_ = key;
  addresses_ = addresses;
  sockets_->push.assign(addresses.size(), nullptr);
}

Result<void> ZmqPost::connect(int to) {
  const auto at = static_cast<std::size_t>(to);
  if (sockets_->push[at] != nullptr) return {};
  void* socket = sockets_->open(ZMQ_PUSH);
  if (socket == nullptr || zmq_connect(socket, addresses_[at].c_str()) != 0) {
    const Error error(ErrorCode::kUnavailable, "rank " + std::to_string(to) + " at " +
                                                   addresses_[at] + " cannot be connected to: " +
                                                   zmq_strerror(zmq_errno()));
    if (socket != nullptr) check_zmq(zmq_close(socket), "zmq_close");
    return error;
  }
  sockets_->push[at] = socket;
  return {};
}

void ZmqPost::begin(std::uint64_t number, std::uint64_t count, std::uint64_t shape) {
  number_ = number;
  count_ = count;
  shape_ = shape;
}

Result<void> ZmqPost::send(int to, Frame frame) {
  if (auto connected = connect(to); !connected) return connected;
  FrameHead& head = frame.head();
  head.magic = kMagic;
  head.version = kVersion;
  head.key = key_;
  head.incarnation = member_.incarnation.value;
  head.from = static_cast<std::uint32_t>(member_.rank);
  head.number = number_;
  head.count = count_;
  head.shape = shape_;
  void* socket = sockets_->push[static_cast<std::size_t>(to)];
  int error = EINTR;
  while (error == EINTR)
    error = check_zmq(zmq_msg_send(&frame.message()->message, socket, ZMQ_DONTWAIT), "zmq_msg_send",
                  {EINTR, EAGAIN});
  if (error == EAGAIN)   // there is no limit to what waits, so there is no connection any more
    return Error(ErrorCode::kUnavailable,
                 "rank " + std::to_string(to) + " at " + addresses_[static_cast<std::size_t>(to)] +
                     " takes no frames: another program listens there");
  return {};
}

void ZmqPost::send_abort(ErrorCode code, const std::string& reason) {
  for (int rank = 0; rank < member_.size; ++rank)
    if (rank != member_.rank) send_abort(rank, code, reason);
}

void ZmqPost::send_abort(int to, ErrorCode code, const std::string& reason) {
  Frame frame(reason.size());
  frame.head().abort = static_cast<std::uint16_t>(code);
  std::memcpy(frame.body().data(), reason.data(), reason.size());
  // Who cannot be reached hears of it by its own timeout.
  if (auto sent = send(to, std::move(frame)); !sent) ++dropped_;
}

std::optional<Frame> ZmqPost::poll(std::int64_t most_ns) {
  zmq_pollitem_t item{sockets_->pull, 0, ZMQ_POLLIN, 0};
  const auto most_ms = static_cast<long>(most_ns / 1'000'000);
  if (zmq_poll(&item, 1, most_ms) <= 0) return std::nullopt;
  Frame frame;
  if (check_zmq(zmq_msg_recv(&frame.message()->message, sockets_->pull, ZMQ_DONTWAIT),
                "zmq_msg_recv", {EAGAIN, EINTR}) != 0)
    return std::nullopt;
  if (frame.message()->size() >= sizeof(FrameHead)) frame.message()->align();
  return frame;
}

bool ZmqPost::is_ours(Frame& frame) {
  if (frame.message()->size() < sizeof(FrameHead)) return false;
  const FrameHead& head = frame.head();
  if (head.magic != kMagic || head.version != kVersion || head.key != key_ ||
      head.from >= static_cast<std::uint32_t>(member_.size))
    return false;
  if (head.incarnation != member_.incarnation.value)
    return head.incarnation > member_.incarnation.value;
  return head.abort != 0 || head.number >= number_;
}

std::optional<Error> ZmqPost::complaint(Frame& frame) {
  const FrameHead& head = frame.head();
  const std::string who = "rank " + std::to_string(head.from);
  const std::string incarnation = std::to_string(member_.incarnation.value);
  if (head.incarnation > member_.incarnation.value)
    return Error(ErrorCode::kCancelled,
                 who + " is already at incarnation " + std::to_string(head.incarnation) +
                     " of the group: incarnation " + incarnation + " is over");
  if (head.abort != 0) {
    was_told_ = true;
    const auto words = frame.body();
    const bool disagree = head.abort == static_cast<std::uint16_t>(ErrorCode::kInvalid);
    return aborted(member_, {reinterpret_cast<const char*>(words.data()), words.size()},
                   disagree ? ErrorCode::kInvalid : ErrorCode::kCancelled);
  }
  if (head.number == number_ && (head.count != count_ || head.shape != shape_))
    return disagreement(member_, describe(count_, shape_), static_cast<int>(head.from),
                        describe(head.count, head.shape), number_);
  return std::nullopt;
}

Result<Frame> ZmqPost::next(const AbortFlag& flag, std::int64_t deadline_ns) {
  const std::int64_t look_until = now_ns() + kLookNs;
  while (true) {
    if (auto raised = flag.raised(member_)) return *raised;
    const std::int64_t now = now_ns();
    const bool is_last = now >= deadline_ns;   // what is there by now has come in time
    std::optional<Frame> frame =
        poll(is_last || now < look_until ? 0 : std::min(kNapNs, deadline_ns - now + 1'000'000));
    if (frame && is_ours(*frame)) {
      if (auto error = complaint(*frame)) return *error;
      return std::move(*frame);
    }
    if (frame) ++dropped_;
    if (is_last)
      return late(member_, "no rank sent what rank " + std::to_string(member_.rank) +
                               " waits for", number_);
  }
}

std::optional<Error> ZmqPost::look() {
  while (!over_) {
    std::optional<Frame> frame = poll(0);
    if (!frame) break;
    if (!is_ours(*frame)) ++dropped_;
    else if (auto error = complaint(*frame)) over_ = *error;
    else kept_.push_back(std::move(*frame));
  }
  return over_;
}

Result<Frame> ZmqPost::receive(const Wanted& wanted, const AbortFlag& flag) {
  if (over_) return *over_;
  const std::int64_t deadline_ns = now_ns() + member_.timeout.ns;
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    if (kept_[i].head().number != number_) continue;
    if (auto error = complaint(kept_[i])) return *error;
    if (!wanted(kept_[i].head())) continue;
    Frame frame = std::move(kept_[i]);
    kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
    return frame;
  }
  while (true) {
    Result<Frame> frame = next(flag, deadline_ns);
    if (!frame) return frame;
    const FrameHead& head = frame.value().head();
    if (head.number == number_ && wanted(head)) return frame;
    kept_.push_back(std::move(frame).value());
  }
}

void send_abort_to(const std::vector<std::string>& addresses, std::uint64_t key,
                   Incarnation incarnation, const std::string& reason) {
  ZmqPost post;
  const Member speaks_for{0, static_cast<int>(addresses.size()), incarnation};
  post.speak_for(speaks_for, key, addresses);
  for (int rank = 0; rank < speaks_for.size; ++rank)
    if (!addresses[static_cast<std::size_t>(rank)].empty())
      post.send_abort(rank, ErrorCode::kCancelled, reason);
}

}  // namespace rondo::collective
