// Every GPU op against the CPU's double reference on random inputs, and equal bits from run to run.
//
//   ops_cuda_check [--seed N] [--case PART-OF-A-NAME] [--small] [--one-in N]
//
// Without a GPU it says why in one sentence and ends with 77 (CTest: skipped). Without --seed the
// inputs are new each time; the seed is printed. --small leaves out large layers and most of
// TF32's, --one-in all but every N-th check of recurrent layers: for an emulated device.
// Ends with 0 if all checks hold, else 1.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "harness.h"

namespace {

constexpr int kSkipped = 77;

int usage() {
  std::fprintf(stderr, "usage: ops_cuda_check [--seed N] [--case PART-OF-A-NAME] [--small] "
                       "[--one-in N]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace rondo::ops;
  gpu_check::Harness::Options options;
  options.seed = static_cast<std::uint64_t>(
      std::chrono::system_clock::now().time_since_epoch().count() / 1'000'000'000);
  for (int i = 1; i < argc; ++i) {
    const bool more = i + 1 < argc;
    if (std::strcmp(argv[i], "--small") == 0) options.small = true;
    else if (more && std::strcmp(argv[i], "--seed") == 0)
      options.seed = std::strtoull(argv[++i], nullptr, 10);
    else if (more && std::strcmp(argv[i], "--case") == 0) options.filter = argv[++i];
    else if (more && std::strcmp(argv[i], "--one-in") == 0)
      options.one_in = std::max(1, std::atoi(argv[++i]));
    else return usage();
  }
  const GpuOrReason found = open_gpu();
  if (found.gpu == nullptr) {
    std::printf("SKIPPED: %s\n", found.reason.c_str());
    return kSkipped;
  }
  std::printf("%s\n", found.gpu->numeric_profile().c_str());
  gpu_check::Harness h(*found.gpu, options);
  h.attempt("flat", [&] { gpu_check::check_flat(h); });
  h.attempt("transfer", [&] { gpu_check::check_transfer(h); });
  h.attempt("losses", [&] { gpu_check::check_losses(h); });
  h.attempt("rows", [&] { gpu_check::check_rows(h); });
  h.attempt("products", [&] { gpu_check::check_products(h); });
  h.attempt("scans", [&] { gpu_check::check_scans(h); });
  h.attempt("recurrent", [&] { gpu_check::check_recurrent(h); });
  h.attempt("wavefront", [&] { gpu_check::check_wavefronts(h); });
  return h.finish();
}
