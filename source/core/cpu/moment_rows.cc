// SPDX-License-Identifier: BSD-3-Clause
#include "moment.h"

#include "moment_nodes.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

// A pair that waits for the products of its two nodes.
template <typename T>
struct Waiting {
  int64_t pair;
  HermitePoint<T> point;
  int low, high;
};

template <typename T>
struct Products {
  int count = 0;
  int64_t node[kTerms];
  alignas(64) T dot[kTerms][3][4];  // table[node][m] . adjoint[a]
};

// dot[m][a] = table[node][m] . adjoint[a] for every node.
template <typename V, typename T>
void multiply(Products<T>& products, const T* table, int64_t n_columns, const T* adjoint) {
  const Columns<V, T> columns(n_columns);
  // In the last vector the columns that the one before has seen are left out.
  V tail[4];
  for (int a = 0; a < 4; ++a)
    tail[a] = load_tail<V>(adjoint + a * n_columns + columns.last, columns.overlap);
  for (int e = 0; e < products.count; ++e) {
    const T* node = table + products.node[e] * 3 * n_columns;
    V sum[3][4];
    for (int m = 0; m < 3; ++m) {
      const V g = load<V>(node + m * n_columns + columns.last);
      for (int a = 0; a < 4; ++a) sum[m][a] = g * tail[a];
    }
    for (int64_t v = 0; v < columns.n_vectors - 1; ++v) {
      const int64_t at = v * Columns<V, T>::width;
      V y[4];
      for (int a = 0; a < 4; ++a) {
        y[a] = load<V>(adjoint + a * n_columns + at);
        DEEPMD_KEEP(y[a]);
      }
      for (int m = 0; m < 3; ++m) {
        V g = load<V>(node + m * n_columns + at);
        DEEPMD_KEEP(g);
        for (int a = 0; a < 4; ++a) sum[m][a] += g * y[a];
      }
    }
    for (int m = 0; m < 3; ++m) sum_lanes<T>(sum[m], products.dot[e][m]);
  }
}

// <adjoint, G^(order)> of a pair, for each row component.
template <typename T>
DEEPMD_INLINE Lanes<T, 4> product(const Products<T>& products, const Interpolant<T>& f,
                                  const Waiting<T>& x, int64_t order) {
  T w[8];
  weights(f, x.point, order).to(w);
  auto sum = Lanes<T, 4>::zero();
  for (int m = 0; m < 3; ++m) {
    sum = sum + Lanes<T, 4>::from(products.dot[x.low][m]) * w[m];
    sum = sum + Lanes<T, 4>::from(products.dot[x.high][m]) * w[4 + m];
  }
  return sum;
}

// Calls put(its place in out, pair, product) for all pairs, where product(order) is <adjoint,
// G^(order)>. A pair has `per_pair` numbers in out, which are zero in sections that are left out.
template <typename T, typename Put>
DEEPMD_INLINE void for_each_product(const MomentShape& shape, const MomentPairs<T>& pairs,
                                    const T* table, const T* adjoint, int64_t per_pair,
                                    const ParallelFor& parallel_for, T* out, const Put& put) {
  const int64_t n_columns = shape.n_columns;
  const bool wide = n_columns >= kWidth<T>;
  const int64_t cost = 2000 + 12 * n_columns * (1 + shape.n_pairs / (shape.n_centers + 1)) / 4;
  parallel_for(shape.n_centers, cost, [&](int64_t begin, int64_t end) {
    Products<T> products;
    Waiting<T> waiting[kPoints];
    for (int64_t center = begin; center < end; ++center) {
      for (int64_t section = center * shape.ntypes; section < (center + 1) * shape.ntypes;
           ++section) {
        const int64_t from = pairs.splits[section], to = pairs.splits[section + 1];
        const int64_t k = pairs.table_of[section];
        if (k < 0) {
          for (int64_t i = from * per_pair; i < to * per_pair; ++i) out[i] = T(0);
          continue;
        }
        Interpolant<T> f;
        prepare(pairs.range + 2 * k, shape, f);
        int n_waiting = 0;
        NodeWindow window;
        const auto flush = [&] {
          const T* y = adjoint + center * 4 * n_columns;
          if (wide)
            multiply<Vec<T, kWidth<T>>>(products, table, n_columns, y);
          else
            multiply<T>(products, table, n_columns, y);
          for (int i = 0; i < n_waiting; ++i) {
            const Waiting<T>& x = waiting[i];
            put(out + x.pair * per_pair, x.pair,
                [&](int64_t order) { return product(products, f, x, order); });
          }
          products.count = 0;
          n_waiting = 0;
          window = NodeWindow();
        };
        for (int64_t p = from; p < to; ++p) {
          const HermitePoint<T> point = hermite_locate(pairs.s[p * pairs.step], f.grid);
          const int64_t node = k * shape.n_nodes + point.interval;
          if (n_waiting == kPoints) flush();
          if (node != window.first) {
            if (products.count + 2 > kTerms) flush();
            window.move(node, [&](int64_t i) {
              products.node[products.count] = i;
              return products.count++;
            });
          }
          waiting[n_waiting++] = Waiting<T>{p, point, window.low, window.high};
        }
        if (n_waiting > 0) flush();
      }
    }
  });
}

}  // namespace

template <typename T>
void moment_rows(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table,
                 const T* adjoint, const ParallelFor& parallel_for, T* out) {
  for_each_product(shape, pairs, table, adjoint, 4 * shape.orders, parallel_for, out,
                   [&](T* row, int64_t, const auto& product) {
                     for (int64_t j = 0; j < shape.orders; ++j, row += 4)
                       product(shape.order + j).to(row);
                   });
}

template <typename T>
void moment_of_rows_vjp(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table,
                        const T* rows, const T* adjoint, const ParallelFor& parallel_for, T* out) {
  for_each_product(shape, pairs, table, adjoint, 4, parallel_for, out,
                   [&](T* row, int64_t pair, const auto& product) {
                     product(0).to(row);
                     T slope[4];
                     product(1).to(slope);
                     for (int a = 0; a < 4; ++a) row[0] += slope[a] * rows[4 * pair + a];
                   });
}

#define DEEPMD_INSTANTIATE(T)                                                                 \
  template void moment_rows<T>(const MomentShape&, const MomentPairs<T>&, const T*, const T*, \
                               const ParallelFor&, T*);                                       \
  template void moment_of_rows_vjp<T>(const MomentShape&, const MomentPairs<T>&, const T*,    \
                                      const T*, const T*, const ParallelFor&, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
