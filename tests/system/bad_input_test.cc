// What a user, an operator or a neighbour may get wrong, with real programs: each gets one
// sentence and its exit code, and leaves nothing behind.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include <rondo/base/limits.h>
#include <rondo/base/prng.h>
#include <rondo/host/clock.h>
#include <rondo/host/release.h>
#include <rondo/net/zmq_transport.h>
#include <rondo/wire/station.h>

#include "cluster_test.h"

namespace rondo::cli_test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class BadInput : public ClusterTest {
 protected:
  // One sentence with these words, and this code.
  static void expect_refused(const Ran& ran, int code, const std::string& words) {
    EXPECT_EQ(ran.code, code) << ran.err;
    EXPECT_NE(ran.err.find(words), std::string::npos) << ran.err;
    EXPECT_EQ(lines_in(ran.err), 1u) << ran.err;
  }
  // All at once: each may take its whole timeout.
  std::map<std::string, Ran> run_all(const std::vector<std::vector<std::string>>& commands) {
    std::vector<std::unique_ptr<Beside>> running;
    for (const auto& command : commands) running.push_back(home_.beside(command));
    std::map<std::string, Ran> all;
    const double before = now_s();
    for (std::size_t n = 0; n < commands.size(); ++n) {
      Ran& ran = all[commands[n][0] + " " + (commands[n].size() > 1 ? commands[n][1] : "")];
      ran.code = running[n]->end();
      ran.seconds = now_s() - before;
      ran.out = running[n]->out();
      ran.err = running[n]->err();
    }
    return all;
  }
  std::vector<std::vector<std::string>> everybody_at(const std::string& address) {
    home_.environment()["RONDO_ADDRESS"] = address;
    const std::string text = home_.scratch() + "/text";
    std::ofstream(text) << std::string(4000, 'a') << std::string(4000, 'b');
    std::vector<std::vector<std::string>> all{{"rondo", "status"},
                                              {"rondo", "list", "nodes"},
                                              {"rondo", "logs", "c"},
                                              {"rondo", "node"},
                                              {"cli_driver"}};
    if (has_train())
      all.push_back({"rondo", "train", "--text", text, "--out", home_.scratch() + "/out"});
    return all;
  }
  // The sanitizers' build of the runtime alone has no training.
  static bool has_train() { return fs::exists(std::string(RONDO_BIN_DIR) + "/rondo-train"); }
};

// ---- addresses ---------------------------------------------------------------------------------

