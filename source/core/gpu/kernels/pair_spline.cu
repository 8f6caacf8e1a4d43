// SPDX-License-Identifier: BSD-3-Clause
// A tabulated pair potential: gpu_pair_spline.h has the function. As on the processor the table is
// evaluated in double precision whatever the distances are.
#include "kernel.h"

#include "cubic_spline.h"

KERNEL(pair_spline, const real* r, const int32_t* center, const int32_t* neighbor,
       const int32_t* type, const double* table, double start, double step, int32_t n_intervals,
       int64_t n_types, int32_t order, int64_t n_pairs, int64_t n_rows, real* out) {
  EACH(p, n_pairs) {
    const int64_t i = center[p], j = neighbor[p];
    const int64_t type_i = inside(i, n_rows) ? int64_t(type[i]) : n_types;
    const int64_t type_j = inside(j, n_rows) ? int64_t(type[j]) : n_types;
    const double at = r[p];
    if (type_i == -1 || type_j == -1)
      out[p] = 0;
    else if (inside(type_i, n_types) && inside(type_j, n_types) && at >= start)
      out[p] =
          real(deepmd::cubic_derivative(order, at, start, step, n_intervals,
                                        table + (type_i * n_types + type_j) * n_intervals * 4));
    else
      out[p] = not_a_number();
  }
}
