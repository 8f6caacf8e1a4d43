// SPDX-License-Identifier: BSD-3-Clause
// What fitting nets do beside products of matrices, for all nets of a layer in one launch; dense.h
// has the formulas, dense_tables.h the arrays.
#include "kernel.h"

#include "dense_tables.h"

using deepmd::gpu::DenseAlong;
using deepmd::gpu::DenseBackward;
using deepmd::gpu::DenseEnergy;
using deepmd::gpu::DenseForward;
using deepmd::gpu::DenseJoin;
using deepmd::gpu::DenseSums;
using deepmd::gpu::kDenseBlock;
using deepmd::gpu::kDenseColumns;
using deepmd::gpu::kDenseRows;

// Numbers of a matrix that a block handles: begin + t for t < count.
struct Part {
  int64_t begin;
  int count;
  unsigned width, first;  // column of the first
};

DEVICE int column(const Part& part, int t) { return int((part.first + unsigned(t)) % part.width); }

template <typename Item>
DEVICE Part part_of(const Item& item) {
  const int64_t begin = (int64_t(blockIdx.x) - item.block) * kDenseBlock;
  const int64_t left = item.size - begin;
  return {begin, int(left < kDenseBlock ? left : kDenseBlock), unsigned(item.width),
          unsigned(begin % item.width)};
}

DEVICE real scaled(const real* idt, int j, real value) {
  return idt == nullptr ? value : value * idt[j];
}

KERNEL(dense_forward, const DenseForward<real>* items, int64_t n_items) {
  const DenseForward<real> m = find_item(items, n_items, blockIdx.x);
  const Part part = part_of(m);
  EACH_THREAD(t, part.count) {
    const int64_t at = part.begin + t;
    const int j = column(part, t);
    real h = m.h[at];
    if (m.bias != nullptr) {
      h = tanh(h + m.bias[j]);
      m.h[at] = h;
    }
    if (m.y == nullptr) continue;
    const real y = scaled(m.idt, j, h);
    m.y[at] = m.x == nullptr ? y : y + m.x[at];
  }
}

KERNEL(dense_along, const DenseAlong<real>* items, int64_t n_items) {
  const DenseAlong<real> m = find_item(items, n_items, blockIdx.x);
  const Part part = part_of(m);
  EACH_THREAD(t, part.count) {
    const int64_t at = part.begin + t;
    const int j = column(part, t);
    const real z = m.t_h[at], h = m.h[at];
    const real tangent = z - z * h * h;
    m.t_h[at] = tangent;
    m.d_h[at] = real(-2) * h * z * scaled(m.idt, j, m.d_y[at]);
    if (m.t_y == nullptr) continue;
    const real y = scaled(m.idt, j, tangent);
    m.t_y[at] = m.x == nullptr ? y : y + m.x[at];
  }
}

KERNEL(dense_backward, const DenseBackward<real>* items, int64_t n_items) {
  const DenseBackward<real> m = find_item(items, n_items, blockIdx.x);
  const Part part = part_of(m);
  EACH_THREAD(t, part.count) {
    const int64_t at = part.begin + t;
    const int j = column(part, t);
    real d = m.matrix == nullptr ? m.d_y[at] : m.matrix[j] * m.d_energy[at / m.width];
    if (m.skip != nullptr) d += m.skip[at];
    if (m.matrix != nullptr || m.skip != nullptr) m.d_y[at] = d;
    if (m.d_z == nullptr) continue;
    const real h = m.h[at];
    real d_h = scaled(m.idt, j, d);
    if (m.d_h != nullptr) d_h += m.d_h[at];
    m.d_z[at] = d_h - d_h * h * h;
  }
}

// A warp for each row.
BLOCK_KERNEL(dense_energy, const DenseEnergy<real>* items, int64_t n_items) {
  const DenseEnergy<real> m = find_item(items, n_items, blockIdx.x);
  const int64_t i = (int64_t(blockIdx.x) - m.block) * kDenseRows + threadIdx.x / kWarp;
  if (i >= m.n) return;
  real sum = 0;
  EACH_LANE(j, m.width) sum += m.y[i * m.width + j] * m.matrix[j];
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) m.energy[i] = m.bias == nullptr ? sum : m.bias[0] + sum;
}

// A block for some columns of a chunk of rows; the warps take turns at the rows.
BLOCK_KERNEL(dense_sums, const DenseSums<real>* items, int64_t n_items) {
  SHARED real sums[8][kDenseColumns];
  const DenseSums<real> m = find_item(items, n_items, blockIdx.x);
  const int64_t groups = (m.width + kDenseColumns - 1) / kDenseColumns;
  const int64_t local = int64_t(blockIdx.x) - m.block, chunk = local / groups;
  const int lane = int(threadIdx.x) % kDenseColumns, warp = int(threadIdx.x) / kDenseColumns;
  const int64_t j = local % groups * kDenseColumns + lane;
  const int64_t end = (chunk + 1) * m.rows < m.n ? (chunk + 1) * m.rows : m.n;
  real sum = 0;
  if (j < m.width) {
    for (int64_t i = chunk * m.rows + warp; i < end; i += 8) {
      real term = m.a[i * m.width + j];
      if (m.b != nullptr) term *= m.b[i * m.width + j];
      if (m.of_row != nullptr) term *= m.of_row[i];
      sum += term;
    }
  }
  sums[warp][lane] = sum;
  block_sync();
  if (warp > 0 || j >= m.width) return;
  for (int w = 1; w < 8; ++w) sum += sums[w][lane];
  m.parts[chunk * m.width + j] = sum;
}

KERNEL(dense_join, const DenseJoin<real>* items, int64_t n_items) {
  const DenseJoin<real> m = find_item(items, n_items, blockIdx.x);
  const int64_t j = (int64_t(blockIdx.x) - m.block) * blockDim.x + threadIdx.x;
  if (j >= m.width) return;
  real sum = 0;
  for (int64_t chunk = 0; chunk < m.chunks; ++chunk) sum += m.parts[chunk * m.step + j];
  m.sum[j] = sum;
}
