// SPDX-License-Identifier: BSD-3-Clause
// Tiles of the matrices of a centre: a block of 256 threads has kTile of its pairs, its own, and
// goes through all others of the centre, kTile at a time. A thread has 2 x 2 places of a tile.
#pragma once

#include "kernel.h"

#include "attention_terms.h"
#include "gpu_attention_view.h"

using deepmd::gpu::AttentionResult;
using deepmd::gpu::AttentionView;
using deepmd::gpu::kKeys;
using deepmd::gpu::kParts;
using deepmd::gpu::kQueries;
using deepmd::gpu::kSums;
using deepmd::gpu::kValues;
using View = AttentionView<real>;
using Result = AttentionResult<real>;

constexpr int kTile = deepmd::gpu::kAttentionTile;
constexpr int kSide = kTile / 2;  // of the square of threads

// The pairs of a centre, and those of the block.
struct Range {
  int64_t begin, end;  // of the centre
  int64_t first;       // own ones
  int n;               // number of them, 0 if there is nothing to do
};

DEVICE int64_t within(int64_t value, int64_t most) {
  return value < 0 ? 0 : value > most ? most : value;
}

DEVICE Range centre_range(const View& x, int64_t c) {
  Range range;
  range.begin = within(x.splits[c * x.ntypes], x.n_pairs);
  range.end = within(x.splits[(c + 1) * x.ntypes], x.n_pairs);
  range.first = range.begin;
  range.n = 0;
  return range;
}

DEVICE Range block_range(const View& x) {
  int64_t low = 0, high = x.n_centers;  // the last centre that begins with this block or before
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (x.tiles[middle] <= int64_t(blockIdx.x))
      low = middle;
    else
      high = middle;
  }
  Range range = centre_range(x, low);
  range.first += (int64_t(blockIdx.x) - x.tiles[low]) * kTile;
  if (range.first < range.begin || range.first >= range.end) return range;
  const int64_t left = range.end - range.first;
  range.n = int(left < kTile ? left : kTile);
  return range;
}

// Of the pairs first … first + kTile - 1 those that the centre has.
DEVICE int count_of(const Range& range, int64_t first) {
  return int(range.end - first < kTile ? range.end - first : kTile);
}

// Places of the thread in a tile: own(0), own(1) and other(0), other(1).
DEVICE int own(int a) { return int(threadIdx.x) / kSide + a * kSide; }
DEVICE int other(int b) { return int(threadIdx.x) % kSide + b * kSide; }

// clang-format off
// All of them, for arrays [2][2] in registers.
#define EACH_PLACE(a, b)                    \
  UNROLL_BY(2) for (int a = 0; a < 2; ++a)  \
    UNROLL_BY(2) for (int b = 0; b < 2; ++b)

// Numbers k of own vectors that add_vectors() has given to the thread.
#define EACH_OWN(a, k, range, width)                                  \
  for (int a = 0; a < 2; ++a)                                         \
    if (own(a) < (range).n)                                           \
      for (int64_t k = other(0); k < (width); k += kSide)
// clang-format on

