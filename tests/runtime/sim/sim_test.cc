#include <cstdio>
#include <cstdlib>

#include <gtest/gtest.h>

#include <rondo/sim/simulation.h>

int main(int argc, char** argv) {
  const std::uint64_t first = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1;
  const std::uint64_t count = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::uint64_t bad = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    std::fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    rondo::sim::Simulation sim(seed, {});
    if (argc > 3) sim.set_verbose();
    const rondo::sim::Outcome out = sim.run();
    if (!out.failure.empty()) {
      ++bad;
      std::printf("%llu %s\n", (unsigned long long)seed, out.failure.c_str());
    }
    if (count == 1)
      std::printf("%s events %llu calls %u faults %u trace %llx\n", out.story.c_str(),
                  (unsigned long long)out.events, out.calls, out.faults,
                  (unsigned long long)out.trace);
  }
  std::printf("%llu bad of %llu\n", (unsigned long long)bad, (unsigned long long)count);
}
