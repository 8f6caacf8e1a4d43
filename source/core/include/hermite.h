// SPDX-License-Identifier: BSD-3-Clause
//
// Quintic Hermite interpolation of one function of one scalar on uniform nodes: scalars in, scalars
// out.
//
// Between nodes k and k+1, with h the step and t = (s - s_k)/h in [0, 1],
//
//   G(s) = sum_m h^m [ a_m(t) G^(m)(s_k) + b_m(t) G^(m)(s_k+1) ],   m = 0, 1, 2,
//
// the polynomial of degree five that shares value, first and second derivative with G at both nodes
// (so the interpolant is C2, with an error of order h^6). Outside [lo, hi] it goes on as a straight
// line (C1). The weights of the d-th derivative follow by differentiating the polynomials; from the
// sixth derivative on (from the second one outside) they are zero.
#pragma once

#include "macros.h"

namespace deepmd {

// Number of derivative orders, the value included, that a quintic polynomial has.
constexpr int kHermiteOrders = 6;

// Coefficient of t^power in the `order`-th derivative of basis polynomial `node_derivative` (m
// above) of node `node` (0: a_m, 1: b_m), without the factor h^(m - order).
DEEPMD_FORMULA constexpr double hermite_coefficient(int node, int node_derivative, int order,
                                                    int power) {
  constexpr double basis[2][3][6] = {
      {{1, 0, 0, -10, 15, -6}, {0, 1, 0, -6, 8, -3}, {0, 0, 0.5, -1.5, 1.5, -0.5}},
      {{0, 0, 0, 10, -15, 6}, {0, 0, 0, -4, 7, -3}, {0, 0, 0, 0.5, -1, 0.5}}};
  const int n = power + order;
  if (n > 5) return 0;
  double c = basis[node][node_derivative][n];
  for (int i = power + 1; i <= n; ++i) c *= i;
  return c;
}

// Uniform nodes lo, lo + h, ..., hi.
template <typename T>
struct HermiteGrid {
  T lo, hi, step, inv_step;
  int n_nodes;
};

template <typename T>
DEEPMD_FORMULA HermiteGrid<T> make_hermite_grid(T lo, T hi, int n_nodes) {
  const T intervals = T(n_nodes - 1);
  return HermiteGrid<T>{lo, hi, (hi - lo) / intervals, intervals / (hi - lo), n_nodes};
}

// Where s lies: nodes `interval` and `interval`+1, side -1 below lo, +1 above hi, 0 between.
// `offset` is t inside, and the signed distance to the end node outside.
template <typename T>
struct HermitePoint {
  int interval;
  int side;
  T offset;
};

// A NaN gives side 0 and a NaN offset (hence NaN weights), never an interval out of range.
template <typename T>
DEEPMD_FORMULA HermitePoint<T> hermite_locate(T s, const HermiteGrid<T>& grid) {
  const int last = grid.n_nodes - 2;
  if (s < grid.lo) return HermitePoint<T>{0, -1, s - grid.lo};
  if (s > grid.hi) return HermitePoint<T>{last, 1, s - grid.hi};
  const T u = (s - grid.lo) * grid.inv_step;
  const int k = u > T(0) ? (u < T(last) ? static_cast<int>(u) : last) : 0;
  return HermitePoint<T>{k, 0, u - T(k)};
}

// Weights of the `order`-th derivative with respect to s: w[4 node + m] multiplies the m-th
// derivative at node `interval` + node. w[3] and w[7] are zero: two groups of four suit vector
// registers.
template <typename T>
DEEPMD_FORMULA void hermite_weights(const HermitePoint<T>& point, const HermiteGrid<T>& grid,
                                    int order, T w[8]) {
  for (int q = 0; q < 8; ++q) w[q] = T(0);
  if (point.side != 0) {
    T* end = point.side < 0 ? w : w + 4;
    if (order == 0) end[0] = T(1);
    if (order == 0) end[1] = point.offset;
    if (order == 1) end[1] = T(1);
    return;
  }
  if (order >= kHermiteOrders) {
    // The factor keeps a NaN a NaN.
    for (int q = 0; q < 8; ++q) w[q] = T(0) * point.offset;
    return;
  }
  T scale = T(1);
  for (int d = 0; d < order; ++d) scale *= grid.inv_step;
  for (int m = 0; m < 3; ++m) {
    for (int node = 0; node < 2; ++node) {
      T c = T(0);
      for (int n = 5 - order; n >= 0; --n)
        c = c * point.offset + T(hermite_coefficient(node, m, order, n));
      w[4 * node + m] = c * scale;
    }
    scale *= grid.step;
  }
}

}  // namespace deepmd
