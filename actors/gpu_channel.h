#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include <rondo/ops/gpu_buffer.h>

// A GpuChannel carries activations and gradients between a stage on a GPU and one neighbour.
//
// What is sent is a parcel: a head and, behind it, the floats; or the head alone, which names a
// place in the sender's device memory, so that the floats never leave the device: a pointer within
// a process, CUDA IPC between processes of one machine. Which of the two is settled on the way:
// every head offers the sender's ring of buffers and says whether the sender can read the
// receiver's. Until a neighbour has said so, and where it cannot, floats go through host memory;
// the one that cannot read says why, once, in words on stderr.
//
// A ring belongs to its sender and stays until the channel ends. A buffer is written again after
// `buffers` more parcels: by then the receiver must have answered something that it made from it.
// A killed sender's ring is not read for good: whoever read it belongs to a step that fails, and
// leaves it with renew(). A killed receiver leaves nothing behind.
// One thread; the Gpu outlives it. Throws ops::GpuFault.

namespace rondo::actors {

class GpuChannel {
 public:
  struct Options {
    std::string here, there;   // for the words: the two stages
    std::size_t buffers = 1;
    std::size_t floats = 0;    // of a buffer; larger parcels go through host memory
  };
  GpuChannel(ops::Gpu& gpu, Options options);
  ~GpuChannel();
  GpuChannel(const GpuChannel&) = delete;
  GpuChannel& operator=(const GpuChannel&) = delete;

  // A parcel of `count` floats of device memory; valid until the next send. What made them may
  // still be in line.
  [[nodiscard]] std::span<const float> send(const float* from, std::size_t count);
  // For parcels that nobody answers.
  [[nodiscard]] std::span<const float> send_through_host(const float* from, std::size_t count);
  // Puts a parcel's floats into `to`. Requires: it holds `count`.
  void receive(std::span<const float> parcel, std::size_t count, ops::GpuBuffer& to);
  // Forgets the neighbour: another one may stand there now.
  void renew();
  // Neighbour to here, and here to neighbour: whether floats stay on the device.
  [[nodiscard]] bool reads() const { return opened_ != 0; }
  [[nodiscard]] bool is_read() const { return is_read_; }

 private:
  struct Head;
  void make_ring();
  [[nodiscard]] Head head(std::size_t count) const;
  void meet(const Head& from);
  [[nodiscard]] std::string open(const Head& from);   // why not; "": done
  void close();
  void say(const std::string& from, const std::string& to, const std::string& why);

  [[nodiscard]] const ops::cuda::Entries& api() const { return gpu_.entries(); }
  [[nodiscard]] ops::cuda::Context* context() const { return gpu_.context(); }

  ops::Gpu& gpu_;
  Options options_;
  // Of this end: its name is random, 0: there is none.
  std::uint64_t ring_ = 0;
  bool ring_tried_ = false;
  void* ring_memory_ = nullptr;
  ops::cuda::MemoryName ring_name_{};
  std::size_t next_ = 0;
  bool is_read_ = false;
  // Of the other end.
  std::uint64_t opened_ = 0;    // its ring, which can be read here
  std::uint64_t refused_ = 0;   // its ring, which cannot
  char* opened_memory_ = nullptr;
  bool opened_by_name_ = false;

  ops::GpuHostBuffer parcel_;
  std::string said_;   // last
};

}  // namespace rondo::actors
