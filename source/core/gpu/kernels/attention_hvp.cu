// SPDX-License-Identifier: BSD-3-Clause
// Second derivatives of attention among the neighbours of each centre, on tiles as in attention.cu.
//
// A gradient g by a unit vector y = x / |x|, its change g_dot, and the change y_dot of y give
//
//   (G - y (slope L + C) - y_dot L) / |x|,   G = slope g + g_dot,   L = y . g,
//                                            C = y_dot . g + y . g_dot,   slope = - along / |x|
//
// for the second derivative by x, where `along` is the component of the change of x. Of g and g_dot
// only G is summed as vectors; L and C are sums over numbers of pairs, as y_j . g_j is one over
// a_bar_ij q_i . k_j of all i.
#include "attention_tiles.h"

using deepmd::gpu::kInverse;
using deepmd::gpu::kMean;
using deepmd::gpu::kMeanDot;
using deepmd::gpu::kOfR;
using deepmd::gpu::kOfRDot;
using deepmd::gpu::kOfW;
using deepmd::gpu::kSlopeMean;

// a, b and their derivatives, of own pairs, which are i, or j if kColumns, and others.
struct Products {
  real a[2][2], a_dot[2][2], b[2][2], b_dot[2][2];
};

template <bool kColumns>
DEVICE Products products_of(const View& x, const Range& range, int64_t first, int n, Tiles& tiles) {
  constexpr int kMine = kColumns ? kKeys : kQueries, kIts = kColumns ? kQueries : kKeys;
  const int64_t width = x.width;
  const Adjoint y{x.adjoint, width};
  Products out = {};
  add_products(Unit(x, kMine), Unit(x, kIts), range, first, n, width, tiles, out.a);
  add_products(Tangent(x, kMine), Unit(x, kIts), range, first, n, width, tiles, out.a_dot);
  add_products(Unit(x, kMine), Tangent(x, kIts), range, first, n, width, tiles, out.a_dot);
  if (kColumns) {
    add_products(Unit(x, kValues), y, range, first, n, width, tiles, out.b);
    add_products(Tangent(x, kValues), y, range, first, n, width, tiles, out.b_dot);
  } else {
    add_products(y, Unit(x, kValues), range, first, n, width, tiles, out.b);
    add_products(y, Tangent(x, kValues), range, first, n, width, tiles, out.b_dot);
  }
  return out;
}

// The sums over j that the terms of row i need.
DEVICE void bend_sums(const View& x, const Range& range, Tiles& tiles) {
  real total[2] = {}, slopes[2] = {}, mean[2] = {}, change[2] = {};
  for (int64_t first = range.begin; first < range.end; first += kTile) {
    const int n = count_of(range, first);
    const Products found = products_of<false>(x, range, first, n, tiles);
    EACH_PLACE(s, t) {
      if (own(s) >= range.n || other(t) >= n) continue;
      const int64_t i = range.first + own(s), j = first + other(t);
      const real a = found.a[s][t], b = found.b[s][t];
      const real e = exponential(x, i, j, a), d = product_of(x, i, j);
      const real slope =
          deepmd::attention_slope(a, found.a_dot[s][t], sigma_of(x, j), sigma_of(x, i),
                                  w_dot_of(x, j), w_dot_of(x, i), shift_of(x));
      const real factor = x.weights[j] * x.weights[i] * d;
      const real factor_dot = deepmd::attention_factor_dot(
          d, product_dot(x, i, j), x.weights[j], x.weights[i], w_dot_of(x, j), w_dot_of(x, i));
      total[s] += e;
      slopes[s] += e * slope;
      mean[s] += e * factor * b;
      change[s] += e * (slope * factor * b + factor_dot * b + factor * found.b_dot[s][t]);
    }
  }
  for (int s = 0; s < 2; ++s) {
    const real sum = sum_others(total[s]) + rest_of(x, range);
    const real inverse = sum == real(0) ? real(0) : real(1) / sum;
    slopes[s] = sum_others(slopes[s]) * inverse;
    mean[s] = sum_others(mean[s]) * inverse;
    change[s] = sum_others(change[s]) * inverse - slopes[s] * mean[s];
    if (own(s) >= range.n || other(0) != 0) continue;
    const int64_t i = range.first + own(s);
    sum_of(x, kInverse, i) = inverse;
    sum_of(x, kSlopeMean, i) = slopes[s];
    sum_of(x, kMean, i) = mean[s];
    sum_of(x, kMeanDot, i) = change[s];
  }
  block_sync();  // all threads of a pair read them
}

