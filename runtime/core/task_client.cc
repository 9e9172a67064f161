#include <rondo/core/task_client.h>

#include <algorithm>

#include <rondo/base/branch_marks.h>
#include <rondo/base/check.h>
#include <rondo/base/limits.h>

namespace rondo::core {

namespace {
constexpr std::size_t kRequestsMax = 4;  // per shape, not yet answered
constexpr std::size_t kLeasesMax = 2 * limits::kWaitingTasksMax;
constexpr DurationNs kFast =
    milliseconds(1);  // answers quicker than this deepen a lease's pipeline
}  // namespace

TaskClient::TaskClient(Options options, CallTable& calls, CallSender& sender, PeerBook& book,
                       ProcessPort& port)
    : options_(std::move(options)), calls_(calls), sender_(sender), book_(book), port_(port) {}

std::uint32_t TaskClient::group_of(const Shape& shape) {
  for (std::uint32_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].shape == shape) return i;
  }
  groups_.emplace_back().shape = shape;
  return static_cast<std::uint32_t>(groups_.size() - 1);
}

void TaskClient::enqueue(TimeNs, Call& call) {
  call.state = Call::State::kReady;
  Group& group = groups_[call.group];
  if (options_.newest_first) group.queue.push_front(calls_, call);
  else group.queue.push_back(calls_, call);
}

void TaskClient::pump(TimeNs now) {
  for (Group& group : groups_) {
    if (group.queue.empty()) continue;
    bool sent = true;
    while (sent && !group.queue.empty()) {  // a task each in turn, so that the leases fill evenly
      sent = false;
      for (auto& [number, lease] : group.leases) {
        if (lease.revoked || lease.sent.size() >= lease.depth || group.queue.empty()) continue;
        send_to(now, group, number, lease);
        sent = true;
      }
    }
    if (!group.queue.empty()) ask(group);
  }
}

void TaskClient::send_to(TimeNs now, Group& group, std::uint32_t number, Lease& lease) {
  Call& call = *group.queue.front(calls_);
  group.queue.remove(calls_, call);
  call.lease = number;
  lease.sent.push_back(calls_, call);
  sender_.send(now, call, lease.worker.id, lease.id.value);
}

// Every lease is full, or its worker waits for something: the queue wants more hands. A few
// requests at a time; each grant asks again.
void TaskClient::ask(Group& group) {
  const std::size_t wanted = std::min(group.queue.size(), kRequestsMax);
  while (node_ && group.requests.size() < wanted &&
         group.leases.size() + group.requests.size() < kLeasesMax) {
    const RequestId id{next_request_++};
    LeaseRequest request;
    request.request = id;
    request.owner = options_.self;
    request.owner_node = options_.home;
    request.job = options_.job;
    request.shape = group.shape;
    port_.send(node_, request);
    group.requests.emplace(id, Request{node_, std::move(request)});
  }
}

TaskClient::Lease* TaskClient::lease_of(const Call& call) {
  auto& leases = groups_[call.group].leases;
  const auto it = leases.find(call.lease);
  return it == leases.end() ? nullptr : &it->second;
}

void TaskClient::on_answered(TimeNs now, Call& call) {
  Group& group = groups_[call.group];
  Lease* lease = lease_of(call);
  RONDO_CHECK(lease != nullptr);
  const bool was_first = lease->sent.front(calls_) == &call;
  lease->sent.remove(calls_, call);
  const DurationNs took = now - call.sent_at;
  if (took < kFast * std::max<std::int64_t>(1, lease->depth / 4)) {
    lease->depth = std::min<std::uint32_t>(lease->depth * 2, limits::kTasksPerLeaseMax);
  } else if (was_first && took > kFast * lease->depth) {
    lease->depth = std::max<std::uint32_t>(1, lease->depth / 2);
  }
  if (!lease->sent.empty()) return;
  lease->idle_since = now;
  if (lease->revoked) give_back(group, call.lease);
}

void TaskClient::on_returned(TimeNs now, Call& call) {
  Group& group = groups_[call.group];
  Lease* lease = lease_of(call);
  RONDO_CHECK(lease != nullptr);
  const std::uint32_t number = call.lease;
  hit(Branch::kTaskReturned);
  lease->sent.remove(calls_, call);
  lease->depth = 1;
  requeue(calls_, group, call);
  if (lease->sent.empty()) {
    lease->idle_since = now;
    if (lease->revoked) give_back(group, number);
  }
}

void TaskClient::requeue(CallTable& calls, Group& group, Call& call) {
  ++call.attempt;
  call.state = Call::State::kReady;
  group.queue.push_front(calls, call);
}

void TaskClient::cancel(Call& call) { groups_[call.group].queue.remove(calls_, call); }

