// A module of another version: its table is shorter, only the first word may be read.

#include <cstdint>

#include <rondo/ops/cuda/entries.h>

static const std::uint32_t kOldTable[1] = {rondo::ops::cuda::kVersion - 1};

extern "C" const void* rondo_ops_cuda_entries() { return kOldTable; }
