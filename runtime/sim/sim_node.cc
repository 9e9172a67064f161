#include <rondo/sim/sim_node.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include <rondo/sim/checks.h>
#include <rondo/sim/sim_process.h>

namespace rondo::sim {

namespace {
constexpr std::size_t kFileBytes = 96;
constexpr DurationNs kSeekFirst = milliseconds(100);
constexpr DurationNs kSeekAgain = milliseconds(300);

Bytes file_of(const std::string& hash) {
  return Bytes(kFileBytes, hash.empty() ? std::byte{0} : static_cast<std::byte>(hash[0]));
}
}  // namespace

SimNode::SimNode(World& world, const Options& options)
    : Endpoint(world, core::Peer{world.fresh_id(), "sim://n-" + hex(world.random().next())},
               options.machine),
      options_(options),
      id_(world.random().next() | 1) {
  core::NodeOptions node;
  node.self.id = id_;
  node.self.peer = peer();
  node.self.name = options_.name;
  node.self.total = node.self.free = options_.total;
  node.self.pid = static_cast<std::int64_t>(id_.value % 100'000);
  node.self.machine = options_.machine + 1;
  node.seed = world.random().next();
  node.release = "sim";
  node.store_bytes = options_.store_bytes;
  node.worker_idle = seconds(2);
  node.worker_start = seconds(4);
  node_ = std::make_unique<core::Node>(std::move(node));
  world.machine(options_.machine).node = id_;
}

void SimNode::start() {
  head_heard_ = seek_at_ = world_.now();
  input([&](core::Effects& out) { node_->start(world_.now(), out); });
}

template <class F>
void SimNode::input(F&& give) {
  core::Effects out;
  give(out);
  carry_out(out);
  if (!dead()) end_turn();
}

// ---- what comes in -----------------------------------------------------------------------------

void SimNode::on_message(ProcessId from, core::Message&& message) {
  narrate(from, message);
  if (ended_) return;
  const TimeNs now = world_.now();
  if (from == head_.id) head_heard_ = now;
  if (const auto* ask = std::get_if<core::ChunkRequest>(&message);
      ask != nullptr && ask->file_hash.empty()) {
    world_.spring(World::Moment::kPulling, *this);
    if (dead()) return;
  }
  core::Effects out;
  if (const auto* hello = std::get_if<core::Hello>(&message)) {
    if (hello->role == core::Role::kDriver) locals_.insert(from);
  } else if (const auto* welcome = std::get_if<core::Welcome>(&message);
             welcome != nullptr && !welcome->node) {
    head_heard_ = now;
    if (from != head_.id) {
      head_ = {from, "sim://head"};
      node_->on_head_changed(now, head_, out);
    }
  } else if (const auto* accepted = std::get_if<core::NodeAccepted>(&message)) {
    heartbeat_every_ = accepted->heartbeat_every;
  }
  node_->on_message(now, from, message, out);
  carry_out(out);
}

void SimNode::seek_head() {
  const bool silent = world_.now() - head_heard_ > heartbeat_every_ * 3;
  seek_at_ = world_.now() + (head_.id ? kSeekAgain : kSeekFirst);
  if (head_.id && !silent) return;
  core::Hello hello;
  hello.self = peer();
  hello.role = core::Role::kNode;
  hello.pid = static_cast<std::int64_t>(id_.value % 100'000);
  hello.version = limits::kProtocolVersion;
  hello.release = "sim";
  greet("sim://head", hello);
}

TimeNs SimNode::next_deadline() const {
  return ended_ ? kNever : std::min(node_->next_deadline(), seek_at_);
}

void SimNode::on_alarm() {
  if (ended_) return;
  if (seek_at_ <= world_.now()) seek_head();
  core::Effects out;
  if (node_->next_deadline() <= world_.now()) node_->on_deadline(world_.now(), out);
  carry_out(out);
}

void SimNode::on_broken(const wire::Broken& broken) {
  core::Effects out;
  node_->on_link_broken(world_.now(), broken.peer, broken.why, out);
  carry_out(out);
}

// Who ends is noticed by its pidfd: soon, but not at once. A worker leaves its marks behind.
void SimNode::process_died(ProcessId process, const std::string& cause) {
  if (!workers_.contains(process) && !locals_.contains(process)) return;
  world_.after(microseconds(world_.random().between(50, 3'000)), id(), [this, process, cause] {
    workers_.erase(process);
    locals_.erase(process);
    std::vector<core::BegunMark> begun;
    if (const auto* there = dynamic_cast<const SimProcess*>(world_.find(process)))
      begun = there->marks();
    if (ended_) return;
    input([&](core::Effects& out) {
      node_->on_process_exited(world_.now(), process, cause, begun, out);
    });
  });
}

void SimNode::die() {
  Endpoint::die();
  const std::set<ProcessId> workers = std::move(workers_);
  for (const ProcessId worker : workers) world_.kill(worker);
  for (const ProcessId local : locals_)
    if (auto* driver = dynamic_cast<SimProcess*>(world_.find(local)); driver && !driver->dead())
      driver->node_died();
  extents_.clear();
}

// ---- effects -----------------------------------------------------------------------------------

void SimNode::say(ProcessId to, core::Message message) {
  const Defects& defects = world_.defects();
  if (std::holds_alternative<core::ProcessDied>(message) &&
      world_.planted(defects.deaths_not_told, 3))
    return;
  if (auto* grant = std::get_if<core::LeaseGrant>(&message);
      grant != nullptr && defects.lease_granted_twice) {
    const bool lends = last_grant_.lease && last_grant_.worker.id != to &&
                       world_.alive(last_grant_.worker.id);
    if (lends && world_.random().one_in(3)) {
      grant->lease = last_grant_.lease;
      grant->worker = last_grant_.worker;
    } else {
      last_grant_ = *grant;
    }
  }
  if (may_say(to)) station_->send(to, message);
}

void SimNode::carry_out(core::Effects& effects) {
  while (!effects.list.empty() && !dead()) {
    std::vector<core::Effect> list = std::move(effects.list);
    effects.list.clear();
    for (core::Effect& effect : list) {
      if (dead()) return;
      if (auto* learnt = std::get_if<core::Learn>(&effect)) learn(learnt->peer);
      else if (auto* send = std::get_if<core::Send>(&effect)) say(send->to, send->message);
      else if (auto* datagram = std::get_if<core::Datagram>(&effect)) {
        if (may_say(datagram->to)) station_->datagram(datagram->to, datagram->message);
      } else if (auto* forgotten = std::get_if<core::Forget>(&effect)) forget(forgotten->process);
      else std::visit([this](const auto& e) { on(e); }, effect);
    }
    for (core::Effect& effect : later_.list) effects.list.push_back(std::move(effect));
    later_.list.clear();
  }
}

void SimNode::on(const core::StartWorker& start) {
  workers_.insert(start.worker);
  const bool fails = world_.random().one_in(60) || world_.now() < starts_nothing_until_;
  const DurationNs takes = microseconds(world_.random().between(500, 20'000));
  world_.after(takes, id(), [this, start, fails] {
    if (ended_ || !workers_.contains(start.worker)) return;
    if (stopped_.erase(start.worker) != 0 || fails) {
      workers_.erase(start.worker);
      input([&](core::Effects& out) {
        node_->on_process_exited(world_.now(), start.worker, "it could not be started", {}, out);
      });
      return;
    }
    SimProcess::Options options;
    options.self = {start.worker, "sim://w-" + to_string(start.worker)};
    options.role = core::Role::kWorker;
    options.machine = machine();
    options.node = peer();
    options.job = start.job.id;
    auto& worker = static_cast<SimProcess&>(
        world_.add(std::make_unique<SimProcess>(world_, std::move(options))));
    worker.start();
  });
}

void SimNode::on(const core::StopWorker& stop) {
  if (world_.find(stop.worker) == nullptr) {
    stopped_.insert(stop.worker);
    return;
  }
  world_.after(microseconds(world_.random().between(10, 500)), id(), [this, stop] {
    if (!world_.alive(stop.worker)) return;
    world_.kill(stop.worker);
    process_died(stop.worker, stop.cause);
  });
}

void SimNode::on(const core::CheckFiles& check) {
  std::vector<std::string> missing;
  if (check.home) files_.insert(check.job.executable_hash);
  if (!files_.contains(check.job.executable_hash)) missing.push_back(check.job.executable_hash);
  world_.after(microseconds(300), id(), [this, job = check.job.id, missing] {
    input([&](core::Effects& out) {
      node_->on_files_checked(world_.now(), job, missing, std::nullopt, out);
    });
  });
}

void SimNode::on(const core::ReadFile& wanted) {
  if (!files_.contains(wanted.hash)) {
    later_.send(
        wanted.to,
        core::ChunkMissing{wanted.request, {ErrorCode::kNotFound, "this node has no such file"}});
    return;
  }
  const Bytes whole = file_of(wanted.hash);
  const std::size_t from = std::min<std::size_t>(wanted.offset, whole.size());
  const std::size_t size = std::min<std::size_t>(limits::kChunkBytes, whole.size() - from);
  const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(from);
  later_.send(wanted.to, core::Chunk{wanted.request, from, whole.size(),
                                     Bytes(begin, begin + static_cast<std::ptrdiff_t>(size))});
}

void SimNode::on(const core::WriteFile& piece) {
  if (piece.offset + piece.bytes.size() < piece.total) return;
  files_.insert(piece.hash);
  world_.after(microseconds(200), id(), [this, hash = piece.hash] {
    input([&](core::Effects& out) { node_->on_file_written(world_.now(), hash, true, out); });
  });
}

void SimNode::on(const core::CreateExtent& create) {
  extents_[create.extent];
  world_.after(microseconds(100), id(), [this, extent = create.extent] {
    input([&](core::Effects& out) { node_->on_extent_created(world_.now(), extent, 7, out); });
  });
}

void SimNode::on(const core::DestroyExtent& destroy) { extents_.erase(destroy.extent); }

void SimNode::on(const core::WatchExtent& watch) {
  world_.after(microseconds(world_.random().between(50, 5'000)), id(), [this, watch] {
    input([&](core::Effects& out) {
      node_->on_extent_unheld(world_.now(), watch.extent, watch.generation, out);
    });
  });
}

void SimNode::on(const core::ReadChunk& wanted) {
  Bytes& all = extents_[wanted.extent];
  Bytes piece(wanted.bytes);
  all.resize(std::max<std::size_t>(all.size(), wanted.offset + wanted.bytes));
  std::memcpy(piece.data(), all.data() + wanted.offset, piece.size());
  later_.send(wanted.to,
              core::Chunk{wanted.request, wanted.offset, wanted.total, std::move(piece)});
}

void SimNode::on(const core::WriteChunk& chunk) {
  Bytes& all = extents_[chunk.extent];
  all.resize(std::max<std::size_t>(all.size(), chunk.offset + chunk.bytes.size()));
  std::memcpy(all.data() + chunk.offset, chunk.bytes.data(), chunk.bytes.size());
}

void SimNode::on(const core::RenewTerm& term) { term_end_ = term.until; }

// It ends by itself: its workers with it; the supervisor starts another node there.
void SimNode::on(const core::Exit&) {
  ended_ = true;
  world_.after(microseconds(200), id(), [this] { world_.kill(id()); });
}

// ---- looking -----------------------------------------------------------------------------------

Bytes* SimNode::extent(std::uint32_t number) {
  const auto it = extents_.find(number);
  return it == extents_.end() ? nullptr : &it->second;
}

std::vector<ProcessId> SimNode::workers() const {
  std::vector<ProcessId> out;
  for (const ProcessId id : workers_)
    if (world_.alive(id)) out.push_back(id);
  return out;
}

void SimNode::check_invariants() const {
  Endpoint::check_invariants();
  if (!ended_) node_->check_invariants();
}

std::string SimNode::held_at_rest() const {
  const core::Node& node = *node_;
  if (!node.leases().leases().empty())
    return std::to_string(node.leases().leases().size()) + " leases";
  if (node.leases().waiting() != 0) return "lease requests";
  if (node.store().objects() != 0) return std::to_string(node.store().objects()) + " objects";
  return {};
}

}  // namespace rondo::sim
