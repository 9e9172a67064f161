#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include <rondo/store/file_cache.h>
#include <rondo/store/image.h>

#include "temporary_folder.h"

namespace rondo::store {
namespace {

TEST(Image, IsThisProgramWithItsLibraries) {
  const Image image = capture_image().value();
  EXPECT_EQ(image.executable_name, "store_test");
  const OwnedFd self(::open("/proc/self/exe", O_RDONLY));
  EXPECT_EQ(image.executable_hash, hash_of_fd(self.get()).value());
  EXPECT_EQ(image.libc.substr(0, 6), "glibc ");
  const auto has = [&](std::string_view prefix) {
    return std::any_of(image.libraries.begin(), image.libraries.end(),
                       [&](const Library& library) { return library.name.starts_with(prefix); });
  };
  EXPECT_TRUE(has("libsqlite3.so"));
  EXPECT_TRUE(has("libstdc++.so"));
  EXPECT_FALSE(has("libc.so"));
  EXPECT_FALSE(has("ld-linux"));
  const std::string line = image.library_lines().at(0);
  EXPECT_EQ(line, image.libraries[0].hash + " " + image.libraries[0].name);
}

TEST(Image, NamesTheLibrariesThatAMachineLacks) {
  const Image image = capture_image().value();
  std::vector<std::string> lines = image.library_lines();
  EXPECT_TRUE(missing_libraries(lines, {}).empty());
  lines.push_back(std::string(32, '0') + " libnowhere.so.3");
  EXPECT_EQ(missing_libraries(lines, {}), std::vector<std::string>{"libnowhere.so.3"});
  TemporaryFolder folder;
  std::ofstream(folder.path + "/libnowhere.so.3") << "x";
  EXPECT_TRUE(missing_libraries(lines, {"LD_LIBRARY_PATH=/none:" + folder.path}).empty());
}

TEST(Image, ComparesTheCLibrarysVersion) {
  EXPECT_EQ(libc_mismatch(libc_version()), "");
  EXPECT_EQ(libc_mismatch("glibc 2.4"), "");
  EXPECT_NE(libc_mismatch("glibc 9.1").find("build it on the older system"), std::string::npos);
  EXPECT_NE(libc_mismatch("musl"), "");
}

}  // namespace
}  // namespace rondo::store
