#include <rondo/store/extent_client.h>

#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include <rondo/store/shared_memory.h>

namespace rondo::store {

namespace {
struct Map {
  std::span<std::byte> bytes;
  std::uint32_t memory = 0;  // which memfd of that number
  bool writable = false;

  Map(std::span<std::byte> b, std::uint32_t m, bool w) : bytes(b), memory(m), writable(w) {}
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
  ~Map() { unmap(bytes); }
};

// What a Buffer holds: the name in the shared table, and the map under it.
struct Hold {
  std::shared_ptr<HoldTable> table;
  std::shared_ptr<const Map> map;
  std::uint32_t extent;
  std::uint32_t generation;

  Hold(std::shared_ptr<HoldTable> t, std::uint32_t e, std::uint32_t g)
      : table(std::move(t)), extent(e), generation(g) {}
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;
  ~Hold() {
    map.reset();
    table->release(extent, generation);
  }
};

constexpr std::size_t kTwoThreadsAt = std::size_t{32} << 20;
}  // namespace

struct ExtentClient::State {
  struct Kept {
    std::shared_ptr<const Map> map;
    std::uint64_t used = 0;  // of clock: larger is later
  };
  State(std::shared_ptr<HoldTable> h, Options o) : holds(std::move(h)), options(o) {}

  Result<std::shared_ptr<const Map>> map_of(const ExtentName& name, bool writable);
  std::shared_ptr<const Map> kept(std::uint32_t extent, std::uint32_t memory, bool writable);
  std::shared_ptr<const Map> keep(std::uint32_t extent, std::shared_ptr<const Map> map);
  void trim();

  const std::shared_ptr<HoldTable> holds;
  const Options options;
  std::mutex mutex;
  std::map<std::uint32_t, Kept> maps;  // guarded by mutex
  std::uint64_t bytes = 0;             // guarded by mutex: of all kept maps
  std::uint64_t clock = 0;             // guarded by mutex
};

std::shared_ptr<const Map> ExtentClient::State::kept(std::uint32_t extent, std::uint32_t memory,
                                                     bool writable) {
  const std::lock_guard lock(mutex);
  const auto at = maps.find(extent);
  if (at == maps.end() || at->second.map->memory != memory) return nullptr;
  if (writable && !at->second.map->writable) return nullptr;
  at->second.used = ++clock;
  return at->second.map;
}

std::shared_ptr<const Map> ExtentClient::State::keep(std::uint32_t extent,
                                                     std::shared_ptr<const Map> map) {
  const std::lock_guard lock(mutex);
  Kept& entry = maps[extent];
  if (entry.map) bytes -= entry.map->bytes.size();
  bytes += map->bytes.size();
  entry = {map, ++clock};
  trim();
  return map;
}

// Drops what nobody uses and what was used longest ago, until the rest is within bounds.
void ExtentClient::State::trim() {
  while (maps.size() > options.maps_max || bytes > options.map_bytes_max) {
    auto oldest = maps.end();
    for (auto at = maps.begin(); at != maps.end(); ++at)
      if (at->second.map.use_count() == 1 &&
          (oldest == maps.end() || at->second.used < oldest->second.used))
        oldest = at;
    if (oldest == maps.end()) return;  // all in use: they are bounded by what they hold
    bytes -= oldest->second.map->bytes.size();
    maps.erase(oldest);
  }
}

Result<std::shared_ptr<const Map>> ExtentClient::State::map_of(const ExtentName& name,
                                                               bool writable) {
  const std::uint32_t memory = holds->board().memory(name.extent);
  if (auto map = kept(name.extent, memory, writable)) return map;
  const auto fd = open_of_process(name.node_pid, name.fd, writable);
  if (!fd) return fd.error();
  const auto room = size_of(fd.value().get());
  if (!room) return room.error();
  if (room.value() < name.bytes || room.value() == 0)
    return Error(ErrorCode::kObjectLost, "an extent of " + std::to_string(room.value()) +
                                             " bytes cannot hold " + std::to_string(name.bytes));
  auto mapped = map_shared(fd.value().get(), room.value(), writable);
  if (!mapped) return mapped.error();
  populate(mapped.value(), writable);
  return keep(name.extent, std::make_shared<const Map>(mapped.value(), memory, writable));
}

ExtentClient::ExtentClient(std::shared_ptr<HoldTable> holds)
    : ExtentClient(std::move(holds), Options{}) {}
ExtentClient::ExtentClient(std::shared_ptr<HoldTable> holds, Options options)
    : state_(std::make_shared<State>(std::move(holds), options)) {}
ExtentClient::~ExtentClient() = default;

Result<ExtentClient::Writable> ExtentClient::write(const ExtentName& granted) {
  auto map = state_->map_of(granted, true);
  if (!map) return map.error();
  return Writable{map.value()->bytes.first(granted.bytes), map.value()};
}

Result<Buffer> ExtentClient::open(const ExtentName& sealed) {
  if (auto held = state_->holds->hold(sealed.extent, sealed.generation); !held) return held.error();
  const auto hold = std::make_shared<Hold>(state_->holds, sealed.extent, sealed.generation);
  auto map = state_->map_of(sealed, false);
  if (!map) return map.error();
  hold->map = map.value();
  return Buffer(hold->map->bytes.first(sealed.bytes), hold);
}

void ExtentClient::forget(std::uint32_t extent) {
  std::shared_ptr<const Map> gone;  // unmapped after the lock
  const std::lock_guard lock(state_->mutex);
  const auto at = state_->maps.find(extent);
  if (at == state_->maps.end()) return;
  state_->bytes -= at->second.map->bytes.size();
  gone = std::move(at->second.map);
  state_->maps.erase(at);
}

std::size_t ExtentClient::maps() const {
  const std::lock_guard lock(state_->mutex);
  return state_->maps.size();
}

void copy_large(std::span<std::byte> to, ByteView from) {
  RONDO_CHECK_EQ(to.size(), from.size());
  if (from.empty()) return;
  if (from.size() < kTwoThreadsAt || std::thread::hardware_concurrency() < 2) {
    std::memcpy(to.data(), from.data(), from.size());
    return;
  }
  const std::size_t half = from.size() / 2 & ~std::size_t{4095};
  std::thread second([to = to.subspan(half), rest = from.subspan(half)] {
    std::memcpy(to.data(), rest.data(), rest.size());
  });
  std::memcpy(to.data(), from.data(), half);
  second.join();
}

}  // namespace rondo::store
