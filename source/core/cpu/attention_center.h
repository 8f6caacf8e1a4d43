// SPDX-License-Identifier: BSD-3-Clause
//
// The neighbours of one centre, for attention among them: unit vectors and rows of probabilities.
#pragma once

#include "attention.h"
#include "elements.h"
#include "exp.h"
#include "gemm.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

template <typename T>
struct Scratch {
  T* next;
  T* take(int64_t n) {
    T* from = next;
    next += n;
    return from;
  }
};

template <typename T>
void fill(int64_t n, T value, T* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = value;
}

// c (+)= op(a) op(b), c [m][n].
template <typename T>
void product(int64_t m, int64_t n, int64_t k, const T* a, bool transpose_a, const T* b,
             bool transpose_b, bool add, T* c) {
  const GemmShape shape{m, n, k, transpose_a, transpose_b};
  gemm<T>(shape, a, b, 0, gemm_blocks<T>(shape), add, c);
}

// Rows of a matrix, `stride` numbers apart.
template <typename T>
struct Rows {
  T* first;
  int64_t stride;
  T* operator[](int64_t i) const { return first + i * stride; }
};

// n vectors y = rho x, rho = 1 / max(|x|, least length).
template <typename T>
struct Units {
  int64_t n, width;
  T* y;       // [n][width]
  T* rho;     // [n]
  T* curved;  // [n]: whether rho depends on x

  Units(int64_t n, int64_t width, Scratch<T>& scratch)
      : n(n),
        width(width),
        y(scratch.take(n * width)),
        rho(scratch.take(n)),
        curved(scratch.take(n)) {}

  void set(Rows<const T> x) const {
    for (int64_t i = 0; i < n; ++i) {
      const T square = dot(width, x[i], x[i]);
      const bool small = square < T(kLeastSquare);  // false for a NaN, which stays
      rho[i] = T(1) / T(__builtin_sqrt(small ? T(kLeastSquare) : square));
      curved[i] = small ? T(0) : T(1);
      const T factor = rho[i];
      for_elements<T>(width, [&](int64_t k, auto zero) {
        store(y + i * width + k, load<decltype(zero)>(x[i] + k) * factor);
      });
    }
  }

  // dy/dx v = rho (v - y (y . v)), which is symmetric.
  void project(Rows<const T> v, Rows<T> out) const {
    for (int64_t i = 0; i < n; ++i) {
      const T* unit = y + i * width;
      const T length = curved[i] * dot(width, unit, v[i]), factor = rho[i];
      for_elements<T>(width, [&](int64_t k, auto zero) {
        using V = decltype(zero);
        store(out[i] + k, (load<V>(v[i] + k) - load<V>(unit + k) * length) * factor);
      });
    }
  }

  // Derivative of project(g) where x changes by v, y by dy = project(v) and g by dg.
  void project_dot(Rows<const T> v, const T* dy, const T* g, const T* dg, Rows<T> out) const {
    for (int64_t i = 0; i < n; ++i) {
      const T* unit = y + i * width;
      const T* u = dy + i * width;
      const T* gi = g + i * width;
      const T* di = dg + i * width;
      const T factor = rho[i], slope = -curved[i] * factor * dot(width, unit, v[i]);
      const T length = curved[i] * dot(width, unit, gi);
      const T change = curved[i] * (dot(width, u, gi) + dot(width, unit, di));
      for_elements<T>(width, [&](int64_t k, auto zero) {
        using V = decltype(zero);
        const V along = load<V>(unit + k);
        const V flat = load<V>(gi + k) - along * length;
        const V bent = load<V>(di + k) - load<V>(u + k) * length - along * change;
        store(out[i] + k, (flat * slope + bent) * factor);
      });
    }
  }
};

// [n][3] as [3][n].
template <typename T>
void to_columns(int64_t n, const T* rows, T* columns) {
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) columns[c * n + i] = rows[3 * i + c];
}

template <typename T>
void to_rows(int64_t n, const T* columns, T* rows) {
  for (int64_t i = 0; i < n; ++i)
    for (int c = 0; c < 3; ++c) rows[3 * i + c] = columns[c * n + i];
}

template <typename V, typename T>
DEEPMD_INLINE V exp_of(const V& x, const T*) {
  return exp<T>(x);
}

