// SPDX-License-Identifier: BSD-3-Clause
// Product of two matrices, C = op(A) op(B).
//
// After G. Goto and R. van de Geijn, "Anatomy of high-performance matrix multiplication" (2008): a
// tile of C is held in registers while it runs along the inner dimension. Of the two factors only
// one is packed, the one whose rows the tile's columns come from; products with a transposed second
// factor are computed as the transposed product, so that packing is always a small part of the
// work.
//
//   a  [m][k], or [k][m] if transpose_a
//   b  [k][n], or [n][k] if transpose_b
//   c  [m][n]
//
// All are contiguous. Each element of C is summed along k in an order that depends on k alone.
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

struct GemmShape {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b;
};

// Part of C: row <= i < end_row, column <= j < end_column.
struct GemmRange {
  std::int64_t row, end_row, column, end_column;
};

}  // namespace deepmd

DEEPMD_EACH_ISA(
// Number of blocks that C is cut into, which are computed independently of each other.
template <typename T>
std::int64_t gemm_blocks(const GemmShape& shape);

// Which part of C a block is.
template <typename T>
GemmRange gemm_range(const GemmShape& shape, std::int64_t block);

// Computes the blocks begin <= i < end, or adds them to C.
template <typename T>
void gemm(const GemmShape& shape, const T* a, const T* b, std::int64_t begin, std::int64_t end,
          bool add, T* c);
)
