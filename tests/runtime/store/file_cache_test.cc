#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include <rondo/store/file_cache.h>

#include "child_process.h"
#include "temporary_folder.h"

namespace rondo::store {
namespace {

namespace fs = std::filesystem;

struct Cache {
  TemporaryFolder folder;
  std::unique_ptr<FileCache> cache = open();

  std::unique_ptr<FileCache> open(std::uint64_t bytes_max = 1 << 20) {
    return FileCache::open({.folder = folder.path + "/cache", .bytes_max = bytes_max}).value();
  }
  std::string file(const std::string& name, const std::string& text) {
    std::ofstream(folder.path + "/" + name) << text;
    return folder.path + "/" + name;
  }
  std::size_t entries() {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder.path + "/cache"), fs::directory_iterator()));
  }
};

TEST(FileCache, KeepsExecutableFilesByTheirBytes) {
  Cache c;
  const std::string hash = c.cache->add_from_path(c.file("a", "hello")).value();
  EXPECT_EQ(hash, hash_of(as_bytes("hello")));
  EXPECT_EQ(c.cache->add_from_path(c.file("b", "hello")).value(), hash);
  EXPECT_EQ(c.entries(), 1U);
  EXPECT_EQ(c.cache->bytes(), 5U);
  const std::string path = c.cache->path(hash).value();
  EXPECT_EQ(::access(path.c_str(), X_OK), 0);
  struct stat status = {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0700U);
  EXPECT_FALSE(c.cache->has(hash_of(as_bytes("other"))));
}

TEST(FileCache, RemembersAcrossLivesAndDropsPieces) {
  Cache c;
  const std::string hash = c.cache->add_from_path(c.file("a", "hello")).value();
  c.file("cache/.part-1-1", "torn");
  c.cache.reset();
  c.cache = c.open();
  EXPECT_TRUE(c.cache->has(hash));
  EXPECT_EQ(c.entries(), 1U);
}

TEST(FileCache, DamagedFileIsNotUsed) {
  Cache c;
  const std::string hash = c.cache->add_from_path(c.file("a", "hello")).value();
  c.cache = c.open();
  c.file("cache/" + hash, "hellO");
  EXPECT_EQ(c.cache->path(hash).error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(c.cache->has(hash));
  EXPECT_EQ(c.entries(), 0U);
}

TEST(FileCache, PutsChunksTogetherInAnyOrder) {
  Cache c;
  const std::string text = "0123456789";
  const std::string hash = hash_of(as_bytes(text));
  const auto send = [&](std::size_t at, std::size_t size) {
    return c.cache->write_chunk(hash, at, text.size(), as_bytes(text).subspan(at, size)).value();
  };
  EXPECT_FALSE(send(4, 4).complete);
  EXPECT_EQ(send(4, 4).received, 4U);  // again: nothing new
  EXPECT_FALSE(c.cache->has(hash));
  EXPECT_FALSE(send(0, 4).complete);
  EXPECT_TRUE(send(8, 2).complete);
  EXPECT_TRUE(send(8, 2).complete);  // late and of no effect
  std::ifstream file(c.cache->path(hash).value());
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
  const auto piece = c.cache->read_chunk(hash, 3, 4).value();
  EXPECT_EQ(as_text(piece.bytes), "3456");
  EXPECT_EQ(piece.total, 10U);
  EXPECT_TRUE(c.cache->read_chunk(hash, 10, 4).value().bytes.empty());
}

TEST(FileCache, WrongContentIsDropped) {
  Cache c;
  const std::string hash = hash_of(as_bytes("hello"));
  EXPECT_FALSE(c.cache->write_chunk(hash, 0, 5, as_bytes("hellO")).ok());
  EXPECT_EQ(c.entries(), 0U);
  EXPECT_TRUE(c.cache->write_chunk(hash, 0, 5, as_bytes("hello")).value().complete);
}

TEST(FileCache, RefusesPiecesOutsideTheFile) {
  Cache c;
  const std::string hash = hash_of(as_bytes("hello"));
  EXPECT_FALSE(c.cache->write_chunk("../../etc/passwd", 0, 5, as_bytes("hello")).ok());
  EXPECT_FALSE(c.cache->write_chunk(hash, 3, 5, as_bytes("hello")).ok());
  EXPECT_FALSE(c.cache->write_chunk(hash, ~std::uint64_t{0}, 5, as_bytes("h")).ok());
  EXPECT_FALSE(c.cache->write_chunk(hash, 0, 0, {}).ok());
  EXPECT_FALSE(c.cache->write_chunk(hash, 0, ~std::uint64_t{0}, as_bytes("h")).ok());
  EXPECT_EQ(c.entries(), 0U);
  ASSERT_TRUE(c.cache->write_chunk(hash, 0, 5, as_bytes("h")).ok());
  EXPECT_FALSE(c.cache->write_chunk(hash, 1, 6, as_bytes("e")).ok());
  c.cache->abandon(hash);
  EXPECT_EQ(c.entries(), 0U);
}

TEST(FileCache, LongestUnusedGoesFirstAndPinnedStays) {
  Cache c;
  c.cache = c.open(300);
  const auto add = [&](char letter) {
    return c.cache->add_from_path(c.file("f", std::string(100, letter)));
  };
  const std::string a = add('a').value();
  const std::string b = add('b').value();
  const std::string d = add('d').value();
  c.cache->pin(a);
  ASSERT_TRUE(c.cache->path(b).ok());  // used now: d is the oldest that may go
  const std::string e = add('e').value();
  EXPECT_TRUE(c.cache->has(a));
  EXPECT_TRUE(c.cache->has(b));
  EXPECT_FALSE(c.cache->has(d));
  c.cache->pin(b);
  c.cache->pin(e);
  EXPECT_EQ(add('f').error().code(), ErrorCode::kOverloaded);
  EXPECT_EQ(c.entries(), 3U);
  c.cache->unpin(b);
  EXPECT_TRUE(add('f').ok());
}

TEST(FileCache, FullDiskIsSaidSo) {
  const int fd = ::open("/dev/full", O_WRONLY);
  if (fd < 0) GTEST_SKIP() << "no /dev/full here";
  ::close(fd);
  TemporaryFolder folder;
  EXPECT_FALSE(FileCache::open({.folder = "/proc/none"}).ok());
}

TEST(FileCache, LibraryFolderHasThemUnderTheirNames) {
  Cache c;
  const std::string hash = c.cache->add_from_path(c.file("libx.so.1", "elf")).value();
  const std::string folder = c.cache->library_folder("job1", {hash + " libx.so.1"}).value();
  EXPECT_EQ(c.cache->library_folder("job1", {hash + " libx.so.1"}).value(), folder);
  EXPECT_EQ(hash_of(as_bytes("elf")),
            hash_of_fd(OwnedFd(::open((folder + "/libx.so.1").c_str(), O_RDONLY)).get()).value());
  EXPECT_FALSE(c.cache->library_folder("job1", {hash + " ../../x"}).ok());
  EXPECT_FALSE(c.cache->library_folder("job2", {hash_of(as_bytes("none")) + " liby.so"}).ok());
  c.cache->remove_library_folder("job1");
  EXPECT_FALSE(fs::exists(folder));
}

}  // namespace
}  // namespace rondo::store
