#include <rondo/net/zmq_transport.h>

#include <atomic>
#include <cerrno>
#include <ctime>
#include <map>
#include <unordered_map>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <rondo/base/check.h>
#include <rondo/base/limits.h>
#include <rondo/base/log.h>
#include <rondo/net/address.h>
#include <rondo/net/zmq_call.h>

namespace rondo::net {
namespace {

constexpr int kSendFramesMax = 100'000;      // more than a link keeps: reached only by resending
constexpr int kReceiveFramesMax = 512;       // of one peer, before its socket is left alone
constexpr int kReconnectMs = 50;
constexpr int kHandshakeMs = 3'000;
constexpr int kSocketsMax = 60'000;
constexpr std::size_t kZeroCopyBytes = std::size_t{16} << 10;
constexpr std::size_t kGreetingsMax = 64;    // addresses greeted at once
static_assert(kSendFramesMax > limits::kFramesUnackedMax);

void* open_socket(void* context, int type) {
  void* socket = zmq_socket(context, type);
  if (socket == nullptr) {
    check_zmq(-1, "zmq_socket", {EMFILE});
    return nullptr;
  }
  const auto bytes_max = static_cast<std::int64_t>(limits::kFrameBytesMax);
  check_zmq(zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &bytes_max, sizeof(bytes_max)),
            "zmq_setsockopt");
  set_zmq(socket, ZMQ_LINGER, 0);
  set_zmq(socket, ZMQ_HANDSHAKE_IVL, kHandshakeMs);
  set_zmq(socket, ZMQ_RECONNECT_IVL, kReconnectMs);
  set_zmq(socket, ZMQ_SNDHWM, kSendFramesMax);
  set_zmq(socket, ZMQ_RCVHWM, kReceiveFramesMax);
  return socket;
}

void close_socket(void* socket) {
  if (socket != nullptr) check_zmq(zmq_close(socket), "zmq_close");
}

void release(void*, void* hold) { delete static_cast<SharedBytes*>(hold); }

// false: at the high-water mark.
bool push(void* socket, SharedBytes frame) {
  if (frame->size() < kZeroCopyBytes)
    return check_zmq(zmq_send(socket, frame->data(), frame->size(), ZMQ_DONTWAIT), "zmq_send",
                 {EAGAIN, EINTR}) == 0;
  auto* bytes = const_cast<std::byte*>(frame->data());   // ZeroMQ only reads it
  const std::size_t size = frame->size();
  auto* hold = new SharedBytes(std::move(frame));
  zmq_msg_t message;
  check_zmq(zmq_msg_init_data(&message, bytes, size, release, hold), "zmq_msg_init_data");
  const int error =
      check_zmq(zmq_msg_send(&message, socket, ZMQ_DONTWAIT), "zmq_msg_send", {EAGAIN, EINTR});
  if (error != 0) check_zmq(zmq_msg_close(&message), "zmq_msg_close");
  return error == 0;
}

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

ZmqContext::ZmqContext() : context_(zmq_ctx_new()) {
  RONDO_CHECK(context_ != nullptr);
  check_zmq(zmq_ctx_set(context_, ZMQ_MAX_SOCKETS, kSocketsMax), "zmq_ctx_set");
}

ZmqContext::~ZmqContext() {
  while (check_zmq(zmq_ctx_term(context_), "zmq_ctx_term", {EINTR}) != 0) {}
}

struct ZmqTransport::State {
  struct Out {
    core::Address address;
    void* socket = nullptr;   // null until the first frame
  };

  explicit State(Options given) : options(std::move(given)) {
    if (!options.context) options.context = std::make_shared<ZmqContext>();
    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    RONDO_CHECK_LE(0, event_fd);
    pull = open_socket(options.context->get(), ZMQ_PULL);
    RONDO_CHECK(pull != nullptr);
    std::size_t size = sizeof(pull_fd);
    check_zmq(zmq_getsockopt(pull, ZMQ_FD, &pull_fd, &size), "zmq_getsockopt");
  }

  ~State() {
    for (auto& [id, out] : outs) close_socket(out.socket);
    for (auto& [to, socket] : greetings) close_socket(socket);
    close_socket(pull);
    close(event_fd);
  }

  void* connect(const core::Address& to);
  void receive(std::vector<SharedBytes>& frames);
  bool was_woken() { return woken.exchange(false, std::memory_order_seq_cst); }
  bool sleep_until(std::int64_t deadline);   // false: the deadline has come

