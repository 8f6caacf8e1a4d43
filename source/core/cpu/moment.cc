// SPDX-License-Identifier: BSD-3-Clause
#include "moment.h"

#include "moment_nodes.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

template <typename T>
struct Terms {
  int count = 0;
  int64_t node[kTerms];
  alignas(64) T c[kTerms][16];

  DEEPMD_INLINE int add(int64_t new_node) {
    node[count] = new_node;
    for (int i = 0; i < 16; ++i) c[count][i] = T(0);
    return count++;
  }
};

// out[a][:] += sum over terms and m of c[4a + m] table[node][m][:].
template <typename V, typename T>
struct AddTerms {
  const Terms<T>& terms;
  const T* table;
  int64_t n_columns;
  T* out;
  Columns<V, T> columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    V sum[4][N];
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) sum[a][i] = V{};
    for (int e = 0; e < terms.count; ++e) {
      const T* node = table + terms.node[e] * 3 * n_columns;
      const T* c = terms.c[e];
      for (int m = 0; m < 3; ++m, node += n_columns) {
        V g[N];
        for (int i = 0; i < N; ++i) {
          g[i] = load<V>(node + at[i]);
          DEEPMD_KEEP(g[i]);
        }
        for (int a = 0; a < 4; ++a)
          for (int i = 0; i < N; ++i) sum[a][i] += g[i] * c[4 * a + m];
      }
    }
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i)
        add_columns(out + a * n_columns + at[i], sum[a][i],
                    at.ends && i == N - 1 ? columns.overlap : 0);
  }
};

template <typename V, typename T>
void add_terms(const Terms<T>& terms, const T* table, int64_t n_columns, T* out) {
  const AddTerms<V, T> body{terms, table, n_columns, out, Columns<V, T>(n_columns)};
  const int64_t n_vectors = body.columns.n_vectors;
  for (int64_t b = 0; b < count_blocks<kBlock>(n_vectors); ++b)
    run_block<kBlock>(n_vectors, b, body);
}

}  // namespace

template <typename T>
void moment(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table, const T* rows,
            const T* start, const ParallelFor& parallel_for, T* out) {
  const int64_t n_columns = shape.n_columns;
  const bool wide = n_columns >= kWidth<T>;
  const int64_t cost = 2000 + 12 * n_columns * (1 + shape.n_pairs / (shape.n_centers + 1)) / 4;
  parallel_for(shape.n_centers, cost, [&](int64_t begin, int64_t end) {
    Terms<T> terms;
    for (int64_t center = begin; center < end; ++center) {
      T* moment = out + center * 4 * n_columns;
      for (int64_t i = 0; i < 4 * n_columns; ++i)
        moment[i] = start == nullptr ? T(0) : start[center * 4 * n_columns + i];
      NodeWindow window;
      const auto flush = [&] {
        if (wide)
          add_terms<Vec<T, kWidth<T>>>(terms, table, n_columns, moment);
        else
          add_terms<T>(terms, table, n_columns, moment);
        terms.count = 0;
        window = NodeWindow();
      };
      for_each_run(shape, pairs, rows, center, [&](int64_t node, const Lanes<T, 8> sum[4]) {
        if (node != window.first) {
          if (terms.count + 2 > kTerms) flush();
          window.move(node, [&](int64_t i) { return terms.add(i); });
        }
        add_nodes(sum, terms.c[window.low], terms.c[window.high]);
      });
      if (terms.count > 0) flush();
    }
  });
}

template <typename T>
std::int64_t moment_outside(const MomentShape& shape, const MomentPairs<T>& pairs) {
  int64_t outside = 0;
  for (int64_t section = 0; section < shape.n_centers * shape.ntypes; ++section) {
    const int64_t table = pairs.table_of[section];
    if (table < 0) continue;
    const T lo = pairs.range[2 * table], hi = pairs.range[2 * table + 1];
    // Written so that a NaN counts.
    for (int64_t p = pairs.splits[section]; p < pairs.splits[section + 1]; ++p)
      outside += !(pairs.s[p * pairs.step] >= lo && pairs.s[p * pairs.step] <= hi);
  }
  return outside;
}

template <typename T>
void moment_tangent_rows(const T* rows, const T* tangent, int64_t begin, int64_t end, T* s,
                         T* tangent_rows) {
  for (int64_t p = begin; p < end; ++p) {
    s[p] = rows[4 * p];
    for (int64_t a = 0; a < 4; ++a) {
      tangent_rows[8 * p + a] = tangent[4 * p + a];
      tangent_rows[8 * p + 4 + a] = tangent[4 * p] * rows[4 * p + a];
    }
  }
}

#define DEEPMD_INSTANTIATE(T)                                                                      \
  template void moment<T>(const MomentShape&, const MomentPairs<T>&, const T*, const T*, const T*, \
                          const ParallelFor&, T*);                                                 \
  template std::int64_t moment_outside<T>(const MomentShape&, const MomentPairs<T>&);              \
  template void moment_tangent_rows<T>(const T*, const T*, int64_t, int64_t, T*, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