template <typename T>
DEEPMD_INLINE T exp_of(T x, const T*) {
  return exp<T>(Vec<T, kWidth<T>>{} + x)[0];
}

// Of h_ij y_i y_j with the row h_i: adds the derivatives by y_i and by all y_j.
template <typename T>
void spread(int64_t n, int64_t i, const T* h, const T* y, T* bar) {
  ElementSum<T> sum;
  const T yi = y[i];
  for_elements<T>(n, [&](int64_t j, auto zero) {
    using V = decltype(zero);
    const V hj = load<V>(h + j);
    sum.add(hj * load<V>(y + j));
    store(bar + j, load<V>(bar + j) + hj * yi);
  });
  bar[i] += sum.total();
}

// The neighbours of one centre.
template <typename T>
class Center {
 public:
  Center(const AttentionShape& shape, const AttentionPairs<const T>& x, int64_t c, T* memory)
      : scratch{memory},
        from(shape.splits[c * shape.ntypes]),
        n(shape.splits[(c + 1) * shape.ntypes] - from),
        width(shape.width),
        smooth(shape.smooth),
        diagonal(shape.diagonal),
        directed(x.rows != nullptr),
        queries(n, width, scratch),
        keys(n, width, scratch),
        values(n, width, scratch),
        directions(n, 3, scratch) {
    queries.set(part(x.qkv, 0));
    keys.set(part(x.qkv, 1));
    values.set(part(x.qkv, 2));
    ones = scratch.take(n);
    zeros = scratch.take(n);
    fill(n, T(1), ones);
    fill(n, T(0), zeros);
    r = scratch.take(3 * n);
    fill(n, T(1), r);  // r_i . r_j = 1
    fill(2 * n, T(0), r + n);
    if (directed) {
      directions.set(vectors(x.rows));
      to_columns(n, directions.y, r);
    }
    w = x.weights + from;
    sigma = smooth ? w : ones;
    member = smooth ? ones : w;
    shift = smooth ? T(kAttentionShift) : T(0);
    const int64_t empty = smooth && shape.slots > n ? shape.slots - n : 0;
    rest = T(empty) * T(__builtin_exp(-kAttentionShift));
    p = scratch.take(n);
    d = scratch.take(n);
  }

  // Queries, keys or values among all numbers of the pairs.
  template <typename U>
  Rows<U> part(U* qkv, int64_t which) const {
    return {qkv + from * 3 * width + which * width, 3 * width};
  }
  template <typename U>
  Rows<U> vectors(U* rows) const {
    return {rows + from * 4 + 1, 4};
  }
  Rows<const T> compact(const T* rows, int64_t size) const { return {rows, size}; }

  // a_ij of row i to A_ij.
  void weigh(int64_t i, T* a) {
    const T factor = exponentials(i, a) * w[i];
    direct(i);
    for_elements<T>(n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      store(a + j, load<V>(p + j) * load<V>(w + j) * load<V>(d + j) * factor);
    });
  }

  // p = exp(s) m of row i; returns what makes P of it.
  T exponentials(int64_t i, const T* a) {
    const T sigma_i = sigma[i], beta = shift;
    ElementSum<T> sum;
    for_elements<T>(n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      const V s = attention_score(load<V>(a + j), load<V>(sigma + j), sigma_i, beta);
      const V e = exp_of(s, a) * load<V>(member + j);
      sum.add(e);
      store(p + j, e);
    });
    const T total = sum.total() + rest;
    return total == T(0) ? T(0) : T(1) / total;
  }

  // d = r_i . r_j of row i, 0 for a diagonal that is left out.
  void direct(int64_t i) {
    const T x = r[i], y = r[n + i], z = r[2 * n + i];
    for_elements<T>(n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      store(d + j, load<V>(r + j) * x + load<V>(r + n + j) * y + load<V>(r + 2 * n + j) * z);
    });
    if (!diagonal) d[i] = T(0);
  }

  Scratch<T> scratch;
  const int64_t from, n, width;
  const bool smooth, diagonal, directed;
  Units<T> queries, keys, values, directions;
  T *ones, *zeros;
  T* r;             // [3][n]
  const T* w;       // weights
  const T* sigma;   // factors of s
  const T* member;  // m
  T shift, rest;
  T *p, *d;  // of a row: P, or p on the way to it, and r_i . r_j
};

}  // namespace
}  // namespace DEEPMD_ISA
}  // namespace deepmd
