// SPDX-License-Identifier: BSD-3-Clause
#include "isa.h"

#include <cstdlib>
#include <cstring>

namespace deepmd {
namespace {

Isa detect() {
#if defined(__x86_64__) || defined(_M_X64)
  const char* wish = std::getenv("DEEPMD_TF_ISA");
  if (wish != nullptr && std::strcmp(wish, "baseline") == 0) return Isa::baseline;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::baseline;
  if (wish != nullptr && std::strcmp(wish, "avx2") == 0) return Isa::avx2;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
    return Isa::avx512;
  }
  return Isa::avx2;
#else
  return Isa::baseline;
#endif
}

}  // namespace

Isa isa() {
  static const Isa best = detect();
  return best;
}

}  // namespace deepmd

extern "C" __attribute__((visibility("default"))) const char* deepmd_tf_isa() {
  switch (deepmd::isa()) {
    case deepmd::Isa::avx512: return "avx512";
    case deepmd::Isa::avx2: return "avx2";
    default: return "baseline";
  }
}
