#include <rondo/core/rows.h>

#include <type_traits>
#include <utility>
#include <vector>

namespace rondo::core {
namespace {

constexpr std::uint8_t kFormat = 1;

// One walk over the fields serves both directions: `io(field)` writes it or reads it.
class Writer {
 public:
  Writer() { (*this)(kFormat); }

  template <class T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>)
  void operator()(T value) {
    auto bits = static_cast<std::uint64_t>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i, bits >>= 8)
      bytes_.push_back(static_cast<std::byte>(bits & 0xff));
  }
  void operator()(const std::string& text) { blob(as_bytes(text)); }
  void operator()(const Bytes& bytes) { blob(bytes); }
  void operator()(const std::vector<std::string>& list) {
    (*this)(static_cast<std::uint32_t>(list.size()));
    for (const std::string& text : list) (*this)(text);
  }
  template <class Tag>
  void operator()(Id<Tag> id) {
    (*this)(id.value);
  }
  Bytes take() { return std::move(bytes_); }

 private:
  void blob(ByteView view) {
    (*this)(static_cast<std::uint32_t>(view.size()));
    bytes_.insert(bytes_.end(), view.begin(), view.end());
  }
  Bytes bytes_;
};

class Reader {
 public:
  explicit Reader(ByteView bytes) : rest_(bytes) {
    std::uint8_t format = 0;
    (*this)(format);
    if (format != kFormat) good_ = false;
  }

  template <class T>
    requires(std::is_integral_v<T> || std::is_enum_v<T>)
  void operator()(T& value) {
    const ByteView raw = take(sizeof(T));
    std::uint64_t bits = 0;
    for (std::size_t i = raw.size(); i-- > 0;)
      bits = (bits << 8) | std::to_integer<std::uint64_t>(raw[i]);
    value = static_cast<T>(bits);
  }
  void operator()(std::string& text) { text = std::string(as_text(blob())); }
  void operator()(Bytes& bytes) { bytes = to_bytes(blob()); }
  void operator()(std::vector<std::string>& list) {
    std::uint32_t count = 0;
    (*this)(count);
    for (std::uint32_t i = 0; i < count && good_; ++i) (*this)(list.emplace_back());
  }
  template <class Tag>
  void operator()(Id<Tag>& id) {
    (*this)(id.value);
  }
  [[nodiscard]] bool whole() const { return good_ && rest_.empty(); }

 private:
  ByteView take(std::size_t count) {
    if (!good_ || rest_.size() < count) {
      good_ = false;
      return {};
    }
    const ByteView front = rest_.first(count);
    rest_ = rest_.subspan(count);
    return front;
  }
  ByteView blob() {
    std::uint32_t size = 0;
    (*this)(size);
    return take(size);
  }
  ByteView rest_;
  bool good_ = true;
};

template <class Io, class Row>
void walk_shape(Io& io, Row& shape) {
  io(shape.cpu_milli);
  io(shape.gpu_milli);
  io(shape.memory_bytes);
}

template <class Io, class Row>
void walk_actor(Io& io, Row& row) {
  io(row.spec.id.creator);
  io(row.spec.id.number);
  io(row.spec.job);
  io(row.spec.name);
  io(row.spec.class_name);
  walk_shape(io, row.spec.shape);
  io(row.spec.max_restarts);
  io(row.spec.max_task_retries);
  io(row.spec.max_pending);
  io(row.spec.arguments);
  io(row.incarnation);
  io(row.state);
  io(row.node);
  io(row.restarts);
  io(row.cause);
  io(row.code);
}

template <class Io, class Row>
void walk_job(Io& io, Row& row) {
  auto& spec = row.spec;
  io(spec.id);
  io(spec.driver.id);
  io(spec.driver.address);
  io(spec.driver_pid);
  io(spec.home);
  io(spec.home_peer.id);
  io(spec.home_peer.address);
  io(spec.executable_hash);
  io(spec.executable_name);
  io(spec.libraries);
  io(spec.arguments);
  io(spec.environment);
  io(spec.directory);
  io(spec.fingerprint);
  io(row.started_wall_ns);
}

template <class Io, class Row>
void walk_node(Io& io, Row& node) {
  io(node.id);
  io(node.peer.id);
  io(node.peer.address);
  io(node.name);
  walk_shape(io, node.total);
  walk_shape(io, node.free);
  io(node.alive);
  io(node.pid);
  io(node.machine);
}

}  // namespace

std::string actor_key(ActorId id) { return "actor/" + to_string(id); }
std::string job_key(JobId id) { return "job/" + to_string(id); }
std::string node_key(NodeId id) { return "node/" + to_string(id); }
std::string dead_node_key(NodeId id) { return "dead/" + to_string(id); }

Bytes encode(const ActorRow& row) {
  Writer io;
  walk_actor(io, row);
  return io.take();
}

Bytes encode(const JobRow& row) {
  Writer io;
  walk_job(io, row);
  return io.take();
}

Bytes encode(const NodeInfo& node) {
  Writer io;
  walk_node(io, node);
  return io.take();
}

Bytes encode(Incarnation incarnation) {
  Writer io;
  io(incarnation);
  return io.take();
}

std::optional<ActorRow> decode_actor(ByteView bytes) {
  Reader io(bytes);
  ActorRow row;
  walk_actor(io, row);
  if (!io.whole()) return std::nullopt;
  return row;
}

std::optional<JobRow> decode_job(ByteView bytes) {
  Reader io(bytes);
  JobRow row;
  walk_job(io, row);
  if (!io.whole()) return std::nullopt;
  return row;
}

std::optional<NodeInfo> decode_node(ByteView bytes) {
  Reader io(bytes);
  NodeInfo node;
  walk_node(io, node);
  if (!io.whole()) return std::nullopt;
  return node;
}

std::optional<Incarnation> decode_incarnation(ByteView bytes) {
  Reader io(bytes);
  Incarnation incarnation;
  io(incarnation);
  if (!io.whole()) return std::nullopt;
  return incarnation;
}

}  // namespace rondo::core
