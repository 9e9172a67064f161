#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>

#include <rondo/base/check.h>
#include <rondo/base/limits.h>
#include <rondo/base/log.h>
#include <rondo/context.h>
#include <rondo/error.h>
#include <rondo/host/process_host.h>
#include <rondo/host/thread_run.h>

// The executing side: threads that carry out runs, and what a body sees.

namespace rondo::host {

namespace {
constexpr DurationNs kLong = seconds(10);
constexpr DurationNs kFlushEvery =
    microseconds(100);  // replies gather at most so long while more runs wait
constexpr int kExecutorsMax = static_cast<int>(limits::kWaitingTasksMax) + 8;
constexpr std::size_t padded(std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; }
}  // namespace

// ---- threads

void ProcessHost::run(core::RunId id) { runs_.push_back(id); }
void ProcessHost::construct(const core::CreateActor& birth) { births_.push_back(birth); }

void ProcessHost::resume(core::RunId id) {
  for (ThreadRun* waiting : resting_) {
    if (waiting->is_call && waiting->run == id) waiting->resumed.store(true);
  }
  filled_ = true;
}

void ProcessHost::find_hands() {
  const int needed = static_cast<int>(runs_.size() + births_.size());
  if (needed <= hands_coming_) return;
  if (!chair_.call_hand()) {
    if (options_.role != core::Role::kWorker || executors_ >= kExecutorsMax) return;
    ++executors_;
    std::thread([this] { executor(); }).detach();
  }
  ++hands_coming_;
}

void ProcessHost::serve() {
  chair_.take();
  ++executors_;
  chair_.leave();
  executor();
}

void ProcessHost::executor() {
  chair_.take();
  if (hands_coming_ > 0) --hands_coming_;
  while (true) {
    if (!births_.empty()) {
      const core::CreateActor birth = std::move(births_.front());
      births_.pop_front();
      construct_actor(birth);
    } else if (!runs_.empty()) {
      const core::RunId id = runs_.front();
      runs_.pop_front();
      execute(id);
      if (boot_time() - last_flush_ > kFlushEvery || runs_.empty()) {
        machine_.flush(boot_time());
        hear_self();
        if (!runs_.empty()) flush();
      }
    } else {
      idle();
    }
  }
}

void ProcessHost::idle() {
  while (runs_.empty() && births_.empty()) {
    if (!chair_.wanted()) {
      turn(kLong);
      continue;
    }
    chair_.leave();
    chair_.take_or_hand();
    if (hands_coming_ > 0) --hands_coming_;
  }
}

// ---- waiting inside a body

void ProcessHost::wait_in_run(ThreadRun& here, std::span<const CellRef> cells, std::size_t count,
                              TimeNs deadline) {
  if (!here.is_call) return drive_until_ready(cells, count, deadline);
  chair_.take();
  empty_box();
  machine_.flush(boot_time());
  const auto pending =
      std::find_if(cells.begin(), cells.end(), [](const CellRef& cell) { return cell->pending(); });
  if (pending == cells.end()) return chair_.leave();
  if (machine_.mailbox().waiting() >= limits::kWaitingTasksMax) {
    chair_.leave();
    throw Error(ErrorCode::kOverloaded, "more than " + std::to_string(limits::kWaitingTasksMax) +
                                            " tasks of this worker wait for other tasks: '" +
                                            options_.label + "'");
  }
  machine_.wait_begin(boot_time(), here.run, *pending);
  here.resumed.store(false);
  resting_.push_back(&here);
  machine_.flush(boot_time());
  hear_self();
  flush();
  find_hands();
  chair_.leave();
  drive_until_ready(cells, count, deadline);
  chair_.take();
  const bool at_once = machine_.wait_end(here.run);
  machine_.flush(boot_time());
  flush();
  if (!at_once) {
    chair_.leave();
    drive_until_resumed(here);
    chair_.take();
  }
  std::erase(resting_, &here);
  chair_.leave();
}

// Until the node gave this run its cpu back.
void ProcessHost::drive_until_resumed(ThreadRun& here) {
  while (chair_.take_or_told(here.resumed)) {
    while (!here.resumed.load() && !chair_.wanted() && !chair_.stopped()) {
      turn(kLong);
      find_hands();
    }
    chair_.leave();
  }
}

// ---- results

class ProcessHost::Sink final : public detail::ResultSink {
 public:
  Sink(ProcessHost& host, core::Outcome& outcome) : host_(host), outcome_(outcome) {}

