// SPDX-License-Identifier: BSD-3-Clause
// Rows of matrices by the lanes of a warp, and sums over lanes and warps.
//
// Columns are handled in strips of 32 N: a lane has columns l, l + 32, … of a strip in registers.
// Kernels on rows come for N = 1, 2 and 4.
#pragma once

#include "kernel.h"

// Items j < n of this thread: all at once, n being a constant, so that arrays stay in registers; or
// one after the other.
#define UNROLLED(j, n) UNROLL for (int j = 0; j < (n); ++j)
#define ROLLED(j, n) UNROLL_BY(1) for (int j = 0; j < (n); ++j)

// Four numbers that are read at once.
struct alignas(16) Four {
  real v[4];
};

DEVICE int lane_of_warp() { return int(threadIdx.x) % kWarp; }
DEVICE int warp_of_block() { return int(threadIdx.x) / kWarp; }
DEVICE int warps_of_block() { return int(blockDim.x) / kWarp; }

DEVICE int64_t clamp(int64_t i, int64_t least, int64_t most) {
  return i < least ? least : i > most ? most : i;
}

// Columns of a strip that begins at column `first`, zero behind the last one.
template <int N>
DEVICE void load_columns(const real* row, int64_t first, int64_t n_columns, real v[N]) {
  UNROLLED(j, N) {
    const int64_t column = first + lane_of_warp() + kWarp * j;
    v[j] = column < n_columns ? row[column] : real(0);
  }
}

template <int N>
DEVICE void store_columns(real* row, int64_t first, int64_t n_columns, const real v[N]) {
  UNROLLED(j, N) {
    const int64_t column = first + lane_of_warp() + kWarp * j;
    if (column < n_columns) row[column] = v[j];
  }
}

// The four rows of an adjoint of one centre.
template <int N>
DEVICE void load_adjoint(const real* adjoint, int64_t first, int64_t n_columns, real y[4][N]) {
  UNROLLED(a, 4) { load_columns<N>(adjoint + a * n_columns, first, n_columns, y[a]); }
}

// A step of many sums over lanes: lanes where `bit` is set go on with the second half of the N
// numbers, added to those of the lane that differs by the bit, and the others with the first half.
template <int N>
DEVICE void fold(real v[N], int bit) {
  const bool second = (int(threadIdx.x) & bit) != 0;
  UNROLLED(i, N / 2) {
    const real mine = second ? v[i + N / 2] : v[i], given = second ? v[i] : v[i + N / 2];
    v[i] = mine + __shfl_xor_sync(kAllLanes, given, bit);
  }
}

// Sums of 32 numbers over the lanes: the i-th one for lane i.
DEVICE real sums_of_32(real v[32]) {
  fold<32>(v, 16);
  fold<16>(v, 8);
  fold<8>(v, 4);
  fold<4>(v, 2);
  fold<2>(v, 1);
  return v[0];
}

// Sums of 12 numbers over the lanes, into sums [12].
DEVICE void sums_of_12(real v[12], real* sums) {
  fold<12>(v, 16);
  fold<6>(v, 8);
  v[3] = 0;
  fold<4>(v, 4);
  fold<2>(v, 2);
  v[0] += __shfl_xor_sync(kAllLanes, v[0], 1);
  const int lane = lane_of_warp(), third = lane / 2 % 4;
  if (lane % 2 == 0 && third < 3) sums[lane / 16 * 6 + lane / 8 % 2 * 3 + third] = v[0];
}

// A strip of out [4][n_columns] = start + the sums of all warps of the block, in their order. start
// may be null, or out. parts: shared memory of `stride` >= 128 N numbers for each warp, which it is
// done with.
template <int N>
DEVICE void add_warps(const real sum[4][N], real* parts, int stride, int64_t first,
                      int64_t n_columns, const real* start, real* out) {
  constexpr int width = kWarp * N;
  real* mine = parts + warp_of_block() * stride;
  UNROLLED(a, 4) UNROLLED(j, N) mine[a * width + kWarp * j + lane_of_warp()] = sum[a][j];
  block_sync();
  EACH_THREAD(i, 4 * width) {
    const int64_t column = first + i % width;
    if (column >= n_columns) continue;
    const int64_t at = i / width * n_columns + column;
    real value = start == nullptr ? real(0) : start[at];
    for (int w = 0; w < warps_of_block(); ++w) value += parts[w * stride + i];
    out[at] = value;
  }
  block_sync();
}

// What no section has: numbers of pairs before the first section and behind the last one, where
// splits are wrong. By the threads of the first block.
DEVICE void mark_lost_pairs(const int32_t* splits, int64_t n_sections, int64_t n_pairs,
                            int64_t width, real* out) {
  if (blockIdx.x != 0) return;
  const int64_t first = clamp(splits[0], 0, n_pairs);
  const int64_t last = clamp(splits[n_sections], 0, n_pairs);
  for (int64_t i = threadIdx.x; i < first * width; i += blockDim.x) out[i] = not_a_number();
  for (int64_t i = last * width + threadIdx.x; i < n_pairs * width; i += blockDim.x)
    out[i] = not_a_number();
}

// The last of n rows with splits[row] <= i, or 0; splits [n + 1] rise, and i < splits[n].
DEVICE int64_t find_row(const int32_t* splits, int64_t n, int64_t i) {
  int64_t low = 0, high = n;
  while (low + 1 < high) {
    const int64_t middle = (low + high) / 2;
    if (splits[middle] <= i)
      low = middle;
    else
      high = middle;
  }
  return low;
}
