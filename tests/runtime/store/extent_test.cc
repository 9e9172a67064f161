#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>

#include <rondo/store/extent_client.h>
#include <rondo/store/extent_server.h>

#include "child_process.h"

namespace rondo::store {
namespace {

constexpr std::uint64_t kBytes = 300'000;
const ProcessId kSelf{7};

// A node's side and a process's side in one process.
struct Store {
  std::shared_ptr<GenerationBoard> board = GenerationBoard::create().value();
  ExtentServer server{board};
  HoldScanner scanner;
  std::shared_ptr<HoldTable> holds = table(kSelf);
  std::optional<ExtentClient> client{std::in_place, holds};

  std::shared_ptr<HoldTable> table(ProcessId process) {
    const int fd = scanner.add(process).value();
    return std::make_shared<HoldTable>(HoldPage::attach(::getpid(), fd).value(), board);
  }
  ExtentName name(std::uint32_t extent, std::uint32_t generation, std::uint64_t bytes = kBytes) {
    return {extent, generation, bytes, server.find(extent).value().fd, ::getpid()};
  }
  void fill(const ExtentName& name, int value) {
    const auto writable = client->write(name).value();
    std::memset(writable.bytes.data(), value, writable.bytes.size());
  }
};

bool all(const Buffer& buffer, int value) {
  for (const std::byte b : buffer.view())
    if (b != static_cast<std::byte>(value)) return false;
  return buffer.size() > 0;
}

TEST(Extent, ReadsInPlaceWhatWasWritten) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  store.fill(store.name(1, 1), 42);
  const Buffer buffer = store.client->open(store.name(1, 1)).value();
  EXPECT_EQ(buffer.size(), kBytes);
  EXPECT_TRUE(all(buffer, 42));
}

TEST(Extent, OpensAcrossProcessesThroughTheNodesDescriptor) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  store.fill(store.name(1, 1), 42);
  const ExtentName name = store.name(1, 1);
  const int board_fd = store.board->fd();
  const int holds_fd = store.scanner.add(ProcessId{8}).value();
  const pid_t node = ::getpid();
  const int code = in_child_process([&] {
    // Everything anew and by pid and number, as a process does that did not inherit anything.
    ::close_range(3, ~0U, 0);
    auto board = GenerationBoard::attach(node, board_fd);
    auto page = HoldPage::attach(node, holds_fd);
    if (!board || !page) return 1;
    ExtentClient client(
        std::make_shared<HoldTable>(std::move(page).value(), std::move(board).value()));
    const auto buffer = client.open(name);
    if (!buffer || !all(buffer.value(), 42)) return 2;
    const auto written = client.write({name.extent, 2, name.bytes, name.fd, node});
    if (!written) return 3;
    std::memset(written.value().bytes.data(), 43, kBytes);
    ::_exit(10);
    return 4;
  });
  EXPECT_EQ(code, 10);
  // The child ended without letting go: its table still names the extent until the node drops it.
  EXPECT_TRUE(store.scanner.held(1, 1));
  store.scanner.remove(ProcessId{8});
  EXPECT_FALSE(store.scanner.held(1, 1));
  EXPECT_TRUE(all(store.client->open(store.name(1, 2)).value(), 43));
}

TEST(Extent, ReaderCannotMakeItsMapWritable) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  const std::string path = "/proc/self/fd/" + std::to_string(store.name(1, 1).fd);
  const OwnedFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0), MAP_FAILED);
  EXPECT_EQ(errno, EACCES);

  const int code =
      in_child_process([&] {  // the client of a process that was not granted the extent
        ExtentClient reader(store.holds);
        const auto buffer = reader.open(store.name(1, 1));
        if (!buffer) return 1;
        auto* at = const_cast<std::byte*>(buffer.value().view().data());
        if (::mprotect(at, 4096, PROT_READ | PROT_WRITE) == 0) return 2;
        ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would write a report first
        *at = std::byte{1};
        return 3;
      });
  EXPECT_EQ(code, -SIGSEGV);
}

TEST(Extent, SizeIsSealed) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  const int fd = store.server.find(1).value().fd;
  EXPECT_NE(::ftruncate(fd, 10), 0);
  EXPECT_NE(::ftruncate(fd, kBytes * 2), 0);
}

TEST(Extent, MemoryIsMadeBeforeItIsGranted) {
  Store store;
  for (const std::uint64_t bytes : {std::uint64_t{100'000}, std::uint64_t{9} << 20}) {
    ASSERT_TRUE(store.server.create(1, bytes).ok());
    struct stat status = {};
    ASSERT_EQ(::fstat(store.server.find(1).value().fd, &status), 0);
    EXPECT_GE(static_cast<std::uint64_t>(status.st_blocks) * 512, bytes);
    store.server.destroy(1);
  }
}

TEST(Extent, RecycledExtentKeepsItsMap) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  const std::byte* first = store.client->write(store.name(1, 1)).value().bytes.data();
  store.server.retire(1, 1);
  ASSERT_FALSE(store.scanner.held(1, 1));
  EXPECT_EQ(store.client->write(store.name(1, 2)).value().bytes.data(), first);
  EXPECT_EQ(store.client->maps(), 1U);
}

TEST(Extent, NumberWithNewMemoryIsMappedAnew) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  store.fill(store.name(1, 1), 1);
  store.server.retire(1, 1);
  store.server.destroy(1);
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  const auto writable = store.client->write(store.name(1, 2)).value();
  EXPECT_EQ(writable.bytes[0], std::byte{0});
  std::memset(writable.bytes.data(), 2, kBytes);
  std::byte seen{};
  ASSERT_TRUE(store.server.read(1, 0, {&seen, 1}).ok());
  EXPECT_EQ(seen, std::byte{2});
}

