#include <rondo/host/process_host.h>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include <rondo/base/check.h>
#include <rondo/base/limits.h>
#include <rondo/base/log.h>
#include <rondo/host/release.h>
#include <rondo/host/thread_run.h>

// The chair, the letter box, and a turn of the loop.

namespace rondo::host {

namespace {
constexpr DurationNs kRing =
    microseconds(200);  // a poll longer than this must be woken for letters
constexpr DurationNs kLong = seconds(10);
constexpr DurationNs kLook =
    milliseconds(20);  // how often a silent worker looks whether it may speak

}  // namespace

CellTable& process_cells() {
  static CellTable* one = new CellTable;
  return *one;
}

thread_local ProcessHost::ThreadRun* ProcessHost::current_ = nullptr;

ProcessHost::ProcessHost(Options options)
    : options_(std::move(options)),
      cells_(process_cells()),
      transport_({}),
      chair_([this] { transport_.wake(); }),
      bound_(bind_transport()),
      station_({.self = options_.self, .token = options_.token}),
      machine_({.self = options_.self,
                .role = options_.role,
                .pid = ::getpid(),
                .job = options_.job,
                .node = options_.node,
                .release = kRelease},
               cells_, *this),
      session_(&detail::open_session(*this, options_.registry->entries())) {}

bool ProcessHost::bind_transport() {
  const auto address = transport_.bind(options_.self.address);
  if (!address) throw Error(address.error());
  options_.self.address = address.value();
  return true;
}

Result<void> ProcessHost::attach_store(const core::Welcome& welcome) {
  node_pid_ = welcome.node_pid;
  auto board = store::GenerationBoard::attach(welcome.node_pid, welcome.board_fd);
  if (!board) return board.error();
  auto page = store::HoldPage::attach(welcome.node_pid, welcome.hold_fd);
  if (!page) return page.error();
  auto holds = std::make_shared<store::HoldTable>(
      std::move(page).value(),
      std::shared_ptr<const store::GenerationBoard>(std::move(board).value()));
  extents_ = std::make_unique<store::ExtentClient>(std::move(holds));
  return {};
}

ProcessHost::~ProcessHost() {
  stop("the Runtime ended");
  detail::close_session(*session_);
}

Result<void> ProcessHost::connect(DurationNs limit) {
  CellRef second;
  const CellRef welcomed = fresh_cell(second);
  chair_.take();
  machine_.start(boot_time(), std::move(second));
  chair_.leave();
  watchman_thread_ = std::thread([this] { watchman(); });
  wait(std::span(&welcomed, 1), 1, limit);
  if (welcomed->state.load(std::memory_order_acquire) == CellState::kFailed)
    return *welcomed->extra->failure;
  if (welcomed->pending()) {
    return Error(ErrorCode::kUnavailable,
                 "the node at " + options_.node.address + " does not answer; is it running?");
  }
  connected_ = true;
  return {};
}

Result<void> ProcessHost::start_job(const core::JobSpec& job, DurationNs limit) {
  CellRef second;
  const CellRef started = fresh_cell(second);
  chair_.take();
  options_.job = job.id;
  machine_.start_job(job, std::move(second));
  chair_.leave();
  wait(std::span(&started, 1), 1, limit);
  if (started->state.load(std::memory_order_acquire) == CellState::kFailed)
    return *started->extra->failure;
  if (started->pending()) {
    return Error(ErrorCode::kUnavailable,
                 "the cluster did not start the job in time; is its head running?");
  }
  return {};
}

void ProcessHost::stop(const std::string& reason) {
  if (chair_.stopped()) return;
  chair_.take();
  if (connected_) {
    empty_box();
    machine_.flush(boot_time());
    machine_.say_goodbye(reason);
    const TimeNs late = boot_time() + milliseconds(200);
    flush();
    while (!station_.settled(options_.node.id) && boot_time() < late) turn(milliseconds(20));
  }
  machine_.fail_everything({ErrorCode::kCancelled, "the Runtime ended before this was ready"});
  chair_.stop();
  chair_.leave();
  if (watchman_thread_.joinable()) watchman_thread_.join();
}

CellRef ProcessHost::fresh_cell(CellRef& second_hold) {
  CellRef cell = cells_.allocate(options_.self.id, 1);
  second_hold = cells_.adopt(*cell);
  return cell;
}

// ---- the letter box

void ProcessHost::post(Order order) {
  bool first = false;
  {
    const std::lock_guard lock(box_mutex_);
    first = box_.empty();
    box_.push_back(std::move(order));
  }
  if (!first) return;
  box_full_.store(true);
  chair_.ring_if_asleep();
}

void ProcessHost::watchman() {
  while (chair_.watch()) {
    while (!chair_.wanted() && !chair_.stopped()) {
      turn(kLong);
      find_hands();
    }
    chair_.leave();
  }
}

// ---- a turn

DurationNs ProcessHost::until_deadline(DurationNs at_most) const {
  TimeNs next = boot_time() + at_most;
  if (const auto machine = machine_.next_deadline()) next = std::min(next, *machine);
  if (const auto station = station_.next_deadline()) next = std::min(next, *station);
  return std::max(next - boot_time(), DurationNs{0});
}

void ProcessHost::turn(DurationNs timeout) {
  empty_box();
  machine_.flush(boot_time());
  hear_self();
  flush();
  if (filled_ || !runs_.empty()) timeout = {};  // somebody has something to do already
  DurationNs patience = until_deadline(silent_ ? std::min(timeout, kLook) : timeout);
  if (patience > kRing && !chair_.fall_asleep(box_full_)) patience = {};
  frames_.clear();
  transport_.poll(patience, frames_);
  chair_.wake_up();
  const TimeNs at = boot_time();
  for (const SharedBytes& frame : frames_) station_.on_frame(at, frame, *this);
  if (const auto due = station_.next_deadline(); due && *due <= at) station_.on_deadline(at);
  if (const auto due = machine_.next_deadline(); due && *due <= at) machine_.on_deadline(at);
  for (const wire::Broken& broken : station_.take_broken()) {
    log_warn("link to " + to_string(broken.peer) + " broke: " + broken.why);
    machine_.on_message(at, broken.peer,
                        core::ProcessDied{.process = broken.peer, .cause = broken.why});
  }
  empty_box();
  machine_.flush(at);
  hear_self();
  flush();
  tell_fills();
}

void ProcessHost::hear_self() {
  const ProcessId self = options_.self.id;
  while (!to_self_.empty()) {
    const auto item = std::move(to_self_.front());
    to_self_.pop_front();
    if (const auto* message = std::get_if<core::Message>(&item))
      machine_.on_message(boot_time(), self, *message);
    else if (const auto* call = std::get_if<core::Incoming>(&item))
      machine_.on_call(boot_time(), *call);
    else if (const auto* reply = std::get_if<SelfReply>(&item)) {
      machine_.on_reply(boot_time(), self, reply->head, reply->payload, reply->refs);
    }
    if (to_self_.empty()) machine_.flush(boot_time());
  }
}

void ProcessHost::tell_fills() {
  if (!filled_) return;
  filled_ = false;
  chair_.tell_filled();
}

void ProcessHost::flush() {
  silent_ = options_.marks && !options_.marks->may_speak(boot_time());
  if (silent_) return;  // the node's membership term ran out
  if (!station_.wants_flush()) return;
  out_.clear();
  station_.flush(boot_time(), out_);
  for (wire::OutFrame& frame : out_) transport_.send(frame.to, std::move(frame.frame));
  last_flush_ = boot_time();
}

void ProcessHost::empty_box() {
  if (!box_full_.load()) return;
  {
    const std::lock_guard lock(box_mutex_);
    obeying_.swap(box_);
    box_full_.store(false);
  }
  for (Order& order : obeying_) obey(order);
  obeying_.clear();
}

void ProcessHost::obey(Order& order) {
  switch (order.kind) {
    case Order::Kind::kSubmit:
      return machine_.submit(boot_time(), order.shape, order.retries, std::move(order.submission));
    case Order::Kind::kCall:
      return machine_.call(boot_time(), order.actor, order.bound, std::move(order.submission));
    case Order::Kind::kSpawn:
      return machine_.spawn(boot_time(), std::move(*order.spec), std::move(order.submission));
    case Order::Kind::kSealed:
      return machine_.put_stored(order.cell, order.stored);
    case Order::Kind::kExtent:
      return machine_.request_extent(order.stored.bytes, std::move(order.answer));
    case Order::Kind::kReturnExtent:
      return machine_.return_extent(order.stored.extent, order.stored.generation);
    case Order::Kind::kOpen:
      return machine_.request_open(order.cell, std::move(order.answer));
    case Order::Kind::kFind:
      return machine_.find(order.name, std::move(order.answer));
    case Order::Kind::kBind:
      return machine_.bind(order.actor, std::move(order.answer));
    case Order::Kind::kKill:
      return machine_.kill(order.actor);
    case Order::Kind::kBorrow:
      return machine_.adopt_borrowed(order.cell,
                                     core::RefEntry{order.cell->id, order.name, NodeId{}});
  }
}

// ---- waiting

std::size_t ProcessHost::wait(std::span<const CellRef> cells, std::size_t count,
                              std::optional<DurationNs> timeout) {
  count = std::min(count, cells.size());
  const std::size_t ready = count_ready(cells, count);
  if (ready >= count) return ready;
  const TimeNs deadline = timeout ? boot_time() + *timeout : kNever;
  if (timeout && timeout->ns <= 0) return ready;
  if (current_ != nullptr && current_->host == this) wait_in_run(*current_, cells, count, deadline);
  else drive_until_ready(cells, count, deadline);
  return count_ready(cells, cells.size());
}

void ProcessHost::drive_until_ready(std::span<const CellRef> cells, std::size_t count,
                                    TimeNs deadline) {
  const auto over = [&] {
    return count_ready(cells, count) >= count || cancelled_.load(std::memory_order_relaxed) ||
           chair_.stopped();
  };
  while (!over() && chair_.take_or_ready(cells, count, deadline)) {
    while (!over() && !chair_.wanted()) {
      const TimeNs at = deadline == kNever ? TimeNs{} : boot_time();
      if (at >= deadline) break;
      turn(deadline == kNever ? kLong : std::min(kLong, deadline - at));
      find_hands();
    }
    chair_.leave();
  }
}

void ProcessHost::cancel_wait() {
  cancelled_.store(true);
  chair_.stop();
}

// ---- ProcessPort and Handler

void ProcessHost::learn(const core::Peer& peer) {
  if (peer.id == options_.self.id || peer.address.empty()) return;
  station_.learn(peer);
  transport_.learn(peer);
}

void ProcessHost::forget(ProcessId peer) {
  station_.forget(peer);
  transport_.forget(peer);
}

void ProcessHost::send(ProcessId to, const core::Message& message) {
  if (to == options_.self.id) to_self_.push_back(message);
  else station_.send(to, message);
}

void ProcessHost::call(ProcessId to, const core::CallHeader& head, ByteView payload,
                       std::span<const core::RefEntry> refs) {
  if (to != options_.self.id) return station_.call(to, head, payload, refs);
  core::Incoming call{to, head, {}, {refs.begin(), refs.end()}, share(to_bytes(payload))};
  call.payload = *call.frame;
  to_self_.push_back(std::move(call));
}

void ProcessHost::reply(ProcessId to, const core::ReplyHeader& head, ByteView payload,
                        std::span<const core::RefEntry> refs) {
  if (to != options_.self.id) return station_.reply(to, head, payload, refs);
  to_self_.push_back(SelfReply{head, to_bytes(payload), {refs.begin(), refs.end()}});
}

void ProcessHost::filled() { filled_ = true; }

void ProcessHost::on_peer(const core::Peer& peer, NodeId home) {
  learn(peer);
  machine_.on_peer(peer, home);
}

void ProcessHost::on_message(ProcessId from, core::Message&& message) {
  if (const auto* welcome = std::get_if<core::Welcome>(&message); welcome != nullptr && !extents_) {
    if (const auto attached = attach_store(*welcome); !attached) {
      core::Refused refused{{ErrorCode::kUnavailable, attached.error().what()}};
      return machine_.on_message(boot_time(), from, refused);
    }
  }
  if (const auto* printed = std::get_if<core::LogLines>(&message)) return show(*printed);
  if (const auto* welcome = std::get_if<core::Welcome>(&message)) station_.set_home(welcome->node);
  machine_.on_message(boot_time(), from, message);
}

void ProcessHost::lose_node() {
  chair_.take();
  if (connected_) {
    connected_ = false;
    machine_.fail_everything(
        {ErrorCode::kUnavailable,
         "this program's node at " + options_.node.address + " died; start the program again"});
    tell_fills();
  }
  chair_.leave();
}

void ProcessHost::show(const core::LogLines& printed) {
  const std::string who = "(" + printed.label + ", " + printed.node_name + ", pid " +
                          std::to_string(printed.pid) + ") ";
  std::string text;
  for (const std::string& line : printed.lines) text += who + line + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void ProcessHost::on_call(ProcessId from, const core::CallHeader& head, ByteView payload,
                          std::span<const core::RefEntry> refs, const SharedBytes& frame) {
  machine_.on_call(boot_time(),
                   core::Incoming{from, head, payload, {refs.begin(), refs.end()}, frame});
}

void ProcessHost::on_reply(ProcessId from, const core::ReplyHeader& head, ByteView payload,
                           std::span<const core::RefEntry> refs, const SharedBytes&) {
  machine_.on_reply(boot_time(), from, head, payload, refs);
}

}  // namespace rondo::host