  Options options;
  core::Address address;
  void* pull = nullptr;
  int pull_fd = -1;
  int event_fd = -1;
  std::unordered_map<ProcessId, Out> outs;
  std::map<core::Address, void*> greetings;
  Stats stats;
  std::atomic<bool> woken{false};
  std::atomic<bool> sleeping{false};
};

// Null: it cannot be connected to. A peer that is away is no reason: ZeroMQ tries again by itself.
void* ZmqTransport::State::connect(const core::Address& to) {
  if (const Result<void> form = check_address(to); !form) {
    log_warn(form.error().what());
    return nullptr;
  }
  void* socket = open_socket(options.context->get(), ZMQ_PUSH);
  if (socket == nullptr) {
    log_error("no socket left for " + to + ": raise the limit of open files");
    return nullptr;
  }
  if (check_zmq(zmq_connect(socket, to.c_str()), "zmq_connect", {EINVAL}) == 0) return socket;
  close_socket(socket);
  return nullptr;
}

void ZmqTransport::State::receive(std::vector<SharedBytes>& frames) {
  zmq_msg_t message;
  check_zmq(zmq_msg_init(&message), "zmq_msg_init");
  for (std::size_t n = 0; n < options.frames_per_poll; ++n) {
    if (check_zmq(zmq_msg_recv(&message, pull, ZMQ_DONTWAIT), "zmq_msg_recv", {EAGAIN, EINTR}) != 0)
      break;
    const auto* begin = static_cast<const std::byte*>(zmq_msg_data(&message));
    frames.push_back(std::make_shared<const Bytes>(begin, begin + zmq_msg_size(&message)));
    ++stats.received;
  }
  check_zmq(zmq_msg_close(&message), "zmq_msg_close");
}

bool ZmqTransport::State::sleep_until(std::int64_t deadline) {
  sleeping.store(true, std::memory_order_seq_cst);
  if (woken.load(std::memory_order_seq_cst)) {   // a waker that did not see us asleep
    sleeping.store(false, std::memory_order_relaxed);
    return true;
  }
  timespec left{};
  if (deadline != INT64_MAX) {
    const std::int64_t ns = std::max<std::int64_t>(0, deadline - now_ns());
    left = {ns / 1'000'000'000, ns % 1'000'000'000};
  }
  pollfd fds[2] = {{pull_fd, POLLIN, 0}, {event_fd, POLLIN, 0}};
  const int rc = ppoll(fds, 2, deadline == INT64_MAX ? nullptr : &left, nullptr);
  sleeping.store(false, std::memory_order_relaxed);
  if (rc > 0 && (fds[1].revents & POLLIN) != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(event_fd, &count, sizeof(count));
  }
  return rc != 0;
}

ZmqTransport::ZmqTransport(Options options) : state_(std::make_unique<State>(std::move(options))) {}
// libzmq leaves the file of an ipc socket. While it still listens the name is certainly ours.
ZmqTransport::~ZmqTransport() {
  if (const std::string& own = address(); own.starts_with("ipc://")) ::unlink(own.c_str() + 6);
}

Result<core::Address> ZmqTransport::bind(const core::Address& address) {
  RONDO_CHECK(state_->address.empty());
  if (Result<void> form = check_address(address); !form) return form.error();
  if (Result<void> place = prepare_listening(address); !place) return place.error();
  const int error = check_zmq(zmq_bind(state_->pull, address.c_str()), "zmq_bind",
                          {EADDRINUSE, EADDRNOTAVAIL, EACCES, ENOENT, EINVAL, EMFILE, ENODEV});
  if (error == EADDRINUSE)
    return Error(ErrorCode::kUnavailable,
                 "cannot listen at " + address +
                     ": another program listens there; stop it or choose another port");
  if (error != 0)
    return Error(ErrorCode::kUnavailable,
                 "cannot listen at " + address + ": " + zmq_strerror(error));
  char real[512] = {};
  std::size_t size = sizeof(real);
  check_zmq(zmq_getsockopt(state_->pull, ZMQ_LAST_ENDPOINT, real, &size), "zmq_getsockopt");
  state_->address = real;
  return state_->address;
}

const core::Address& ZmqTransport::address() const { return state_->address; }

void ZmqTransport::learn(const core::Peer& peer) {
  State::Out& out = state_->outs[peer.id];
  if (out.address == peer.address) return;
  close_socket(out.socket);
  out = {peer.address, nullptr};
}

void ZmqTransport::forget(ProcessId peer) {
  const auto found = state_->outs.find(peer);
  if (found == state_->outs.end()) return;
  close_socket(found->second.socket);
  state_->outs.erase(found);
}

void ZmqTransport::send(ProcessId to, SharedBytes frame) {
  const auto found = state_->outs.find(to);
  if (found == state_->outs.end()) {
    ++state_->stats.dropped_unknown;
    return;
  }
  State::Out& out = found->second;
  if (out.socket == nullptr) out.socket = state_->connect(out.address);
  if (out.socket == nullptr)
    ++state_->stats.dropped_unknown;
  else
    ++(push(out.socket, std::move(frame)) ? state_->stats.sent : state_->stats.dropped_full);
}

void ZmqTransport::greet(const core::Address& to, SharedBytes frame) {
  auto found = state_->greetings.find(to);
  if (found == state_->greetings.end()) {
    if (state_->greetings.size() >= kGreetingsMax) {
      close_socket(state_->greetings.begin()->second);
      state_->greetings.erase(state_->greetings.begin());
    }
    void* socket = state_->connect(to);
    if (socket == nullptr) {
      ++state_->stats.dropped_unknown;
      return;
    }
    found = state_->greetings.emplace(to, socket).first;
  }
  ++(push(found->second, std::move(frame)) ? state_->stats.sent : state_->stats.dropped_full);
}

void ZmqTransport::poll(DurationNs timeout, std::vector<SharedBytes>& frames) {
  State& s = *state_;
  const std::size_t before = frames.size();
  s.receive(frames);
  if (s.was_woken() || frames.size() > before || timeout.ns == 0) return;
  const std::int64_t start = now_ns();
  const std::int64_t deadline = timeout.ns < 0 ? INT64_MAX : start + timeout.ns;
  const std::int64_t spin_end = std::min(deadline, start + s.options.spin.ns);
  while (true) {
    const bool spinning = spin_end > start && now_ns() < spin_end;
    if (spinning) relax();
    const bool in_time = spinning || s.sleep_until(deadline);
    s.receive(frames);
    if (s.was_woken() || frames.size() > before || !in_time) return;
  }
}

void ZmqTransport::wake() {
  state_->woken.store(true, std::memory_order_seq_cst);
  if (!state_->sleeping.load(std::memory_order_seq_cst)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = write(state_->event_fd, &one, sizeof(one));
}

void ZmqTransport::set_spin(DurationNs spin) { state_->options.spin = spin; }
const ZmqTransport::Stats& ZmqTransport::stats() const { return state_->stats; }

}  // namespace rondo::net
