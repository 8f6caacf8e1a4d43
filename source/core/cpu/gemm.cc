// SPDX-License-Identifier: BSD-3-Clause
#include "gemm.h"

#include "tile.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

// A tile of C: kRows rows of kVectors vectors. With the vectors of one row of B and one number of A
// it fills the registers.
constexpr int kRows = kVectorRegisters == 32 ? 8 : 4;
constexpr int kVectors = 3;
constexpr int64_t kInner = 256;      // of k at a time: a panel of B then stays in the first cache
constexpr int64_t kBlockRows = 256;  // with that, a block of A stays in the second

template <typename T>
constexpr int kColumns = kVectors * kWidth<T>;

constexpr int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }

// Size of each of the equal parts, none larger than `most`, that n is cut into, as a multiple of
// `unit`.
constexpr int64_t even(int64_t n, int64_t most, int64_t unit) {
  const int64_t parts = n <= most ? 1 : (n + most - 1) / most;
  return ((n + parts - 1) / parts + unit - 1) / unit * unit;
}

// The product that is computed: C, or its transpose when B is transposed.
template <typename T>
struct Product {
  int64_t m, n, k;
  const T* a;
  const T* b;
  bool a_by_columns;  // a is [k][m]
  bool b_by_columns;  // b is [n][k]
  bool c_by_columns;  // c is [n][m]
  T* c;
};

template <typename T>
Product<T> oriented(const GemmShape& shape, const T* a, const T* b, T* c) {
  if (!shape.transpose_b)
    return {shape.m, shape.n, shape.k, a, b, shape.transpose_a, false, false, c};
  return {shape.n, shape.m, shape.k, b, a, false, !shape.transpose_a, true, c};
}

// Part of B: rows of k, `columns` <= kColumns from `first` on, the rest of the panel zero.
template <typename T>
void pack(const Product<T>& p, int64_t from, int64_t inner, int64_t first, int64_t columns,
          T* panel) {
  constexpr int N = kColumns<T>;
  using V = Vec<T, kWidth<T>>;
  if (!p.b_by_columns) {
    const T* b = p.b + from * p.n + first;
    if (columns == N) {
      for (int64_t k = 0; k < inner; ++k)
        for (int v = 0; v < kVectors; ++v)
          store(panel + k * N + v * kWidth<T>, load<V>(b + k * p.n + v * kWidth<T>));
    } else {
      for (int64_t k = 0; k < inner; ++k)
        for (int64_t j = 0; j < N; ++j) panel[k * N + j] = j < columns ? b[k * p.n + j] : T(0);
    }
    return;
  }
  constexpr int W = kWidth<T>;
  const T* b = p.b + first * p.k + from;
  for (int64_t j = 0; j < N; j += W) {
    int64_t k = 0;
    if (j + W <= columns)
      for (; k + W <= inner; k += W) {
        V x[W];
        for (int i = 0; i < W; ++i) x[i] = load<V>(b + (j + i) * p.k + k);
        transpose<T, W, W>(x);
        for (int i = 0; i < W; ++i) store(panel + (k + i) * N + j, x[i]);
      }
    for (; k < inner; ++k)
      for (int64_t i = j; i < j + W; ++i) panel[k * N + i] = i < columns ? b[i * p.k + k] : T(0);
  }
}

// Adds a tile to C, or sets C to it.
template <int N, typename V, typename T>
DEEPMD_INLINE void put(const Product<T>& p, const V sum[kRows][N], int64_t row, int64_t rows,
                       int64_t column, int64_t columns, bool first) {
  constexpr int W = kWidth<T>;
  if (!p.c_by_columns && rows == kRows && columns == N * W) {
    for (int i = 0; i < kRows; ++i) {
      T* c = p.c + (row + i) * p.n + column;
      for (int v = 0; v < N; ++v)
        store(c + v * W, first ? sum[i][v] : load<V>(c + v * W) + sum[i][v]);
    }
    return;
  }
  if (p.c_by_columns && rows == kRows) {
    T* c = p.c + row + column * p.m;
    for (int v = 0; v < N; ++v) {
      V x[kRows];
      for (int i = 0; i < kRows; ++i) x[i] = sum[i][v];
      transpose<T, W, kRows>(x);
      T tile[W][kRows];
      for (int i = 0; i < kRows; ++i) store(tile[0] + i * W, x[i]);
      const int64_t count = smaller(W, columns - v * W);
      for (int64_t j = 0; j < count; ++j, c += p.m)
        for (int i = 0; i < kRows; ++i) c[i] = first ? tile[j][i] : c[i] + tile[j][i];
    }
    return;
  }
  T tile[kRows][N * W];
  for (int i = 0; i < kRows; ++i)
    for (int v = 0; v < N; ++v) store(tile[i] + v * W, sum[i][v]);
  const int64_t di = p.c_by_columns ? 1 : p.n, dj = p.c_by_columns ? p.m : 1;
  T* c = p.c + row * di + column * dj;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j)
      c[i * di + j * dj] = first ? tile[i][j] : c[i * di + j * dj] + tile[i][j];
}

