// SPDX-License-Identifier: BSD-3-Clause
// Kernels that have a strip of 32 N columns in registers; see kernels/lanes.h.
#pragma once

#include <cstdint>

namespace deepmd {
namespace gpu {

// Columns of a strip of the kernel that suits so many.
inline std::int64_t strip_of(std::int64_t n_columns) {
  return n_columns <= 32 ? 32 : n_columns <= 64 ? 64 : 128;
}

// Names of a kernel for N = 1, 2, 4.
struct ByStrip {
  const char *one, *two, *four;

  const char* of(std::int64_t n_columns) const {
    const std::int64_t strip = strip_of(n_columns);
    return strip == 32 ? one : strip == 64 ? two : four;
  }
};

}  // namespace gpu
}  // namespace deepmd
