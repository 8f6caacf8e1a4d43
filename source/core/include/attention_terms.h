// SPDX-License-Identifier: BSD-3-Clause
// What a pair (i, j) of neighbours of a centre gives to attention among them and to its
// derivatives; the formula is in attention.h. V is a number, or a vector of numbers for several j;
// S is a number.
//
//   a  q_i . k_j        w      weights of pairs
//   b  Y_i . v_j        sigma  their factors of s: the weights if smooth, 1 otherwise
//   d  r_i . r_j        shift  20 if smooth, 0 otherwise
//
// Y is the adjoint. A dot is the derivative along a tangent of the inputs, a bar that of <Y, out>.
#pragma once

#include "macros.h"

namespace deepmd {

constexpr double kAttentionShift = 20;
constexpr double kLeastSquare = 1e-12;  // of a length

// s, whose exponential P is made of.
template <typename V, typename S>
DEEPMD_FORMULA V attention_score(const V& a, const V& sigma_j, S sigma_i, S shift) {
  return (a + shift) * (sigma_j * sigma_i) - shift;
}

// Its derivative.
template <typename V, typename S>
DEEPMD_FORMULA V attention_slope(const V& a, const V& a_dot, const V& sigma_j, S sigma_i,
                                 const V& w_dot_j, S w_dot_i, S shift) {
  return a_dot * (sigma_j * sigma_i) + (a + shift) * (sigma_j * w_dot_i + w_dot_j * sigma_i);
}

// A = P w_i w_j d, by which v_j is multiplied; what w_i w_j and d are multiplied by in the
// derivatives by them; the derivative by a.
template <typename V>
struct AttentionTerms {
  V value, of_w, of_r, a_bar;
};

// mean: sum of P_ij b_ij w_i w_j d_ij over j.
template <typename V, typename S>
DEEPMD_FORMULA AttentionTerms<V> attention_terms(const V& p, const V& a, const V& b, const V& d,
                                                 const V& w_j, S w_i, const V& sigma_j, S sigma_i,
                                                 S shift, S mean) {
  const V omega = w_j * w_i;
  const V factor = omega * d;
  const V s_bar = p * (factor * b - mean);
  return {p * factor, s_bar * (a + shift) + p * b * d, p * b * omega, s_bar * (sigma_j * sigma_i)};
}

// Derivative of factor = w_i w_j d.
template <typename V, typename S>
DEEPMD_FORMULA V attention_factor_dot(const V& d, const V& d_dot, const V& w_j, S w_i,
                                      const V& w_dot_j, S w_dot_i) {
  return (w_j * w_dot_i + w_dot_j * w_i) * d + w_j * w_i * d_dot;
}

// A pair, and its derivative.
template <typename V>
struct AttentionPair {
  V p, a, b, d;
};

template <typename V>
struct AttentionBent {
  AttentionTerms<V> plain, dot;
};

// The terms and their derivatives. mean_dot: the derivative of mean.
template <typename V, typename S>
DEEPMD_FORMULA AttentionBent<V> attention_bent(const AttentionPair<V>& x,
                                               const AttentionPair<V>& dot, const V& w_j, S w_i,
                                               const V& sigma_j, S sigma_i, const V& w_dot_j,
                                               S w_dot_i, S shift, S mean, S mean_dot) {
  const V omega = w_j * w_i, bend = w_j * w_dot_i + w_dot_j * w_i;
  const V factor = omega * x.d, factor_dot = bend * x.d + omega * dot.d;
  const V score = x.a + shift;
  const V t = factor * x.b - mean;
  const V t_dot = factor_dot * x.b + factor * dot.b - mean_dot;
  const V s_bar = x.p * t, s_bar_dot = dot.p * t + x.p * t_dot;
  const V pb = x.p * x.b, pb_dot = dot.p * x.b + x.p * dot.b;
  const V slope = sigma_j * sigma_i, slope_dot = sigma_j * w_dot_i + w_dot_j * sigma_i;
  return {{x.p * factor, s_bar * score + pb * x.d, pb * omega, s_bar * slope},
          {dot.p * factor + x.p * factor_dot,
           s_bar_dot * score + s_bar * dot.a + pb_dot * x.d + pb * dot.d,
           pb_dot * omega + pb * bend, s_bar_dot * slope + s_bar * slope_dot}};
}

}  // namespace deepmd
