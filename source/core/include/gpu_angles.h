// SPDX-License-Identifier: BSD-3-Clause
// Sums over pairs of neighbours on the GPU; angles.h has the formulas. Rows of pairs that no
// section has are not set; tables that there are none of are left out.
#pragma once

#include <cstdint>

#include "angles.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// table [n_tables][n_nodes][3][n_columns], out [n_centers][n_columns]: the derivative by the
// adjoint.
template <typename T>
void angle_sums(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs,
                const T* table, T* out);

// out as a table: the derivative by that.
template <typename T>
void angle_table(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs,
                 const T* adjoint, T* out);

// out [n_pairs][4]: the derivative by the rows; with one tangent at most.
template <typename T>
void angle_rows(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs,
                const T* table, const T* adjoint, T* out);

}  // namespace gpu
}  // namespace deepmd
