#include <rondo/ops/cpu/kernel_table.h>

#include <cstdlib>
#include <string_view>

#include <rondo/ops/check.h>
#include <rondo/ops/gemm.h>
#include <rondo/ops/numeric_profile.h>

namespace rondo::ops {
namespace {

// LIBXSMM_TARGET narrows our kernels as it narrows the library's: one knob.
Isa isa_wanted() {
  const char* text = std::getenv("LIBXSMM_TARGET");
  if (text == nullptr) return Isa::kAvx512;
  const std::string_view target = text;
  if (target == "hsw" || target == "avx2" || target == "2") return Isa::kAvx2;
  for (const std::string_view old : {"generic", "none", "0", "sse", "snb", "avx", "1", "wsm"})
    if (target.starts_with(old) && target != "avx512") return Isa::kGeneric;
  return Isa::kAvx512;
}

struct Tables {
  KernelTable<float> of_float[3];
  KernelTable<double> of_double;
  Tables() {
    fill_generic(of_float[0]);
    fill_generic_double(of_double);
#ifdef RONDO_OPS_X86
    fill_avx2(of_float[1]);
    fill_avx512(of_float[2]);
#endif
  }
};

const Tables& tables() {
  static const Tables all;
  return all;
}

}  // namespace

bool isa_runs_here(Isa isa) {
  if (isa == Isa::kGeneric) return true;
#ifdef RONDO_OPS_X86
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::kAvx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

Isa isa_in_use() {
  static const Isa chosen = [] {
    for (const Isa isa : {Isa::kAvx512, Isa::kAvx2})
      if (isa <= isa_wanted() && isa_runs_here(isa)) return isa;
    return Isa::kGeneric;
  }();
  return chosen;
}

const KernelTable<float>& kernel_table(Isa isa) {
  OPS_CHECK(isa_runs_here(isa));
  return tables().of_float[static_cast<int>(isa)];
}

template <>
const KernelTable<float>& kernels<float>() {
  static const KernelTable<float>& table = kernel_table(isa_in_use());
  return table;
}

template <>
const KernelTable<double>& kernels<double>() {
  return tables().of_double;
}

std::string numeric_profile() { return "canonical-1"; }

std::string kernel_summary() {
  return std::string(gemm_library()) + ", pointwise " + kernels<float>().name;
}

}  // namespace rondo::ops
