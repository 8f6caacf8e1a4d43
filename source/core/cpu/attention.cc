// SPDX-License-Identifier: BSD-3-Clause
//
// The work is in products of matrices of one centre, which gemm() does; what is between them goes
// through the matrices row by row. A dot in the names of formulas is the derivative along a tangent
// of the inputs, a bar that of <adjoint, out>.
#include "attention.h"

#include "attention_center.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

// Rows of h_ij of the products w_i w_j and r_i . r_j, and the derivatives by w and r.
template <typename T>
struct PairBars {
  T* of_w;  // h, [n]
  T* of_r;
  T* w;  // [n]
  T* r;  // [3][n]

  PairBars(int64_t n, Scratch<T>& scratch)
      : of_w(scratch.take(n)), of_r(scratch.take(n)), w(scratch.take(n)), r(scratch.take(3 * n)) {
    fill(n, T(0), w);
    fill(3 * n, T(0), r);
  }
};

template <typename T>
class Pulled {
 public:
  explicit Pulled(Center<T>& center) : c(center), bars(center.n, center.scratch) {}

  // Of row i: a_ij to A_ij, b_ij = Y_i . v_j to abar_ij, the derivative by a_ij.
  void row(int64_t i, T* a, T* b) {
    const T inverse = c.exponentials(i, a), wi = c.w[i], sigma_i = c.sigma[i], beta = c.shift;
    c.direct(i);
    ElementSum<T> sum;
    for_elements<T>(c.n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      const V pj = load<V>(c.p + j) * inverse;
      sum.add(pj * load<V>(b + j) * load<V>(c.d + j) * (load<V>(c.w + j) * wi));
      store(c.p + j, pj);
    });
    const T mean = sum.total();
    for_elements<T>(c.n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      const V pj = load<V>(c.p + j), bj = load<V>(b + j), dj = load<V>(c.d + j);
      const AttentionTerms<V> terms =
          attention_terms(pj, load<V>(a + j), bj, dj, load<V>(c.w + j), wi, load<V>(c.sigma + j),
                          sigma_i, beta, mean);
      store(bars.of_w + j, terms.of_w);
      store(bars.of_r + j, terms.of_r);
      store(a + j, terms.value);
      store(b + j, terms.a_bar);
    });
    if (c.smooth) spread(c.n, i, bars.of_w, c.w, bars.w);
    if (c.directed) {
      if (!c.diagonal) bars.of_r[i] = T(0);
      for (int k = 0; k < 3; ++k) spread(c.n, i, bars.of_r, c.r + k * c.n, bars.r + k * c.n);
    }
  }

  Center<T>& c;
  PairBars<T> bars;
};

// The same along a tangent of the inputs.
template <typename T>
class Bent {
 public:
  Bent(Center<T>& center, const AttentionPairs<const T>& u)
      : c(center),
        bars(center.n, center.scratch),
        dots(center.n, center.scratch),
        w_dot(c.smooth ? u.weights + c.from : c.zeros),
        r_dot(c.scratch.take(3 * c.n)),
        unit_dot(c.scratch.take(3 * c.n)),
        s_dot(c.scratch.take(c.n)),
        d_dot(c.scratch.take(c.n)) {
    fill(3 * c.n, T(0), r_dot);
    if (!c.directed) return;
    c.directions.project(c.vectors(u.rows), {unit_dot, 3});
    to_columns(c.n, unit_dot, r_dot);
  }

