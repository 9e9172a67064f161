#include <rondo/wire/station.h>

#include <algorithm>
#include <deque>

#include <rondo/base/check.h>
#include <rondo/base/log.h>
#include <rondo/wire/codec.h>
#include <rondo/wire/record.h>

namespace rondo::wire {

struct Station::PeerState {
  PeerState(ProcessId peer, std::size_t slot_, const Options& options)
      : id(peer), slot(slot_), link(options.self.id, peer, options.token, options.link) {}

  ProcessId id;
  std::size_t slot;
  core::Link link;
  Bytes open;                     // the frame being gathered, with room for its head; or empty
  std::deque<Bytes> closed;       // whole frames that the link has not taken yet
  std::size_t closed_bytes = 0;
  std::size_t last_bytes = 512;   // of the last frame: the next one's first guess
  bool dirty = false;
  bool introduced = false;        // our address is in the first frame
  bool broken = false;
  bool gone = false;              // forgotten
};

Station::Station(Options options) : options_(std::move(options)) {
  RONDO_CHECK(static_cast<bool>(options_.self.id));
  RONDO_CHECK_LE(options_.self.address.size(), limits::kAddressBytesMax);
}

Station::~Station() = default;

// ---- peers

Station::PeerState* Station::find(ProcessId id) const {
  if (last_ != nullptr && last_->id == id) return last_;
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return nullptr;
  return last_ = found->second;
}

Station::PeerState* Station::find_or_add(ProcessId id) {
  if (PeerState* known = find(id)) return known;
  if (forgotten_.contains(id) || by_id_.size() >= kPeersMax) return nullptr;
  RONDO_CHECK(static_cast<bool>(id));
  RONDO_CHECK(id != options_.self.id);
  std::size_t slot = peers_.size();
  if (free_slots_.empty()) {
    peers_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  peers_[slot] = std::make_unique<PeerState>(id, slot, options_);
  by_id_[id] = peers_[slot].get();
  return last_ = peers_[slot].get();
}

void Station::learn(const core::Peer& peer) {
  if (peer.id != options_.self.id) find_or_add(peer.id);
}

bool Station::knows(ProcessId peer) const { return find(peer) != nullptr; }

void Station::forget(ProcessId id) {
  if (id == options_.self.id) return;
  if (!forgotten_.contains(id)) {
    if (forgotten_ring_.size() < kForgottenMax) {
      forgotten_ring_.push_back(id);
    } else {
      ProcessId& oldest = forgotten_ring_[forgotten_count_ % kForgottenMax];
      forgotten_.erase(oldest);
      oldest = id;
    }
    forgotten_[id] = forgotten_count_++;
  }
  PeerState* peer = find(id);
  if (peer == nullptr) return;
  stats_.resent += peer->link.resent();
  stats_.duplicates += peer->link.duplicates();
  peer->gone = true;
  last_ = nullptr;
  by_id_.erase(id);
  std::erase(dirty_, peer);
  std::erase_if(loose_, [&](const OutFrame& frame) { return frame.to == id; });
  free_slots_.push_back(peer->slot);
  dead_.push_back(std::move(peers_[peer->slot]));
  if (!delivering_) dead_.clear();
}

void Station::break_link(PeerState& peer, std::string why) {
  if (peer.broken) return;
  peer.broken = true;
  peer.open.clear();
  peer.closed.clear();
  peer.closed_bytes = 0;
  broken_.push_back({peer.id, std::move(why)});
}

std::vector<Broken> Station::take_broken() { return std::exchange(broken_, {}); }

// ---- out

void Station::mark(PeerState& peer) {
  if (peer.dirty) return;
  peer.dirty = true;
  dirty_.push_back(&peer);
}

// The peer whose open frame has room for a record of so many bytes; nullptr: drop it.
Station::PeerState* Station::target(ProcessId to, std::size_t bytes) {
  PeerState* peer = find(to);
  if (peer == nullptr || peer->broken) {
    if (peer == nullptr && !forgotten_.contains(to) && stats_.dropped_unsent == 0)
      log_warn("a message for " + to_string(to) + ", which was never learnt, is dropped");
    RONDO_CHECK(to != options_.self.id);
    ++stats_.dropped_unsent;
    return nullptr;
  }
  if (!peer->open.empty() && peer->open.size() + bytes > limits::kFrameBytesMax) close(*peer);
  if (peer->broken) return nullptr;
  if (peer->open.empty()) {
    peer->open.reserve(std::max(peer->last_bytes, core::kFrameHeadBytes + bytes));
    peer->open.resize(core::kFrameHeadBytes);
    if (!peer->introduced)
      RecordWriter(peer->open).introduction(options_.self.address, options_.home);
    peer->introduced = true;
  }
  return peer;
}

void Station::close(PeerState& peer) {
  peer.last_bytes = std::min(peer.open.size() + peer.open.size() / 4, limits::kFrameBytesGoal * 2);
  peer.closed_bytes += peer.open.size();
  peer.closed.push_back(std::move(peer.open));
  peer.open.clear();
  if (peer.closed_bytes > options_.backlog_bytes_max)
    break_link(peer, "it takes nothing, and too much waits for it");
}

void Station::appended(PeerState& peer) {
  ++stats_.records_out;
  mark(peer);
  if (peer.open.size() >= limits::kFrameBytesGoal) close(peer);
}

void Station::call(ProcessId to, const core::CallHeader& header, ByteView payload,
                   std::span<const core::RefEntry> refs) {
  PeerState* peer = target(to, record_bytes(payload.size(), refs));
  if (peer == nullptr) return;
  RecordWriter(peer->open).call(header, payload, refs);
  appended(*peer);
}

void Station::reply(ProcessId to, const core::ReplyHeader& header, ByteView payload,
                    std::span<const core::RefEntry> refs) {
  PeerState* peer = target(to, record_bytes(payload.size(), refs));
  if (peer == nullptr) return;
  RecordWriter(peer->open).reply(header, payload, refs);
  appended(*peer);
}

void Station::send(ProcessId to, const core::Message& message) {
  control_.clear();
  RecordWriter(control_).control(message);
  PeerState* peer = target(to, control_.size());
  if (peer == nullptr) return;
  peer->open.insert(peer->open.end(), control_.begin(), control_.end());
  appended(*peer);
}

void Station::datagram(ProcessId to, const core::Message& message) {
  PeerState* peer = find(to);
  if (peer == nullptr || peer->broken) {
    ++stats_.dropped_unsent;
    return;
  }
  Bytes frame(core::kFrameHeadBytes);
  RecordWriter(frame).introduction(options_.self.address, options_.home);
  RecordWriter(frame).control(message);
  ++stats_.records_out;
  loose_.push_back({to, peer->link.datagram(std::move(frame))});
}

SharedBytes Station::greeting(const core::Hello& hello) const {
  Bytes frame(core::kFrameHeadBytes);
  RecordWriter(frame).introduction(options_.self.address, options_.home);
  RecordWriter(frame).control(hello);
  core::FrameHead head;
  head.flags = core::FrameHead::kDatagram;
  head.token = options_.token;
  head.from = options_.self.id;
  core::write_head(head, frame);
  return share(std::move(frame));
}

void Station::note_deadline(const PeerState& peer) {
  if (const auto next = peer.link.next_deadline()) earliest_ = std::min(earliest_, *next);
}

// Gives the link what it takes, and collects what is due.
void Station::pump(TimeNs now, PeerState& peer) {
  if (!peer.open.empty()) close(peer);
  if (peer.broken) return;
  while (!peer.closed.empty() && !peer.link.full()) {
    peer.closed_bytes -= peer.closed.front().size();
    peer.link.send(now, std::move(peer.closed.front()), out_);
    peer.closed.pop_front();
  }
  peer.link.on_deadline(now, out_);
  note_deadline(peer);
  for (SharedBytes& frame : out_) loose_.push_back({peer.id, std::move(frame)});
  out_.clear();
}

void Station::flush(TimeNs now, std::vector<OutFrame>& out) {
  RONDO_CHECK(!delivering_);
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    dirty_[i]->dirty = false;
    pump(now, *dirty_[i]);
  }
  dirty_.clear();
  for (OutFrame& frame : loose_) {
    ++stats_.frames_out;
    stats_.bytes_out += frame.frame->size();
    out.push_back(std::move(frame));
  }
  loose_.clear();
}

void Station::on_deadline(TimeNs now) {
  if (now < earliest_) return;
  earliest_ = kNever;
  for (const auto& peer : peers_)
    if (peer != nullptr && !peer->broken) pump(now, *peer);
}

std::optional<TimeNs> Station::next_deadline() const {
  return earliest_ == kNever ? std::nullopt : std::optional(earliest_);
}

// ---- in

// Judges a frame by its head alone. nullptr: dropped and counted, or dealt with.
Station::PeerState* Station::admit(const core::FrameHead& head, const SharedBytes& frame,
                                   Handler& handler) {
  const bool greeting = !head.to && (head.flags & core::FrameHead::kDatagram) != 0;
  if (head.token != options_.token) {
    ++stats_.dropped_token;
    return nullptr;
  }
  const bool ours = head.to == options_.self.id || greeting;
  if (!ours || !head.from || head.from == options_.self.id || forgotten_.contains(head.from)) {
    ++stats_.dropped_stranger;
    return nullptr;
  }
  if (head.version != limits::kProtocolVersion) {
    ++stats_.dropped_version;
    read_loose(head.from, frame, handler);
    return nullptr;
  }
  if (greeting) {
    read_loose(head.from, frame, handler);
    return nullptr;
  }
  PeerState* peer = find_or_add(head.from);
  if (peer == nullptr || peer->broken) {
    ++stats_.dropped_stranger;
    return nullptr;
  }
  return peer;
}

void Station::on_frame(TimeNs now, const SharedBytes& frame, Handler& handler) {
  RONDO_CHECK(!delivering_);
  ++stats_.frames_in;
  stats_.bytes_in += frame->size();
  const auto head = frame->size() <= limits::kFrameBytesMax ? core::read_head(*frame)
                                                             : std::nullopt;
  if (!head) {
    ++stats_.dropped_malformed;
    return;
  }
  delivering_ = true;
  if (PeerState* peer = admit(*head, frame, handler)) {
    peer->link.on_frame(now, *head, frame, in_, out_);
    for (SharedBytes& again : out_) loose_.push_back({peer->id, std::move(again)});
    out_.clear();
    const bool datagram = (head->flags & core::FrameHead::kDatagram) != 0;
    for (const SharedBytes& next : in_) {
      if (peer->gone || peer->broken) break;
      deliver(*peer, next, datagram, handler);
    }
    in_.clear();
    if (!peer->gone && !peer->broken) {
      note_deadline(*peer);
      const auto due = peer->link.next_deadline();
      if (!peer->closed.empty() || (due && *due <= now)) mark(*peer);
    }
  }
  delivering_ = false;
  dead_.clear();
}

// Hands over the records of a frame in order. What does not decode ends a link; of a datagram it is
// dropped.
void Station::deliver(PeerState& peer, const SharedBytes& frame, bool datagram, Handler& handler) {
  const ProcessId from = peer.id;
  RecordReader reader(ByteView(*frame).subspan(core::kFrameHeadBytes));
  const auto spoilt = [&](std::string_view why) {
    if (datagram)
      ++stats_.dropped_malformed;
    else
      break_link(peer, "it sent " + std::string(why));
  };
  while (!peer.gone) {
    const RecordReader::Next next = reader.next();
    if (next == RecordReader::Next::kEnd) return;
    if (next == RecordReader::Next::kBad) return spoilt(reader.why());
    ++stats_.records_in;
    switch (next) {
      case RecordReader::Next::kCall:
        handler.on_call(from, reader.call(), reader.payload(), reader.refs(), frame);
        break;
      case RecordReader::Next::kReply:
        handler.on_reply(from, reader.reply(), reader.payload(), reader.refs(), frame);
        break;
      case RecordReader::Next::kIntroduction:
        handler.on_peer({from, std::string(as_text(reader.payload()))}, reader.home());
        break;
      default: {
        Result<core::Message> message = decode(reader.payload());
        if (!message) return spoilt(message.error().what());
        handler.on_message(from, std::move(message).value());
      }
    }
  }
}

// A greeting, or a frame of another version: only Hello and Refused are read, and nothing is owed
// for them.
void Station::read_loose(ProcessId from, const SharedBytes& frame, Handler& handler) {
  RecordReader reader(ByteView(*frame).subspan(core::kFrameHeadBytes));
  core::Address address;
  NodeId home;
  while (true) {
    const RecordReader::Next next = reader.next();
    if (next == RecordReader::Next::kEnd) return;
    if (next == RecordReader::Next::kIntroduction) {
      address = as_text(reader.payload());
      home = reader.home();
    } else if (next == RecordReader::Next::kControl) {
      Result<core::Message> message = decode(reader.payload());
      if (!message) continue;
      const bool readable = std::holds_alternative<core::Hello>(message.value()) ||
                            std::holds_alternative<core::Refused>(message.value());
      if (!readable || find_or_add(from) == nullptr) continue;
      if (!address.empty()) handler.on_peer({from, std::exchange(address, {})}, home);
      handler.on_message(from, std::move(message).value());
    } else {
      ++stats_.dropped_malformed;
      return;
    }
  }
}

// ---- looking

bool Station::congested(ProcessId id) const {
  const PeerState* peer = find(id);
  return peer != nullptr && !peer->closed.empty() && peer->link.full();
}

bool Station::settled(ProcessId id) const {
  const PeerState* peer = find(id);
  return peer == nullptr || peer->broken ||
         (peer->open.empty() && peer->closed.empty() && peer->link.unacked() == 0);
}

bool Station::settled() const {
  return std::all_of(peers_.begin(), peers_.end(), [&](const auto& peer) {
    return peer == nullptr || settled(peer->id);
  });
}

Station::Stats Station::stats() const {
  Stats all = stats_;
  for (const auto& peer : peers_) {
    if (peer == nullptr) continue;
    all.resent += peer->link.resent();
    all.duplicates += peer->link.duplicates();
  }
  return all;
}

void Station::check_invariants() const {
  std::size_t living = 0;
  for (std::size_t slot = 0; slot < peers_.size(); ++slot) {
    const PeerState* peer = peers_[slot].get();
    if (peer == nullptr) continue;
    ++living;
    RONDO_CHECK_EQ(peer->slot, slot);
    RONDO_CHECK(!forgotten_.contains(peer->id));
    RONDO_CHECK(by_id_.at(peer->id) == peer);
    RONDO_CHECK_LE(peer->closed_bytes, options_.backlog_bytes_max);
    peer->link.check_invariants();
    if (const auto due = peer->link.next_deadline(); due && !peer->broken && !peer->dirty)
      RONDO_CHECK(earliest_ <= *due);
  }
  RONDO_CHECK_EQ(living, by_id_.size());
  RONDO_CHECK_LE(forgotten_.size(), kForgottenMax);
}

}  // namespace rondo::wire