DEVICE deepmd::AttentionBent<real> bent_terms(const View& x, const Products& found, int s, int t,
                                              int64_t i, int64_t j) {
  const real a = found.a[s][t], shift = shift_of(x);
  const real sigma_i = sigma_of(x, i), sigma_j = sigma_of(x, j);
  const real w_dot_i = w_dot_of(x, i), w_dot_j = w_dot_of(x, j);
  const real p = exponential(x, i, j, a) * sum_of(x, kInverse, i);
  const real slope =
      deepmd::attention_slope(a, found.a_dot[s][t], sigma_j, sigma_i, w_dot_j, w_dot_i, shift);
  const deepmd::AttentionPair<real> pair{p, a, found.b[s][t], product_of(x, i, j)};
  const deepmd::AttentionPair<real> dot{p * (slope - sum_of(x, kSlopeMean, i)), found.a_dot[s][t],
                                        found.b_dot[s][t], product_dot(x, i, j)};
  return deepmd::attention_bent(pair, dot, x.weights[j], x.weights[i], sigma_j, sigma_i, w_dot_j,
                                w_dot_i, shift, sum_of(x, kMean, i), sum_of(x, kMeanDot, i));
}

// L and C of a vector of each own pair.
struct Along {
  real l[2] = {}, c[2] = {};

  __device__ void finish(int s) {
    l[s] = sum_others(l[s]);
    c[s] = sum_others(c[s]);
  }
};

// -along / |x|.
DEVICE real slope_of(const View& x, int part, int64_t p) {
  return -x.along[part * x.n_pairs + p] * x.inverse[part * x.n_pairs + p];
}

// G in the result to the second derivative.
DEVICE void finish_part(const View& x, const Range& range, int part, const Along& along,
                        real* out) {
  const Unit unit(x, part);
  const Tangent tangent(x, part);
  EACH_OWN(s, k, range, x.width) {
    const int64_t p = range.first + own(s);
    const real curved = x.curved[part * x.n_pairs + p];
    const real l = curved * along.l[s], c = curved * along.c[s];
    real& at = out[(p * kParts + part) * x.width + k];
    at = (at - unit(p, k) * (slope_of(x, part, p) * l + c) - tangent(p, k) * l) * unit.inverse[p];
  }
}

// Second derivatives by r of a pair, from g and its derivative.
DEVICE void bend_row(const View& x, int64_t p, const real* g, const real* g_dot, real* out) {
  const real* const row = x.rows + 4 * p + 1;
  const real* const u = x.rows_tangent + 4 * p + 1;
  const Length length(row[0] * row[0] + row[1] * row[1] + row[2] * row[2]);
  real slope = 0, l = 0, change = 0;
  for (int c = 0; c < 3; ++c) {
    const real y = x.direction[c * x.n_pairs + p], y_dot = x.direction_dot[c * x.n_pairs + p];
    slope -= length.curved * length.inverse * y * u[c];
    l += length.curved * y * g[c];
    change += length.curved * (y_dot * g[c] + y * g_dot[c]);
  }
  out[4 * p] = 0;
  for (int c = 0; c < 3; ++c) {
    const real y = x.direction[c * x.n_pairs + p], y_dot = x.direction_dot[c * x.n_pairs + p];
    out[4 * p + 1 + c] =
        ((g[c] - y * l) * slope + g_dot[c] - y_dot * l - y * change) * length.inverse;
  }
}