TEST(Extent, RetiredGenerationIsLost) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  store.server.retire(1, 1);
  const auto buffer = store.client->open(store.name(1, 1));
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.error().code(), ErrorCode::kObjectLost);
  EXPECT_EQ(store.holds->held(), 0U);
  EXPECT_TRUE(store.client->open(store.name(1, 2)).ok());
}

TEST(Extent, BufferOutlivesItsClientAndHoldsItsExtent) {
  Store store;
  ASSERT_TRUE(store.server.create(1, kBytes).ok());
  store.fill(store.name(1, 1), 9);
  std::optional<Buffer> buffer = store.client->open(store.name(1, 1)).value();
  Buffer copy = *buffer;
  store.client.reset();
  store.server.retire(1, 1);
  EXPECT_TRUE(all(*buffer, 9));
  buffer.reset();
  EXPECT_TRUE(store.scanner.held(1, 1));
  EXPECT_TRUE(all(copy, 9));
  copy = Buffer();
  EXPECT_FALSE(store.scanner.held(1, 1));
}

TEST(Extent, DestroyGivesMemoryBackUnderOldMaps) {
  Store store;
  constexpr std::uint64_t kLarge = std::uint64_t{16} << 20;
  ASSERT_TRUE(store.server.create(1, kLarge).ok());
  const OwnedFd other(::dup(store.server.find(1).value().fd));
  store.fill(store.name(1, 1, kLarge), 1);  // the client keeps its map
  store.server.destroy(1);
  store.server.destroy(1);
  struct stat status = {};
  ASSERT_EQ(::fstat(other.get(), &status), 0);
  EXPECT_EQ(status.st_blocks, 0);
  EXPECT_EQ(store.server.bytes(), 0U);
}

TEST(Extent, KeepsFewMapsAndNoneThatIsUsed) {
  Store store;
  ExtentClient client(store.holds, {.maps_max = 2});
  ASSERT_TRUE(store.server.create(0, kBytes).ok());
  const Buffer used = client.open(store.name(0, 1)).value();
  for (std::uint32_t extent = 1; extent < 10; ++extent) {
    ASSERT_TRUE(store.server.create(extent, kBytes).ok());
    ASSERT_TRUE(client.open(store.name(extent, 1)).ok());
  }
  EXPECT_EQ(client.maps(), 2U);
  EXPECT_TRUE(all(used, 0));
}

TEST(Extent, MovesPiecesForTransfers) {
  Store store;
  ASSERT_TRUE(store.server.create(3, kBytes).ok());
  const Bytes piece(1000, std::byte{5});
  ASSERT_TRUE(store.server.write(3, 100'000, piece).ok());
  Bytes back(1000);
  ASSERT_TRUE(store.server.read(3, 100'000, back).ok());
  EXPECT_EQ(back, piece);
  EXPECT_EQ(store.server.write(3, kBytes - 10, piece).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(store.server.read(3, ~std::uint64_t{0}, back).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(store.server.read(4, 0, back).error().code(), ErrorCode::kNotFound);
}

TEST(Extent, RefusesMoreThanTheMachineHas) {
  Store store;
  const auto made = store.server.create(1, std::uint64_t{1} << 62);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code(), ErrorCode::kOverloaded);
  EXPECT_EQ(store.server.create(kExtentsMax, 10).error().code(), ErrorCode::kOverloaded);
  EXPECT_EQ(store.server.count(), 0U);
}

TEST(Extent, SaysThatDescriptorsRanOut) {
  EXPECT_EQ(in_child_process([] {
              Store store;
              const rlimit few{16, 16};
              ::setrlimit(RLIMIT_NOFILE, &few);
              for (std::uint32_t extent = 0; extent < 32; ++extent)
                if (const auto made = store.server.create(extent, 4096); !made)
                  return made.error().code() == ErrorCode::kOverloaded ? 10 : 1;
              return 2;
            }),
            10);
}

TEST(Extent, NodeThatIsGoneIsUnavailable) {
  Store store;
  const auto buffer = store.client->open({1, 1, kBytes, 3, 999'999'999});
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(store.holds->held(), 0U);
}

TEST(CopyLarge, EqualsMemcpy) {
  for (const std::size_t bytes :
       {std::size_t{0}, std::size_t{1}, std::size_t{5000}, (std::size_t{40} << 20) + 77}) {
    Bytes from(bytes);
    for (std::size_t i = 0; i < bytes; ++i) from[i] = static_cast<std::byte>(i * 31);
    Bytes to(bytes);
    copy_large(to, from);
    EXPECT_EQ(to, from);
  }
}

}  // namespace
}  // namespace rondo::store
