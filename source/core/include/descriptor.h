// SPDX-License-Identifier: BSD-3-Clause
// The descriptor of the moment A of every atom,
//
//   D[m1][m2] = sum_a A[a][m1] A[a][m2],    m2 < n_axis,
//
// its derivative along a tangent B of A, and the transpose of that.
//
//   A, B  [n][4][n_columns]
//   D, Y  [n][n_columns][n_axis]
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

struct DescriptorShape {
  std::int64_t n_columns;
  std::int64_t n_axis;  // at most n_columns
};

}  // namespace deepmd

// Each handles the atoms begin <= i < end.
DEEPMD_EACH_ISA(
// out = D
template <typename T>
void descriptor(const DescriptorShape& shape, const T* moment, std::int64_t begin,
                std::int64_t end, T* out);

// out[m1][m2] = sum_a A[a][m1] B[a][m2] + B[a][m1] A[a][m2]
template <typename T>
void descriptor_jvp(const DescriptorShape& shape, const T* moment, const T* tangent,
                    std::int64_t begin, std::int64_t end, T* out);

// out[a][m] = sum_m2 A[a][m2] Y[m][m2], and where m < n_axis + sum_m1 A[a][m1] Y[m1][m]
template <typename T>
void descriptor_vjp(const DescriptorShape& shape, const T* adjoint, const T* moment,
                    std::int64_t begin, std::int64_t end, T* out);
)
