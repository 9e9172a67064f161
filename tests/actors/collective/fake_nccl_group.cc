#include "fake_nccl_group.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace {

constexpr int kGlanceMs = 1;   // between two tries to reach who is not there yet

struct Hello {
  int rank, device;
};

int set_up_address(sockaddr_un& address, const std::string& id, int rank) {
  const std::string name = "rondo-fake-nccl-" + id + "-" + std::to_string(rank);
  address = {};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());   // abstract: begins with a 0
  return static_cast<int>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

bool write_all(int socket, const void* data, std::size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::send(socket, at, bytes, MSG_NOSIGNAL);
    if (done <= 0) return false;
    at += done;
    bytes -= static_cast<std::size_t>(done);
  }
  return true;
}

bool read_all(int socket, void* data, std::size_t bytes) {
  char* at = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::recv(socket, at, bytes, 0);
    if (done <= 0) return false;
    at += done;
    bytes -= static_cast<std::size_t>(done);
  }
  return true;
}

}  // namespace

FakeGroup::FakeGroup(std::string id, int rank, int size, int device)
    : id_(std::move(id)), rank_(rank), size_(size), device_(device) {
  sockaddr_un address;
  const int bytes = set_up_address(address, id_, rank_);
  door_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  wake_ = ::eventfd(0, EFD_CLOEXEC);
  if (::bind(door_, reinterpret_cast<sockaddr*>(&address), static_cast<socklen_t>(bytes)) == 0)
    (void)::listen(door_, size_);
  devices_[rank_] = device_;
  thread_ = std::thread([this] { run(); });
}

FakeGroup::~FakeGroup() {
  end();
  thread_.join();
  for (const auto& [rank, socket] : to_) ::close(socket);
  for (const int socket : from_) ::close(socket);
  ::close(door_);
  ::close(wake_);
}

void FakeGroup::end() {
  const std::lock_guard lock(mutex_);
  ended_ = true;
  for (const auto& [rank, socket] : to_) ::shutdown(socket, SHUT_RDWR);
  for (const int socket : from_) ::shutdown(socket, SHUT_RDWR);
  const std::uint64_t one = 1;
  (void)!::write(wake_, &one, sizeof one);
  bell_.notify_all();
}

bool FakeGroup::is_ended() {
  const std::lock_guard lock(mutex_);
  return ended_;
}

bool FakeGroup::all_here() {
  const std::lock_guard lock(mutex_);
  return devices_.size() == static_cast<std::size_t>(size_) &&
         to_.size() + 1 == static_cast<std::size_t>(size_);
}

bool FakeGroup::shares_its_device() {
  const std::lock_guard lock(mutex_);
  return device_ >= 0 && std::count_if(devices_.begin(), devices_.end(), [this](const auto& other) {
           return other.second == device_;
         }) > 1;
}

// Greets whoever is not greeted yet and reads what comes.
void FakeGroup::run() {
  while (true) {
    std::vector<pollfd> watched{{wake_, POLLIN, 0}, {door_, POLLIN, 0}};
    bool greets = false;
    for (int rank = 0; rank < size_; ++rank) {
      if (rank == rank_) continue;
      reach(rank);
      const std::lock_guard lock(mutex_);
      greets = greets || !to_.contains(rank);
    }
    for (const int socket : from_) watched.push_back({socket, POLLIN, 0});
    (void)::poll(watched.data(), watched.size(), greets ? kGlanceMs : -1);
    if (is_ended()) return;
    for (std::size_t at = 2; at < watched.size(); ++at)
      if (watched[at].revents != 0) read_from(watched[at].fd);
    if ((watched[1].revents & POLLIN) == 0) continue;
    const int socket = ::accept4(door_, nullptr, nullptr, SOCK_CLOEXEC);
    const std::lock_guard lock(mutex_);
    if (socket >= 0) from_.push_back(socket);
  }
}

void FakeGroup::reach(int rank) {
  {
    const std::lock_guard lock(mutex_);
    if (to_.contains(rank)) return;
  }
  sockaddr_un address;
  const int bytes = set_up_address(address, id_, rank);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const Hello hello{rank_, device_};
  if (::connect(socket, reinterpret_cast<sockaddr*>(&address),
                static_cast<socklen_t>(bytes)) != 0 ||
      !write_all(socket, &hello, sizeof hello)) {
    ::close(socket);
    return;
  }
  const std::lock_guard lock(mutex_);
  to_[rank] = socket;
}

// A letter: who sends it, its bytes, then those. The first from a socket is the hello.
void FakeGroup::read_from(int socket) {
  if (take_letter(socket)) return;
  const std::lock_guard lock(mutex_);   // its sender has gone
  std::erase(from_, socket);
  ::close(socket);
}

bool FakeGroup::take_letter(int socket) {
  Hello hello{};
  if (!read_all(socket, &hello, sizeof hello)) return false;
  {
    const std::lock_guard lock(mutex_);
    if (devices_.emplace(hello.rank, hello.device).second) return true;
  }
  std::uint64_t bytes = 0;
  if (!read_all(socket, &bytes, sizeof bytes)) return false;
  std::vector<char> letter(bytes);
  if (!read_all(socket, letter.data(), bytes)) return false;
  const std::lock_guard lock(mutex_);
  letters_[hello.rank].push_back(std::move(letter));
  bell_.notify_all();
  return true;
}

void FakeGroup::post(int to, std::vector<char> letter) {
  int socket = -1;
  {
    const std::lock_guard lock(mutex_);
    if (to == rank_) {
      letters_[rank_].push_back(std::move(letter));
      return;
    }
    socket = to_.at(to);
  }
  const Hello from{rank_, device_};
  const std::uint64_t bytes = letter.size();
  if (!write_all(socket, &from, sizeof from) || !write_all(socket, &bytes, sizeof bytes) ||
      !write_all(socket, letter.data(), bytes))
    wait_for_end();   // the other has died
}

std::vector<char> FakeGroup::fetch(int from) {
  std::unique_lock lock(mutex_);
  auto& box = letters_[from];
  bell_.wait(lock, [&] { return ended_ || !box.empty(); });
  if (ended_) return {};
  std::vector<char> letter = std::move(box.front());
  box.pop_front();
  return letter;
}

void FakeGroup::wait_for_end() {
  std::unique_lock lock(mutex_);
  bell_.wait(lock, [this] { return ended_; });
}
