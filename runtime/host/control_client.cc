#include <rondo/host/control_client.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include <rondo/base/limits.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/prng.h>
#include <rondo/host/clock.h>
#include <rondo/host/release.h>
#include <rondo/host/worker_start.h>
#include <rondo/net/address.h>

namespace rondo::host {

namespace {

constexpr DurationNs kGreetAgain = milliseconds(200);
constexpr DurationNs kPumpMax = milliseconds(20);

// Whether anything accepts connections there: 0, or errno. A well-formed address.
int knock(const core::Address& address) {
  sockaddr_storage where{};
  socklen_t bytes = 0;
  if (address.starts_with("ipc://")) {
    auto* local = reinterpret_cast<sockaddr_un*>(&where);
    local->sun_family = AF_UNIX;
    const std::string path = address.substr(6);
    if (path.size() >= sizeof local->sun_path) return ENAMETOOLONG;
    std::memcpy(local->sun_path, path.c_str(), path.size() + 1);
    bytes = sizeof *local;
  } else {
    auto* net = reinterpret_cast<sockaddr_in*>(&where);
    net->sin_family = AF_INET;
    net->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string port = address.substr(address.rfind(':') + 1);
    std::uint16_t number = 0;
    std::from_chars(port.data(), port.data() + port.size(), number);
    net->sin_port = htons(number);
    bytes = sizeof *net;
  }
  const OwnedFd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&where), bytes) == 0 ? 0 : errno;
}

std::string seconds_text(DurationNs duration) {
  return std::to_string((duration.ns + 999'999'999) / 1'000'000'000) + " s";
}

}  // namespace

class ControlClient::Inbox final : public wire::Handler {
 public:
  explicit Inbox(ControlClient& client) : client_(client) {}
  void on_peer(const core::Peer& peer, NodeId) override { client_.met_.push_back(peer); }
  void on_message(ProcessId from, core::Message&& message) override {
    client_.heard_.emplace_back(from, std::move(message));
  }
  void on_call(ProcessId, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes&) override {}
  void on_reply(ProcessId, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes&) override {}

 private:
  ControlClient& client_;
};

ControlClient::ControlClient(ClusterPlace place, std::unique_ptr<net::ZmqTransport> transport,
                             core::Peer self)
    : place_(std::move(place)),
      self_(std::move(self)),
      transport_(std::move(transport)),
      station_({.self = self_, .token = place_.token}) {}

Result<std::unique_ptr<ControlClient>> ControlClient::connect(const ClusterPlace& place,
                                                              DurationNs timeout) {
  const TimeNs limit = boot_time() + timeout;
  if (auto fine = net::check_address(place.address); !fine) return fine.error();
  if (const int why = knock(place.address); why != 0)
    return Error(ErrorCode::kUnavailable, "nothing listens at " + place.address + " (" +
                                              errno_text(why) + "): start a cluster with rondo up");
  auto transport = std::make_unique<net::ZmqTransport>(net::ZmqTransport::Options{});
  core::Peer self{ProcessId{entropy()}, ""};
  auto bound = transport->bind(listen_address(place.socket_folder, "c", self.id));
  if (!bound) return bound.error();
  self.address = bound.value();
  std::unique_ptr<ControlClient> client(
      new ControlClient(place, std::move(transport), std::move(self)));
  if (auto greeted = client->greet(limit); !greeted) {
    if (boot_time() >= limit) return client->silent(timeout);
    return greeted.error();
  }
  return client;
}

ControlClient::~ControlClient() {
  if (!peer_.id) return;
  send(core::Goodbye{"done"});
  const TimeNs limit = boot_time() + milliseconds(200);
  while (!station_.settled(peer_.id) && boot_time() < limit) pump(milliseconds(5));
}

Error ControlClient::silent(DurationNs timeout) const {
  return {ErrorCode::kUnavailable,
          place_.address + " does not answer within " + seconds_text(timeout) +
              ": whoever listens there is no rondo head or node, hangs, or wants another token"};
}

Result<void> ControlClient::greet(TimeNs limit) {
  core::Hello hello;
  hello.self = self_;
  hello.role = core::Role::kClient;
  hello.pid = ::getpid();
  hello.version = limits::kProtocolVersion;
  hello.release = kRelease;
  for (TimeNs next = boot_time(); boot_time() < limit;) {
    if (boot_time() >= next) {
      transport_->greet(place_.address, station_.greeting(hello));
      next = boot_time() + kGreetAgain;
    }
    pump(kPumpMax);
    for (const auto& [from, message] : std::exchange(heard_, {})) {
      if (const auto* refused = std::get_if<core::Refused>(&message))
        return Error(refused->failure.code, refused->failure.text);
      const auto* welcome = std::get_if<core::Welcome>(&message);
      if (welcome == nullptr) continue;
      peer_ = {from, place_.address};
      node_ = welcome->node;
      station_.learn(peer_);
      transport_->learn(peer_);
      return {};
    }
  }
  return Error(ErrorCode::kUnavailable, "no answer");
}

void ControlClient::pump(DurationNs wait) {
  frames_.clear();
  transport_->poll(wait, frames_);
  const TimeNs now = boot_time();
  Inbox inbox(*this);
  for (const SharedBytes& frame : frames_) station_.on_frame(now, frame, inbox);
  for (const core::Peer& peer : std::exchange(met_, {})) transport_->learn(peer);
  if (station_.next_deadline().value_or(kNever) <= now) station_.on_deadline(now);
  out_.clear();
  station_.flush(now, out_);
  for (wire::OutFrame& frame : out_) transport_->send(frame.to, std::move(frame.frame));
}

void ControlClient::send(const core::Message& message) {
  station_.send(peer_.id, message);
  pump({});
}

Result<std::string> ControlClient::inspect(const std::string& what, DurationNs timeout) {
  const TimeNs limit = boot_time() + timeout;
  const RequestId request{next_request_++};
  send(core::Inspect{request, what});
  while (boot_time() < limit) {
    for (auto& [from, message] : std::exchange(heard_, {})) {
      auto* answer = std::get_if<core::Inspected>(&message);
      if (answer == nullptr || answer->request != request) continue;
      if (!answer->failure.empty())
        return Error(answer->failure.front().code, answer->failure.front().text);
      return std::move(answer->text);
    }
    pump(kPumpMax);
  }
  return silent(timeout);
}

Result<void> ControlClient::shutdown(const std::string& cause, DurationNs timeout) {
  const TimeNs limit = boot_time() + timeout;
  send(core::Shutdown{cause});
  while (boot_time() < limit) {
    if (station_.settled(peer_.id)) return {};
    pump(kPumpMax);
  }
  return silent(timeout);
}

}  // namespace rondo::host
