// SPDX-License-Identifier: BSD-3-Clause
//
// Quintic Hermite interpolation of one function of one scalar: scalars in, scalars out. The nodes
// are uniform, and may go on in octaves.
//
// Between nodes k and k+1, with h the step and t = (s - s_k)/h in [0, 1],
//
//   G(s) = sum_m h^m [ a_m(t) G^(m)(s_k) + b_m(t) G^(m)(s_k+1) ],   m = 0, 1, 2,
//
// the polynomial of degree five that shares value, first and second derivative with G at both nodes
// (so the interpolant is C2, with an error of order h^6). Uniform nodes reach from lo to hi. Then
// come octaves of m intervals each, with h, 2h, 4h, ... between their nodes: a function that levels
// off as s grows is as accurate there with few of them. Octave e begins at hi + m h (2^e - 1).
// Below the first node and above the last one G goes on as a straight line (C1). The weights of the
// d-th derivative follow by differentiating the polynomials; from the sixth derivative on (from the
// second one of a straight line) they are zero.
#pragma once

#include "macros.h"

namespace deepmd {

// Number of derivative orders, the value included, that a quintic polynomial has.
constexpr int kHermiteOrders = 6;

// Coefficient of t^power in the `order`-th derivative of basis polynomial `node_derivative` (m
// above) of node `node` (0: a_m, 1: b_m), without the factor h^(m - order).
template <typename T = double>
DEEPMD_FORMULA constexpr T hermite_coefficient(int node, int node_derivative, int order,
                                               int power) {
  constexpr T basis[2][3][6] = {
      {{1, 0, 0, -10, 15, -6}, {0, 1, 0, -6, 8, -3}, {0, 0, 0.5, -1.5, 1.5, -0.5}},
      {{0, 0, 0, 10, -15, 6}, {0, 0, 0, -4, 7, -3}, {0, 0, 0, 0.5, -1, 0.5}}};
  const int n = power + order;
  if (n > 5) return 0;
  T c = basis[node][node_derivative][n];
  for (int i = power + 1; i <= n; ++i) c *= T(i);
  return c;
}

// Uniform nodes lo, lo + h, ..., hi, then `octaves` times `per_octave` more.
template <typename T>
struct HermiteGrid {
  T lo, hi, step, inv_step;
  int n_nodes;  // uniform ones
  int octaves, per_octave;
};

template <typename T>
DEEPMD_FORMULA HermiteGrid<T> make_hermite_grid(T lo, T hi, int n_nodes, int octaves = 0,
                                                int per_octave = 0) {
  const T intervals = T(n_nodes - 1);
  return HermiteGrid<T>{lo,      hi,        (hi - lo) / intervals, intervals / (hi - lo), n_nodes,
                        octaves, per_octave};
}

enum HermiteSide { kBelow = -1, kUniform = 0, kAbove = 1, kOctave = 2 };

// Where s lies: nodes `interval` and `interval`+1, among the uniform nodes, in an octave, below all
// nodes or above them. `offset` is t between two nodes, and else the signed distance to the end
// node.
template <typename T>
struct HermitePoint {
  int interval;
  int side;
  T offset;
};

// 2^e, for the octave e that an interval belongs to.
template <typename T>
DEEPMD_FORMULA T hermite_stretch(int interval, const HermiteGrid<T>& grid) {
  T stretch = T(1);
  for (int e = (interval - (grid.n_nodes - 1)) / grid.per_octave; e > 0; --e) stretch *= T(2);
  return stretch;
}

// hermite_locate() of s > hi.
template <typename T>
DEEPMD_RARE HermitePoint<T> hermite_locate_above(T s, HermiteGrid<T> grid) {
  const int first = grid.n_nodes - 1, m = grid.per_octave;
  T distance = s - grid.hi, length = T(m) * grid.step;
  for (int e = 0; e < grid.octaves; ++e) {
    // Whether s is in this octave is asked of the number that tells where in it.
    const T u = distance * (T(m) / length);
    if (u < T(m)) {
      const int k = static_cast<int>(u);
      return HermitePoint<T>{first + e * m + k, kOctave, u - T(k)};
    }
    distance -= length;
    length *= T(2);
  }
  return HermitePoint<T>{first + grid.octaves * m - 1, kAbove, distance};
}

// A NaN gives a uniform interval and a NaN offset (hence NaN weights), never an interval out of
// range.
template <typename T>
DEEPMD_FORMULA HermitePoint<T> hermite_locate(T s, const HermiteGrid<T>& grid) {
  const int last = grid.n_nodes - 2;
  if (s < grid.lo) return HermitePoint<T>{0, kBelow, s - grid.lo};
  if (s > grid.hi) return hermite_locate_above(s, grid);
  const T u = (s - grid.lo) * grid.inv_step;
  const int k = u > T(0) ? (u < T(last) ? static_cast<int>(u) : last) : 0;
  return HermitePoint<T>{k, kUniform, u - T(k)};
}

// Weights of the `order`-th derivative with respect to s: w[4 node + m] multiplies the m-th
// derivative at node `interval` + node. w[3] and w[7] are zero: two groups of four suit vector
// registers.
template <typename T>
DEEPMD_FORMULA void hermite_weights(const HermitePoint<T>& point, const HermiteGrid<T>& grid,
                                    int order, T w[8]) {
  for (int q = 0; q < 8; ++q) w[q] = T(0);
  if (point.side == kBelow || point.side == kAbove) {
    // No address of w is taken: it stays in registers of a GPU.
    const bool below = point.side == kBelow;
    const T value = order == 0 ? T(1) : T(0);
    const T slope = order == 0 ? point.offset : order == 1 ? T(1) : T(0);
    w[0] = below ? value : T(0);
    w[1] = below ? slope : T(0);
    w[4] = below ? T(0) : value;
    w[5] = below ? T(0) : slope;
    return;
  }
  if (order >= kHermiteOrders) {
    // The factor keeps a NaN a NaN.
    for (int q = 0; q < 8; ++q) w[q] = T(0) * point.offset;
    return;
  }
  const T stretch = point.side == kOctave ? hermite_stretch(point.interval, grid) : T(1);
  T scale = T(1);
  for (int d = 0; d < order; ++d) scale *= grid.inv_step / stretch;
  for (int m = 0; m < 3; ++m) {
    for (int node = 0; node < 2; ++node) {
      T c = T(0);
      for (int n = 5 - order; n >= 0; --n)
        c = c * point.offset + hermite_coefficient<T>(node, m, order, n);
      w[4 * node + m] = c * scale;
    }
    scale *= grid.step * stretch;
  }
}

}  // namespace deepmd
