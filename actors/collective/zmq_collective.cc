#include <rondo/actors/collective/zmq_collective.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <rondo/actors/collective/rank_tree.h>

namespace rondo::collective {

namespace {

constexpr std::size_t kTreeBytes = std::size_t{16} << 10;   // up to here few hops beat full links
constexpr std::size_t kChunkBytesMax = std::size_t{512} << 10;
constexpr std::size_t kTreeChunkBytes = kChunkBytesMax;

const std::byte* bytes_at(const void* base, std::size_t at) {
  return static_cast<const std::byte*>(base) + at;
}
std::byte* bytes_at(void* base, std::size_t at) { return static_cast<std::byte*>(base) + at; }

void copy_bytes(void* to, const void* from, std::size_t bytes) {
  if (bytes != 0 && to != from) std::memcpy(to, from, bytes);
}

}  // namespace

// Part q starts at rank q + 1 and has gathered every rank's value when it comes to rank q, after
// size - 1 hops; then it goes round complete. Hop h leads from rank q + 1 + h to the next one.
struct ZmqCollective::Hops {
  int first = 0;
  int end = 0;
};

// Where a frame of the ring stands.
struct ZmqCollective::Piece {
  int part = 0;
  int hop = 0;
  std::size_t begin = 0;   // elements of the whole
  std::size_t count = 0;
};

ZmqCollective::ZmqCollective(std::unique_ptr<ZmqPost> post, const Member& member, Options options)
    : Collective(member), post_(std::move(post)), options_(std::move(options)) {}

Result<std::unique_ptr<ZmqCollective>> ZmqCollective::join(std::unique_ptr<ZmqPost> post,
                                                           const Member& member, Options options) {
  if (options.chunk_bytes < 64 || options.chunk_bytes > kChunkBytesMax)
    return Error(ErrorCode::kInvalid, "a ring's pieces have 64 to 524288 bytes, not " +
                                          std::to_string(options.chunk_bytes));
  if (auto entered = post->enter(member, options.key, options.addresses); !entered)
    return entered.error();
  const DurationNs join_timeout = options.join_timeout;
  std::unique_ptr<ZmqCollective> made(
      new ZmqCollective(std::move(post), member, std::move(options)));
  if (join_timeout == DurationNs{}) return made;
  made->post_->wait_at_most(join_timeout);
  if (auto met = made->barrier(); !met) return met.error();
  made->post_->wait_at_most(member.timeout);
  return made;
}

Result<void> ZmqCollective::carry_out(const Operation& op, std::uint64_t number) {
  post_->begin(number, op.count, op.shape());
  Result<void> done = dispatch(op);
  if (!done && !post_->was_told())
    post_->send_abort(done.error().code(), flag_.reason().value_or(done.error().what()));
  return done;
}

Result<void> ZmqCollective::dispatch(const Operation& op) {
  const int size = member().size;
  if (auto raised = flag_.raised(member())) return *raised;
  const bool by_tree = options_.route == Route::kTree ||
                       (options_.route == Route::kBySize && op.bytes() <= kTreeBytes);
  switch (op.kind) {
    case Kind::kBarrier: return tree_reduce(op);
    case Kind::kAllReduce: return by_tree ? tree_reduce(op) : ring(op, {0, 2 * size - 2});
    case Kind::kReduceScatter: return ring(op, {0, size - 1});
    case Kind::kAllGather: return ring(op, {size - 1, 2 * size - 2});
    case Kind::kBroadcast: return broadcast(op);
  }
  return Error(ErrorCode::kInvalid, "an unknown collective operation");
}

std::size_t ZmqCollective::chunk_elements(const Operation& op) const {
  return options_.chunk_bytes / size_of(op.dtype);
}

// --- the ring ---

Result<void> ZmqCollective::ring(const Operation& op, Hops hops) {
  const int size = member().size;
  const int me = member().rank;
  const bool own_only = op.kind == Kind::kReduceScatter;
  const Part mine = my_part(op.count, op.dtype);
  const std::size_t element = size_of(op.dtype);
  if (op.kind == Kind::kAllGather)
    copy_bytes(bytes_at(op.out, mine.begin * element), op.in, mine.count * element);
  if (size == 1) {
    copy_bytes(op.out, op.in, own_only ? mine.count * element : op.bytes());
    return {};
  }
  if (auto started = start_part(op, hops); !started) return started;
  // Frames to come: each part reaches this rank once, or twice, but where it starts.
  std::size_t open = 0;
  bool all_wait = true;   // who gives or gets no part waits for nobody, and would run ahead
  for (int part = 0; part < size; ++part) {
    const std::size_t count = part_of(op.count, op.dtype, part, size).count;
    const std::size_t step = chunk_elements(op);
    if (count == 0) all_wait = false;
    for (int hop = hops.first; hop < hops.end; ++hop)
      if ((part + 2 + hop) % size == me) open += (count + step - 1) / step;
  }
  for (; open > 0; --open) {
    auto frame =
        post_->receive([](const FrameHead& head) { return head.stage == Stage::kRing; }, flag_);
    if (!frame) return frame.error();
    auto piece = piece_of(op, hops, frame.value());
    if (!piece) return piece.error();
    const bool complete = piece.value().hop >= size - 1;
    auto passed = complete ? take_and_pass(op, hops, frame.value(), piece.value())
                           : add_and_pass(op, hops, frame.value(), piece.value());
    if (!passed) return passed;
  }
  if (all_wait) return {};
  return tree_reduce(Operation{});   // nothing: a barrier
}

// The part that starts here, as this rank's own values or, if only complete parts travel, as it is.
Result<void> ZmqCollective::start_part(const Operation& op, Hops hops) {
  const int size = member().size;
  const int part = (member().rank - 1 - hops.first + 2 * size) % size;
  const Part range = part_of(op.count, op.dtype, part, size);
  const void* from = op.kind == Kind::kAllGather ? op.out : op.in;
  const std::size_t element = size_of(op.dtype);
  const std::size_t step = chunk_elements(op);
  std::uint32_t chunk = 0;
  for (std::size_t at = 0; at < range.count; at += step, ++chunk) {
    const std::size_t bytes = std::min(step, range.count - at) * element;
    Frame frame(bytes);
    frame.head().stage = Stage::kRing;
    frame.head().part = static_cast<std::uint16_t>(part);
    frame.head().hop = static_cast<std::uint16_t>(hops.first);
    frame.head().chunk = chunk;
    copy_bytes(frame.body().data(), bytes_at(from, (range.begin + at) * element), bytes);
    if (auto sent = post_->send((member().rank + 1) % size, std::move(frame)); !sent) return sent;
  }
  return {};
}

Result<ZmqCollective::Piece> ZmqCollective::piece_of(const Operation& op, Hops hops,
                                                     Frame& frame) const {
  const FrameHead& head = frame.head();
  const int size = member().size;
  Piece piece{head.part, head.hop, 0, 0};
  bool fits = piece.part < size && piece.hop >= hops.first && piece.hop < hops.end &&
              (piece.part + 2 + piece.hop) % size == member().rank;
  if (fits) {
    const Part range = part_of(op.count, op.dtype, piece.part, size);
    const std::size_t at = head.chunk * chunk_elements(op);
    fits = at < range.count;
    piece.begin = range.begin + at;
    piece.count = fits ? std::min(chunk_elements(op), range.count - at) : 0;
  }
  if (!fits)
    return Error(ErrorCode::kInvalid, "rank " + std::to_string(head.from) +
                                          " sent a piece that has no place in the ring: all ranks "
                                          "must cut it alike");
  return piece;
}

namespace {

// The ranks whose values a part has met after `hops` of them.
Ranks met_after(int part, int hops, int size) {
  Ranks met = 0;
  for (int h = 0; h <= hops; ++h) met |= Ranks{1} << ((part + 1 + h) % size);
  return met;
}

}  // namespace

Result<void> ZmqCollective::add_and_pass(const Operation& op, Hops hops, Frame& frame,
                                         const Piece& piece) {
  const int size = member().size;
  const std::size_t element = size_of(op.dtype);
  const std::size_t bytes = piece.count * element;
  const std::vector<Node> came = covered(size, met_after(piece.part, piece.hop, size));
  const std::vector<Node> goes = covered(size, met_after(piece.part, piece.hop + 1, size));
  if (frame.body().size() != came.size() * bytes)
    return Error(ErrorCode::kInvalid, "rank " + std::to_string(frame.head().from) + " sent " +
                                          std::to_string(frame.body().size()) + " bytes where " +
                                          std::to_string(came.size() * bytes) +
                                          " belong: all ranks must cut the ring alike");
  const Node own{member().rank, member().rank + 1};
  const Known known = [&](Node node) -> const void* {
    if (node == own) return bytes_at(op.in, piece.begin * element);
    const auto found = std::find(came.begin(), came.end(), node);
    if (found == came.end()) return nullptr;
    return frame.body().data() + static_cast<std::size_t>(found - came.begin()) * bytes;
  };
  const bool ends_here = piece.hop == size - 2;   // then there is one root, the whole
  const bool scatters = op.kind == Kind::kReduceScatter;
  const std::size_t from =
      piece.begin - (scatters ? my_part(op.count, op.dtype).begin : std::size_t{0});
  Frame next(piece.hop + 1 < hops.end ? goes.size() * bytes : 0);
  for (std::size_t i = 0; i < goes.size(); ++i) {
    const bool direct = next.body().empty();   // else `out` may be `in`, which is read on the way
    void* to = direct ? bytes_at(op.out, from * element) : next.body().data() + i * bytes;
    combine_node({op.dtype, op.combine}, goes[i], known, {0, piece.count}, to);
    if (ends_here && !direct) copy_bytes(bytes_at(op.out, from * element), to, bytes);
  }
  if (next.body().empty()) return {};
  next.head() = frame.head();
  next.head().hop = static_cast<std::uint16_t>(piece.hop + 1);
  return post_->send((member().rank + 1) % size, std::move(next));
}

Result<void> ZmqCollective::take_and_pass(const Operation& op, Hops hops, Frame& frame,
                                          const Piece& piece) {
  const std::size_t element = size_of(op.dtype);
  if (frame.body().size() != piece.count * element)
    return Error(ErrorCode::kInvalid, "rank " + std::to_string(frame.head().from) + " sent " +
                                          std::to_string(frame.body().size()) + " bytes where " +
                                          std::to_string(piece.count * element) + " belong");
  copy_bytes(bytes_at(op.out, piece.begin * element), frame.body().data(), piece.count * element);
  if (piece.hop + 1 >= hops.end) return {};
  frame.head().hop = static_cast<std::uint16_t>(piece.hop + 1);
  return post_->send((member().rank + 1) % member().size, std::move(frame));
}

// --- the tree ---

Result<Frame> ZmqCollective::receive_from(int rank, Stage stage, std::uint32_t chunk,
                                          std::size_t bytes) {
  auto frame = post_->receive(
      [&](const FrameHead& head) {
        return head.from == static_cast<std::uint32_t>(rank) && head.stage == stage &&
               head.chunk == chunk;
      },
      flag_);
  if (frame && frame.value().body().size() != bytes)
    return Error(ErrorCode::kInvalid, "rank " + std::to_string(rank) + " sent " +
                                          std::to_string(frame.value().body().size()) +
                                          " bytes where " + std::to_string(bytes) + " belong");
  return frame;
}

// At level k the ranks that are odd multiples of 2^k hand their subtree's value to the left.
Result<void> ZmqCollective::reduce_up(const Operation& op, std::uint32_t chunk,
                                      std::vector<std::byte>& value) {
  for (int bit = 1; bit < member().size; bit *= 2) {
    if ((member().rank & bit) != 0) {
      Frame frame(value.size());
      frame.head().stage = Stage::kUp;
      frame.head().chunk = chunk;
      copy_bytes(frame.body().data(), value.data(), value.size());
      return post_->send(member().rank - bit, std::move(frame));
    }
    if (member().rank + bit >= member().size) continue;
    auto frame = receive_from(member().rank + bit, Stage::kUp, chunk, value.size());
    if (!frame) return frame.error();
    combine_two({op.dtype, op.combine}, value.data(), frame.value().body().data(),
                value.size() / size_of(op.dtype), value.data());
  }
  return {};
}

// From `root` to all, each rank to those that differ from it by one higher bit.
Result<void> ZmqCollective::pass_down(int root, Stage stage, std::uint32_t chunk,
                                      std::span<std::byte> data) {
  const int size = member().size;
  const int me = (member().rank - root + size) % size;
  int bit = 1;
  while (bit < size && (me & bit) == 0) bit *= 2;
  if (me != 0) {
    auto frame = receive_from((me - bit + root) % size, stage, chunk, data.size());
    if (!frame) return frame.error();
    copy_bytes(data.data(), frame.value().body().data(), data.size());
  }
  for (bit /= 2; bit > 0; bit /= 2) {
    if (me + bit >= size) continue;
    Frame frame(data.size());
    frame.head().stage = stage;
    frame.head().chunk = chunk;
    copy_bytes(frame.body().data(), data.data(), data.size());
    if (auto sent = post_->send((me + bit + root) % size, std::move(frame)); !sent) return sent;
  }
  return {};
}

Result<void> ZmqCollective::tree_reduce(const Operation& op) {
  const std::size_t bytes = op.kind == Kind::kAllReduce ? op.bytes() : 0;
  std::vector<std::byte> value;
  std::uint32_t chunk = 0;
  for (std::size_t at = 0; at == 0 || at < bytes; at += kTreeChunkBytes, ++chunk) {
    const std::size_t most = std::min(kTreeChunkBytes, bytes - at);
    value.resize(most);
    if (most != 0) copy_bytes(value.data(), bytes_at(op.in, at), most);
    if (auto up = reduce_up(op, chunk, value); !up) return up;
    if (auto down = pass_down(0, Stage::kDown, chunk, value); !down) return down;
    if (most != 0) copy_bytes(bytes_at(op.out, at), value.data(), most);
  }
  return {};
}

// Ends with a word from everybody to the root, else a root could run ahead without bound.
Result<void> ZmqCollective::broadcast(const Operation& op) {
  std::uint32_t chunk = 0;
  for (std::size_t at = 0; at < op.bytes(); at += kTreeChunkBytes, ++chunk) {
    const std::size_t bytes = std::min(kTreeChunkBytes, op.bytes() - at);
    auto down = pass_down(op.root, Stage::kDown, chunk, {bytes_at(op.out, at), bytes});
    if (!down) return down;
  }
  Operation word = op;
  word.count = 0;
  word.kind = Kind::kBarrier;
  std::vector<std::byte> nothing;
  if (auto up = reduce_up(word, chunk, nothing); !up) return up;
  return pass_down(0, Stage::kDone, chunk, nothing);
}

}  // namespace rondo::collective
