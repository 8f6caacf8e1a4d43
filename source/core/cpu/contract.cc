// SPDX-License-Identifier: BSD-3-Clause
#include "contract.h"

#include "columns.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

// The pairs of one centre.
template <typename T>
struct Center {
  int64_t from, to;
  const T* rows;
  const T* columns;
  const T* adjoint;
  T* out;
};

template <typename V, typename T>
struct SumPairs {
  const Center<T>& center;
  const Columns<V, T>& columns;
  int64_t n_columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    V sum[4][N];
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) sum[a][i] = V{};
    for (int64_t p = center.from; p < center.to; ++p) {
      const T* row = center.rows + 4 * p;
      const T* g = center.columns + p * n_columns;
      for (int i = 0; i < N; ++i) {
        V gi = load<V>(g + at[i]);
        DEEPMD_KEEP(gi);
        for (int a = 0; a < 4; ++a) sum[a][i] += gi * row[a];
      }
    }
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) store(center.out + a * n_columns + at[i], sum[a][i]);
  }
};

template <typename V, typename T>
struct ExpandRows {
  const Center<T>& center;
  const Columns<V, T>& columns;
  int64_t n_columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    V y[4][N];
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) {
        y[a][i] = load<V>(center.adjoint + a * n_columns + at[i]);
        DEEPMD_KEEP(y[a][i]);
      }
    for (int64_t p = center.from; p < center.to; ++p) {
      const T* row = center.rows + 4 * p;
      T* out = center.out + p * n_columns;
      for (int i = 0; i < N; ++i)
        store(out + at[i],
              y[0][i] * row[0] + y[1][i] * row[1] + y[2][i] * row[2] + y[3][i] * row[3]);
    }
  }
};

// out[p] = adjoint . columns[p] for P pairs from p on.
template <int P, typename V, typename T>
DEEPMD_INLINE void dot_pairs(const Center<T>& center, const Columns<V, T>& columns,
                             int64_t n_columns, const V tail[4], int64_t p) {
  const T* g = center.columns + p * n_columns;
  V sum[P][4];
  for (int i = 0; i < P; ++i) {
    const V gi = load<V>(g + i * n_columns + columns.last);
    for (int a = 0; a < 4; ++a) sum[i][a] = gi * tail[a];
  }
  for (int64_t v = 0; v < columns.n_vectors - 1; ++v) {
    const int64_t at = v * Columns<V, T>::width;
    V y[4];
    for (int a = 0; a < 4; ++a) {
      y[a] = load<V>(center.adjoint + a * n_columns + at);
      DEEPMD_KEEP(y[a]);
    }
    for (int i = 0; i < P; ++i) {
      V gi = load<V>(g + i * n_columns + at);
      DEEPMD_KEEP(gi);
      for (int a = 0; a < 4; ++a) sum[i][a] += gi * y[a];
    }
  }
  for (int i = 0; i < P; ++i) sum_lanes<T>(sum[i], center.out + 4 * (p + i));
}

template <typename V, typename T>
void dot_rows(const Center<T>& center, const Columns<V, T>& columns, int64_t n_columns) {
  // In the last vector the columns that the one before has seen are left out.
  V tail[4];
  for (int a = 0; a < 4; ++a)
    tail[a] = load_tail<V>(center.adjoint + a * n_columns + columns.last, columns.overlap);
  constexpr int P = kBlock;
  int64_t p = center.from;
  for (; p + P <= center.to; p += P) dot_pairs<P>(center, columns, n_columns, tail, p);
  for (; p < center.to; ++p) dot_pairs<1>(center, columns, n_columns, tail, p);
}

template <template <typename, typename> class Body, typename V, typename T>
void run_blocks(const Center<T>& center, int64_t n_columns) {
  const Columns<V, T> columns(n_columns);
  const Body<V, T> body{center, columns, n_columns};
  for (int64_t b = 0; b < count_blocks<kBlock>(columns.n_vectors); ++b)
    run_block<kBlock>(columns.n_vectors, b, body);
}

}  // namespace

template <typename T>
void contract(const ContractShape& shape, const T* rows, const T* columns, int64_t begin,
              int64_t end, T* out) {
  for (int64_t c = begin; c < end; ++c) {
    const Center<T> center{shape.splits[c * shape.ntypes],
                           shape.splits[(c + 1) * shape.ntypes],
                           rows,
                           columns,
                           nullptr,
                           out + c * 4 * shape.n_columns};
    if (shape.n_columns >= kWidth<T>)
      run_blocks<SumPairs, Vec<T, kWidth<T>>>(center, shape.n_columns);
    else
      run_blocks<SumPairs, T>(center, shape.n_columns);
  }
}

template <typename T>
void contract_rows(const ContractShape& shape, const T* columns, const T* adjoint, int64_t begin,
                   int64_t end, T* out) {
  for (int64_t c = begin; c < end; ++c) {
    const Center<T> center{shape.splits[c * shape.ntypes],
                           shape.splits[(c + 1) * shape.ntypes],
                           nullptr,
                           columns,
                           adjoint + c * 4 * shape.n_columns,
                           out};
    if (shape.n_columns >= kWidth<T>)
      dot_rows(center, Columns<Vec<T, kWidth<T>>, T>(shape.n_columns), shape.n_columns);
    else
      dot_rows(center, Columns<T, T>(shape.n_columns), shape.n_columns);
  }
}

template <typename T>
void contract_columns(const ContractShape& shape, const T* rows, const T* adjoint, int64_t begin,
                      int64_t end, T* out) {
  for (int64_t c = begin; c < end; ++c) {
    const Center<T> center{shape.splits[c * shape.ntypes],
                           shape.splits[(c + 1) * shape.ntypes],
                           rows,
                           nullptr,
                           adjoint + c * 4 * shape.n_columns,
                           out};
    if (shape.n_columns >= kWidth<T>)
      run_blocks<ExpandRows, Vec<T, kWidth<T>>>(center, shape.n_columns);
    else
      run_blocks<ExpandRows, T>(center, shape.n_columns);
  }
}

#define INSTANTIATE(T)                                                                            \
  template void contract<T>(const ContractShape&, const T*, const T*, int64_t, int64_t, T*);      \
  template void contract_rows<T>(const ContractShape&, const T*, const T*, int64_t, int64_t, T*); \
  template void contract_columns<T>(const ContractShape&, const T*, const T*, int64_t, int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
