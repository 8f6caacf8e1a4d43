// SPDX-License-Identifier: BSD-3-Clause
// The moment of rows that hold their argument, which is that of models, and its derivative by the
// rows.
#include "moment_sums.h"

BLOCK_KERNEL(moment_of_rows_1, View m, const real* table, const real* rows, const real* start,
             real* out) {
  moment<1, true>(m, table, rows, start, out);
}
BLOCK_KERNEL(moment_of_rows_2, View m, const real* table, const real* rows, const real* start,
             real* out) {
  moment<2, true>(m, table, rows, start, out);
}
BLOCK_KERNEL(moment_of_rows_4, View m, const real* table, const real* rows, const real* start,
             real* out) {
  moment<4, true>(m, table, rows, start, out);
}

BLOCK_KERNEL(moment_of_rows_vjp_1, View m, const real* table, const real* rows, const real* adjoint,
             real* out) {
  moment_rows<1, true>(m, table, rows, adjoint, out);
}
BLOCK_KERNEL(moment_of_rows_vjp_2, View m, const real* table, const real* rows, const real* adjoint,
             real* out) {
  moment_rows<2, true>(m, table, rows, adjoint, out);
}
BLOCK_KERNEL(moment_of_rows_vjp_4, View m, const real* table, const real* rows, const real* adjoint,
             real* out) {
  moment_rows<4, true>(m, table, rows, adjoint, out);
}

KERNEL(moment_tangent_rows, const real* rows, const real* tangent, int64_t n, real* s,
       real* tangent_rows) {
  EACH(i, n * 8) {
    const int64_t p = i / 8, a = i % 4;
    const real factor = tangent[4 * p];
    tangent_rows[i] = i % 8 < 4 ? tangent[4 * p + a] : factor * rows[4 * p + a];
    if (i % 8 == 0) s[p] = rows[4 * p];
  }
}

// A warp for each section; count begins as zero.
BLOCK_KERNEL(moment_outside, View m, int64_t* count) {
  const int64_t n_warps = int64_t(gridDim.x) * warps_of_block();
  for (int64_t section = int64_t(blockIdx.x) * warps_of_block() + warp_of_block();
       section < m.n_centers * m.ntypes; section += n_warps) {
    const int64_t table = m.table_of[section];
    if (!inside(table, m.n_tables)) continue;
    const real lo = m.range[2 * table], hi = m.range[2 * table + 1];
    const int64_t from = clamp(m.splits[section], 0, m.n_pairs);
    const int64_t to = clamp(m.splits[section + 1], from, m.n_pairs);
    int outside = 0;
    for (int64_t p = from + lane_of_warp(); p < to; p += kWarp) {
      const real s = m.s[p * m.step];
      outside += !(s >= lo && s <= hi);  // counts a NaN
    }
    outside = warp_sum(outside);
    if (outside > 0 && lane_of_warp() == 0)
      atomicAdd(reinterpret_cast<unsigned long long*>(count), (unsigned long long)(outside));
  }
}
