// Checkpoints: what is written is read, and what is damaged is refused in one sentence.

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include <unistd.h>

#include <rondo/actors/checkpoint.h>

#include "one_step.h"

namespace rondo::actors {
namespace {

class Folder {
 public:
  Folder() : path_(std::filesystem::temp_directory_path() /
                   ("rondo-checkpoint-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::string slurp(const std::string& path) { return read_file(path).value(); }
void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

RunState a_run() {
  RunState state;
  state.spec.model = {CellKind::kLstm, Activation::kTanh, DataKind::kTokens, 3, 4, 2, 2};
  state.spec.data.vocabulary = {TokenKind::kChar, {"a", "ä"}};
  state.spec.data.path = "/texts/a \"quoted\" name";
  state.spec.data.hash = 0xFEDCBA9876543210ull;
  state.spec.batch = 5;
  state.spec.optimizer = ops::Optimizer::kAdam;
  state.spec.layout = {2, 2, 2};
  state.progress = {17, 3, 4, 0.1 + 0.2, 1000, 1.5, 2};
  for (int replica = 0; replica < 2; ++replica) {
    for (int stage = 0; stage < 2; ++stage) {
      state.stages.push_back(marked_version({state.spec, replica, stage}));
    }
  }
  return state;
}

TEST(Checkpoint, AWholeRunComesBackBitForBit) {
  const Folder folder;
  const RunState was = a_run();
  ASSERT_TRUE(save_run(folder.file("run"), was).ok());
  const auto loaded = load_run(folder.file("run"));
  ASSERT_TRUE(loaded.ok()) << loaded.error().what();
  const RunState& is = loaded.value();
  EXPECT_EQ(is.spec.model, was.spec.model);
  EXPECT_EQ(is.spec.layout, was.spec.layout);
  EXPECT_EQ(is.spec.data.vocabulary, was.spec.data.vocabulary);
  EXPECT_EQ(is.spec.data.path, was.spec.data.path);
  EXPECT_EQ(is.spec.data.hash, was.spec.data.hash);
  EXPECT_EQ(is.progress.step, 17);
  EXPECT_EQ(is.progress.epoch_loss, 0.1 + 0.2);
  ASSERT_EQ(is.stages.size(), was.stages.size());
  for (std::size_t i = 0; i < is.stages.size(); ++i) {
    EXPECT_EQ(is.stages[i].parameters, was.stages[i].parameters);
    EXPECT_EQ(is.stages[i].moments, was.stages[i].moments);
    EXPECT_EQ(is.stages[i].states, was.stages[i].states);
  }
  ASSERT_TRUE(save_run(folder.file("again"), is).ok());
  EXPECT_EQ(slurp(folder.file("run")), slurp(folder.file("again")));
}

TEST(Checkpoint, NamesAreThoseOfPyTorchWhateverTheLayout) {
  const Folder folder;
  ASSERT_TRUE(save_run(folder.file("run"), a_run()).ok());
  const TensorFile file = read_tensors(folder.file("run")).value();
  EXPECT_EQ(file.tensors.at("weight_ih_l0").shape, (std::vector<std::int64_t>{16, 2}));
  EXPECT_EQ(file.tensors.at("weight_hh_l2").shape, (std::vector<std::int64_t>{16, 4}));
  EXPECT_EQ(file.tensors.at("bias_ih_l1").shape, (std::vector<std::int64_t>{16}));
  EXPECT_EQ(file.tensors.at("linear.weight").shape, (std::vector<std::int64_t>{2, 4}));
  for (const auto& [name, tensor] : file.tensors) {
    const bool weight = name.starts_with("weight_") || name.starts_with("bias_") ||
                        name.starts_with("linear.");
    EXPECT_TRUE(weight || name.starts_with("train.")) << name;
  }
}

TEST(Checkpoint, EveryCutIsRefused) {
  const Folder folder;
  ASSERT_TRUE(save_run(folder.file("run"), a_run()).ok());
  const std::string whole = slurp(folder.file("run"));
  for (std::size_t length = 0; length < whole.size(); length += 1 + whole.size() / 97) {
    spill(folder.file("cut"), whole.substr(0, length));
    const auto loaded = load_run(folder.file("cut"));
    ASSERT_FALSE(loaded.ok()) << length;
    EXPECT_EQ(loaded.error().code(), ErrorCode::kInvalid);
  }
}

TEST(Checkpoint, NoFlippedHeaderByteCrashes) {
  const Folder folder;
  ASSERT_TRUE(save_run(folder.file("run"), a_run()).ok());
  const std::string whole = slurp(folder.file("run"));
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  for (std::size_t at = 0; at < 8 + header; at += 7) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x15);
    spill(folder.file("damaged"), damaged);
    static_cast<void>(load_run(folder.file("damaged")));  // an error or another run, never a crash
  }
}

TEST(Checkpoint, WeightsThatAreNoNumbersAreRefusedWithTheirTensor) {
  const Folder folder;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(),
                          -std::numeric_limits<float>::infinity()}) {
    ASSERT_TRUE(save_run(folder.file("run"), a_run()).ok());
    TensorFile file = read_tensors(folder.file("run")).value();
    std::vector<float> values(16);
    values[7] = bad;
    file.put("bias_ih_l1", {16}, values);
    ASSERT_TRUE(write_tensors(folder.file("bad"), file).ok());
    for (const auto& error : {load_run(folder.file("bad")).error(),
                              load_model(folder.file("bad")).error()}) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalid);
      EXPECT_NE(std::string(error.what()).find("tensor 'bias_ih_l1' holds NaN or infinity"),
                std::string::npos)
          << error.what();
    }
  }
}

