// SPDX-License-Identifier: BSD-3-Clause
// The tables of compressed models, as the operations that read them get them.
#pragma once

#include <cmath>
#include <cstdint>

#include "checks.h"
#include "tabulate.h"

namespace deepmd {

// last_layer_size, the number of tabulated functions.
inline absl::Status check_columns(std::int64_t n_columns) {
  constexpr std::int64_t kMost = 1 << 24;
  if (n_columns > 0 && n_columns <= kMost) return absl::OkStatus();
  return invalid_argument("last_layer_size is ", n_columns, ", expected 1 … ", kMost);
}

// The rows of `table` [n_rows, 6 * n_columns], as `info` says. `symmetric`: there are as many rows
// below lower as from upper on, down to -max.
template <typename T>
absl::Status read_grid(const tensorflow::Tensor& table, const tensorflow::Tensor& info,
                       std::int64_t n_columns, TableGrid<T>* grid, bool symmetric = false) {
  const absl::Status status = check_shape("table", table, {-1, kPowers * n_columns});
  if (!status.ok()) return status;
  if (info.dims() != 1 || info.dim_size(0) < 6) {
    return invalid_argument("table_info has shape ", info.shape().DebugString(), ", expected [6]");
  }
  const T* x = info.flat<T>().data();
  grid->lower = x[0];
  grid->upper = x[1];
  grid->max = x[2];
  grid->stride0 = x[3];
  grid->stride1 = x[4];
  grid->n_rows = table.dim_size(0);
  grid->least = symmetric ? -x[2] : x[0];
  const bool finite = std::isfinite(x[0]) && std::isfinite(x[2]);
  if (!finite || !(x[0] <= x[1]) || !(x[1] <= x[2]) || !(x[3] > 0) || !(x[4] > 0)) {
    return invalid_argument("table_info starts with ", x[0], ", ", x[1], ", ", x[2], ", ", x[3],
                            ", ", x[4],
                            ": expected lower, upper, max in this order, and two positive strides");
  }
  if (!(grid->least <= x[0])) {
    return invalid_argument("table_info starts with ", x[0], ", ", x[1], ", ", x[2],
                            ": expected a lower limit that is not below minus the third");
  }
  // The numbers of rows, as the type of the table makes them; compared before they become integers.
  const T fine = (x[1] - x[0]) / x[3], coarse = (x[2] - x[1]) / x[4];
  const T low = (x[0] - grid->least) / x[4];
  const T most = T(grid->n_rows) + 1;
  const bool fits = fine < most && coarse < most && low < most;
  if (fits) {
    grid->n_low = static_cast<std::int64_t>(low);
    grid->n_fine = grid->n_low + static_cast<std::int64_t>(fine);
    grid->last = grid->n_fine + static_cast<std::int64_t>(coarse) - 1;
  }
  if (!fits || grid->last < 0 || grid->last >= grid->n_rows) {
    return invalid_argument("table has ", grid->n_rows,
                            " rows, but with its limits and strides table_info says ", low + fine,
                            " and ", coarse);
  }
  return absl::OkStatus();
}

}  // namespace deepmd