// The derivatives by the adjoint and by queries, or by all else if kColumns, after that.
template <bool kColumns>
DEVICE void bend(const View& x, const Result& result, Tiles& tiles) {
  const Range range = block_range(x);
  if (range.n == 0) return;
  if (!kColumns) bend_sums(x, range, tiles);
  const int64_t width = x.width, stride = kParts * width, n_pairs = x.n_pairs;
  constexpr int kMine = kColumns ? kKeys : kQueries, kIts = kColumns ? kQueries : kKeys;
  Along of_mine, of_v;
  real of_w[2] = {}, of_r[2][3] = {}, of_r_dot[2][3] = {};
  for (int64_t first = range.begin; first < range.end; first += kTile) {
    const int n = count_of(range, first);
    const Products found = products_of<kColumns>(x, range, first, n, tiles);
    real g[2][2], a_bar[2][2], value[2][2], value_dot[2][2];
    EACH_PLACE(s, t) {
      g[s][t] = a_bar[s][t] = value[s][t] = value_dot[s][t] = 0;
      if (own(s) >= range.n || other(t) >= n) continue;
      const int64_t mine = range.first + own(s), its = first + other(t);
      const int64_t i = kColumns ? its : mine, j = kColumns ? mine : its;
      const auto terms = bent_terms(x, found, s, t, i, j);
      const real a = found.a[s][t], a_dot = found.a_dot[s][t];
      of_mine.l[s] += terms.plain.a_bar * a;
      of_mine.c[s] += terms.dot.a_bar * a + terms.plain.a_bar * a_dot;
      of_w[s] += terms.dot.of_w * x.weights[its] + terms.plain.of_w * w_dot_of(x, its);
      if (counts(x, i, j))
        for (int c = 0; c < 3; ++c) {
          const real y = x.direction[c * n_pairs + its];
          of_r[s][c] += terms.plain.of_r * y;
          of_r_dot[s][c] +=
              terms.dot.of_r * y + terms.plain.of_r * x.direction_dot[c * n_pairs + its];
        }
      a_bar[s][t] = terms.plain.a_bar;
      g[s][t] = slope_of(x, kMine, mine) * terms.plain.a_bar + terms.dot.a_bar;
      value[s][t] = terms.plain.value;
      value_dot[s][t] = terms.dot.value;
      if (!kColumns) continue;
      const real b = found.b[s][t], b_dot = found.b_dot[s][t];
      of_v.l[s] += terms.plain.value * b;
      of_v.c[s] += terms.dot.value * b + terms.plain.value * b_dot;
      value[s][t] = slope_of(x, kValues, mine) * terms.plain.value + terms.dot.value;
    }
    const bool add = first > range.begin;
    real* const out = result.qkv + kMine * width;
    add_vectors(g, Unit(x, kIts), range, first, n, width, tiles, add, out, stride);
    add_vectors(a_bar, Tangent(x, kIts), range, first, n, width, tiles, true, out, stride);
    if (kColumns) {
      add_vectors(value, Adjoint{x.adjoint, width}, range, first, n, width, tiles, add,
                  result.qkv + kValues * width, stride);
      continue;
    }
    add_vectors(value_dot, Unit(x, kValues), range, first, n, width, tiles, add, result.out, width);
    add_vectors(value, Tangent(x, kValues), range, first, n, width, tiles, true, result.out, width);
  }
  for (int s = 0; s < 2; ++s) {
    of_mine.finish(s);
    if (kColumns) of_v.finish(s);
    of_w[s] = sum_others(of_w[s]);
    for (int c = 0; c < 3; ++c) of_r[s][c] = sum_others(of_r[s][c]);
    for (int c = 0; c < 3; ++c) of_r_dot[s][c] = sum_others(of_r_dot[s][c]);
  }
  finish_part(x, range, kMine, of_mine, result.qkv);
  if (kColumns) finish_part(x, range, kValues, of_v, result.qkv);
  for (int s = 0; s < 2; ++s) {
    if (own(s) >= range.n || other(0) != 0) continue;
    const int64_t p = range.first + own(s);
    if (!kColumns) {
      sum_of(x, kOfW, p) = of_w[s];
      for (int c = 0; c < 3; ++c) sum_of(x, kOfR + c, p) = of_r[s][c];
      for (int c = 0; c < 3; ++c) sum_of(x, kOfRDot + c, p) = of_r_dot[s][c];
      continue;
    }
    result.weights[p] = x.smooth ? sum_of(x, kOfW, p) + of_w[s] : real(0);
    if (x.rows == nullptr) continue;
    for (int c = 0; c < 3; ++c) of_r[s][c] += sum_of(x, kOfR + c, p);
    for (int c = 0; c < 3; ++c) of_r_dot[s][c] += sum_of(x, kOfRDot + c, p);
    bend_row(x, p, of_r[s], of_r_dot[s], result.rows);
  }
}

BLOCK_KERNEL(attention_hvp_rows, View x, Result result) {
  SHARED Tiles tiles;
  bend<false>(x, result, tiles);
}

BLOCK_KERNEL(attention_hvp_columns, View x, Result result) {
  SHARED Tiles tiles;
  bend<true>(x, result, tiles);
}
