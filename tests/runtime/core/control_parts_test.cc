#include <gtest/gtest.h>

#include <rondo/core/actor_directory.h>
#include <rondo/core/job_files.h>
#include <rondo/core/lease_table.h>
#include <rondo/core/membership.h>
#include <rondo/core/node_term.h>
#include <rondo/core/persist_gate.h>
#include <rondo/core/placement.h>
#include <rondo/core/rows.h>
#include <rondo/core/store_directory.h>

// The parts of Head and Node, each alone.

namespace rondo::core {
namespace {

Effects one(Effect effect) {
  Effects out;
  out.add(std::move(effect));
  return out;
}

TEST(PersistGate, HoldsEverythingBehindARowUntilItIsDurable) {
  PersistGate gate;
  Effects out;
  gate.pass(one(Send{{1}, EndJob{}}), out);
  EXPECT_EQ(out.list.size(), 1u);                  // nothing unwritten: it leaves
  gate.pass(one(Persist{0, "a", Bytes{}}), out);
  gate.pass(one(Send{{2}, EndJob{}}), out);
  gate.pass(one(Persist{0, "b", Bytes{}}), out);
  gate.pass(one(Answer{{3}, {1}, {}}), out);       // reads wait too
  EXPECT_EQ(out.list.size(), 3u);
  gate.on_durable(1, out);
  EXPECT_EQ(out.list.size(), 4u);
  gate.check_invariants();
  gate.on_durable(2, out);
  EXPECT_EQ(out.list.size(), 5u);
  EXPECT_EQ(gate.held(), 0u);
}

TEST(Rows, ReadBackExactlyOrNotAtAll) {
  ActorRow row;
  row.spec.id = {{7}, 9};
  row.spec.name = "c";
  row.spec.arguments = to_bytes(as_bytes("ten"));
  row.spec.max_restarts = -1;
  row.incarnation = {3};
  row.state = ActorState::kRestarting;
  row.node = {5};
  row.cause = "killed";
  const Bytes bytes = encode(row);
  EXPECT_EQ(decode_actor(bytes), row);
  for (std::size_t cut = 0; cut < bytes.size(); ++cut)
    EXPECT_FALSE(decode_actor(ByteView(bytes).first(cut))) << cut;
  JobRow job;
  job.spec.libraries = {"a", "b"};
  job.started_wall_ns = -5;
  EXPECT_EQ(decode_job(encode(job)), job);
  EXPECT_FALSE(decode_actor(encode(job)));
}

TEST(Placement, IsNeverWhereTheTotalIsTooSmallAndLaterWhereActorsHaveIt) {
  std::vector<Candidate> nodes(2);
  nodes[0] = {{1}, "a", {2'000, 0, 0}, {2'000, 0, 0}, {}, 0, true};
  nodes[1] = {{2}, "b", {4'000, 0, 0}, {4'000, 0, 0}, {3'000, 0, 0}, 1, true};
  EXPECT_EQ(place({8'000, 0, 0}, {}, nodes).verdict, PlacementVerdict::kNever);
  EXPECT_EQ(place({4'000, 0, 0}, {}, nodes).verdict, PlacementVerdict::kLater);
  EXPECT_EQ(place({2'000, 0, 0}, {}, nodes).node.value, 1u);
  nodes[0].usable = false;
  EXPECT_EQ(place({2'000, 0, 0}, {}, nodes).verdict, PlacementVerdict::kLater);
  EXPECT_EQ(place({}, {}, nodes).node.value, 2u);
  EXPECT_EQ(describe({1'500, 0, 7}), "1.5 cpu, 7 bytes of memory");
}

TEST(Membership, DeclaresNodeDeadAfterMissedHeartbeats) {
  Membership m({milliseconds(500), seconds(2), seconds(5), milliseconds(250)});
  NodeInfo node;
  node.id = {1};
  node.peer = {{11}, "x"};
  node.name = "n1";
  TimeNs t{seconds(10).ns};
  m.awake(t);
  ASSERT_TRUE(m.join(t, node));
  std::size_t probes = 0, deaths = 0;
  for (int i = 0; i < 11; ++i) {
    t = t + milliseconds(500);
    m.awake(t);
    const Membership::Findings f = m.on_deadline(t);
    probes += f.probe.size();
    deaths += f.died.size();
    m.check_invariants();
  }
  EXPECT_GT(probes, 3u);
  EXPECT_EQ(deaths, 1u);                            // at 5.5 s, the first look past 5.25
  EXPECT_FALSE(m.join(t, node));                    // never again under this id
  EXPECT_FALSE(m.heard(t, {1}, 1, {}, 0));
}

TEST(NodeTerm, CountsFromWhenTheConfirmedHeartbeatLeft) {
  NodeTerm term;
  Effects out;
  const TimeNs t{seconds(10).ns};
  term.joining(t);
  term.accepted(t + seconds(1), {{1}, seconds(5), milliseconds(500)}, out);
  EXPECT_EQ(term.until(), t + seconds(5));
  std::uint64_t number = 0;
  ASSERT_TRUE(term.on_deadline(t + seconds(2), number, out));
  term.acknowledged(t + seconds(4), {{1}, {}, number}, out);
  EXPECT_EQ(term.until(), t + seconds(7));
  EXPECT_TRUE(term.on_deadline(t + seconds(7), number, out));
  EXPECT_TRUE(term.fenced());
  term.acknowledged(t + seconds(13), {{1}, {}, number}, out);   // too late to help
  EXPECT_TRUE(term.fenced());
}

TEST(ActorDirectory, EachIncarnationDiesAtMostOnce) {
  ActorDirectory d;
  ActorSpec spec;
  spec.id = {{1}, 1};
  spec.job = {1};
  spec.max_restarts = 5;
  const TimeNs t{1};
  EXPECT_TRUE(d.spawn(t, spec));
  d.assign(spec.id, {3});
  for (int i = 0; i < 3; ++i) d.exited(t, spec.id, {1}, "killed");
  EXPECT_EQ(d.find(spec.id)->info.restarts, 1);
  d.assign(spec.id, {4});
  d.exited(t, spec.id, {1}, "killed");              // news of the old one
  EXPECT_EQ(d.find(spec.id)->info.node.value, 4u);
  EXPECT_FALSE(d.starting(spec.id, {1}, {3}));
  d.check_invariants();
}

TEST(LeaseTable, LeasedAndFreeAreTheTotal) {
  LeaseTable table({2'000, 0, 0});
  const auto wish = [](std::uint64_t owner, std::uint64_t request) {
    LeaseWish w;
    w.owner = {{owner}, "x"};
    w.request = {request};
    w.shape.cpu_milli = 1'000;
    return w;
  };
  EXPECT_TRUE(table.ask(wish(1, 1)));
  EXPECT_FALSE(table.ask(wish(1, 1)));
  EXPECT_TRUE(table.ask(wish(1, 2)));
  EXPECT_TRUE(table.ask(wish(2, 1)));
  EXPECT_EQ(table.in_turn()[1].owner.id.value, 2u);   // one each before anybody's second
  const TimeNs t{1};
  const Lease a = table.grant(t, {1}, {1}, {9});
  EXPECT_FALSE(table.ask(wish(1, 1)));                // granted: still the same question
  table.take_actor({2'000, 0, 0});                    // actors are not refused
  EXPECT_EQ(table.free().cpu_milli, 0);
  table.give_actor({2'000, 0, 0});
  EXPECT_TRUE(table.wait_begin(a.id, {9}));
  EXPECT_TRUE(table.wait_begin(a.id, {9}));
  EXPECT_EQ(table.free().cpu_milli, 2'000);
  EXPECT_FALSE(table.give_back(a.id, {2}));           // not its owner
  EXPECT_TRUE(table.give_back(a.id, {1}));
  EXPECT_EQ(table.free().cpu_milli, 2'000);
  table.check_invariants();
}

struct StoreTest : ::testing::Test {
  StoreDirectory store{{{1}, {{2}, "n"}, 77, 1 << 20}};
  TimeNs t{1};
  std::uint64_t next_request = 1;

  std::optional<ExtentGrant> grant(ProcessId process, std::uint64_t bytes) {
    Effects out;
    store.grant(t, process, {5}, {{next_request++}, bytes}, out);
    while (true) {
      const Effects effects = std::exchange(out, {});
      if (effects.list.empty()) return std::nullopt;
      for (const Effect& e : effects.list) {
        if (const auto* create = std::get_if<CreateExtent>(&e))
          store.on_created(t, create->extent, 3, out);
        if (const auto* sent = std::get_if<Send>(&e))
          if (const auto* granted = std::get_if<ExtentGrant>(&sent->message)) return *granted;
      }
      store.check_invariants();
    }
  }
  void seal(ProcessId process, const ExtentGrant& g, ObjectId object) {
    Effects out;
    store.seal(t, process, {object, {object.owner, ""}, g.extent, g.generation, 100}, out);
  }
};

TEST_F(StoreTest, RecyclesWarmToWhoHasItMapped) {
  const ExtentGrant a = *grant({10}, 100'000);
  const ExtentGrant b = *grant({11}, 100'000);
  Effects out;
  store.give_back(t, {11}, {b.extent, b.generation}, out);
  store.give_back(t, {10}, {a.extent, a.generation}, out);
  const ExtentGrant again = *grant({10}, 90'000);
  EXPECT_EQ(again.extent, a.extent);
  EXPECT_GT(again.generation, a.generation);
}

TEST_F(StoreTest, NeverExceedsItsBoundAndSaysSo) {
  for (int i = 0; i < 16; ++i) EXPECT_TRUE(grant({10}, 65'536));
  EXPECT_FALSE(grant({10}, 1));
  EXPECT_LE(store.bytes_reserved(), 1u << 20);
  EXPECT_FALSE(grant({10}, UINT64_MAX));
}

TEST_F(StoreTest, AFreedExtentIsGrantedOnlyWhenNobodyReadsIt) {
  const ExtentGrant a = *grant({10}, 1 << 20);
  seal({10}, a, {{10}, 1, 1});
  Effects out;
  store.free(t, {{10}, 1, 1}, out);
  EXPECT_FALSE(grant({10}, 1 << 20));               // it waits: somebody may still read
  store.on_unheld(t, a.extent, a.generation - 1, out);
  EXPECT_TRUE(std::holds_alternative<WatchExtent>(out.list.back()));
  store.on_unheld(t, a.extent, a.generation, out);
  const auto* sent = std::get_if<Send>(&out.list.back());
  ASSERT_NE(sent, nullptr);                         // the one that waited has it now
  EXPECT_EQ(std::get<ExtentGrant>(sent->message).extent, a.extent);
  store.check_invariants();
}

TEST_F(StoreTest, AWritersDeathFreesItsUnsealedExtentsOnly) {
  const ExtentGrant sealed = *grant({10}, 65'536);
  const ExtentGrant open = *grant({10}, 65'536);
  seal({10}, sealed, {{12}, 1, 1});                 // owned by another
  Effects out;
  store.process_died(t, {10}, out);
  EXPECT_EQ(store.objects(), 1u);
  EXPECT_EQ(grant({11}, 65'536)->extent, open.extent);
  store.process_died(t, {12}, out);                 // its owner
  EXPECT_EQ(store.objects(), 0u);
  store.check_invariants();
}

// The writer's answer may reach a reader, and the reader's question the node, before the writer's
// word that the object is sealed.
TEST_F(StoreTest, AnObjectThatIsAskedForBeforeItIsSealedIsOpenedThen) {
  const ObjectId object{{10}, 1, 1};
  const ExtentGrant a = *grant({10}, 65'536);
  const Place place{{1}, {{2}, "n"}, a.extent, a.generation, 100};
  const ObjectOpen ask{{50}, object, {{10}, ""}, place, {}};
  Effects out;
  store.open(t, {11}, {5}, ask, out);
  store.send_piece(t, {12}, {{60}, object, {}, 0}, out);   // another node's
  EXPECT_TRUE(out.list.empty());
  store.seal(t, {10}, {object, {{10}, ""}, a.extent, a.generation, 100}, out);
  ASSERT_EQ(out.list.size(), 2u);
  EXPECT_EQ(std::get<ObjectOpened>(std::get<Send>(out.list[0]).message).place.extent, a.extent);
  EXPECT_EQ(std::get<ReadChunk>(out.list[1]).extent, a.extent);
  store.free(t, object, out);
  out = {};
  store.open(t, {11}, {5}, ask, out);   // it was freed: nobody waits for it
  ASSERT_EQ(out.list.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<ObjectMissing>(std::get<Send>(out.list[0]).message));
  out = {};
  store.send_piece(t, {12}, {{61}, {{13}, 1, 1}, {}, 0}, out);   // never sealed
  EXPECT_TRUE(out.list.empty());
  store.on_deadline(store.next_deadline(), out);
  ASSERT_EQ(out.list.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<ChunkMissing>(std::get<Send>(out.list[0]).message));
}

TEST(JobFiles, FetchesPiecesInOrderAndOnce) {
  JobFiles files;
  Effects out;
  files.want({1}, {{9}, "home"}, {"h"}, out);
  files.want({2}, {{9}, "home"}, {"h"}, out);
  std::uint64_t written = 0;
  const std::uint64_t total = (3 << 20) + 5;
  while (!out.list.empty()) {
    for (const Effect& e : std::exchange(out, {}).list) {
      if (const auto* w = std::get_if<WriteFile>(&e)) {
        EXPECT_EQ(w->offset, written);
        written += w->bytes.size();
      }
      const auto* sent = std::get_if<Send>(&e);
      if (sent == nullptr) continue;
      const auto& ask = std::get<ChunkRequest>(sent->message);
      const std::uint64_t size = std::min<std::uint64_t>(1 << 20, total - ask.offset);
      EXPECT_TRUE(files.on_chunk({9}, {ask.request, ask.offset, total, Bytes(size)}, out));
    }
  }
  EXPECT_EQ(written, total);
  files.on_written("h", true, out);
  EXPECT_EQ(files.take_done().size(), 2u);
  files.check_invariants();
}

}  // namespace
}  // namespace rondo::core
