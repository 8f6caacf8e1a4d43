// SPDX-License-Identifier: BSD-3-Clause
// Attention among the neighbours of each centre; include/gpu_attention.h has the functions.
//
// Matrices of a centre are made again by each kernel, a tile at a time; nothing of the size of a
// matrix is stored. Blocks of "rows" own pairs i and go through all j, those of "columns" own j:
// every number has one block that sums it, in the order of the pairs.
#include "attention_tiles.h"

using deepmd::gpu::kInverse;
using deepmd::gpu::kMean;
using deepmd::gpu::kOfR;
using deepmd::gpu::kOfW;

// Tiles of each centre.
KERNEL(attention_tiles, View x, int32_t* n_tiles) {
  EACH(c, x.n_centers) {
    const Range range = centre_range(x, c);
    n_tiles[c] =
        range.end > range.begin ? int32_t((range.end - range.begin + kTile - 1) / kTile) : 0;
  }
}

// Lengths of the vectors of each pair, a warp for each pair; tangents may be null.
BLOCK_KERNEL(attention_lengths, View x) {
  const int64_t warps = blockDim.x / kWarp, width = x.width, n = x.n_pairs;
  for (int64_t p = blockIdx.x * warps + threadIdx.x / kWarp; p < n; p += gridDim.x * warps) {
    for (int part = 0; part < kParts; ++part) {
      const int64_t at = (p * kParts + part) * width;
      real square = 0, product = 0;
      EACH_LANE(k, width) {
        const real value = x.qkv[at + k];
        square += value * value;
        if (x.qkv_tangent != nullptr) product += value * x.qkv_tangent[at + k];
      }
      const Length length(warp_sum(square));
      product = warp_sum(product);
      if (threadIdx.x % kWarp != 0) continue;
      x.inverse[part * n + p] = length.inverse;
      x.curved[part * n + p] = length.curved;
      if (x.qkv_tangent != nullptr)
        x.along[part * n + p] = length.curved * length.inverse * product;
    }
    if (threadIdx.x % kWarp != 0) continue;
    if (x.rows == nullptr) {
      for (int c = 0; c < 3; ++c) x.direction[c * n + p] = real(c == 0);
      if (x.direction_dot != nullptr)
        for (int c = 0; c < 3; ++c) x.direction_dot[c * n + p] = 0;
      continue;
    }
    const real* const row = x.rows + 4 * p + 1;
    const Length length(row[0] * row[0] + row[1] * row[1] + row[2] * row[2]);
    for (int c = 0; c < 3; ++c) x.direction[c * n + p] = row[c] * length.inverse;
    if (x.direction_dot == nullptr) continue;
    const real* const u = x.rows_tangent + 4 * p + 1;
    real along = 0;
    for (int c = 0; c < 3; ++c) along += length.curved * x.direction[c * n + p] * u[c];
    for (int c = 0; c < 3; ++c)
      x.direction_dot[c * n + p] = (u[c] - x.direction[c * n + p] * along) * length.inverse;
  }
}

BLOCK_KERNEL(attention_values, View x, Result result) {
  SHARED Tiles tiles;
  const Range range = block_range(x);
  if (range.n == 0) return;
  real total[2] = {};
  for (int64_t first = range.begin; first < range.end; first += kTile) {
    const int n = count_of(range, first);
    real a[2][2] = {};
    add_products(Unit(x, kQueries), Unit(x, kKeys), range, first, n, x.width, tiles, a);
    EACH_PLACE(s, t) {
      const int64_t i = range.first + own(s), j = first + other(t);
      real factor = 0;
      if (own(s) < range.n && other(t) < n) {
        const real e = exponential(x, i, j, a[s][t]);
        total[s] += e;
        factor = e * x.weights[j] * product_of(x, i, j);
      }
      a[s][t] = factor;
    }
    add_vectors(a, Unit(x, kValues), range, first, n, x.width, tiles, first > range.begin,
                result.out, x.width);
  }
  for (int s = 0; s < 2; ++s) total[s] = sum_others(total[s]) + rest_of(x, range);
  EACH_OWN(s, k, range, x.width) {
    const int64_t i = range.first + own(s);
    const real factor = total[s] == real(0) ? real(0) : x.weights[i] / total[s];
    result.out[i * x.width + k] *= factor;
  }
}

// ---------------------------------------------------------------------------------------------------
// First derivatives

// a and b of own pairs, which are i, or j if kColumns, and others.
template <bool kColumns>
DEVICE void add_both(const View& x, const Range& range, int64_t first, int n, Tiles& tiles,
                     real (&a)[2][2], real (&b)[2][2]) {
  const Adjoint y{x.adjoint, x.width};
  if (kColumns) {
    add_products(Unit(x, kKeys), Unit(x, kQueries), range, first, n, x.width, tiles, a);
    add_products(Unit(x, kValues), y, range, first, n, x.width, tiles, b);
  } else {
    add_products(Unit(x, kQueries), Unit(x, kKeys), range, first, n, x.width, tiles, a);
    add_products(y, Unit(x, kValues), range, first, n, x.width, tiles, b);
  }
}

// Derivatives by r of a pair from those by its unit vector, `g`.
DEVICE void project_row(const View& x, int64_t p, const real* g, real* out) {
  const real* const row = x.rows + 4 * p + 1;
  const Length length(row[0] * row[0] + row[1] * row[1] + row[2] * row[2]);
  real along = 0;
  for (int c = 0; c < 3; ++c) along += length.curved * x.direction[c * x.n_pairs + p] * g[c];
  out[4 * p] = 0;
  for (int c = 0; c < 3; ++c)
    out[4 * p + 1 + c] = (g[c] - x.direction[c * x.n_pairs + p] * along) * length.inverse;
}

