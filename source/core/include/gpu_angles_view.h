// SPDX-License-Identifier: BSD-3-Clause
// Sums over pairs of neighbours as host and kernels of the GPU see them; angles.h has the formulas.
#pragma once

#ifndef __CUDACC__  // where gpu/kernels/kernel.h has the types
#include <cstdint>
#endif

namespace deepmd {
namespace gpu {

template <typename T>
struct AngleView {
  const T* rows;
  const T* tangents[2];
  const int32_t* splits;
  const T *empty, *count;
  const int32_t* table_of;
  int64_t n_tables, n_pairs, ntypes;
  int64_t first;  // centre of the first block
  int32_t octaves, per_octave;
};

}  // namespace gpu
}  // namespace deepmd
