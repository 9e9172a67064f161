#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <rondo/actors/collective/collective.h>
#include <rondo/actors/collective/zmq_post.h>

// A Collective between machines, over ZeroMQ.
//
// Large data goes round a ring: each rank's part starts at its neighbour, is added to at every
// hop and goes round once more, in pieces, so that all links are busy. What travels are the roots
// of the finished subtrees of the fixed tree (rank_tree.h), one of them between two ranks, among n
// at most 2 log2(n) - 2, rounded up: the bits are those of every other way. Small data goes up and
// down that tree: fewer hops.
//
// Made in two steps, since everybody's address must be known: ZmqPost::bind, then join with all
// addresses, the group's key and the incarnation. Frames of older incarnations are dropped. A dead
// rank shows by the timeout, or sooner by abort() from whoever hears of its death; the first to
// give up tells the others.

namespace rondo::collective {

enum class Route : std::uint8_t { kBySize, kRing, kTree };

class ZmqCollective final : public Collective {
 public:
  struct Options {
    std::uint64_t key = 0;                // the group's; every member's is the same
    std::vector<std::string> addresses;   // by rank
    Route route = Route::kBySize;
    std::size_t chunk_bytes = std::size_t{256} << 10;   // of the ring's pieces, at most 512 KiB
    DurationNs join_timeout{};   // join waits so long for all ranks; 0: for nobody
  };

  static Result<std::unique_ptr<ZmqCollective>> join(std::unique_ptr<ZmqPost> post,
                                                     const Member& member, Options options);

  void abort(std::string_view reason) override { flag_.raise(reason); }
  void leave(const std::string& reason) override {
    flag_.raise(reason);   // the first reason stays
    if (!post_->was_told()) post_->send_abort(ErrorCode::kCancelled, *flag_.reason());
  }
  [[nodiscard]] std::optional<Error> look() override {
    if (auto raised = flag_.raised(member())) return raised;
    return post_->look();
  }
  // Frames of other groups and of older incarnations, so far.
  [[nodiscard]] std::uint64_t dropped() const { return post_->dropped(); }

 protected:
  Result<void> carry_out(const Operation& op, std::uint64_t number) override;

 private:
  struct Hops;
  struct Piece;

  ZmqCollective(std::unique_ptr<ZmqPost> post, const Member& member, Options options);

  Result<void> dispatch(const Operation& op);
  [[nodiscard]] std::size_t chunk_elements(const Operation& op) const;
  // Ring.
  Result<void> ring(const Operation& op, Hops hops);
  Result<void> start_part(const Operation& op, Hops hops);
  Result<void> add_and_pass(const Operation& op, Hops hops, Frame& frame, const Piece& piece);
  Result<void> take_and_pass(const Operation& op, Hops hops, Frame& frame, const Piece& piece);
  [[nodiscard]] Result<Piece> piece_of(const Operation& op, Hops hops, Frame& frame) const;
  // Tree.
  Result<void> tree_reduce(const Operation& op);
  Result<void> reduce_up(const Operation& op, std::uint32_t chunk, std::vector<std::byte>& value);
  Result<void> pass_down(int root, Stage stage, std::uint32_t chunk, std::span<std::byte> data);
  Result<void> broadcast(const Operation& op);
  Result<Frame> receive_from(int rank, Stage stage, std::uint32_t chunk, std::size_t bytes);

  std::unique_ptr<ZmqPost> post_;
  Options options_;
  AbortFlag flag_;
};

}  // namespace rondo::collective