  // Of row i: a_ij to A_ij, a_dot to A_dot, b to abar, b_dot to the derivative of abar.
  void row(int64_t i, T* a, T* a_dot, T* b, T* b_dot) {
    const T inverse = c.exponentials(i, a);
    c.direct(i);
    direct(i);
    const Means means = probabilities(i, a, a_dot, b, inverse);
    const T change = changes(i, b, b_dot, means);
    const T wi = c.w[i], vi = w_dot[i], sigma_i = c.sigma[i], beta = c.shift;
    for_elements<T>(c.n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      const AttentionPair<V> pair{load<V>(c.p + j), load<V>(a + j), load<V>(b + j),
                                  load<V>(c.d + j)};
      const AttentionPair<V> dot{load<V>(s_dot + j), load<V>(a_dot + j), load<V>(b_dot + j),
                                 load<V>(d_dot + j)};
      const AttentionBent<V> bent =
          attention_bent(pair, dot, load<V>(c.w + j), wi, load<V>(c.sigma + j), sigma_i,
                         load<V>(w_dot + j), vi, beta, means.t, change);
      store(bars.of_w + j, bent.plain.of_w);
      store(dots.of_w + j, bent.dot.of_w);
      store(bars.of_r + j, bent.plain.of_r);
      store(dots.of_r + j, bent.dot.of_r);
      store(a + j, bent.plain.value);
      store(a_dot + j, bent.dot.value);
      store(b + j, bent.plain.a_bar);
      store(b_dot + j, bent.dot.a_bar);
    });
    spread_all(i);
  }

  Center<T>& c;
  PairBars<T> bars, dots;
  const T* w_dot;
  T* r_dot;     // [3][n]
  T* unit_dot;  // [n][3]

 private:
  // Over a row: sum P s_dot and sum P T, where T_j is the derivative by P_j.
  struct Means {
    T s_dot, t;
  };

  // Derivative of d.
  void direct(int64_t i) {
    const int64_t n = c.n;
    fill(n, T(0), d_dot);
    for (int k = 0; k < 3; ++k) {
      const T* y = c.r + k * n;
      const T* v = r_dot + k * n;
      const T yi = y[i], vi = v[i];
      for_elements<T>(n, [&](int64_t j, auto zero) {
        using V = decltype(zero);
        store(d_dot + j, load<V>(d_dot + j) + load<V>(y + j) * vi + load<V>(v + j) * yi);
      });
    }
    if (!c.diagonal) d_dot[i] = T(0);
  }

  // p to P, and the derivatives of s.
  Means probabilities(int64_t i, const T* a, const T* a_dot, const T* b, T inverse) {
    const T wi = c.w[i], vi = w_dot[i], sigma_i = c.sigma[i], beta = c.shift;
    ElementSum<T> sum_s, sum_t;
    for_elements<T>(c.n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      const V sj = load<V>(c.sigma + j), vj = load<V>(w_dot + j);
      const V pj = load<V>(c.p + j) * inverse;
      const V slope =
          attention_slope(load<V>(a + j), load<V>(a_dot + j), sj, sigma_i, vj, vi, beta);
      sum_s.add(pj * slope);
      sum_t.add(pj * load<V>(b + j) * load<V>(c.d + j) * (load<V>(c.w + j) * wi));
      store(c.p + j, pj);
      store(s_dot + j, slope);
    });
    return {sum_s.total(), sum_t.total()};
  }

  // Derivatives of s to those of P; returns the derivative of sum P T.
  T changes(int64_t i, const T* b, const T* b_dot, const Means& means) {
    const T wi = c.w[i], vi = w_dot[i];
    ElementSum<T> sum;
    for_elements<T>(c.n, [&](int64_t j, auto zero) {
      using V = decltype(zero);
      const V pj = load<V>(c.p + j), pd = pj * (load<V>(s_dot + j) - means.s_dot);
      const V wj = load<V>(c.w + j), dj = load<V>(c.d + j), bj = load<V>(b + j);
      const V omega = wj * wi;
      const V factor_dot =
          attention_factor_dot(dj, load<V>(d_dot + j), wj, wi, load<V>(w_dot + j), vi);
      sum.add(pd * (omega * dj * bj) + pj * (factor_dot * bj + omega * dj * load<V>(b_dot + j)));
      store(s_dot + j, pd);
    });
    return sum.total();
  }

  void spread_all(int64_t i) {
    const int64_t n = c.n;
    if (c.smooth) {
      spread(n, i, bars.of_w, c.w, bars.w);
      spread(n, i, dots.of_w, c.w, dots.w);
      spread(n, i, bars.of_w, w_dot, dots.w);
    }
    if (!c.directed) return;
    if (!c.diagonal) bars.of_r[i] = dots.of_r[i] = T(0);
    for (int k = 0; k < 3; ++k) {
      spread(n, i, bars.of_r, c.r + k * n, bars.r + k * n);
      spread(n, i, dots.of_r, c.r + k * n, dots.r + k * n);
      spread(n, i, bars.of_r, r_dot + k * n, dots.r + k * n);
    }
  }

  T* s_dot;  // of a row: of s, then of P
  T* d_dot;
};

template <typename T>
void pull_center(Center<T> c, const T* adjoint, const AttentionPairs<T>& gradient) {
  const int64_t n = c.n, width = c.width;
  Pulled<T> pulled(c);
  T* a = c.scratch.take(n * n);
  T* b = c.scratch.take(n * n);
  T* g = c.scratch.take(n * (width > 3 ? width : 3));
  product(n, n, width, c.queries.y, false, c.keys.y, true, false, a);
  product(n, n, width, adjoint, false, c.values.y, true, false, b);
  for (int64_t i = 0; i < n; ++i) pulled.row(i, a + i * n, b + i * n);
  product(n, width, n, b, false, c.keys.y, false, false, g);
  c.queries.project(c.compact(g, width), c.part(gradient.qkv, 0));
  product(n, width, n, b, true, c.queries.y, false, false, g);
  c.keys.project(c.compact(g, width), c.part(gradient.qkv, 1));
  product(n, width, n, a, true, adjoint, false, false, g);
  c.values.project(c.compact(g, width), c.part(gradient.qkv, 2));
  for (int64_t i = 0; i < n; ++i) gradient.weights[c.from + i] = pulled.bars.w[i];
  if (!c.directed) return;
  to_rows(n, pulled.bars.r, g);
  const Rows<T> out = c.vectors(gradient.rows);
  c.directions.project(c.compact(g, 3), out);
  for (int64_t i = 0; i < n; ++i) out[i][-1] = T(0);
}