  std::span<std::byte> allocate(std::size_t bytes, std::vector<CellRef> refs) override {
    outcome_.refs = std::move(refs);
    if (bytes <= limits::kInlineBytesMax) {
      outcome_.status = core::ReplyStatus::kOk;
      outcome_.bytes.resize(bytes);
      return outcome_.bytes;
    }
    auto writable = grant(bytes);
    outcome_.status = core::ReplyStatus::kStored;
    keep_ = std::move(writable.keep);
    return writable.bytes;
  }

  // The store took no result: then that, and not the body, has failed.
  [[nodiscard]] bool refused() const { return refused_; }

 private:
  store::ExtentClient::Writable grant(std::size_t bytes) {
    refused_ = true;
    auto writable = host_.grant(bytes, outcome_.stored);
    refused_ = false;
    return writable;
  }

  ProcessHost& host_;
  core::Outcome& outcome_;
  bool refused_ = false;
  std::shared_ptr<const void> keep_;
};

// ---- bodies

std::vector<detail::ArgumentView> ProcessHost::read_arguments(ByteView payload,
                                                              const SharedBytes& frame,
                                                              std::span<const CellRef> refs) {
  std::vector<detail::ArgumentView> out;
  const auto bad = [] {
    return Error(ErrorCode::kInvalid,
                 "a call's arguments do not decode; its sender is of another build");
  };
  std::size_t at = 0;
  while (at < payload.size()) {
    core::ArgumentHeader head;
    if (payload.size() - at < sizeof head) throw bad();
    std::memcpy(&head, payload.data() + at, sizeof head);
    at += sizeof head;
    std::uint64_t first = 0;
    if (head.kind == core::ArgumentKind::kInlineAt) {
      if (payload.size() - at < sizeof first) throw bad();
      std::memcpy(&first, payload.data() + at, sizeof first);
      at += sizeof first;
    }
    if (payload.size() - at < head.size) throw bad();
    const ByteView bytes = payload.subspan(at, head.size);
    at = std::min(payload.size(), at + padded(head.size));
    if (head.kind == core::ArgumentKind::kStored) {
      core::StoredArgument stored;
      if (bytes.size() != sizeof stored) throw bad();
      std::memcpy(&stored, bytes.data(), sizeof stored);
      if (stored.object_ref >= refs.size() || stored.first_ref > refs.size()) throw bad();
      out.push_back({open(refs[stored.object_ref], std::nullopt), refs.subspan(stored.first_ref)});
    } else {
      if (first > refs.size()) throw bad();
      out.push_back({Buffer(bytes, frame), refs.subspan(first)});
    }
  }
  return out;
}

core::Outcome ProcessHost::carry_out(const core::Incoming& call, std::span<const CellRef> refs) {
  core::Outcome outcome;
  Sink sink(*this, outcome);
  bool begun = false;
  try {
    const bool task = call.head.kind == core::CallKind::kTask;
    const detail::Body& body =
        task ? entries().task(call.head.function).body : entries().method(call.head.function).body;
    if (!task && !actor_) throw Error(ErrorCode::kInvalid, "this worker has no actor");
    const std::vector<detail::ArgumentView> arguments =
        read_arguments(call.payload, call.frame, refs);
    Context context(*session_);
    detail::CallFrame frame{context, arguments, sink, actor_.get()};
    begun = true;
    body(frame);
  } catch (...) {
    const std::string what = name_of(call.head.kind, call.head.function);
    outcome = {};
    outcome.status = core::ReplyStatus::kFailed;
    outcome.failure = failure_of_exception(what, begun && !sink.refused());
  }
  return outcome;
}

// `by_body`: the user's code threw. Else an argument was lost, or the store was full: that is said.
core::Failure ProcessHost::failure_of_exception(const std::string& what, bool by_body) {
  ErrorCode code = ErrorCode::kTaskFailed;
  try {
    throw;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalid || !by_body)
      code = error.code();  // a cycle of waits unwinds as what it is
  } catch (...) {
  }
  std::string text = "'" + what + "' on " + options_.label + " (pid " + std::to_string(::getpid()) +
                     ") failed: " + detail::describe_current_exception();
  if (text.size() > limits::kErrorBytesMax) text.resize(limits::kErrorBytesMax);
  return {code, std::move(text)};
}

