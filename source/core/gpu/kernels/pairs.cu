// SPDX-License-Identifier: BSD-3-Clause
// Loops over pairs; include/pairs.h has the formulas, include/gpu_pairs.h the functions.
#include "kernel.h"

KERNEL(gather_pairs, const real* values, const int32_t* center, const int32_t* neighbor,
       const real* shift, int64_t n_rows, int64_t width, int64_t n_pairs, real* out) {
  EACH(i, n_pairs * width) {
    const int64_t p = i / width, j = i % width, from = center[p], to = neighbor[p];
    if (!inside(from, n_rows) || !inside(to, n_rows)) {
      out[i] = not_a_number();
      continue;
    }
    const real difference = values[to * width + j] - values[from * width + j];
    out[i] = shift == nullptr ? difference : difference + shift[i];
  }
}

// Rows: what pairs give to their neighbour, less what they give to their centre.
KERNEL(scatter_pairs, const real* pairs, const int32_t* to_splits, const int32_t* to_order,
       const int32_t* from_splits, const int32_t* from_order, int64_t n_rows, int64_t width,
       real* out) {
  EACH(i, n_rows * width) {
    const int64_t row = i / width, j = i % width;
    real sum = 0;
    for (int32_t k = to_splits[row]; k < to_splits[row + 1]; ++k)
      sum += pairs[to_order[k] * width + j];
    for (int32_t k = from_splits[row]; k < from_splits[row + 1]; ++k)
      sum -= pairs[from_order[k] * width + j];
    out[i] = sum;
  }
}

// Rows: the virials of the pairs that splits and order give to each.
KERNEL(pair_virial, const real* g, const real* x, const int32_t* splits, const int32_t* order,
       int64_t n_rows, real* out) {
  EACH(i, n_rows * 9) {
    const int64_t row = i / 9, a = i % 9 / 3, b = i % 3;
    real sum = 0;
    for (int32_t k = splits[row]; k < splits[row + 1]; ++k) {
      const int64_t p = order[k];
      sum -= g[3 * p + a] * x[3 * p + b];
    }
    out[i] = sum;
  }
}

// Sums over the n_all rows of a frame; a block for each number of the result.
BLOCK_KERNEL(frame_sums, const real* rows, int64_t n_frames, int64_t n_all, int64_t width,
             real* out) {
  SHARED real parts[kWarp];
  EACH_BLOCK(i, n_frames * width) {
    const int64_t frame = i / width, j = i % width;
    real sum = 0;
    for (int64_t k = threadIdx.x; k < n_all; k += blockDim.x)
      sum += rows[(frame * n_all + k) * width + j];
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) out[i] = sum;
  }
}

KERNEL(pair_forces_vjp, const real* f, const real* w, const real* atom_w, const real* x,
       const int32_t* center, const int32_t* neighbor, int64_t n_pairs, int64_t n_frames,
       int64_t n_all, real* out) {
  EACH(i, n_pairs * 3) {
    const int64_t p = i / 3, a = i % 3, from = center[p], to = neighbor[p];
    if (!inside(from, n_frames * n_all) || !inside(to, n_frames * n_all)) {
      out[i] = not_a_number();
      continue;
    }
    const real* m = w + from / n_all * 9 + 3 * a;
    real value = f[3 * from + a] - f[3 * to + a];
    for (int b = 0; b < 3; ++b) value -= m[b] * x[3 * p + b];
    if (atom_w != nullptr)
      for (int b = 0; b < 3; ++b) value -= atom_w[9 * to + 3 * a + b] * x[3 * p + b];
    out[i] = value;
  }
}

KERNEL(pair_virial_vjp, const real* w, const real* v, const int32_t* neighbor, int32_t transpose,
       int64_t n_pairs, int64_t n_rows, real* out) {
  const int along_a = transpose ? 1 : 3, along_b = transpose ? 3 : 1;
  EACH(i, n_pairs * 3) {
    const int64_t p = i / 3, a = i % 3, row = neighbor[p];
    if (!inside(row, n_rows)) {
      out[i] = not_a_number();
      continue;
    }
    real sum = 0;
    for (int b = 0; b < 3; ++b) sum -= w[row * 9 + along_a * a + along_b * b] * v[3 * p + b];
    out[i] = sum;
  }
}
