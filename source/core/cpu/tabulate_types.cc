// SPDX-License-Identifier: BSD-3-Clause
#include "tabulate_kernels.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

constexpr std::int64_t kBlock = 64;  // columns whose values are held at a time

// G and dG/ds of columns k < n of a row of the table from `row` on.
template <typename T>
void evaluate(const TablePoint<T>& at, const T* row, std::int64_t n, T* value, T* slope) {
  for (std::int64_t k = 0; k < n; ++k) {
    T g = 0, dg = 0;
    for (int p = 0; p < kPowers; ++p) {
      g += row[kPowers * k + p] * at.value[p];
      dg += row[kPowers * k + p] * at.slope[p];
    }
    value[k] = g;
    slope[k] = dg;
  }
}

}  // namespace

template <typename T>
void tabulate_types(const TabulateQuery<T>& query, const T* t, std::int64_t begin, std::int64_t end,
                    T* out) {
  const std::int64_t m = query.n_columns;
  T value[kBlock], slope[kBlock];
  for (std::int64_t c = begin; c < end; ++c) {
    T* sum = out + 4 * m * c;
    for (std::int64_t k = 0; k < 4 * m; ++k) sum[k] = 0;
    for (std::int64_t p = c * query.n_slots; p < (c + 1) * query.n_slots; ++p) {
      const TablePoint<T> at = table_locate(query.s[p], query.grid);
      const T* table = query.table + at.row * kPowers * m;
      const T* row = query.rows + 4 * p;
      for (std::int64_t first = 0; first < m; first += kBlock) {
        const std::int64_t n = m - first < kBlock ? m - first : kBlock;
        evaluate(at, table + kPowers * first, n, value, slope);
        for (std::int64_t k = 0; k < n; ++k) value[k] += value[k] * t[p * m + first + k];
        for (int a = 0; a < 4; ++a)
          for (std::int64_t k = 0; k < n; ++k) sum[a * m + first + k] += row[a] * value[k];
      }
    }
  }
}

template <typename T>
void tabulate_types_grad(const TabulateQuery<T>& query, const T* t, const T* adjoint,
                         std::int64_t begin, std::int64_t end, T* ds, T* drows, T* dt) {
  const std::int64_t m = query.n_columns;
  T value[kBlock], slope[kBlock];
  for (std::int64_t c = begin; c < end; ++c) {
    const T* y = adjoint + 4 * m * c;
    for (std::int64_t p = c * query.n_slots; p < (c + 1) * query.n_slots; ++p) {
      const TablePoint<T> at = table_locate(query.s[p], query.grid);
      const T* table = query.table + at.row * kPowers * m;
      const T* row = query.rows + 4 * p;
      T by_s = 0, by_row[4] = {};
      for (std::int64_t first = 0; first < m; first += kBlock) {
        const std::int64_t n = m - first < kBlock ? m - first : kBlock;
        evaluate(at, table + kPowers * first, n, value, slope);
        for (std::int64_t k = 0; k < n; ++k) {
          const T* yk = y + first + k;
          const T factor = 1 + t[p * m + first + k];
          const T along = row[0] * yk[0] + row[1] * yk[m] + row[2] * yk[2 * m] + row[3] * yk[3 * m];
          dt[p * m + first + k] = value[k] * along;
          by_s += slope[k] * factor * along;
          for (int a = 0; a < 4; ++a) by_row[a] += value[k] * factor * yk[a * m];
        }
      }
      ds[p] = by_s;
      for (int a = 0; a < 4; ++a) drows[4 * p + a] = by_row[a];
    }
  }
}

#define INSTANTIATE(T)                                                                            \
  template void tabulate_types<T>(const TabulateQuery<T>&, const T*, std::int64_t, std::int64_t,  \
                                  T*);                                                            \
  template void tabulate_types_grad<T>(const TabulateQuery<T>&, const T*, const T*, std::int64_t, \
                                       std::int64_t, T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
