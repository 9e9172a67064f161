#include <rondo/host/head_host.h>

#include <unistd.h>

#include <algorithm>
#include <utility>

#include <rondo/base/log.h>
#include <rondo/base/prng.h>
#include <rondo/host/clock.h>
#include <rondo/host/inspect.h>
#include <rondo/host/release.h>

namespace rondo::host {

namespace {
constexpr std::size_t kClientsMax = 1'024;
}  // namespace

HeadHost::~HeadHost() = default;

Result<std::unique_ptr<HeadHost>> HeadHost::open(Options options) {
  std::unique_ptr<HeadHost> host(new HeadHost(std::move(options)));
  if (auto ready = host->prepare(); !ready) return ready.error();
  return host;
}

Result<void> HeadHost::prepare() {
  const SignalsBlocked blocked;
  DaemonLoop::Options loop;
  loop.self = {ProcessId{entropy()}, options_.listen};
  loop.token = options_.token;
  loop.context = options_.context;
  loop.thread_name = "rondo-head";
  auto opened = DaemonLoop::open(std::move(loop));
  if (!opened) return opened.error();
  loop_ = std::move(opened).value();

  store::SqliteOptions state;
  state.path = options_.state_path;
  state.bytes_max = options_.state_bytes_max;
  state.wake = [this] {
    if (look_posted_.exchange(true)) return;
    loop_->post([this](TimeNs now, core::Effects& out) { look_at_store(now, out); });
  };
  auto store = store::open_sqlite_store(std::move(state));
  if (!store) return store.error();
  store_ = std::move(store).value();
  auto rows = store_->load();
  if (!rows) return rows.error();
  rows_ = std::move(rows).value();

  core::HeadOptions head;
  head.self = loop_->self();
  head.pid = ::getpid();
  head.cluster = options_.cluster;
  head.release = kRelease;
  head.term = options_.term;
  head.heartbeat_every = options_.heartbeat_every;
  head.suspect_after = options_.suspect_after;
  head.wall_offset_ns = wall_offset_ns();
  head_ = std::make_unique<core::Head>(std::move(head));
  return {};
}

void HeadHost::on_start(TimeNs now, core::Effects& out) {
  const std::vector<core::Head::Row> rows(rows_.begin(), rows_.end());
  rows_.clear();
  head_->start(now, rows, out);
}

void HeadHost::on_message(TimeNs now, ProcessId from, const core::Message& message,
                          core::Effects& out) {
  if (failure_) return;
  const auto* hello = std::get_if<core::Hello>(&message);
  if (hello != nullptr && hello->role == core::Role::kClient) {
    if (std::find(clients_.begin(), clients_.end(), from) == clients_.end())
      clients_.push_back(from);
    if (clients_.size() > kClientsMax) forget_client(clients_.front(), out);
  }
  if (const auto* ask = std::get_if<core::Inspect>(&message)) asking_[from] = ask->request;
  head_->on_message(now, from, message, out);
  if (std::holds_alternative<core::Goodbye>(message)) forget_client(from, out);
}

// It said goodbye, or was killed long ago: nobody tells the head of a client's death.
void HeadHost::forget_client(ProcessId client, core::Effects& out) {
  if (std::erase(clients_, client) == 0) return;
  asking_.erase(client);
  out.add(core::Forget{client});
}

void HeadHost::on_broken(TimeNs now, ProcessId peer, const std::string&, core::Effects& out) {
  head_->on_link_broken(now, peer, out);
}

void HeadHost::on_deadline(TimeNs now, core::Effects& out) {
  if (!failure_) head_->on_deadline(now, out);
}

void HeadHost::carry_out(TimeNs, core::Effect effect, core::Effects& more) {
  if (auto* persist = std::get_if<core::Persist>(&effect)) {
    batch_.number = persist->number;
    batch_.writes.push_back({std::move(persist->key), std::move(persist->value)});
  } else if (auto* answer = std::get_if<core::Answer>(&effect)) {
    asking_.erase(answer->to);
    more.send(answer->to, core::Inspected{answer->request, to_json(answer->listing), {}});
  } else if (auto* exit = std::get_if<core::Exit>(&effect)) {
    end(std::move(exit->failure));
  } else {
    log_error("the head was asked for what only a node can do");
  }
}

void HeadHost::end_turn(TimeNs) {
  if (batch_.writes.empty()) return;
  store_->write(std::exchange(batch_, {}));
}

void HeadHost::look_at_store(TimeNs now, core::Effects& out) {
  look_posted_.store(false);
  if (failure_) return;
  const auto failed = store_->failure();
  if (!failed) {
    head_->on_durable(now, store_->durable(), out);
    return;
  }
  const core::Failure failure{ErrorCode::kUnavailable,
                              "the head cannot write its state: " + std::string(failed->what())};
  for (const auto& [client, request] : asking_)
    out.send(client, core::Inspected{request, {}, {failure}});
  end(failure);
}

void HeadHost::end(core::Failure failure) {
  if (!failure_) failure_ = std::move(failure);
  loop_->stop();
}

}  // namespace rondo::host