// The sums over j that the terms of row i need.
DEVICE void pull_sums(const View& x, const Range& range, Tiles& tiles) {
  real total[2] = {}, mean[2] = {};
  for (int64_t first = range.begin; first < range.end; first += kTile) {
    const int n = count_of(range, first);
    real a[2][2] = {}, b[2][2] = {};
    add_both<false>(x, range, first, n, tiles, a, b);
    EACH_PLACE(s, t) {
      if (own(s) >= range.n || other(t) >= n) continue;
      const int64_t i = range.first + own(s), j = first + other(t);
      const real e = exponential(x, i, j, a[s][t]);
      total[s] += e;
      mean[s] += e * b[s][t] * product_of(x, i, j) * (x.weights[j] * x.weights[i]);
    }
  }
  for (int s = 0; s < 2; ++s) {
    const real sum = sum_others(total[s]) + rest_of(x, range);
    const real inverse = sum == real(0) ? real(0) : real(1) / sum;
    mean[s] = sum_others(mean[s]) * inverse;
    if (own(s) >= range.n || other(0) != 0) continue;
    sum_of(x, kInverse, range.first + own(s)) = inverse;
    sum_of(x, kMean, range.first + own(s)) = mean[s];
  }
  block_sync();  // all threads of a pair read them
}

// The gradient by queries, or by all else if kColumns, after that.
template <bool kColumns>
DEVICE void pull(const View& x, const Result& result, Tiles& tiles) {
  const Range range = block_range(x);
  if (range.n == 0) return;
  if (!kColumns) pull_sums(x, range, tiles);
  const int64_t width = x.width, stride = kParts * width;
  const int part = kColumns ? kKeys : kQueries;
  real along[2] = {}, along_v[2] = {}, of_w[2] = {}, of_r[2][3] = {};
  for (int64_t first = range.begin; first < range.end; first += kTile) {
    const int n = count_of(range, first);
    real a[2][2] = {}, b[2][2] = {};
    add_both<kColumns>(x, range, first, n, tiles, a, b);
    EACH_PLACE(s, t) {
      real a_bar = 0, value = 0;
      if (own(s) < range.n && other(t) < n) {
        const int64_t mine = range.first + own(s), its = first + other(t);
        const int64_t i = kColumns ? its : mine, j = kColumns ? mine : its;
        const real p = exponential(x, i, j, a[s][t]) * sum_of(x, kInverse, i);
        const auto terms = deepmd::attention_terms(
            p, a[s][t], b[s][t], product_of(x, i, j), x.weights[j], x.weights[i], sigma_of(x, j),
            sigma_of(x, i), shift_of(x), sum_of(x, kMean, i));
        a_bar = terms.a_bar;
        value = terms.value;
        along[s] += a_bar * a[s][t];
        along_v[s] += value * b[s][t];
        of_w[s] += terms.of_w * x.weights[its];
        if (counts(x, i, j))
          for (int c = 0; c < 3; ++c) of_r[s][c] += terms.of_r * x.direction[c * x.n_pairs + its];
      }
      a[s][t] = a_bar;
      b[s][t] = value;
    }
    const bool add = first > range.begin;
    add_vectors(a, Unit(x, kColumns ? kQueries : kKeys), range, first, n, width, tiles, add,
                result.qkv + part * width, stride);
    if (kColumns)
      add_vectors(b, Adjoint{x.adjoint, width}, range, first, n, width, tiles, add,
                  result.qkv + kValues * width, stride);
  }
  for (int s = 0; s < 2; ++s) {
    along[s] = sum_others(along[s]);
    if (kColumns) along_v[s] = sum_others(along_v[s]);
    of_w[s] = sum_others(of_w[s]);
    for (int c = 0; c < 3; ++c) of_r[s][c] = sum_others(of_r[s][c]);
  }
  for (int at = part; at <= (kColumns ? kValues : kQueries); ++at) {
    const Unit unit(x, at);
    EACH_OWN(s, k, range, width) {
      const int64_t p = range.first + own(s);
      const real length = x.curved[at * x.n_pairs + p] * (at == kValues ? along_v[s] : along[s]);
      real& out = result.qkv[p * stride + at * width + k];
      out = (out - unit(p, k) * length) * unit.inverse[p];
    }
  }
  for (int s = 0; s < 2; ++s) {
    if (own(s) >= range.n || other(0) != 0) continue;
    const int64_t p = range.first + own(s);
    if (!kColumns) {
      sum_of(x, kOfW, p) = of_w[s];
      for (int c = 0; c < 3; ++c) sum_of(x, kOfR + c, p) = of_r[s][c];
      continue;
    }
    result.weights[p] = x.smooth ? sum_of(x, kOfW, p) + of_w[s] : real(0);
    if (x.rows == nullptr) continue;
    for (int c = 0; c < 3; ++c) of_r[s][c] += sum_of(x, kOfR + c, p);
    project_row(x, p, of_r[s], result.rows);
  }
}

BLOCK_KERNEL(attention_vjp_rows, View x, Result result) {
  SHARED Tiles tiles;
  pull<false>(x, result, tiles);
}

BLOCK_KERNEL(attention_vjp_columns, View x, Result result) {
  SHARED Tiles tiles;
  pull<true>(x, result, tiles);
}