template <typename T>
void bend_center(Center<T> c, const AttentionPairs<const T>& u, const T* adjoint,
                 const AttentionPairs<T>& gradient, T* adjoint_gradient) {
  const int64_t n = c.n, width = c.width, size = n * width;
  Bent<T> bent(c, u);
  Scratch<T>& scratch = c.scratch;
  T *q = scratch.take(size), *k = scratch.take(size), *v = scratch.take(size);
  c.queries.project(c.part(u.qkv, 0), {q, width});
  c.keys.project(c.part(u.qkv, 1), {k, width});
  c.values.project(c.part(u.qkv, 2), {v, width});
  T *a = scratch.take(n * n), *a_dot = scratch.take(n * n);
  T *b = scratch.take(n * n), *b_dot = scratch.take(n * n);
  product(n, n, width, c.queries.y, false, c.keys.y, true, false, a);
  product(n, n, width, q, false, c.keys.y, true, false, a_dot);
  product(n, n, width, c.queries.y, false, k, true, true, a_dot);
  product(n, n, width, adjoint, false, c.values.y, true, false, b);
  product(n, n, width, adjoint, false, v, true, false, b_dot);
  for (int64_t i = 0; i < n; ++i) bent.row(i, a + i * n, a_dot + i * n, b + i * n, b_dot + i * n);
  product(n, width, n, a_dot, false, c.values.y, false, false, adjoint_gradient);
  product(n, width, n, a, false, v, false, true, adjoint_gradient);

  const int64_t most = n * (width > 3 ? width : 3);
  T *g = scratch.take(most), *g_dot = scratch.take(most);
  product(n, width, n, b, false, c.keys.y, false, false, g);
  product(n, width, n, b_dot, false, c.keys.y, false, false, g_dot);
  product(n, width, n, b, false, k, false, true, g_dot);
  c.queries.project_dot(c.part(u.qkv, 0), q, g, g_dot, c.part(gradient.qkv, 0));
  product(n, width, n, b, true, c.queries.y, false, false, g);
  product(n, width, n, b_dot, true, c.queries.y, false, false, g_dot);
  product(n, width, n, b, true, q, false, true, g_dot);
  c.keys.project_dot(c.part(u.qkv, 1), k, g, g_dot, c.part(gradient.qkv, 1));
  product(n, width, n, a, true, adjoint, false, false, g);
  product(n, width, n, a_dot, true, adjoint, false, false, g_dot);
  c.values.project_dot(c.part(u.qkv, 2), v, g, g_dot, c.part(gradient.qkv, 2));

  for (int64_t i = 0; i < n; ++i) gradient.weights[c.from + i] = bent.dots.w[i];
  if (!c.directed) return;
  to_rows(n, bent.bars.r, g);
  to_rows(n, bent.dots.r, g_dot);
  const Rows<T> out = c.vectors(gradient.rows);
  c.directions.project_dot(c.vectors(u.rows), bent.unit_dot, g, g_dot, out);
  for (int64_t i = 0; i < n; ++i) out[i][-1] = T(0);
}

}  // namespace

template <typename T>
void attention(const AttentionShape& shape, const AttentionPairs<const T>& x, int64_t begin,
               int64_t end, T* scratch, T* out) {
  for (int64_t i = begin; i < end; ++i) {
    Center<T> c(shape, x, i, scratch);
    const int64_t n = c.n, width = c.width;
    if (n == 0) continue;
    T* a = c.scratch.take(n * n);
    product(n, n, width, c.queries.y, false, c.keys.y, true, false, a);
    for (int64_t k = 0; k < n; ++k) c.weigh(k, a + k * n);
    product(n, width, n, a, false, c.values.y, false, false, out + c.from * width);
  }
}

template <typename T>
void attention_vjp(const AttentionShape& shape, const AttentionPairs<const T>& x, const T* adjoint,
                   int64_t begin, int64_t end, T* scratch, const AttentionPairs<T>& gradient) {
  for (int64_t i = begin; i < end; ++i) {
    const Center<T> c(shape, x, i, scratch);
    if (c.n > 0) pull_center(c, adjoint + c.from * c.width, gradient);
  }
}

template <typename T>
void attention_hvp(const AttentionShape& shape, const AttentionPairs<const T>& x,
                   const AttentionPairs<const T>& u, const T* adjoint, int64_t begin, int64_t end,
                   T* scratch, const AttentionPairs<T>& gradient, T* adjoint_gradient) {
  for (int64_t i = begin; i < end; ++i) {
    const Center<T> c(shape, x, i, scratch);
    const int64_t at = c.from * c.width;
    if (c.n > 0) bend_center(c, u, adjoint + at, gradient, adjoint_gradient + at);
  }
}

#define DEEPMD_INSTANTIATE(T)                                                                     \
  template void attention<T>(const AttentionShape&, const AttentionPairs<const T>&, int64_t,      \
                             int64_t, T*, T*);                                                    \
  template void attention_vjp<T>(const AttentionShape&, const AttentionPairs<const T>&, const T*, \
                                 int64_t, int64_t, T*, const AttentionPairs<T>&);                 \
  template void attention_hvp<T>(const AttentionShape&, const AttentionPairs<const T>&,           \
                                 const AttentionPairs<const T>&, const T*, int64_t, int64_t, T*,  \
                                 const AttentionPairs<T>&, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
