// SPDX-License-Identifier: BSD-3-Clause
// A tabulated pair potential at the distances of pairs, on the GPU.
#pragma once

#include <cstdint>

#include "gpu.h"

namespace deepmd {
namespace gpu {

// Cubic polynomials (see cubic_spline.h) for each ordered pair of types; the table is on the
// device.
struct PairTable {
  double start, step;
  std::int32_t n_intervals;
  std::int64_t n_types;
  const double* table;
};

// Derivatives of an order at distances r [n_pairs] of atoms, which are rows of type [n_rows]. Atoms
// of type -1 give 0. What is closer than the table begins, or has no type, gives NaN.
template <typename T>
void pair_spline(const Stream& stream, const PairTable& table, std::int32_t order, const T* r,
                 const std::int32_t* center, const std::int32_t* neighbor, const std::int32_t* type,
                 std::int64_t n_pairs, std::int64_t n_rows, T* out);

}  // namespace gpu
}  // namespace deepmd
