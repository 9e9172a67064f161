#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <rondo/base/ids.h>
#include <rondo/base/owned_fd.h>
#include <rondo/base/result.h>
#include <rondo/base/time.h>
#include <rondo/core/message.h>

// A worker's tally of begun calls, and its node's word on how long it may speak.
//
// One memfd a worker, made by the node before it starts the worker, which inherits the descriptor.
// The worker chalks up, per caller, the highest number of a call that it began; after its death the
// node reads the page: only those calls may have had effects. The node writes the end of its
// membership term (CLOCK_BOOTTIME); past it a worker neither starts calls nor releases replies.
//
// `begun` may be called by any thread, never waits and takes a few nanoseconds for the caller that
// was last.

namespace rondo::store {

class MarksPage {
 public:
  static constexpr std::uint32_t kCallers = 1'024;

  static Result<std::unique_ptr<MarksPage>> create();  // in the node
  // in the worker, from its inherited descriptor
  static Result<std::unique_ptr<MarksPage>> attach(OwnedFd fd);
  ~MarksPage();
  MarksPage(const MarksPage&) = delete;
  MarksPage& operator=(const MarksPage&) = delete;

  // The worker.
  void begun(ProcessId caller, std::uint64_t number);
  // kNever until the node has set one
  [[nodiscard]] TimeNs term_end() const;
  [[nodiscard]] bool may_speak(TimeNs now) const { return now < term_end(); }

  // The node.
  void set_term_end(TimeNs end);
  struct Begun {
    // more callers than the page has room for: assume that every call began
    bool everything = false;
    std::vector<core::BegunMark> marks;  // by caller
  };
  [[nodiscard]] Begun read() const;

  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  struct Shared;
  MarksPage(OwnedFd fd, Shared* shared) : fd_(std::move(fd)), shared_(shared) {}
  [[nodiscard]] std::uint32_t slot_of(std::uint64_t caller);  // kCallers: full

  OwnedFd fd_;
  Shared* shared_;
  std::atomic<std::uint32_t> last_{0};  // slot of the last caller
};

}  // namespace rondo::store
