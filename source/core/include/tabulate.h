// SPDX-License-Identifier: BSD-3-Clause
// Tabulated functions of one number s, and their sum over the slots of a centre, in the layout of
// DeePMD-kit's compressed models.
//
// A table has n_rows rows of n_columns polynomials of degree five, whose six coefficients lie side
// by side. With d the distance of s from the beginning of its row,
//
//   G_k(s) = sum_p table[row][6 k + p] d^p.
//
// Rows are stride1 wide in [least, lower), stride0 wide in [lower, upper) and stride1 wide in
// [upper, max). Below least and from max on G is extrapolated linearly. Functions of inverse
// distances have no rows below lower, which is least.
#pragma once

#ifndef __CUDACC__  // where gpu/kernels/kernel.h has the types
#include <cstdint>
#endif

#include "macros.h"

namespace deepmd {

constexpr int kPowers = 6;  // coefficients of a polynomial

template <typename T>
struct TableGrid {
  T lower, upper, max, stride0, stride1;
  T least;
  int64_t n_low;   // rows below lower
  int64_t n_fine;  // rows below upper
  int64_t last;    // row that ends at max
  int64_t n_rows;
};

// G_k and dG_k/ds are sums of table[row][6 k + p] times value[p] and slope[p].
template <typename T>
struct TablePoint {
  int64_t row;
  T value[kPowers], slope[kPowers];
};

// Every s, finite or not, gives a row of the table; a NaN gives NaN weights.
template <typename T>
DEEPMD_FORMULA TablePoint<T> table_locate(T s, const TableGrid<T>& grid) {
  TablePoint<T> point;
  T d, beyond = 0;
  if (s < grid.least) {
    point.row = 0;
    d = 0;
    beyond = s - grid.least;
  } else if (s < grid.lower) {
    point.row = static_cast<int64_t>((s - grid.least) / grid.stride1);
    d = s - (T(point.row) * grid.stride1 + grid.least);
  } else if (s < grid.upper) {
    const int64_t k = static_cast<int64_t>((s - grid.lower) / grid.stride0);
    point.row = grid.n_low + k;
    d = s - (T(k) * grid.stride0 + grid.lower);
  } else if (s < grid.max) {
    const int64_t k = static_cast<int64_t>((s - grid.upper) / grid.stride1);
    point.row = grid.n_fine + k;
    d = s - (T(k) * grid.stride1 + grid.upper);
  } else if (s >= grid.max) {
    point.row = grid.last;
    d = grid.last < grid.n_fine
            ? grid.max - (T(grid.last - grid.n_low) * grid.stride0 + grid.lower)
            : grid.max - (T(grid.last - grid.n_fine) * grid.stride1 + grid.upper);
    beyond = s - grid.max;
  } else {
    point.row = 0;
    d = s;
  }
  if (point.row >= grid.n_rows) point.row = grid.n_rows - 1;
  T power = 1;
  for (int p = 0; p < kPowers; ++p) {
    point.value[p] = power;
    point.slope[p] = p == 0 ? T(0) : T(p) * point.value[p - 1];
    power *= d;
  }
  for (int p = 0; p < kPowers; ++p) point.value[p] += beyond * point.slope[p];
  return point;
}

template <typename T>
struct TabulateQuery {
  TableGrid<T> grid;
  const T* table;  // [n_rows, 6 * n_columns]
  int64_t n_columns;
  int64_t n_slots;  // per centre
  const T* s;       // [n_centers, n_slots]
  const T* rows;    // [n_centers, n_slots, 4]
};

// The functions at points that nothing is summed over.
template <typename T>
struct TabulatePoints {
  TableGrid<T> grid;
  const T* table;  // [n_rows, 6 * n_columns]
  int64_t n_columns;
  const T* s;  // [n_points]
};

// Points that are summed over for each centre, with a factor each.
template <typename T>
struct TabulateSum {
  TabulatePoints<T> points;  // those of a centre side by side
  int64_t n_per_center;
  const T* factor;  // [n_points]
};

}  // namespace deepmd
