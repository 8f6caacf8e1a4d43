// SPDX-License-Identifier: BSD-3-Clause
// Attention among neighbours as host and kernels of the GPU see it; attention.h has the formula.
#pragma once

#ifndef __CUDACC__  // where gpu/kernels/kernel.h has the types
#include <cstdint>
#endif

namespace deepmd {
namespace gpu {

// Pairs of a centre that a block works on; as many of the same centre come by.
constexpr int kAttentionTile = 32;

// Parts of qkv.
enum AttentionPart { kQueries, kKeys, kValues, kParts };

// Numbers of each pair that kernels leave to those after them.
enum AttentionSum {
  kInverse,
  kMean,
  kSlopeMean,
  kMeanDot,
  kOfW,
  kOfR,
  kOfRDot = kOfR + 3,
  kSums = kOfRDot + 3
};

template <typename T>
struct AttentionView {
  const T *qkv, *weights, *rows;                          // rows or null
  const T *qkv_tangent, *weights_tangent, *rows_tangent;  // of second derivatives
  const T* adjoint;                                       // of derivatives
  const int32_t* splits;
  int64_t n_pairs, n_centers, ntypes, width, slots;
  int32_t smooth, diagonal;
  T exp_shift;  // exp(-shift), of an empty slot of the smooth form

  int32_t* tiles;  // [n_centers + 1], the first tile of each centre
  T* inverse;      // [kParts][n_pairs], of lengths
  T* curved;       // [kParts][n_pairs], 0 where a vector is too short for its length to matter
  T* along;        // [kParts][n_pairs], of tangents: their component along the vector
  T* direction;    // [3][n_pairs], r
  T* direction_dot;
  T* sums;  // [kSums][n_pairs]
};

// Results: of attention alone `out`; of its derivatives the rest; of the second ones all.
template <typename T>
struct AttentionResult {
  T* out;  // [n_pairs][width]: attention, or its derivative along the tangents
  T *qkv, *weights, *rows;
};

}  // namespace gpu
}  // namespace deepmd