// Sum over the threads that have the same own places.
DEVICE real sum_others(real value) {
  for (int step = kSide / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

// 1 / max(|x|, least length) of squares, and whether that depends on x.
struct Length {
  real inverse, curved;
  __device__ explicit Length(real square) {
    const bool small = square < real(deepmd::kLeastSquare);  // false for a NaN, which stays
    inverse = real(1) / sqrt(small ? real(deepmd::kLeastSquare) : square);
    curved = small ? real(0) : real(1);
  }
};

// Numbers k of the vectors of pairs p.
struct Adjoint {
  const real* x;
  int64_t width;
  __device__ real operator()(int64_t p, int64_t k) const { return x[p * width + k]; }
};

struct Unit {
  const real *x, *inverse;
  int64_t stride;
  __device__ Unit(const View& view, int part)
      : x(view.qkv + part * view.width),
        inverse(view.inverse + part * view.n_pairs),
        stride(kParts * view.width) {}
  __device__ real operator()(int64_t p, int64_t k) const { return x[p * stride + k] * inverse[p]; }
};

// The change of a unit vector.
struct Tangent {
  const real *x, *u, *inverse, *along;
  int64_t stride;
  __device__ Tangent(const View& view, int part)
      : x(view.qkv + part * view.width),
        u(view.qkv_tangent + part * view.width),
        inverse(view.inverse + part * view.n_pairs),
        along(view.along + part * view.n_pairs),
        stride(kParts * view.width) {}
  __device__ real operator()(int64_t p, int64_t k) const {
    const real scale = inverse[p];
    return (u[p * stride + k] - x[p * stride + k] * scale * along[p]) * scale;
  }
};

struct Tiles {
  real own[kTile][kTile + 1], other[kTile][kTile + 1];
};

// n <= kTile vectors from `first` on, their numbers `column` … column + kTile - 1; zeros elsewhere.
template <typename Vectors>
DEVICE void load_tile(const Vectors& vectors, int64_t first, int n, int64_t column, int64_t width,
                      real (*tile)[kTile + 1]) {
  const int k = int(threadIdx.x) % kTile;
  for (int row = int(threadIdx.x) / kTile; row < kTile; row += int(blockDim.x) / kTile)
    tile[row][k] = row < n && column + k < width ? vectors(first + row, column + k) : real(0);
}

// Adds products of own vectors with others to `sum`.
template <typename Own, typename Other>
DEVICE void add_products(const Own& left, const Other& right, const Range& range, int64_t first,
                         int n, int64_t width, Tiles& tiles, real (&sum)[2][2]) {
  for (int64_t column = 0; column < width; column += kTile) {
    block_sync();
    load_tile(left, range.first, range.n, column, width, tiles.own);
    load_tile(right, first, n, column, width, tiles.other);
    block_sync();
    const int count = int(width - column < kTile ? width - column : kTile);
    for (int k = 0; k < count; ++k)
      EACH_PLACE(a, b) sum[a][b] += tiles.own[own(a)][k] * tiles.other[other(b)][k];
  }
}

// out[own] (+)= sum of factor[own][other] vectors[other]; numbers of out are `stride` apart.
template <typename Vectors>
DEVICE void add_vectors(const real (&factor)[2][2], const Vectors& vectors, const Range& range,
                        int64_t first, int n, int64_t width, Tiles& tiles, bool add, real* out,
                        int64_t stride) {
  block_sync();
  EACH_PLACE(a, b) tiles.own[own(a)][other(b)] = factor[a][b];
  for (int64_t column = 0; column < width; column += kTile) {
    if (column > 0) block_sync();
    load_tile(vectors, first, n, column, width, tiles.other);
    block_sync();
    real sum[2][2] = {};
    for (int j = 0; j < n; ++j)
      EACH_PLACE(a, b) sum[a][b] += tiles.own[own(a)][j] * tiles.other[j][other(b)];
    EACH_PLACE(a, b) {
      const int64_t k = column + other(b);
      if (own(a) >= range.n || k >= width) continue;
      real* const at = out + (range.first + own(a)) * stride + k;
      *at = add ? *at + sum[a][b] : sum[a][b];
    }
  }
}

// ---------------------------------------------------------------------------------------------------
// Pairs (i, j)

DEVICE real shift_of(const View& x) { return x.smooth ? real(deepmd::kAttentionShift) : real(0); }
DEVICE real sigma_of(const View& x, int64_t p) { return x.smooth ? x.weights[p] : real(1); }
DEVICE real w_dot_of(const View& x, int64_t p) { return x.smooth ? x.weights_tangent[p] : real(0); }
DEVICE real& sum_of(const View& x, int which, int64_t p) { return x.sums[which * x.n_pairs + p]; }

// Of whatever empty slots add to the sum of m exp(s).
DEVICE real rest_of(const View& x, const Range& range) {
  const int64_t n = range.end - range.begin;
  return x.smooth && x.slots > n ? real(x.slots - n) * x.exp_shift : real(0);
}

// m exp(s).
DEVICE real exponential(const View& x, int64_t i, int64_t j, real a) {
  const real s = deepmd::attention_score(a, sigma_of(x, j), sigma_of(x, i), shift_of(x));
  return x.smooth ? exp(s) : exp(s) * x.weights[j];
}

DEVICE real dot3(const real* u, int64_t i, const real* v, int64_t j, int64_t n) {
  return u[i] * v[j] + u[n + i] * v[n + j] + u[2 * n + i] * v[2 * n + j];
}

// Whether (i, j) is in the sum over j.
DEVICE bool counts(const View& x, int64_t i, int64_t j) { return x.diagonal || i != j; }

// d, and its derivative.
DEVICE real product_of(const View& x, int64_t i, int64_t j) {
  return counts(x, i, j) ? dot3(x.direction, i, x.direction, j, x.n_pairs) : real(0);
}
DEVICE real product_dot(const View& x, int64_t i, int64_t j) {
  if (!counts(x, i, j)) return 0;
  const real *r = x.direction, *u = x.direction_dot;
  return dot3(r, i, u, j, x.n_pairs) + dot3(u, i, r, j, x.n_pairs);
}
