// SPDX-License-Identifier: BSD-3-Clause
// The moment with derivatives of any orders, and its derivative by the rows: what derivatives of
// the moment of rows are made of.
#include "moment_sums.h"

BLOCK_KERNEL(moment_1, View m, const real* table, const real* rows, real* out) {
  moment<1, false>(m, table, rows, nullptr, out);
}
BLOCK_KERNEL(moment_2, View m, const real* table, const real* rows, real* out) {
  moment<2, false>(m, table, rows, nullptr, out);
}
BLOCK_KERNEL(moment_4, View m, const real* table, const real* rows, real* out) {
  moment<4, false>(m, table, rows, nullptr, out);
}

BLOCK_KERNEL(moment_rows_1, View m, const real* table, const real* adjoint, real* out) {
  moment_rows<1, false>(m, table, nullptr, adjoint, out);
}
BLOCK_KERNEL(moment_rows_2, View m, const real* table, const real* adjoint, real* out) {
  moment_rows<2, false>(m, table, nullptr, adjoint, out);
}
BLOCK_KERNEL(moment_rows_4, View m, const real* table, const real* adjoint, real* out) {
  moment_rows<4, false>(m, table, nullptr, adjoint, out);
}
