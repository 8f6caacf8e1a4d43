// SPDX-License-Identifier: BSD-3-Clause
// The moment of a tabulated embedding net and its two transposes: one trilinear form
//
//   Phi(T, R, Y) = 1 / divisor sum_p sum_j < Y[c(p)], R[p][j] (x) G^(order+j)(s_p) >
//
// in the table T, the rows R and the adjoint Y, where G is the quintic Hermite interpolant of T
// (see hermite.h) and c(p) the centre of pair p. The three kernels are its partial derivatives.
//
// Shapes (row-major):
//   table    [n_tables][n_nodes][3][n_columns]   G, G', G'' at the nodes (true derivatives)
//   range    [n_tables][2]                       first and last uniform node
//   s        [n_pairs]
//   rows     [n_pairs][orders][4]
//   splits   [n_centers * ntypes + 1]   section (centre, type) has pairs splits[i] … splits[i+1]-1
//   table_of [n_centers * ntypes]       table of a section, -1: the section is left out
//   adjoint  [n_centers][4][n_columns]
#pragma once

#include <cstdint>

#include "isa.h"
#include "parallel.h"

namespace deepmd {

struct MomentShape {
  std::int64_t n_tables;
  std::int64_t n_nodes;  // at least 2 + octaves * per_octave
  std::int64_t n_columns;
  std::int64_t n_pairs;
  std::int64_t n_centers;
  std::int64_t ntypes;
  std::int64_t orders;
  std::int64_t order;
  std::int64_t divisor;
  std::int64_t octaves = 0;  // of nodes above the range; see hermite.h
  std::int64_t per_octave = 0;
};

// Where the pairs are and what they are multiplied with.
template <typename T>
struct MomentPairs {
  const T* range;
  const T* s;
  std::int64_t step;  // from the s of one pair to the next
  const std::int32_t* splits;
  const std::int32_t* table_of;
};

}  // namespace deepmd

// Every result is the same, bit for bit, for any number of threads.
DEEPMD_EACH_ISA(
// out [n_centers][4][n_columns] = sum_{p of centre} sum_j rows[p][j] (x) G^(order+j)(s_p), divided,
// and to that start, which may be the same array, or null for 0.
template <typename T>
void moment(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table, const T* rows,
            const T* start, const ParallelFor& parallel_for, T* out);

// out [n_pairs][orders][4] = adjoint[c(p)] . G^(order+j)(s_p); zero in sections that are left out.
template <typename T>
void moment_rows(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table,
                 const T* adjoint, const ParallelFor& parallel_for, T* out);

// Where s_p is the first component of the row itself, rows [n_pairs][4]: out [n_pairs][4], the
// derivative of the form with respect to the row, adjoint[c(p)] . G(s_p) and to its first component rows[p] (x)
// adjoint[c(p)] . G'(s_p). Zero in sections that are left out.
template <typename T>
void moment_of_rows_vjp(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table,
                        const T* rows, const T* adjoint, const ParallelFor& parallel_for, T* out);

// out [n_tables][n_nodes][3][n_columns]: what multiplies every number of the table in Phi.
// scratch: moment_table_scratch() bytes, aligned for T.
template <typename T>
std::int64_t moment_table_scratch(const MomentShape& shape);

template <typename T>
void moment_table(const MomentShape& shape, const MomentPairs<T>& pairs, const T* rows,
                  const T* adjoint, const ParallelFor& parallel_for, void* scratch, T* out);

// What the first two take to give the derivative of the moment along a tangent of the rows, where s is
// their first component: tangent_rows[p] = (tangent[p], tangent[p][0] rows[p]), for begin <= p < end.
template <typename T>
void moment_tangent_rows(const T* rows, const T* tangent, std::int64_t begin, std::int64_t end, T* s,
                         T* tangent_rows);

// Number of pairs, of sections that are not left out, whose s is not within the range of their
// table.
template <typename T>
std::int64_t moment_outside(const MomentShape& shape, const MomentPairs<T>& pairs);
)
