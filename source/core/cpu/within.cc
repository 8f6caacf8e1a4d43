// SPDX-License-Identifier: BSD-3-Clause
#include "within.h"

namespace deepmd {
namespace DEEPMD_ISA {

using std::int64_t;

template <typename T>
int64_t within(const T* x, const T* y, const T* z, int64_t first, int64_t last, const T center[3],
               T limit2, std::int32_t* hits) {
  const T x0 = center[0], y0 = center[1], z0 = center[2];
  int64_t n = 0;
  for (int64_t block = first; block < last; block += kWithinPadding) {
    // Numbers of turns that the compiler knows, and no branch that could be missed.
    std::int32_t inside[kWithinPadding];
    const std::int32_t count =
        static_cast<std::int32_t>(last - block < kWithinPadding ? last - block : kWithinPadding);
    for (std::int32_t i = 0; i < kWithinPadding; ++i) {
      const T dx = x[block + i] - x0, dy = y[block + i] - y0, dz = z[block + i] - z0;
      inside[i] = (dx * dx + dy * dy + dz * dz < limit2) & (i < count);
    }
    for (std::int32_t i = 0; i < kWithinPadding; ++i) {
      hits[n] = static_cast<std::int32_t>(block) + i;  // overwritten by the next one if too far
      n += inside[i];
    }
  }
  return n;
}

#define DEEPMD_INSTANTIATE(T)                                                             \
  template int64_t within<T>(const T*, const T*, const T*, int64_t, int64_t, const T*, T, \
                             std::int32_t*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
