// SPDX-License-Identifier: BSD-3-Clause
//
// The formulas of one pair are applied to vectors of pairs of one centre. A vector that is not full
// is padded, so a pair's result does not depend on where in a vector, or in which thread's range,
// it happens to be.
#include "env_matrix_kernels.h"

#include "env_matrix.h"
#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int32_t;
using std::int64_t;

// avg and 1/std of one type of centre.
template <typename T>
struct Normalisation {
  T shift[4], scale[4];
};

// lanes[k][i] = values[i][k]; lanes beyond the n pairs repeat the first one.
template <int W, int K, typename T>
DEEPMD_INLINE void to_lanes(const T* values, int n, Vec<T, W> lanes[K]) {
  T at[K][W];
  if (n == W)
    for (int i = 0; i < W; ++i)
      for (int k = 0; k < K; ++k) at[k][i] = values[K * i + k];
  else
    for (int i = 0; i < W; ++i)
      for (int k = 0; k < K; ++k) at[k][i] = values[i < n ? K * i + k : k];
  for (int k = 0; k < K; ++k) lanes[k] = load<Vec<T, W>>(at[k]);
}

template <int W, int K, typename T>
DEEPMD_INLINE void from_lanes(const Vec<T, W> lanes[K], int n, T* values) {
  T at[K][W];
  for (int k = 0; k < K; ++k) store(at[k], lanes[k]);
  if (n == W)
    for (int i = 0; i < W; ++i)
      for (int k = 0; k < K; ++k) values[K * i + k] = at[k][i];
  else
    for (int i = 0; i < n; ++i)
      for (int k = 0; k < K; ++k) values[K * i + k] = at[k][i];
}

// out[p] = map(x[p], a[p], b[p]) for begin <= p < end, with A, B and Out numbers per pair.
template <typename T, int A, int B, int Out, typename Map>
DEEPMD_INLINE void for_each_pair(const EnvPairs<T>& pairs, const T* avg, const T* a, const T* b,
                                 int64_t begin, int64_t end, T* out, const Map& map) {
  constexpr int W = kWidth<T>;
  Normalisation<T> norm = {};
  int32_t norm_type = -1;
  for (int64_t p = begin; p < end;) {
    const int32_t center = pairs.center[p];
    int n = 1;
    while (n < W && p + n < end && pairs.center[p + n] == center) ++n;
    const int32_t type = pairs.type[center];
    if (type >= 0 && type != norm_type) {
      for (int k = 0; k < 4; ++k) {
        norm.shift[k] = avg != nullptr ? avg[4 * type + k] : T(0);
        norm.scale[k] = T(1) / pairs.std[4 * type + k];
      }
      norm_type = type;
    }
    if (type < 0) {
      for (int i = 0; i < n * Out; ++i) out[p * Out + i] = T(0);
    } else {
      Vec<T, W> xs[3], as[A + 1], bs[B + 1], result[Out];
      to_lanes<W, 3>(pairs.x + 3 * p, n, xs);
      if (A > 0) to_lanes<W, A + (A == 0)>(a + A * p, n, as);
      if (B > 0) to_lanes<W, B + (B == 0)>(b + B * p, n, bs);
      map(xs, as, bs, norm, result);
      from_lanes<W, Out>(result, n, out + Out * p);
    }
    p += n;
  }
}

}  // namespace

template <typename T>
void env_matrix(const EnvPairs<T>& pairs, const T* avg, int64_t begin, int64_t end, T* rows) {
  typedef Vec<T, kWidth<T>> V;
  const Cutoff<T> cutoff = make_cutoff(pairs.rcut, pairs.rcut_smth);
  for_each_pair<T, 0, 0, 4>(pairs, avg, pairs.x, pairs.x, begin, end, rows,
                            [=](const V* x, const V*, const V*, const Normalisation<T>& norm,
                                V* out) __attribute__((always_inline)) {
                              env_row(x, cutoff, out);
                              for (int k = 0; k < 4; ++k)
                                out[k] = (out[k] - norm.shift[k]) * norm.scale[k];
                            });
}

template <typename T>
void env_matrix_vjp(const EnvPairs<T>& pairs, const T* g, int64_t begin, int64_t end, T* out) {
  typedef Vec<T, kWidth<T>> V;
  const Cutoff<T> cutoff = make_cutoff(pairs.rcut, pairs.rcut_smth);
  for_each_pair<T, 4, 0, 3>(pairs, nullptr, g, g, begin, end, out,
                            [=](const V* x, const V* g, const V*, const Normalisation<T>& norm,
                                V* out) __attribute__((always_inline)) {
                              V scaled[4];
                              for (int k = 0; k < 4; ++k) scaled[k] = g[k] * norm.scale[k];
                              env_row_vjp(x, scaled, cutoff, out);
                            });
}

template <typename T>
void env_matrix_jvp(const EnvPairs<T>& pairs, const T* v, int64_t begin, int64_t end, T* out) {
  typedef Vec<T, kWidth<T>> V;
  const Cutoff<T> cutoff = make_cutoff(pairs.rcut, pairs.rcut_smth);
  for_each_pair<T, 3, 0, 4>(pairs, nullptr, v, v, begin, end, out,
                            [=](const V* x, const V* v, const V*, const Normalisation<T>& norm,
                                V* out) __attribute__((always_inline)) {
                              env_row_jvp(x, v, cutoff, out);
                              for (int k = 0; k < 4; ++k) out[k] *= norm.scale[k];
                            });
}

template <typename T>
void env_matrix_hvp(const EnvPairs<T>& pairs, const T* g, const T* v, int64_t begin, int64_t end,
                    T* out) {
  typedef Vec<T, kWidth<T>> V;
  const Cutoff<T> cutoff = make_cutoff(pairs.rcut, pairs.rcut_smth);
  for_each_pair<T, 4, 3, 3>(pairs, nullptr, g, v, begin, end, out,
                            [=](const V* x, const V* g, const V* v, const Normalisation<T>& norm,
                                V* out) __attribute__((always_inline)) {
                              V scaled[4];
                              for (int k = 0; k < 4; ++k) scaled[k] = g[k] * norm.scale[k];
                              env_row_hvp(x, scaled, v, cutoff, out);
                            });
}

template <typename T>
void env_matrix_jvp_of_jvp(const EnvPairs<T>& pairs, const T* u, const T* v, int64_t begin,
                           int64_t end, T* out) {
  typedef Vec<T, kWidth<T>> V;
  const Cutoff<T> cutoff = make_cutoff(pairs.rcut, pairs.rcut_smth);
  for_each_pair<T, 3, 3, 4>(pairs, nullptr, u, v, begin, end, out,
                            [=](const V* x, const V* u, const V* v, const Normalisation<T>& norm,
                                V* out) __attribute__((always_inline)) {
                              env_row_jvp_of_jvp(x, u, v, cutoff, out);
                              for (int k = 0; k < 4; ++k) out[k] *= norm.scale[k];
                            });
}

#define INSTANTIATE(T)                                                                             \
  template void env_matrix<T>(const EnvPairs<T>&, const T*, int64_t, int64_t, T*);                 \
  template void env_matrix_vjp<T>(const EnvPairs<T>&, const T*, int64_t, int64_t, T*);             \
  template void env_matrix_jvp<T>(const EnvPairs<T>&, const T*, int64_t, int64_t, T*);             \
  template void env_matrix_hvp<T>(const EnvPairs<T>&, const T*, const T*, int64_t, int64_t, T*);   \
  template void env_matrix_jvp_of_jvp<T>(const EnvPairs<T>&, const T*, const T*, int64_t, int64_t, \
                                         T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
