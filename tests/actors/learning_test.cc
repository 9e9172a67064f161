// Does it learn? The first 1.1 MB of the King James Bible (Debian package bible-kjv), against
// PyTorch.
//
// The figures are those of bench/train/char_rnn_torch.py on the same text, PyTorch 2.15: the same
// model, data split and first weights. Rounding alone moves a run's loss by up to 0.03 after an
// epoch (the two drift apart within some hundred steps), so the means of three seeds are compared.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <sstream>

#include <nlohmann/json.hpp>

#include "program.h"

namespace rondo::actors {
namespace {

constexpr std::size_t kTextBytes = 1'100'000;
// PyTorch's validation loss in nats a character, seeds 1, 2, 3, after epochs 1 and 4
constexpr std::array<double, 3> kTorchEpoch1{1.8206, 1.7748, 1.8198};
constexpr std::array<double, 3> kTorchEpoch4{1.1586, 1.1525, 1.1586};

double mean(const std::array<double, 3>& values) {
  return (values[0] + values[1] + values[2]) / 3;
}

std::string packaged_text() {
  std::string text;
  FILE* pipe = ::popen("bible -f gen1:1-rev22:21 2>/dev/null", "r");
  if (pipe == nullptr) return text;
  std::array<char, 65536> buffer;
  while (text.size() < kTextBytes) {
    const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe);
    if (got == 0) break;
    text.append(buffer.data(), got);
  }
  ::pclose(pipe);
  if (text.size() > kTextBytes) text.resize(kTextBytes);
  return text;
}

TEST(Learning, ValidationLossIsThatOfPyTorch) {
  const std::string text = packaged_text();
  if (text.size() < kTextBytes)
    GTEST_SKIP() << "the program `bible` (package bible-kjv) is missing";
  const Scratch scratch;
  const std::string file = scratch.write("bible", text);
  std::array<double, 3> epoch1{}, epoch4{};
  for (std::size_t seed = 1; seed <= 3; ++seed) {
    const Ran ran = run("rondo-train", {"--text", file, "--epochs", "4", "-o", "json", "--seed",
                                        std::to_string(seed), "--out",
                                        scratch / ("out" + std::to_string(seed))});
    ASSERT_EQ(ran.code, 0) << ran.err;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) {
      const auto event = nlohmann::json::parse(line);
      if (event["event"] != "epoch") continue;
      if (event["epoch"] == 1) epoch1[seed - 1] = event["val_loss"];
      if (event["epoch"] == 4) epoch4[seed - 1] = event["val_loss"];
    }
    std::printf("seed %zu: %.4f after epoch 1 (PyTorch %.4f), %.4f after 4 (PyTorch %.4f)\n", seed,
                epoch1[seed - 1], kTorchEpoch1[seed - 1], epoch4[seed - 1],
                kTorchEpoch4[seed - 1]);
  }
  EXPECT_NEAR(mean(epoch1), mean(kTorchEpoch1), 0.03);
  EXPECT_NEAR(mean(epoch4), mean(kTorchEpoch4), 0.03);
}

}  // namespace
}  // namespace rondo::actors
