// SPDX-License-Identifier: BSD-3-Clause
#include "pairs.h"

namespace deepmd {
namespace DEEPMD_ISA {

template <typename T>
void gather_pairs(const T* values, const std::int32_t* center, const std::int32_t* neighbor,
                  std::int64_t width, std::int64_t begin, std::int64_t end, T* out) {
  for (std::int64_t p = begin; p < end; ++p) {
    const T* from = values + center[p] * width;
    const T* to = values + neighbor[p] * width;
    for (std::int64_t j = 0; j < width; ++j) out[p * width + j] = to[j] - from[j];
  }
}

#define INSTANTIATE(T)                                                                       \
  template void gather_pairs<T>(const T*, const std::int32_t*, const std::int32_t*,          \
                                std::int64_t, std::int64_t, std::int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
