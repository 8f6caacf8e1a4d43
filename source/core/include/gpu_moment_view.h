// SPDX-License-Identifier: BSD-3-Clause
// The pairs of moments and the sizes of their arrays, as host and kernels of the GPU see them;
// moment.h has their meaning.
#pragma once

#ifndef __CUDACC__  // where gpu/kernels/kernel.h has the types
#include <cstdint>
#endif

namespace deepmd {
namespace gpu {

template <typename T>
struct MomentView {
  const T* range;
  const T* s;
  int64_t step;
  const int32_t* splits;
  const int32_t* table_of;
  int64_t n_tables, n_nodes, n_columns, n_pairs, n_centers, ntypes, orders, order;
  int64_t octaves, per_octave;
  T factor;  // of the sums: one over the divisor
};

// The pairs of centres: a centre has those of splits[i ntypes] … splits[(i+1) ntypes] - 1.
struct ContractView {
  const int32_t* splits;
  int64_t n_columns, n_pairs, n_centers, ntypes;
};

}  // namespace gpu
}  // namespace deepmd
