// SPDX-License-Identifier: BSD-3-Clause
//
// Environment row of one neighbour and its derivative maps: scalars in, scalars out.
//
//   D(x) = s (1, x/r, y/r, z/r) = (s, q x, q y, q z),   s(r) = w(r)/r,   q(r) = w(r)/r^2
//
// with the switch w = 1 below rcut_smth, u^3 (-6u^2 + 15u - 10) + 1 between, 0 from rcut on, where
// u = (r - rcut_smth)/(rcut - rcut_smth). Everything is branch-free: u is clamped to [0, 1], where
// the polynomial takes the values 1 and 0 and its first two derivatives vanish exactly, so the same
// expression holds on the three pieces and loops over it vectorise.
//
// T is a number, or a short vector of numbers in the sense of the vector extensions of GCC and
// Clang (a pair per lane); U is the number.
#pragma once

#include "macros.h"

namespace deepmd {

DEEPMD_FORMULA float square_root(float x) { return DEEPMD_BUILTIN(sqrtf)(x); }
DEEPMD_FORMULA double square_root(double x) { return DEEPMD_BUILTIN(sqrt)(x); }

template <typename T>
DEEPMD_FORMULA T square_root(const T& x) {
  T root{};
  for (unsigned i = 0; i < sizeof(T) / sizeof(x[0]); ++i) root[i] = square_root(x[i]);
  return root;
}

// Where the switch starts, and the inverse of its width (1/Angstrom).
template <typename U>
struct Cutoff {
  U start;
  U inv_width;
};

template <typename U>
DEEPMD_FORMULA Cutoff<U> make_cutoff(U rcut, U rcut_smth) {
  // Both are float32 numbers, and DeePMD-kit subtracts them in float32; so must whoever wants its
  // digits.
  const float width = static_cast<float>(rcut) - static_cast<float>(rcut_smth);
  return Cutoff<U>{rcut_smth, 1 / static_cast<U>(width)};
}

// Distance, unit vector and the two radial functions with their first and second derivatives.
template <typename T>
struct Radial {
  T inv_r, n[3];
  T s, s1, s2;
  T q, q1, q2;
};

template <typename T, typename U>
DEEPMD_FORMULA Radial<T> env_radial(const T x[3], const Cutoff<U>& cutoff) {
  const T zero = T{}, one = zero + 1;
  Radial<T> f;
  const T r = square_root(x[0] * x[0] + x[1] * x[1] + x[2] * x[2]);
  const T i = one / r;
  f.inv_r = i;
  f.n[0] = x[0] * i;
  f.n[1] = x[1] * i;
  f.n[2] = x[2] * i;
  T u = (r - cutoff.start) * cutoff.inv_width;
  u = u > zero ? u : zero;
  u = u < one ? u : one;
  const T v = one - u;
  const T w = u * u * u * ((15 - 6 * u) * u - 10) + 1;
  const T w1 = -30 * u * u * v * v * cutoff.inv_width;
  const T w2 = -60 * u * v * (v - u) * (cutoff.inv_width * cutoff.inv_width);
  f.s = w * i;
  f.s1 = (w1 - f.s) * i;
  f.s2 = (w2 - 2 * f.s1) * i;
  f.q = f.s * i;
  f.q1 = (f.s1 - f.q) * i;
  f.q2 = (f.s2 - 2 * f.q1) * i;
  return f;
}

// D_k(x), k = 0..3.
template <typename T, typename U>
DEEPMD_FORMULA void env_row(const T x[3], const Cutoff<U>& cutoff, T row[4]) {
  const Radial<T> f = env_radial(x, cutoff);
  row[0] = f.s;
  for (int a = 0; a < 3; ++a) row[a + 1] = f.q * x[a];
}

// sum_k g_k dD_k/dx_a.
template <typename T, typename U>
DEEPMD_FORMULA void env_row_vjp(const T x[3], const T g[4], const Cutoff<U>& cutoff, T out[3]) {
  const Radial<T> f = env_radial(x, cutoff);
  const T gx = g[1] * x[0] + g[2] * x[1] + g[3] * x[2];
  const T along = g[0] * f.s1 + gx * f.q1;
  for (int a = 0; a < 3; ++a) out[a] = along * f.n[a] + f.q * g[a + 1];
}

// sum_a v_a dD_k/dx_a.
template <typename T, typename U>
DEEPMD_FORMULA void env_row_jvp(const T x[3], const T v[3], const Cutoff<U>& cutoff, T out[4]) {
  const Radial<T> f = env_radial(x, cutoff);
  const T dr = f.n[0] * v[0] + f.n[1] * v[1] + f.n[2] * v[2];
  out[0] = f.s1 * dr;
  for (int a = 0; a < 3; ++a) out[a + 1] = f.q * v[a] + f.q1 * dr * x[a];
}

// sum_k g_k sum_b d2D_k/(dx_a dx_b) v_b: the derivative of env_row_vjp along v.
template <typename T, typename U>
DEEPMD_FORMULA void env_row_hvp(const T x[3], const T g[4], const T v[3], const Cutoff<U>& cutoff,
                                T out[3]) {
  const Radial<T> f = env_radial(x, cutoff);
  const T dr = f.n[0] * v[0] + f.n[1] * v[1] + f.n[2] * v[2];
  const T gx = g[1] * x[0] + g[2] * x[1] + g[3] * x[2];
  const T gv = g[1] * v[0] + g[2] * v[1] + g[3] * v[2];
  const T along = g[0] * f.s1 + gx * f.q1;
  const T d_along = (g[0] * f.s2 + gx * f.q2) * dr + gv * f.q1;
  const T turn = along * f.inv_r;
  for (int a = 0; a < 3; ++a)
    out[a] = d_along * f.n[a] + turn * (v[a] - dr * f.n[a]) + f.q1 * dr * g[a + 1];
}

// sum_ab d2D_k/(dx_a dx_b) u_a v_b, symmetric in u and v.
template <typename T, typename U>
DEEPMD_FORMULA void env_row_jvp_of_jvp(const T x[3], const T u[3], const T v[3],
                                       const Cutoff<U>& cutoff, T out[4]) {
  const Radial<T> f = env_radial(x, cutoff);
  const T du = f.n[0] * u[0] + f.n[1] * u[1] + f.n[2] * u[2];
  const T dv = f.n[0] * v[0] + f.n[1] * v[1] + f.n[2] * v[2];
  const T uv = u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
  const T turn = (uv - du * dv) * f.inv_r;
  out[0] = f.s2 * du * dv + f.s1 * turn;
  const T radial = f.q2 * du * dv + f.q1 * turn;
  for (int a = 0; a < 3; ++a) out[a + 1] = f.q1 * (du * v[a] + dv * u[a]) + radial * x[a];
}

}  // namespace deepmd
