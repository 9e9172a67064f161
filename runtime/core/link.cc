#include <rondo/core/link.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>

namespace rondo::core {

static_assert(std::endian::native == std::endian::little, "heads travel as they lie in memory");

std::optional<FrameHead> read_head(ByteView frame) {
  if (frame.size() < kFrameHeadBytes) return std::nullopt;
  FrameHead head;
  std::memcpy(&head, frame.data(), kFrameHeadBytes);
  if (head.magic != FrameHead::kMagic) return std::nullopt;
  if (head.payload_bytes != frame.size() - kFrameHeadBytes) return std::nullopt;
  return head;
}

void write_head(FrameHead head, Bytes& frame) {
  RONDO_CHECK_LE(kFrameHeadBytes, frame.size());
  head.payload_bytes = static_cast<std::uint32_t>(frame.size() - kFrameHeadBytes);
  std::memcpy(frame.data(), &head, kFrameHeadBytes);
}

Link::Link(ProcessId self, ProcessId peer, Token token) : Link(self, peer, token, Options{}) {}

Link::Link(ProcessId self, ProcessId peer, Token token, Options options)
    : self_(self), peer_(peer), token_(token), options_(options) {
  resend_after_ = options_.resend_after;
}

bool Link::full() const {
  return unacked() >= options_.frames_unacked_max ||
         (unacked() > 0 && unacked_bytes_ >= options_.bytes_unacked_max);
}

// Every frame that leaves carries the newest acknowledgement, so none is owed afterwards.
FrameHead Link::head(std::uint64_t sequence, std::uint16_t flags) {
  FrameHead head;
  head.flags = flags;
  head.token = token_;
  head.from = self_;
  head.to = peer_;
  head.sequence = sequence;
  head.ack = received_;
  if (sequence != 0) {
    owed_frames_ = 0;
    owed_bytes_ = 0;
    ack_at_ = kNever;
  }
  return head;
}

void Link::send(TimeNs now, Bytes frame, std::vector<SharedBytes>& out) {
  RONDO_CHECK(!full());
  if (unacked() == ring_.size()) {
    std::vector<SharedBytes> larger(std::max<std::size_t>(16, ring_.size() * 2));
    for (std::uint64_t n = acked_ + 1; n <= sent_; ++n)
      larger[n & (larger.size() - 1)] = std::move(kept(n));
    ring_ = std::move(larger);
  }
  ++sent_;
  write_head(head(sent_, 0), frame);
  unacked_bytes_ += frame.size();
  SharedBytes whole = share(std::move(frame));
  kept(sent_) = whole;
  if (resend_at_ == kNever) resend_at_ = now + resend_after_;
  out.push_back(std::move(whole));
}

SharedBytes Link::datagram(Bytes frame) {
  write_head(head(0, FrameHead::kDatagram), frame);
  return share(std::move(frame));
}

void Link::on_frame(TimeNs now, const FrameHead& head, SharedBytes frame,
                    std::vector<SharedBytes>& in, std::vector<SharedBytes>& out) {
  on_ack(now, head.ack, out);
  if ((head.flags & FrameHead::kDatagram) != 0)
    in.push_back(std::move(frame));
  else if (head.sequence != 0)
    accept(now, head.sequence, std::move(frame), in);
}

void Link::on_ack(TimeNs now, std::uint64_t ack, std::vector<SharedBytes>& out) {
  if (ack <= acked_ || ack > sent_) return;   // old, or of a number never given
  while (acked_ < ack) {
    ++acked_;
    unacked_bytes_ -= kept(acked_)->size();
    kept(acked_).reset();
  }
  resend_after_ = options_.resend_after;
  resend_at_ = acked_ == sent_ ? kNever : now + resend_after_;
  // The peer hears again. What was sent before the silence and is still missing follows at once,
  // a burst for each sign of life, instead of waiting for the next deadline.
  if (acked_ < recover_to_) resend(out);
}

void Link::accept(TimeNs now, std::uint64_t sequence, SharedBytes frame,
                  std::vector<SharedBytes>& in) {
  if (sequence <= received_) {   // the acknowledgement was lost, or is still on its way
    ++duplicates_;
    owe_ack(now);
    return;
  }
  if (sequence != received_ + 1) {
    if (ahead_.contains(sequence)) {
      ++duplicates_;
      return;
    }
    const bool room = sequence - received_ <= options_.frames_ahead_max &&
                      ahead_bytes_ + frame->size() <= options_.bytes_ahead_max;
    if (!room) return;   // it comes again
    ahead_bytes_ += frame->size();
    ahead_.emplace(sequence, std::move(frame));
    return;
  }
  const auto take = [&](SharedBytes next) {
    ++received_;
    ++owed_frames_;
    owed_bytes_ += next->size();
    in.push_back(std::move(next));
  };
  take(std::move(frame));
  while (!ahead_.empty() && ahead_.begin()->first == received_ + 1) {
    ahead_bytes_ -= ahead_.begin()->second->size();
    take(std::move(ahead_.begin()->second));
    ahead_.erase(ahead_.begin());
  }
  const bool many =
      owed_frames_ >= options_.frames_per_ack || owed_bytes_ >= options_.bytes_per_ack;
  owe_ack(many ? now : now + options_.ack_after);
}

void Link::owe_ack(TimeNs due) { ack_at_ = std::min(ack_at_, due); }

void Link::on_deadline(TimeNs now, std::vector<SharedBytes>& out) {
  if (resend_at_ <= now) {
    recover_to_ = sent_;
    recovered_to_ = acked_;
    resend_after_ = std::min(resend_after_ * 2, options_.resend_after_max);
    resend_at_ = now + resend_after_;
    resend(out);
  }
  if (ack_at_ <= now) {
    Bytes frame(kFrameHeadBytes);
    write_head(head(0, 0), frame);
    owed_frames_ = 0;
    owed_bytes_ = 0;
    ack_at_ = kNever;
    out.push_back(share(std::move(frame)));
  }
}

// One burst of the suspects, oldest first, each once in a recovery.
void Link::resend(std::vector<SharedBytes>& out) {
  if (recovered_to_ < recover_to_) hit(Branch::kFrameResent);
  recovered_to_ = std::max(recovered_to_, acked_);
  std::size_t bytes = 0;
  for (std::size_t frames = 0; recovered_to_ < recover_to_; ++frames) {
    const SharedBytes& next = kept(recovered_to_ + 1);
    bytes += next->size();
    if (frames > 0 && (frames >= options_.resend_frames || bytes > options_.resend_bytes)) break;
    out.push_back(next);
    ++recovered_to_;
    ++resent_;
  }
}

std::optional<TimeNs> Link::next_deadline() const {
  const TimeNs next = std::min(resend_at_, ack_at_);
  return next == kNever ? std::nullopt : std::optional(next);
}

void Link::check_invariants() const {
  RONDO_CHECK_LE(acked_, sent_);
  RONDO_CHECK_LE(unacked(), options_.frames_unacked_max);
  RONDO_CHECK_LE(ahead_.size(), options_.frames_ahead_max);
  RONDO_CHECK_LE(ahead_bytes_, options_.bytes_ahead_max);
  RONDO_CHECK((resend_at_ == kNever) == (acked_ == sent_));
  RONDO_CHECK(ahead_.empty() || ahead_.begin()->first > received_ + 1);
  std::size_t bytes = 0;
  for (std::uint64_t n = acked_ + 1; n <= sent_; ++n) {
    const SharedBytes& frame = ring_[n & (ring_.size() - 1)];
    RONDO_CHECK(frame != nullptr);
    bytes += frame->size();
  }
  RONDO_CHECK_EQ(bytes, unacked_bytes_);
}

}  // namespace rondo::core