TEST_F(BadInput, AnAddressThatDoesNotAnswerIsSaidWithinItsTimeoutByEverybody) {
  const std::string path = home_.scratch() + "/silent";
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  ASSERT_LT(path.size(), sizeof where.sun_path);
  std::memcpy(where.sun_path, path.c_str(), path.size() + 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(::listen(fd, 64), 0);  // it takes connections and never says a word
  for (const auto& [who, ran] : run_all(everybody_at("ipc://" + path))) {
    SCOPED_TRACE(who);
    expect_refused(ran, who == "cli_driver " ? 1 : 4, "ipc://" + path + " does not answer within");
    EXPECT_LT(ran.seconds, 8);
  }
  expect_refused(home_.rondo({"down"}), 4, "rondo down ends only what was started here");
  ::close(fd);
  EXPECT_FALSE(fs::exists(home_.scratch() + "/out"));
}

TEST_F(BadInput, AnAddressWhereNobodyListensIsSaidAtOnceByEverybody) {
  const std::string address = "ipc://" + home_.scratch() + "/nobody";
  for (const auto& [who, ran] : run_all(everybody_at(address))) {
    SCOPED_TRACE(who);
    expect_refused(ran, who == "cli_driver " ? 1 : 4, "nothing listens at " + address);
    EXPECT_LT(ran.seconds, 4);
  }
  EXPECT_FALSE(fs::exists(home_.scratch() + "/out"));
}

TEST_F(BadInput, WithoutTheTokenNeitherVerbNorNodeNorDriverIsHeard) {
  up(1, {"--listen", "tcp://127.0.0.1:*"});
  const std::string there = address();
  Home stranger;
  stranger.environment()["RONDO_ADDRESS"] = there;
  const auto node = stranger.beside({"rondo", "node"});
  const auto driver = stranger.beside({"cli_driver"});
  const Ran status = stranger.rondo({"status"});
  EXPECT_EQ(node->end(), 4);
  EXPECT_EQ(driver->end(), 1);
  for (const std::string& said : {node->err(), driver->err(), status.err}) {
    EXPECT_NE(said.find("wants another token"), std::string::npos) << said;
    EXPECT_EQ(lines_in(said), 1u) << said;
  }
  const std::string wrong = home_.scratch() + "/token";
  std::ofstream(wrong) << "00112233445566778899aabbccddeeff\n";
  fs::permissions(wrong, fs::perms::owner_read | fs::perms::owner_write);
  stranger.environment()["RONDO_TOKEN_FILE"] = wrong;
  expect_refused(stranger.rondo({"status"}), 4, "does not answer");
  stranger.environment()["RONDO_TOKEN_FILE"] = home_.path() + "/main/token";
  EXPECT_EQ(stranger.rondo({"status"}).code, 0);
  EXPECT_TRUE(stranger.empty()) << testing::PrintToString(stranger.entries());
}

// ---- another version ---------------------------------------------------------------------------

// A process that speaks protocol 99: its frames say so, and so does its Hello.
class Stranger final : private wire::Handler {
 public:
  explicit Stranger(const std::string& address) : transport_(net::ZmqTransport::Options{}) {
    const auto bound = transport_.bind(address);
    RONDO_CHECK(bound.ok());
    self_ = {ProcessId{entropy()}, bound.value()};
    wire::Station::Options options;
    options.self = self_;
    station_ = std::make_unique<wire::Station>(std::move(options));
  }
  void greet(const std::string& address) {
    core::Hello hello;
    hello.self = self_;
    hello.role = core::Role::kClient;
    hello.pid = ::getpid();
    hello.version = 99;
    hello.release = "9.9";
    transport_.greet(address, of_version_99(station_->greeting(hello)));
  }
  // Turns until this is said, or a Hello was refused; what the other said.
  std::string heard(double seconds) {
    const double limit = now_s() + seconds;
    while (heard_.empty() && now_s() < limit) turn();
    return heard_;
  }
  void refuse_everybody_while(const Beside& program) {
    const double limit = now_s() + 30;
    while (alive(program.pid()) && now_s() < limit) turn();
  }

 private:
  static SharedBytes of_version_99(const SharedBytes& frame) {
    Bytes bytes(frame->begin(), frame->end());
    auto head = core::read_head(bytes);
    RONDO_CHECK(head.has_value());
    head->version = 99;
    core::write_head(*head, bytes);
    return share(std::move(bytes));
  }
  void turn() {
    std::vector<SharedBytes> frames;
    transport_.poll(milliseconds(20), frames);
    for (const SharedBytes& frame : frames) station_->on_frame(host::boot_time(), frame, *this);
    std::vector<wire::OutFrame> out;
    station_->flush(host::boot_time(), out);
    for (wire::OutFrame& frame : out) transport_.send(frame.to, of_version_99(frame.frame));
  }
  void on_peer(const core::Peer& peer, NodeId) override {
    station_->learn(peer);
    transport_.learn(peer);
  }
  void on_message(ProcessId from, core::Message&& message) override {
    if (const auto* refused = std::get_if<core::Refused>(&message)) heard_ = refused->failure.text;
    if (std::holds_alternative<core::Hello>(message))
      station_->send(from, core::Refused{{ErrorCode::kUnavailable,
                                          "the head speaks protocol 99 (release 9.9), not 1: "
                                          "install the same release everywhere"}});
  }
  void on_call(ProcessId, const core::CallHeader&, ByteView, std::span<const core::RefEntry>,
               const SharedBytes&) override {}
  void on_reply(ProcessId, const core::ReplyHeader&, ByteView, std::span<const core::RefEntry>,
                const SharedBytes&) override {}

  net::ZmqTransport transport_;
  core::Peer self_;
  std::unique_ptr<wire::Station> station_;
  std::string heard_;
};

TEST_F(BadInput, AProcessOfAnotherVersionIsRefusedByHeadAndNodeInWords) {
  up(1);
  const std::string node = home_.list("nodes").at(0)["address"];
  for (const std::string& there : {address(), node}) {
    Stranger stranger("ipc://" + home_.path() + "/main/s/x");
    stranger.greet(there);
    const std::string said = stranger.heard(10);
    EXPECT_NE(said.find("(release 9.9): install the same release everywhere"), std::string::npos)
        << said;
    EXPECT_NE(said.find("not 99"), std::string::npos) << said;
  }
  EXPECT_EQ(home_.rondo({"status"}).code, 0);
}

TEST_F(BadInput, AHeadOfAnotherVersionIsNamedByEverybody) {
  fs::create_directories(home_.path());
  fs::permissions(home_.path(), fs::perms::owner_all);
  const std::string there = "ipc://" + home_.path() + "/old";
  Stranger old(there);
  for (const auto& command : everybody_at(there)) {
    const auto program = home_.beside(command);
    old.refuse_everybody_while(*program);
    SCOPED_TRACE(testing::PrintToString(command));
    EXPECT_EQ(program->end(), command[0] == "cli_driver" ? 1 : 4);
    EXPECT_NE(program->err().find("the head speaks protocol 99 (release 9.9)"), std::string::npos)
        << program->err();
    EXPECT_EQ(lines_in(program->err()), 1u) << program->err();
  }
  fs::remove(home_.path() + "/old");
}

TEST_F(BadInput, ANodeWhoseHeadComesBackInAnotherVersionEndsInWords) {
  head(kQuickTimes);
  Beside& n1 = node("n1");
  head_->signal(SIGKILL);
  head_->end();
  Stranger next(address_);
  next.refuse_everybody_while(n1);
  EXPECT_EQ(n1.end(), 4);
  EXPECT_NE(n1.err().find("the head speaks protocol 99 (release 9.9)"), std::string::npos)
      << n1.err();
}

// ---- training ----------------------------------------------------------------------------------

std::string bytes_of(const std::string& path) {
  std::ostringstream all;
  all << std::ifstream(path, std::ios::binary).rdbuf();
  return std::move(all).str();
}

void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// The same file, but its header says what `change` makes of it.
std::string with_header(const std::string& file, const std::function<void(json&)>& change) {
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);
  json header = json::parse(file.substr(sizeof length, length));
  change(header);
  const std::string text = header.dump();
  const std::uint64_t now = text.size();
  std::string out(sizeof now, '\0');
  std::memcpy(out.data(), &now, sizeof now);
  return out + text + file.substr(sizeof length + length);
}

