// Putting and getting large values against plain memcpy, interleaved in one run: medians of rounds.
//
//   store_bench [MIB] [ROUNDS]
//
// put warm: copy into an extent that this process has mapped from an earlier use; put fresh: memory
// made, mapped and filled; get: open, read every page's first word, let go.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <unistd.h>

#include <rondo/store/extent_client.h>
#include <rondo/store/extent_server.h>
#include <rondo/store/marks_page.h>

namespace {

using rondo::store::ExtentName;

double seconds_of(const auto& work) {
  const auto from = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Bench {
  std::size_t bytes;
  std::shared_ptr<rondo::store::GenerationBoard> board =
      rondo::store::GenerationBoard::create().value();
  rondo::store::ExtentServer server{board};
  rondo::store::HoldScanner scanner;
  std::shared_ptr<rondo::store::HoldTable> holds = std::make_shared<rondo::store::HoldTable>(
      rondo::store::HoldPage::attach(::getpid(), scanner.add(rondo::ProcessId{1}).value()).value(),
      board);
  rondo::store::ExtentClient client{holds};

  ExtentName name(std::uint32_t extent, std::uint32_t generation) {
    return {extent, generation, bytes, server.find(extent).value().fd, ::getpid()};
  }
  void put(std::uint32_t extent, std::uint32_t generation, rondo::ByteView from) {
    const auto writable = client.write(name(extent, generation)).value();
    rondo::store::copy_large(writable.bytes, from);
  }
};

std::uint64_t touch(rondo::ByteView view) {
  std::uint64_t sum = 0;
  for (std::size_t at = 0; at < view.size(); at += 4096)
    sum += static_cast<std::uint64_t>(view[at]);
  return sum;
}

void large(std::size_t mebibytes, int rounds) {
  Bench bench{.bytes = mebibytes << 20};
  const rondo::Bytes from(bench.bytes, std::byte{1});
  rondo::Bytes to(bench.bytes);
  std::vector<double> plain, warm, fresh, get;
  std::uint64_t sum = 0;
  if (!bench.server.create(0, bench.bytes)) std::exit(5);
  bench.put(0, 1, from);
  for (int round = 0; round < rounds; ++round) {
    const auto generation = static_cast<std::uint32_t>(round + 2);
    plain.push_back(seconds_of([&] { std::memcpy(to.data(), from.data(), from.size()); }));
    bench.server.retire(0, generation - 1);
    warm.push_back(seconds_of([&] { bench.put(0, generation, from); }));
    get.push_back(seconds_of(
        [&] { sum += touch(bench.client.open(bench.name(0, generation)).value().view()); }));
    fresh.push_back(seconds_of([&] {
      if (!bench.server.create(1, bench.bytes)) std::exit(5);
      bench.put(1, generation, from);
    }));
    bench.server.destroy(1);
  }
  const double gigabytes = static_cast<double>(bench.bytes) / 1e9;
  const auto line = [&](const char* what, const std::vector<double>& times) {
    std::printf("%-12s %8.2f ms %8.2f GB/s   %.2f of memcpy\n", what, median(times) * 1e3,
                gigabytes / median(times), median(plain) / median(times));
  };
  std::printf("%zu MiB, %d rounds (checksum %llu)\n", mebibytes, rounds,
              static_cast<unsigned long long>(sum));
  line("memcpy", plain);
  line("put warm", warm);
  line("put fresh", fresh);
  line("get + touch", get);
}

void small() {
  Bench bench{.bytes = 1 << 20};
  if (!bench.server.create(0, bench.bytes)) std::exit(5);
  constexpr int kTimes = 200'000;
  const auto name = bench.name(0, 1);
  const double open = seconds_of([&] {
    for (int n = 0; n < kTimes; ++n) (void)bench.client.open(name).value().size();
  });
  const auto page = rondo::store::MarksPage::create().value();
  constexpr int kMarks = 10'000'000;
  const double marks = seconds_of([&] {
    for (int n = 1; n <= kMarks; ++n)
      page->begun(rondo::ProcessId{77}, static_cast<std::uint64_t>(n));
  });
  std::printf("open and let go of a mapped object %.0f ns, a begun mark %.1f ns\n",
              open / kTimes * 1e9, marks / kMarks * 1e9);
}

}  // namespace

int main(int argc, char** argv) {
  large(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 800, argc > 2 ? std::atoi(argv[2]) : 7);
  small();
}