void TaskClient::give_back(Group& group, std::uint32_t number) {
  const auto it = group.leases.find(number);
  RONDO_CHECK(it != group.leases.end() && it->second.sent.empty());
  port_.send(it->second.granted_by, LeaseReturn{it->second.id, options_.self.id});
  group.leases.erase(it);
}

void TaskClient::on_grant(TimeNs now, const LeaseGrant& grant) {
  for (Group& group : groups_) {
    const auto request = group.requests.find(grant.request);
    if (request == group.requests.end()) continue;
    const ProcessId asked = request->second.asked;
    group.requests.erase(request);
    book_.meet(grant.worker.id, grant.node, grant.worker.address);
    port_.learn(grant.worker);
    Lease& lease = group.leases[next_lease_];
    lease.id = grant.lease;
    lease.worker = grant.worker;
    lease.granted_by = asked;
    lease.idle_since = now;
    const std::uint32_t number = next_lease_++;
    if (group.queue.empty()) give_back(group, number);
    return;
  }
}

void TaskClient::on_refused(const LeaseRefused& refused, std::vector<Call*>& failed) {
  for (Group& group : groups_) {
    if (group.requests.erase(refused.request) == 0) continue;
    if (!group.leases.empty()) return;
    while (Call* call = group.queue.front(calls_)) {
      group.queue.remove(calls_, *call);
      failed.push_back(call);
    }
    return;
  }
}

void TaskClient::on_redirect(const LeaseRedirect& redirect) {
  for (Group& group : groups_) {
    const auto it = group.requests.find(redirect.request);
    if (it == group.requests.end()) continue;
    port_.learn(redirect.node);
    it->second.asked = redirect.node.id;
    ++it->second.message.hops;
    port_.send(redirect.node.id, it->second.message);
    return;
  }
}

void TaskClient::ask_again(RequestId request) {
  hit(Branch::kLeaseAskedAgain);
  for (Group& group : groups_) group.requests.erase(request);
}

void TaskClient::on_revoke(TimeNs, const LeaseRevoke& revoke) {
  for (Group& group : groups_) {
    for (auto& [number, lease] : group.leases) {
      if (lease.id != revoke.lease) continue;
      lease.revoked = true;
      if (lease.sent.empty()) give_back(group, number);
      return;
    }
  }
}

void TaskClient::on_process_died(TimeNs, const ProcessDied& death, std::vector<Call*>& spent) {
  for (Group& group : groups_) {
    for (auto it = group.leases.begin(); it != group.leases.end();) {
      Lease& lease = it->second;
      if (lease.worker.id != death.process) {
        ++it;
        continue;
      }
      std::uint64_t begun = 0;
      for (const BegunMark& of : death.begun) {
        if (of.caller == options_.self.id || !of.caller) begun = of.number;
      }
      while (Call* call =
                 lease.sent.back(calls_)) {  // newest first: each goes to the queue's front
        lease.sent.remove(calls_, *call);
        const bool may_have_begun = call->number <= begun;
        if (may_have_begun && call->retries_left == 0) {
          hit(Branch::kTaskSpent);
          spent.push_back(call);
          continue;
        }
        hit(may_have_begun ? Branch::kTaskTriedAgain : Branch::kTaskNotBegun);
        if (may_have_begun && call->retries_left > 0) --call->retries_left;
        requeue(calls_, group, *call);
      }
      it = group.leases.erase(it);
    }
    std::erase_if(group.requests,
                  [&](const auto& request) {  // a dead node answers no request: ask at home again
                    return request.second.asked == death.process;
                  });
  }
}

void TaskClient::on_deadline(TimeNs now) {
  for (Group& group : groups_) {
    if (!group.queue.empty()) continue;
    std::vector<std::uint32_t> idle;
    for (const auto& [number, lease] : group.leases) {
      if (lease.sent.empty() && now >= lease.idle_since + options_.idle_keep)
        idle.push_back(number);
    }
    for (const std::uint32_t number : idle) give_back(group, number);
  }
}

std::optional<TimeNs> TaskClient::next_deadline() const {
  std::optional<TimeNs> next;
  for (const Group& group : groups_) {
    if (!group.queue.empty()) continue;
    for (const auto& [number, lease] : group.leases) {
      if (!lease.sent.empty()) continue;
      const TimeNs at = lease.idle_since + options_.idle_keep;
      if (!next || at < *next) next = at;
    }
  }
  return next;
}

std::size_t TaskClient::queued() const {
  std::size_t sum = 0;
  for (const Group& group : groups_) sum += group.queue.size();
  return sum;
}

std::size_t TaskClient::leases() const {
  std::size_t sum = 0;
  for (const Group& group : groups_) sum += group.leases.size();
  return sum;
}

void TaskClient::check_invariants() const {
  for (const Group& group : groups_) {
    for (const auto& [number, lease] : group.leases)
      RONDO_CHECK_LE(lease.sent.size(), limits::kTasksPerLeaseMax);
  }
}

}  // namespace rondo::core