TEST_F(BadInput, ACheckpointCutShortOrOfAnotherShapeIsRefusedByAllWhoReadIt) {
  if (!has_train()) GTEST_SKIP() << "this build has no rondo-train";
  const std::string text = home_.scratch() + "/text";
  std::string words;
  while (words.size() < 3000) words += "the river at night runs slow. ";
  write_bytes(text, words);
  const std::string out = home_.scratch() + "/out";
  const Ran trained =
      home_.rondo({"train", "--text", text, "--out", out, "--hidden", "8", "--layers", "1",
                   "--batch", "8", "--seq", "16", "--epochs", "1"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  const std::string last = out + "/last.safetensors";
  const std::string whole = bytes_of(last);
  const std::string swapped = with_header(whole, [](json& header) {
    auto& shape = header["weight_hh_l0"]["shape"];
    std::swap(shape[0], shape[1]);
  });
  for (const auto& [bytes, said] :
       {std::pair{whole.substr(0, whole.size() / 2), "was it cut short?"},
        std::pair{swapped, "tensor 'weight_hh_l0' is F32[8,32], but F32[32,8] is needed"}}) {
    write_bytes(last, bytes);
    expect_refused(home_.rondo({"sample", last}), 1, said);
    expect_refused(home_.rondo({"eval", last, "--text", text}), 1, said);
    expect_refused(home_.rondo({"train", "--resume", "--out", out}), 1, said);
    EXPECT_EQ(bytes_of(last), bytes);  // it is not made worse
  }
}

TEST_F(BadInput, CtrlCInATrainingRunLeavesACheckpointAndNothingElse) {
  if (!has_train()) GTEST_SKIP() << "this build has no rondo-train";
  const std::string text = home_.scratch() + "/text";
  std::string words;
  while (words.size() < 60'000) words += "the river at night runs slow. ";
  write_bytes(text, words);
  const std::string out = home_.scratch() + "/out";
  const auto run = home_.beside({"rondo", "train", "--text", text, "--out", out, "--hidden", "16",
                                 "--batch", "8", "--seq", "16", "-o", "json"});
  ASSERT_TRUE(run->waits_for("\"event\":\"step\"")) << run->err();
  run->signal(SIGINT);
  EXPECT_EQ(run->end(20), 130) << run->err();
  EXPECT_NE(run->err().find("--resume --out " + out), std::string::npos) << run->err();
  std::set<std::string> files;
  for (const auto& entry : fs::directory_iterator(out)) files.insert(entry.path().filename());
  EXPECT_TRUE(files.contains("last.safetensors")) << testing::PrintToString(files);
  for (const std::string& file : files)
    EXPECT_TRUE(file.ends_with(".safetensors") || file.starts_with("curve.")) << file;
}

// ---- a full disk -------------------------------------------------------------------------------

// A small file system as RONDO_HOME. Only root may mount one.
class FullDisk : public BadInput {
 protected:
  void SetUp() override {
    place_ = home_.scratch() + "/small";
    fs::create_directories(place_);
    const std::string options = "mode=0700,size=" + std::string(kBytes);
    if (::mount("none", place_.c_str(), "tmpfs", 0, options.c_str()) != 0)
      GTEST_SKIP() << "no small file system can be mounted here: " << std::strerror(errno);
    mounted_ = true;
    home_.environment()["RONDO_HOME"] = place_;
  }
  void TearDown() override {
    if (mounted_) {
      BadInput::TearDown();
      EXPECT_TRUE(wait_until([&] { return fs::is_empty(place_); }, 5))
          << testing::PrintToString(entries());
      ::umount2(place_.c_str(), MNT_DETACH);
    }
  }
  std::vector<std::string> entries() {
    std::vector<std::string> found;
    for (const auto& entry : fs::recursive_directory_iterator(place_))
      found.push_back(entry.path());
    return found;
  }
  // What is free is taken, but for so much.
  void fill(std::uint64_t but) {
    const std::uint64_t bytes = fs::space(place_).available;
    ASSERT_GT(bytes, but);
    const int fd = ::open((place_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::posix_fallocate(fd, 0, static_cast<off_t>(bytes - but)), 0);
    ::close(fd);
  }
  static constexpr const char* kBytes = "200m";  // programs with sanitizers are large
  std::string place_;
  bool mounted_ = false;
};

TEST_F(FullDisk, ADriverWhoseProgramDoesNotFitIsToldAndTheClusterLivesOn) {
  up(1);
  fill(512 << 10);
  home_.environment()["RONDO_ADDRESS"] = address();
  const auto program = home_.beside({"cli_driver"});
  EXPECT_EQ(program->end(), 1);
  EXPECT_NE(program->err().find("No space left on device"), std::string::npos) << program->err();
  EXPECT_EQ(lines_in(program->err()), 1u) << program->err();
  for (const std::string& entry : entries())
    EXPECT_EQ(entry.find(".part-"), std::string::npos) << "half a file: " << entry;
  fs::remove(place_ + "/filler");
  const auto again = home_.beside({"cli_driver"});
  EXPECT_TRUE(again->waits_for("ready 0")) << again->err();
  again->say("end");
  EXPECT_EQ(again->end(), 0);
}

TEST_F(FullDisk, AHeadThatCannotWriteItsStateEndsWithCode5AndSaysWhy) {
  head();
  const Beside& n1 = node("n1");
  home_.environment()["RONDO_ADDRESS"] = address_;
  const auto program = home_.beside({"cli_driver"});
  ASSERT_TRUE(program->waits_for("ready 0")) << program->err();
  fill(0);
  const auto second = home_.beside({"cli_driver", "d"});
  EXPECT_EQ(head_->end(), 5);
  EXPECT_NE(head_->err().find("the head cannot write its state"), std::string::npos)
      << head_->err();
  EXPECT_NE(head_->err().find(place_), std::string::npos) << head_->err();
  EXPECT_EQ(lines_in(head_->err()), 1u) << head_->err();
  program->say("add");  // calls go on without a head
  EXPECT_TRUE(program->waits_for("sum 1", 5)) << program->err();
  EXPECT_TRUE(alive(n1.pid()));
  fs::remove(place_ + "/filler");
  second->signal(SIGKILL);
  program->say("end");
  EXPECT_EQ(program->end(), 0) << program->err();
}

TEST_F(FullDisk, UpGivesUpInWordsWhenItsHeadCannotWrite) {
  fill(4096 * 6);
  const Ran ran = home_.rondo({"up"});
  EXPECT_EQ(ran.code, 5) << ran.err;
  EXPECT_EQ(lines_in(ran.err), 1u) << ran.err;
  fs::remove(place_ + "/filler");
}

// ---- Ctrl-C ------------------------------------------------------------------------------------

TEST_F(BadInput, CtrlCOnceOrTwiceEndsADriverWithItsPrivateCluster) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "ThreadSanitizer runs a handler only at its thread's next call that it sees, and "
                  "this driver waits in a read that is begun anew";
#endif
  for (const int times : {1, 2}) {
    for (const int signal : {SIGINT, SIGTERM}) {
      const auto program = home_.beside({"cli_driver"});
      ASSERT_TRUE(program->waits_for("ready 0")) << program->err();
      EXPECT_GE(home_.processes().size(), 2u);
      for (int n = 0; n < times; ++n) program->signal(signal);
      EXPECT_EQ(program->end(5), 128 + signal) << program->err();
      expect_nothing_left();
    }
  }
}

// The private cluster comes up within about a tenth of a second: the instants fall on every part.
TEST_F(BadInput, CtrlCAtAnyInstantOfADriversStartLeavesNothing) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "as above";
#endif
  for (const int times : {1, 2}) {
    for (int instant_ms = 0; instant_ms < 120; instant_ms += 8) {
      SCOPED_TRACE(instant_ms);
      const auto program = home_.beside({"cli_driver"});
      ::poll(nullptr, 0, instant_ms);
      for (int n = 0; n < times; ++n) program->signal(SIGINT);
      EXPECT_EQ(program->end(10), 128 + SIGINT) << program->err();
      expect_nothing_left();
    }
  }
}

TEST_F(BadInput, CtrlCEndsADriverOfAClusterAndOnlyIt) {
  up(1);
  home_.environment()["RONDO_ADDRESS"] = address();
  const auto program = home_.beside({"cli_driver"});
  ASSERT_TRUE(program->waits_for("ready 0")) << program->err();
  program->signal(SIGINT);
  EXPECT_EQ(program->end(5), 128 + SIGINT);
  EXPECT_TRUE(home_.list_until("workers", [](const json& rows) { return rows.empty(); }).empty());
  EXPECT_EQ(home_.list("jobs").at(0)["state"], "ended");
  EXPECT_TRUE(wait_until([&] {  // sockets of the driver and its workers too
    const auto left = home_.entries();
    return std::none_of(left.begin(), left.end(), [](const std::string& path) {
      return path.find("/s/d-") != std::string::npos || path.find("/s/w-") != std::string::npos;
    });
  })) << testing::PrintToString(home_.entries());
}

TEST_F(BadInput, CtrlCEndsEachDaemonWithItsCode) {
  for (const int times : {1, 2}) {
    head();
    Beside& n1 = node("n1");
    home_.environment()["RONDO_ADDRESS"] = address_;
    const auto program = home_.beside({"cli_driver"});
    ASSERT_TRUE(program->waits_for("ready 0")) << program->err();
    for (int n = 0; n < times; ++n) n1.signal(SIGINT);
    EXPECT_EQ(n1.end(5), 130) << n1.err();
    program->say("add");
    EXPECT_EQ(program->end(5), 1);
    EXPECT_NE(program->err().find("this program's node at"), std::string::npos) << program->err();
    for (int n = 0; n < times; ++n) head_->signal(SIGINT);
    EXPECT_EQ(head_->end(5), 130) << head_->err();
    expect_nothing_left();
    home_.environment()["RONDO_ADDRESS"] = "";
  }
}

TEST_F(BadInput, ASecondCtrlCEndsADaemonThatHangs) {
  head();
  Beside& n1 = node("n1");
  head_->signal(SIGSTOP);  // the node's goodbye is not taken
  n1.signal(SIGINT);
  n1.signal(SIGINT);
  EXPECT_EQ(n1.end(4), 130) << n1.err();
  head_->signal(SIGCONT);
}

// ---- help --------------------------------------------------------------------------------------

TEST_F(BadInput, HelpIsFoundByTryingAndNamesWhatThereIs) {
  const Ran nothing = home_.rondo({});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_NE(nothing.err.find("rondo --help"), std::string::npos) << nothing.err;
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"--help"}, {"-h"}, {"help"}}) {
    const Ran help = home_.rondo(words);
    EXPECT_EQ(help.code, 0);
    for (const char* word : {"up ", "down ", "status ", "list ", "logs ", "head ", "node ",
                             has_train() ? "train" : "", "Exit codes: 0 done"})
      EXPECT_NE(help.out.find(word), std::string::npos) << word << help.out;
  }
  EXPECT_EQ(home_.rondo({"help", "up"}).out, home_.rondo({"up", "--help"}).out);
  for (const char* verb : {"up", "down", "status", "list", "logs", "head", "node"})
    EXPECT_EQ(home_.rondo({verb, "--help"}).code, 0) << verb;
  expect_refused(home_.rondo({"up", "--nodse", "2"}), 2, "did you mean --nodes?");
  expect_refused(home_.rondo({"list", "nodes", "--adress", "x"}), 2, "did you mean --address?");
  expect_refused(home_.rondo({"--frob"}), 2, "unknown flag --frob (");
  expect_refused(home_.rondo({"up", "--nodes", "1", "--nodes", "2"}), 2,
                 "--nodes is given 2 times: once is enough");
  expect_refused(home_.rondo({"list"}), 2, "WHAT is missing: nodes, actors, workers, objects");
  expect_refused(home_.rondo({"up", "--memory", "lots"}), 2, "500M");
  expect_refused(home_.rondo({"up", "--cpus", "many"}), 2, "not a number above 0");
  expect_refused(home_.rondo({"up", "--cluster", "../x"}), 2, "no name for a cluster");
  expect_refused(home_.rondo({"node", "--name", "a/b"}), 2, "no name for a node");
  if (!has_train()) return;
  EXPECT_EQ(home_.rondo({"train", "--help"}).code, 0);
  expect_refused(home_.rondo({"traain"}), 2, "did you mean \"rondo train\"?");
}

}  // namespace
}  // namespace rondo::cli_test
