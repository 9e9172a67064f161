#include <unistd.h>

#include <algorithm>
#include <utility>

#include <rondo/base/log.h>
#include <rondo/exec/log_tail.h>
#include <rondo/host/inspect.h>
#include <rondo/host/node_host.h>

// NodeHost: carrying out what the machine wants done.

namespace rondo::host {

namespace {
constexpr std::uint64_t kExtentAtOnce = std::uint64_t{4} << 20;  // made on the loop's thread
constexpr DurationNs kUnheldFirst = milliseconds(5);
constexpr DurationNs kUnheldMax = milliseconds(100);
constexpr std::size_t kLogBytesShown = std::size_t{1} << 20;
}  // namespace

void NodeHost::carry_out(TimeNs now, core::Effect effect, core::Effects& more) {
  std::visit([&](auto& e) { on(now, e, more); }, effect);
}

void NodeHost::before_send(ProcessId to, core::Message& message) {
  auto* welcome = std::get_if<core::Welcome>(&message);
  if (welcome == nullptr) return;
  welcome->node_pid = ::getpid();
  welcome->board_fd = board_->fd();
  const auto local = locals_.find(to);
  if (local != locals_.end() && local->second == core::Role::kClient) return;
  if (local == locals_.end() && workers_->find(to) == nullptr) return;
  auto page = holds_.add(to);
  if (page) welcome->hold_fd = page.value();
  else log_error("a process gets no page of holds: " + std::string(page.error().what()));
}

// ---- workers and files -----------------------------------------------------------------------

void NodeHost::on(TimeNs now, core::StartWorker& start, core::Effects& out) {
  drivers_[start.job.id] = start.job.driver;
  const ProcessId worker = start.worker;
  if (auto expected = workers_->expect(start); !expected) {
    if (auto failed = workers_->failed(worker, expected.error().what())) gone(now, *failed, out);
    return;
  }
  files_->run([this, worker, job = std::move(start.job)] {
    auto program = files_->program(job);
    loop_->post([this, worker, program = std::move(program)](TimeNs then, core::Effects& more) {
      if (program) {
        workers_->launch(worker, program.value().executable, program.value().library_folder);
      } else if (auto failed = workers_->failed(worker, program.error().what())) {
        gone(then, *failed, more);
      }
    });
  });
}

void NodeHost::on(TimeNs, core::LabelWorker& given, core::Effects&) {
  if (!workers_->give(given.worker, given.actor, given.label)) return;  // gone meanwhile
  if (logs_) logs_->label(given.worker, given.label);
  actor_logs_[given.actor] = given.worker;
}

void NodeHost::on(TimeNs now, core::StopWorker& stop, core::Effects& more) {
  if (auto stopped = workers_->stop(stop.worker, stop.cause)) gone(now, *stopped, more);
}

void NodeHost::on(TimeNs, core::CheckFiles& check, core::Effects&) {
  files_->run([this, check = std::move(check)] {
    JobFiles::Checked checked = files_->check(check.job, check.home);
    loop_->post(
        [this, job = check.job.id, checked = std::move(checked)](TimeNs now, core::Effects& out) {
          node_->on_files_checked(now, job, checked.missing, checked.failure, out);
        });
  });
}

void NodeHost::on(TimeNs, core::ReadFile& wanted, core::Effects&) {
  files_->run([this, wanted = std::move(wanted)] {
    core::Message answer = files_->read(wanted);
    loop_->post([to = wanted.to, answer = std::move(answer)](TimeNs, core::Effects& out) {
      out.send(to, answer);
    });
  });
}

void NodeHost::on(TimeNs, core::WriteFile& piece, core::Effects&) {
  files_->run([this, piece = std::move(piece)] {
    const std::optional<bool> whole = files_->write(piece);
    if (!whole) return;
    loop_->post([this, hash = piece.hash, ok = *whole](TimeNs now, core::Effects& out) {
      node_->on_file_written(now, hash, ok, out);
    });
  });
}

// ---- the store -------------------------------------------------------------------------------

void NodeHost::on(TimeNs now, core::CreateExtent& create, core::Effects& more) {
  const auto make = [this, create]() -> int {
    if (auto made = extents_->create(create.extent, create.bytes); !made) {
      log_warn(made.error().what());
      return -1;
    }
    auto found = extents_->find(create.extent);
    return found ? found.value().fd : -1;
  };
  if (create.bytes <= kExtentAtOnce && memory_->idle()) {
    node_->on_extent_created(now, create.extent, make(), more);
    return;
  }
  memory_->run([this, make, extent = create.extent] {
    const int fd = make();
    loop_->post([this, extent, fd](TimeNs then, core::Effects& out) {
      node_->on_extent_created(then, extent, fd, out);
    });
  });
}

void NodeHost::on(TimeNs, core::DestroyExtent& destroy, core::Effects&) {
  memory_->run([this, extent = destroy.extent] { extents_->destroy(extent); });
}

// First the board says that it is over, then the tags are counted: a reader that comes now is
// refused, one that came before is seen.
void NodeHost::on(TimeNs now, core::WatchExtent& watch, core::Effects& more) {
  extents_->retire(watch.extent, watch.generation);
  unheld_.push_back({watch.extent, watch.generation});
  unheld_every_ = kUnheldFirst;
  look_at_unheld(now, more);
}

// Nobody tells the node when a reader lets go: while something is waited for, it looks again.
void NodeHost::look_at_unheld(TimeNs now, core::Effects& out) {
  if (failure_) unheld_.clear();
  std::vector<Unheld> still;
  const std::vector<std::uint64_t> held = holds_.held_keys();
  for (const Unheld& each : unheld_) {
    const std::uint64_t key = store::HoldPage::key(each.extent, each.generation);
    if (std::binary_search(held.begin(), held.end(), key)) still.push_back(each);
    else node_->on_extent_unheld(now, each.extent, each.generation, out);
  }
  unheld_ = std::move(still);
  unheld_at_ = unheld_.empty() ? kNever : now + unheld_every_;
  unheld_every_ = std::min(unheld_every_ * 2, kUnheldMax);
}

void NodeHost::on(TimeNs, core::ReadChunk& wanted, core::Effects& more) {
  core::Chunk chunk{wanted.request, wanted.offset, wanted.total, {}};
  chunk.bytes.resize(std::min<std::uint64_t>(wanted.bytes, limits::kChunkBytes));
  if (auto read = extents_->read(wanted.extent, wanted.offset, chunk.bytes); read)
    more.send(wanted.to, std::move(chunk));
  else
    more.send(wanted.to,
              core::ChunkMissing{wanted.request, {read.error().code(), read.error().what()}});
}

void NodeHost::on(TimeNs, core::WriteChunk& chunk, core::Effects&) {
  if (auto written = extents_->write(chunk.extent, chunk.offset, chunk.bytes); !written)
    log_error("a piece of an object was not kept: " + std::string(written.error().what()));
}

// ---- membership and people -------------------------------------------------------------------

void NodeHost::on(TimeNs, core::RenewTerm& term, core::Effects&) {
  workers_->set_term_end(term.until);
}

void NodeHost::on(TimeNs, core::Fenced&, core::Effects&) {
  log_warn("node " + options_.name +
           " has not heard its head for a whole term: its workers stay silent until it does");
}

void NodeHost::on(TimeNs, core::Unfenced&, core::Effects&) {
  log_warn("node " + options_.name + " hears its head again: its workers go on");
}

void NodeHost::on(TimeNs, core::Answer& answer, core::Effects& more) {
  more.send(answer.to, core::Inspected{answer.request, to_json(answer.listing, &holds_), {}});
}

void NodeHost::on(TimeNs, core::ShowLog& wanted, core::Effects& more) {
  more.send(wanted.to, log_of(wanted));
}

// Of a worker (also after its death) or of an actor's latest worker.
core::Inspected NodeHost::log_of(const core::ShowLog& wanted) const {
  std::string path;
  for (const auto& [actor, worker] : actor_logs_)
    if (to_string(actor) == wanted.id) path = workers_->log_path(worker);
  const bool is_id = wanted.id.size() == 16 && std::all_of(wanted.id.begin(), wanted.id.end(),
                                                           [](char c) { return std::isxdigit(c); });
  if (path.empty() && is_id) path = options_.paths.logs() + "/w-" + wanted.id + ".log";
  if (path.empty() || ::access(path.c_str(), R_OK) != 0)
    return {wanted.request,
            {},
            {{ErrorCode::kNotFound, "node " + options_.name + " has no log of " + wanted.id}}};
  return {wanted.request, exec::last_lines(path, SIZE_MAX, kLogBytesShown) + "\n", {}};
}

void NodeHost::on(TimeNs, core::Exit& exit, core::Effects&) { end(std::move(exit.failure)); }

}  // namespace rondo::host