void ProcessHost::execute(core::RunId id) {
  const core::Incoming& call = machine_.incoming(id);
  std::vector<CellRef> refs;
  if (!call.refs.empty()) refs = machine_.borrow_all(call.refs);
  ThreadRun here;
  here.host = this;
  here.run = id;
  here.is_call = true;
  current_ = &here;
  chair_.leave();
  if (options_.marks) {
    while (!options_.marks->may_speak(boot_time()))
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    options_.marks->begun(call.from, call.head.number);
  }
  core::Outcome outcome = carry_out(call, refs);
  current_ = nullptr;
  chair_.take();
  empty_box();  // refs that the body took up are registered before its reply leaves
  machine_.finish(boot_time(), id, std::move(outcome));
}

void ProcessHost::construct_actor(const core::CreateActor& birth) {
  const core::ActorSpec& spec = birth.spec;
  const SharedBytes arguments_bytes = share(spec.arguments);
  std::vector<core::RefEntry> refs_in;
  ByteView payload;
  const bool whole = core::read_spawn_arguments(*arguments_bytes, payload, refs_in);
  const std::vector<CellRef> refs = machine_.borrow_all(refs_in);
  const std::string name = spec.class_name + (spec.name.empty() ? "" : " " + spec.name);
  options_.label = "actor " + name;
  ThreadRun here;
  here.host = this;
  current_ = &here;
  chair_.leave();
  std::optional<core::Failure> failure;
  try {
    if (!whole) throw Error(ErrorCode::kInvalid, "its arguments do not decode");
    const std::vector<detail::ArgumentView> arguments =
        read_arguments(payload, arguments_bytes, refs);
    Context context(*session_);
    core::Outcome unused;
    Sink sink(*this, unused);
    detail::CallFrame frame{context, arguments, sink, nullptr};
    actor_ = entries().actor_class(spec.class_name).factory(frame);
  } catch (...) {
    failure = failure_of_exception(spec.class_name + " constructor", true);
  }
  current_ = nullptr;
  chair_.take();
  empty_box();
  machine_.constructed(birth, std::move(failure));
  machine_.flush(boot_time());
  flush();
}

const detail::Entries& ProcessHost::entries() const { return *session_->entries; }

std::string ProcessHost::name_of(core::CallKind kind, std::uint32_t function) {
  try {
    if (kind == core::CallKind::kTask) return entries().task(function).name;
    return entries().actor_class(function).name + "." + entries().method(function).name;
  } catch (const Error&) {
    return "function number " + std::to_string(function);
  }
}

void ProcessHost::end(const std::string& cause) {
  if (options_.role == core::Role::kWorker) {
    log_info("ends: " + cause);
    std::fflush(nullptr);
    ::_exit(0);
  }
  machine_.fail_everything(
      {ErrorCode::kUnavailable, "the cluster ended this program's job: " + cause});
  connected_ = false;
}

}  // namespace rondo::host
