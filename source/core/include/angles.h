// SPDX-License-Identifier: BSD-3-Clause
// Sums over pairs of neighbours of a tabulated function f of the product of their vectors.
//
//   Phi(R) = sum_c sum_jk w_j w_k < Y[c], f_{I(j) J(k)}(R_j . R_k) >
//
// j, k run over all slots of centre c: over both orders, and j = k, where their types are the same,
// and over one order otherwise. R are the components 1 to 3 of the rows; the empty slots of a type
// are one slot with their number as weight w, all others have the weight 1. f(0) is 0, so that
// empty slots with R = 0 are left out.
//
// Phi is linear in the adjoint Y and in the table of f. The kernels give its derivatives by Y, by
// the table, and by the rows; each of them of Phi or of a derivative of Phi along tangents of the
// rows. Along V, e = R_j . R_k changes by V_j . R_k + R_j . V_k, and that by 2 V_j . V_k.
//
// The table has values of f, f' and f'' at 2 octaves per_octave + 1 nodes, which are symmetric to e
// = 0: on each side octaves o = 0, 1, ... of per_octave intervals of the width kUnit 2^o /
// per_octave. Between two nodes f is the polynomial of degree five that has the values of both (see
// hermite.h), beyond the last ones the parabola of theirs.
//
// Nothing grows with the number of pairs of neighbours. Of a centre each pair adds a few numbers to
// the interval that its e is in (transposed: takes them from there); what is done with the columns
// of the table is done once for each interval.
//
// Shapes (row-major):
//   table    [n_tables][n_nodes][3][n_columns]
//   rows     [n_pairs][4], and so are tangents
//   splits   [n_centers * ntypes + 1]   section (centre, type) has pairs splits[i] ...
//   splits[i+1]-1 empty    [n_centers][4]             the row of an empty slot count    [n_centers
//   * ntypes]       number of empty slots table_of [ntypes * ntypes]          table of two types,
//   -1: they are left out adjoint  [n_centers][n_columns]
#pragma once

#include <cstdint>

#include "angle_grid.h"
#include "isa.h"
#include "macros.h"

namespace deepmd {

struct AngleShape {
  std::int64_t n_tables;
  std::int64_t octaves;
  std::int64_t per_octave;
  std::int64_t n_columns;
  std::int64_t n_pairs;
  std::int64_t n_centers;
  std::int64_t ntypes;
  std::int64_t most;  // pairs of a centre, at most
  std::int64_t n_tangents;
};

DEEPMD_FORMULA std::int64_t angle_nodes(const AngleShape& shape) {
  return 2 * shape.octaves * shape.per_octave + 1;
}

// Numbers of one column of a table, with what fills up vectors.
DEEPMD_FORMULA std::int64_t angle_stride(const AngleShape& shape) {
  return (3 * angle_nodes(shape) + 15) / 16 * 16;
}

template <typename T>
struct AnglePairs {
  const T* rows;
  const T* tangents[2];
  const std::int32_t* splits;
  const T* empty;
  const T* count;
  const std::int32_t* table_of;
};

}  // namespace deepmd

// Tables as `columns` are [n_tables][n_columns][stride], the nodes' numbers side by side.
DEEPMD_EACH_ISA(
// Bytes of memory that angle_sums, angle_weights and angle_rows need for the centres of one call.
template <typename T>
std::int64_t angle_scratch(const AngleShape& shape);

// For centres begin <= c < end: out[c][m] of [n_centers][n_columns], the derivative by the adjoint.
template <typename T>
void angle_sums(const AngleShape& shape, const AnglePairs<T>& pairs, const T* columns,
                std::int64_t begin, std::int64_t end, void* scratch, T* out);

// The same without a table: out[c - first][table][stride], by which a column of the table is
// multiplied.
template <typename T>
void angle_weights(const AngleShape& shape, const AnglePairs<T>& pairs, std::int64_t begin,
                   std::int64_t end, std::int64_t first, void* scratch, T* out);

// The derivative by the rows, out [n_pairs][4], whose component 0 is 0; with one tangent at most.
template <typename T>
void angle_rows(const AngleShape& shape, const AnglePairs<T>& pairs, const T* columns,
                const T* adjoint, std::int64_t begin, std::int64_t end, void* scratch, T* out);

// out[i] += sum of weight[c][i] adjoint[c][0], c < n; for arrays [n][weight_step] and [n][adjoint_step].
template <typename T>
void angle_add(const T* weight, std::int64_t weight_step, const T* adjoint,
               std::int64_t adjoint_step, std::int64_t n, std::int64_t size, T* out);
)
