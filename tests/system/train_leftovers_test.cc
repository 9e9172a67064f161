// The look at what a run leaves behind sees what there is to see.

#include <cstdlib>
#include <filesystem>

#include "leftovers.h"
#include "same_bits.h"

namespace rondo::system_test {
namespace {

bool names(const std::vector<std::string>& left, const std::string& words) {
  for (const std::string& what : left)
    if (what.find(words) != std::string::npos) return true;
  return false;
}

TEST(Leftovers, SeesProcessesSocketsFilesAndUnfinishedCheckpoints) {
  const actors::Scratch scratch;
  const Place place{scratch / "home", scratch / "out"};
  ::setenv("RONDO_HOME", place.home.c_str(), 1);
  EXPECT_EQ(leftovers(place), std::vector<std::string>{});
  {
    const actors::Cluster cluster(1);
    const auto left = leftovers(place);
    EXPECT_TRUE(names(left, "rondo node")) << testing::PrintToString(left);
    EXPECT_TRUE(names(left, "rondo head")) << testing::PrintToString(left);
    EXPECT_TRUE(names(left, "socket: ")) << testing::PrintToString(left);
    EXPECT_TRUE(names(left, "in the home: ")) << testing::PrintToString(left);
  }
  EXPECT_EQ(leftovers_after(place, 10), std::vector<std::string>{});
  std::filesystem::create_directory(place.folder);
  std::ofstream(place.folder + "/last.safetensors.part") << "half";
  EXPECT_TRUE(names(leftovers(place), "unfinished file: "));
}

}  // namespace
}  // namespace rondo::system_test
