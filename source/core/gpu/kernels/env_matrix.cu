// SPDX-License-Identifier: BSD-3-Clause
// Environment rows and their derivative maps: env_matrix.h has the formulas, env_matrix_kernels.h
// the arrays, gpu_env_matrix.h the functions. A thread for each pair; pairs of a centre are
// together, so that the threads of a warp mostly read the same avg and std.
#include "kernel.h"

#include "env_matrix.h"

// Of the type of a centre; ok is 0 for a centre of type -1, whose rows are zeros.
struct Norm {
  int ok;
  real shift[4], scale[4];
};

// What has no type, or has a std that is not positive, is NaN.
DEVICE Norm norm_of(const int32_t* center, const int32_t* type, const real* avg, const real* std,
                    int64_t n_rows, int64_t n_types, int64_t p) {
  Norm norm;
  const int64_t row = center[p];
  const int64_t t = inside(row, n_rows) ? int64_t(type[row]) : n_types;
  norm.ok = t != -1;
  for (int k = 0; k < 4; ++k) {
    const real value = inside(t, n_types) ? std[4 * t + k] : real(0);
    norm.scale[k] = value > 0 ? 1 / value : not_a_number();
    norm.shift[k] = avg != nullptr && inside(t, n_types) ? avg[4 * t + k] : real(0);
  }
  return norm;
}

template <int N>
DEVICE void load(const real* from, real (&to)[N]) {
  for (int k = 0; k < N; ++k) to[k] = from[k];
}

template <int N>
DEVICE void store(const Norm& norm, const real (&from)[N], real* to) {
  for (int k = 0; k < N; ++k) to[k] = norm.ok ? from[k] : real(0);
}

// What all kernels begin with.
#define COMMON                                                                             \
  real rcut, real rcut_smth, const real *x_of, const int32_t *center, const int32_t *type, \
      const real *std, int64_t n_pairs, int64_t n_rows, int64_t n_types
#define NORM(avg) norm_of(center, type, avg, std, n_rows, n_types, p)

KERNEL(env_matrix, COMMON, const real* avg, real* rows) {
  const deepmd::Cutoff<real> cutoff = deepmd::make_cutoff(rcut, rcut_smth);
  EACH(p, n_pairs) {
    real x[3], out[4];
    load(x_of + 3 * p, x);
    const Norm norm = NORM(avg);
    deepmd::env_row(x, cutoff, out);
    for (int k = 0; k < 4; ++k) out[k] = (out[k] - norm.shift[k]) * norm.scale[k];
    store(norm, out, rows + 4 * p);
  }
}

KERNEL(env_matrix_vjp, COMMON, const real* g_of, real* outs) {
  const deepmd::Cutoff<real> cutoff = deepmd::make_cutoff(rcut, rcut_smth);
  EACH(p, n_pairs) {
    real x[3], g[4], out[3];
    load(x_of + 3 * p, x);
    load(g_of + 4 * p, g);
    const Norm norm = NORM(nullptr);
    for (int k = 0; k < 4; ++k) g[k] *= norm.scale[k];
    deepmd::env_row_vjp(x, g, cutoff, out);
    store(norm, out, outs + 3 * p);
  }
}

KERNEL(env_matrix_jvp, COMMON, const real* v_of, real* outs) {
  const deepmd::Cutoff<real> cutoff = deepmd::make_cutoff(rcut, rcut_smth);
  EACH(p, n_pairs) {
    real x[3], v[3], out[4];
    load(x_of + 3 * p, x);
    load(v_of + 3 * p, v);
    const Norm norm = NORM(nullptr);
    deepmd::env_row_jvp(x, v, cutoff, out);
    for (int k = 0; k < 4; ++k) out[k] *= norm.scale[k];
    store(norm, out, outs + 4 * p);
  }
}

KERNEL(env_matrix_hvp, COMMON, const real* g_of, const real* v_of, real* outs) {
  const deepmd::Cutoff<real> cutoff = deepmd::make_cutoff(rcut, rcut_smth);
  EACH(p, n_pairs) {
    real x[3], g[4], v[3], out[3];
    const Norm norm = NORM(nullptr);
    load(g_of + 4 * p, g);
    load(v_of + 3 * p, v);
    load(x_of + 3 * p, x);
    for (int k = 0; k < 4; ++k) g[k] *= norm.scale[k];
    deepmd::env_row_hvp(x, g, v, cutoff, out);
    store(norm, out, outs + 3 * p);
  }
}

KERNEL(env_matrix_jvp_of_jvp, COMMON, const real* u_of, const real* v_of, real* outs) {
  const deepmd::Cutoff<real> cutoff = deepmd::make_cutoff(rcut, rcut_smth);
  EACH(p, n_pairs) {
    real x[3], u[3], v[3], out[4];
    load(x_of + 3 * p, x);
    load(u_of + 3 * p, u);
    load(v_of + 3 * p, v);
    const Norm norm = NORM(nullptr);
    deepmd::env_row_jvp_of_jvp(x, u, v, cutoff, out);
    for (int k = 0; k < 4; ++k) out[k] *= norm.scale[k];
    store(norm, out, outs + 4 * p);
  }
}
