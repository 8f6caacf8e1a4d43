// SPDX-License-Identifier: BSD-3-Clause
// What the kernels of gpu/kernels/adam.cu work through in one launch.
#pragma once

#ifndef __CUDACC__
#include <cstdint>
#endif

namespace deepmd {
namespace gpu {

constexpr int kAdamBlock = 1024;  // numbers of a block

// Of a variable, or a slice of it. The gradient is a, or a + b where b is not null.
template <typename T>
struct AdamUpdate {
  int64_t block, size;
  const T *a, *b;
  T *x, *m, *v;
};

// As the float32 numbers that they are for all variables.
struct AdamSettings {
  float rate, beta1, beta2, epsilon;
};

}  // namespace gpu
}  // namespace deepmd