// Rows `row` to `end` of C in the columns of a panel, which are N vectors or a little less.
template <int N, typename T>
void panel_product(const Product<T>& p, int64_t from, int64_t inner, const T* panel, int64_t row,
                   int64_t end, int64_t column, int64_t columns, bool first) {
  using V = Vec<T, kWidth<T>>;
  V sum[kRows][N];
  for (; row + kRows <= end; row += kRows) {
    if (p.a_by_columns) {
      multiply_tile(inner, p.a + from * p.m + row, 1, p.m, panel, kColumns<T>, sum);
    } else {
      multiply_tile(inner, p.a + row * p.k + from, p.k, 1, panel, kColumns<T>, sum);
    }
    put<N>(p, sum, row, kRows, column, columns, first);
  }
  if (row == end) return;
  T rest[kInner * kRows];
  for (int64_t k = 0; k < inner; ++k)
    for (int64_t i = 0; i < kRows; ++i) {
      const int64_t at = smaller(row + i, end - 1);
      rest[k * kRows + i] = p.a_by_columns ? p.a[(from + k) * p.m + at] : p.a[at * p.k + from + k];
    }
  multiply_tile(inner, rest, 1, kRows, panel, kColumns<T>, sum);
  put<N>(p, sum, row, end - row, column, columns, first);
}

// A block is a panel of columns in up to kBlockRows rows.
template <typename T>
int64_t panels(const Product<T>& p) {
  return (p.n + kColumns<T> - 1) / kColumns<T>;
}

// Rows and columns of the product that is computed, which may be the transpose of C.
template <typename T>
GemmRange range_of(const Product<T>& p, int64_t block) {
  const int64_t rows = even(p.m, kBlockRows, kRows);
  const int64_t row = block / panels(p) * rows, column = block % panels(p) * kColumns<T>;
  return {row, smaller(row + rows, p.m), column, smaller(column + kColumns<T>, p.n)};
}

template <typename T>
void clear(const Product<T>& p, const GemmRange& r) {
  const int64_t di = p.c_by_columns ? 1 : p.n, dj = p.c_by_columns ? p.m : 1;
  for (int64_t i = r.row; i < r.end_row; ++i)
    for (int64_t j = r.column; j < r.end_column; ++j) p.c[i * di + j * dj] = T(0);
}

}  // namespace

template <typename T>
int64_t gemm_blocks(const GemmShape& shape) {
  const Product<T> p = oriented<T>(shape, nullptr, nullptr, nullptr);
  const int64_t rows = even(p.m, kBlockRows, kRows);
  return p.m == 0 ? 0 : (p.m + rows - 1) / rows * panels(p);
}

template <typename T>
GemmRange gemm_range(const GemmShape& shape, int64_t block) {
  const Product<T> p = oriented<T>(shape, nullptr, nullptr, nullptr);
  const GemmRange r = range_of(p, block);
  if (p.c_by_columns) return {r.column, r.end_column, r.row, r.end_row};
  return r;
}

template <typename T>
void gemm(const GemmShape& shape, const T* a, const T* b, int64_t begin, int64_t end, bool add,
          T* c) {
  alignas(64) T panel[kInner * kColumns<T>];
  const Product<T> p = oriented(shape, a, b, c);
  const int64_t step = even(p.k, kInner, 1);
  for (int64_t block = begin; block < end; ++block) {
    const GemmRange r = range_of(p, block);
    if (p.k == 0 && !add) clear(p, r);
    const int64_t columns = r.end_column - r.column;
    const auto product = columns <= kWidth<T>       ? &panel_product<1, T>
                         : columns <= 2 * kWidth<T> ? &panel_product<2, T>
                                                    : &panel_product<kVectors, T>;
    for (int64_t from = 0; from < p.k; from += step) {
      const int64_t inner = smaller(step, p.k - from);
      pack(p, from, inner, r.column, columns, panel);
      product(p, from, inner, panel, r.row, r.end_row, r.column, columns, from == 0 && !add);
    }
  }
}

#define DEEPMD_INSTANTIATE(T)                                  \
  template int64_t gemm_blocks<T>(const GemmShape&);           \
  template GemmRange gemm_range<T>(const GemmShape&, int64_t); \
  template void gemm<T>(const GemmShape&, const T*, const T*, int64_t, int64_t, bool, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