TEST(Checkpoint, AnotherShapeNamesTheTensor) {
  const Folder folder;
  ASSERT_TRUE(save_run(folder.file("run"), a_run()).ok());
  TensorFile file = read_tensors(folder.file("run")).value();
  const std::vector<float> values(8 * 4);
  file.put("weight_hh_l1", {8, 4}, values);
  ASSERT_TRUE(write_tensors(folder.file("other"), file).ok());
  const auto loaded = load_run(folder.file("other"));
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(std::string(loaded.error().what()).find("'weight_hh_l1' is F32[8,4]"),
            std::string::npos) << loaded.error().what();
}

TEST(Checkpoint, AFullDiskLeavesTheOldFile) {
  const auto refused = write_tensors("/dev/full/run", {});
  EXPECT_FALSE(refused.ok());
  const Folder folder;
  ASSERT_TRUE(save_run(folder.file("run"), a_run()).ok());
  const std::string before = slurp(folder.file("run"));
  std::filesystem::create_symlink("/dev/full", folder.file("run.part"));
  const auto full = save_run(folder.file("run"), a_run());
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(slurp(folder.file("run")), before);
  EXPECT_FALSE(std::filesystem::exists(folder.file("run.part")));
}

TEST(Checkpoint, AtEveryPointOfAWriteAReaderFindsAWholeFile) {
  const Folder folder;
  const std::string path = folder.file("run");
  ASSERT_TRUE(save_run(path, a_run()).ok());
  const std::string before = slurp(path);
  RunState next = a_run();
  next.progress.step = 18;
  std::vector<WritePoint> points;
  std::string renamed;
  WriteOptions how;
  how.at = [&](WritePoint point) {
    points.push_back(point);
    const std::string beside = unfinished_name(path);
    if (point == WritePoint::kHalf) {
      EXPECT_EQ(slurp(path), before);
      EXPECT_EQ(std::filesystem::file_size(beside), before.size() / 2);
    } else if (point == WritePoint::kWhole) {
      EXPECT_EQ(slurp(path), before);
      EXPECT_EQ(std::filesystem::file_size(beside), before.size());
    } else {
      renamed = slurp(path);
      EXPECT_FALSE(std::filesystem::exists(beside));
    }
  };
  ASSERT_TRUE(save_run(path, next, how).ok());
  EXPECT_EQ(points, (std::vector{WritePoint::kHalf, WritePoint::kWhole, WritePoint::kRenamed}));
  EXPECT_EQ(slurp(path), renamed);
  EXPECT_EQ(load_run(path).value().progress.step, 18);
}

TEST(Checkpoint, AForeignFileIsRefusedInWords) {
  const Folder folder;
  TensorFile file;
  file.put("x", 1.0);
  ASSERT_TRUE(write_tensors(folder.file("foreign"), file).ok());
  const auto loaded = load_model(folder.file("foreign"));
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(std::string(loaded.error().what()).find("not written by rondo"), std::string::npos);
}

}  // namespace
}  // namespace rondo::actors
