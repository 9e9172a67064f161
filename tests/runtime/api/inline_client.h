#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <rondo/context.h>

// A Client without a cluster: bodies run in the caller's thread, at once or, when `deferred`, on
// run_all(). It keeps the letter of client.h (payload layout, refs by number, failures as values),
// so that what the typed surface sends and reads is what an engine would see.

namespace rondo::test {

class InlineClient : public detail::Client {
 public:
  explicit InlineClient(const Registry& registry);
  ~InlineClient() override;

  CellRef submit(std::uint32_t function, const TaskOptions&, detail::EncodedArguments) override;
  CellRef call(const detail::ActorTarget&, std::uint32_t, detail::EncodedArguments) override;
  ActorId spawn(const std::string&, const ActorOptions&, detail::EncodedArguments) override;
  CellRef put(std::size_t bytes, std::vector<CellRef> refs,
              const std::function<void(std::span<std::byte>)>& fill) override;
  CellRef borrow(const ObjectId&, const std::string& owner_address) override;
  std::string address_of(const Cell&) override { return "inline"; }
  std::size_t wait(std::span<const CellRef>, std::size_t, std::optional<DurationNs>) override;
  Buffer open(const CellRef&, std::optional<DurationNs> timeout) override;
  detail::ActorFound find(const std::string& name) override;
  Incarnation bind(const ActorId&, std::optional<DurationNs>) override;
  void kill(const ActorId&) override;
  void cancel_wait() override {}

  void run_all();
  [[nodiscard]] const detail::Session& session() const { return session_; }

  bool deferred = false;
  TaskOptions last_task;
  ActorOptions last_actor;
  std::size_t puts = 0;
  std::size_t last_payload_bytes = 0;

 private:
  struct Living {
    std::string class_name;
    std::shared_ptr<void> object;
    Error cause{ErrorCode::kActorDied, ""};   // when there is no object
  };
  using Run = std::function<void(detail::CallFrame&)>;

  CellRef start(detail::EncodedArguments arguments, const std::string& what, Run run);
  void execute(CellRef cell, const detail::EncodedArguments& arguments, const std::string& what,
               const Run& run);
  void run_frame(const detail::EncodedArguments&, detail::ResultSink&, const Run&);
  void fail(const CellRef& cell, Error error);

  detail::Session& session_;
  CellTable& cells_;
  std::deque<std::function<void()>> queue_;
  std::map<ActorId, Living> actors_;
  std::map<std::string, ActorId> names_;
};

}  // namespace rondo::test
