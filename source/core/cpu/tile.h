// SPDX-License-Identifier: BSD-3-Clause
//
// A tile of a matrix product in registers.
#pragma once

#include <cstdint>

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {

// sum[i][v] = sum_k a[i a_row + k a_step] b[k b_step + v width], M rows of N vectors; the sum over
// k is in order. Strides of a that are constants of the caller are constants here.
template <int M, int N, typename V, typename T>
DEEPMD_INLINE void multiply_tile(std::int64_t n_terms, const T* a, std::int64_t a_row,
                                 std::int64_t a_step, const T* b, std::int64_t b_step,
                                 V (&sum)[M][N]) {
  for (int i = 0; i < M; ++i)
    for (int v = 0; v < N; ++v) sum[i][v] = V{};
  for (std::int64_t k = 0; k < n_terms; ++k, a += a_step, b += b_step) {
    V y[N];
    for (int v = 0; v < N; ++v) {
      y[v] = load<V>(b + v * kWidth<T>);
      DEEPMD_KEEP(y[v]);
    }
    for (int i = 0; i < M; ++i)
      for (int v = 0; v < N; ++v) sum[i][v] += y[v] * a[i * a_row];
  }
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
