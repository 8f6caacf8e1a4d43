// SPDX-License-Identifier: BSD-3-Clause
//
// The six coefficients of a polynomial lie side by side in memory, so numbers of a vector belong to
// different powers. Both kernels leave them there: sums over slots (or columns) are made lane by
// lane, with weights that repeat after six lanes, and lanes of the same column (or power) are added
// up last.
#include "tabulate_kernels.h"

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

constexpr int64_t kSlots = 64;     // that are prepared at a time
constexpr int64_t kColumns = 128;  // that an adjoint is spread out for at a time

// Vectors after which the powers repeat.
template <typename V, typename T>
struct Period {
  static constexpr int width = sizeof(V) / sizeof(T);
  static constexpr int vectors = width == 1 ? 6 : 3;
  static constexpr int lanes = width * vectors;
  static constexpr int columns = lanes / kPowers;
  // Lanes of weights from which any vector of a period can be read, at (i * width) % 6.
  static constexpr int sequence = width + kPowers;
};

// A slot as the kernels need it.
template <typename V, typename T>
struct Slot {
  const T* table;
  T value[Period<V, T>::sequence], slope[Period<V, T>::sequence];
};

template <typename V, typename T>
DEEPMD_INLINE Slot<V, T> make_slot(const TabulateQuery<T>& query, T s) {
  const TablePoint<T> point = table_locate(s, query.grid);
  Slot<V, T> slot;
  slot.table = query.table + point.row * kPowers * query.n_columns;
  for (int i = 0; i < Period<V, T>::sequence; ++i) {
    slot.value[i] = point.value[i % kPowers];
    slot.slope[i] = point.slope[i % kPowers];
  }
  return slot;
}

template <typename V, typename T>
DEEPMD_INLINE V weight(const T* sequence, int vector) {
  return load<V>(sequence + vector * Period<V, T>::width % kPowers);
}

// The first of the slots at the end of a centre that are the same.
template <typename T>
int64_t first_equal(const T* s, const T* rows, int64_t n_slots) {
  int64_t j = n_slots - 1;
  const T* last = rows + 4 * j;
  for (; j > 0; --j) {
    const T* row = rows + 4 * (j - 1);
    const bool same = s[j - 1] == s[n_slots - 1] && row[0] == last[0] && row[1] == last[1] &&
                      row[2] == last[2] && row[3] == last[3];
    if (!same) break;
  }
  return j;
}

// Adds P periods of columns from `lane` on, of n slots, to out.
template <int P, typename V, typename T>
DEEPMD_INLINE void sum_slots(const Slot<V, T>* slots, const T* rows, int64_t n, int64_t lane,
                             int64_t n_columns, int64_t fresh, T* out) {
  using Lanes = Period<V, T>;
  constexpr int N = P * Lanes::vectors;
  V sum[4][N];
  for (int a = 0; a < 4; ++a)
    for (int i = 0; i < N; ++i) sum[a][i] = V{};
  for (int64_t j = 0; j < n; ++j) {
    const T* table = slots[j].table + lane;
    const T* row = rows + 4 * j;
    for (int i = 0; i < N; ++i) {
      V term = load<V>(table + i * Lanes::width) * weight<V>(slots[j].value, i);
      DEEPMD_KEEP(term);
      for (int a = 0; a < 4; ++a) sum[a][i] += term * row[a];
    }
  }
  for (int a = 0; a < 4; ++a) {
    T lanes[N * Lanes::width];
    for (int i = 0; i < N; ++i) store(lanes + i * Lanes::width, sum[a][i]);
    T* column = out + a * n_columns + lane / kPowers;
    // The columns before `fresh` have been added to already.
    for (int64_t k = fresh; k < P * Lanes::columns; ++k) {
      const T* x = lanes + kPowers * k;
      column[k] += (x[0] + x[1]) + (x[2] + x[3]) + (x[4] + x[5]);
    }
  }
}

template <typename V, typename T>
void tabulate_center(const TabulateQuery<T>& query, int64_t c, T* out) {
  using Lanes = Period<V, T>;
  constexpr int kPeriods = kVectorRegisters >= 32 && Lanes::vectors == 3 ? 2 : 1;
  const int64_t n_lanes = kPowers * query.n_columns;
  const T* s = query.s + c * query.n_slots;
  const T* rows = query.rows + 4 * c * query.n_slots;
  for (int64_t k = 0; k < 4 * query.n_columns; ++k) out[k] = 0;
  if (query.n_slots == 0) return;
  const int64_t n = first_equal(s, rows, query.n_slots) + 1;
  const T n_last = T(query.n_slots - n + 1);
  Slot<V, T> slots[kSlots];
  T weighted[4 * kSlots];
  for (int64_t first = 0; first < n; first += kSlots) {
    const int64_t count = n - first < kSlots ? n - first : kSlots;
    for (int64_t j = 0; j < count; ++j) {
      slots[j] = make_slot<V>(query, s[first + j]);
      const T factor = first + j == n - 1 ? n_last : T(1);
      for (int a = 0; a < 4; ++a) weighted[4 * j + a] = factor * rows[4 * (first + j) + a];
    }
    int64_t lane = 0;
    for (; lane + kPeriods * Lanes::lanes <= n_lanes; lane += kPeriods * Lanes::lanes)
      sum_slots<kPeriods, V>(slots, weighted, count, lane, query.n_columns, 0, out);
    for (; lane < n_lanes; lane += Lanes::lanes) {
      const int64_t back = lane + Lanes::lanes > n_lanes ? lane + Lanes::lanes - n_lanes : 0;
      sum_slots<1, V>(slots, weighted, count, lane - back, query.n_columns, back / kPowers, out);
    }
  }
}

// Sums over all columns of one chunk for P slots, added to ds and drows.
template <int P, typename V, typename T>
DEEPMD_INLINE void sum_columns(const Slot<V, T>* slots, const T* rows, int64_t first_lane,
                               int64_t n_periods, int64_t last_lane, const T* spread, T* ds,
                               T* drows) {
  using Lanes = Period<V, T>;
  constexpr int N = Lanes::vectors;
  V sum[P][4][N];
  for (int j = 0; j < P; ++j)
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) sum[j][a][i] = V{};
  for (int64_t b = 0; b < n_periods; ++b) {
    const int64_t lane = b == n_periods - 1 ? last_lane : first_lane + b * Lanes::lanes;
    const T* y = spread + 4 * b * Lanes::lanes;
    for (int i = 0; i < N; ++i) {
      V coefficients[P];
      for (int j = 0; j < P; ++j) {
        coefficients[j] = load<V>(slots[j].table + lane + i * Lanes::width);
        DEEPMD_KEEP(coefficients[j]);
      }
      for (int a = 0; a < 4; ++a) {
        V ya = load<V>(y + (4 * i + a) * Lanes::width);
        if (P > 1) DEEPMD_KEEP(ya);
        for (int j = 0; j < P; ++j) sum[j][a][i] += coefficients[j] * ya;
      }
    }
  }
  for (int j = 0; j < P; ++j) {
    V value[4], slope = V{};
    for (int a = 0; a < 4; ++a) {
      value[a] = V{};
      V along = V{};
      for (int i = 0; i < N; ++i) {
        value[a] += sum[j][a][i] * weight<V>(slots[j].value, i);
        along += sum[j][a][i] * weight<V>(slots[j].slope, i);
      }
      slope += along * rows[4 * j + a];
    }
    T by_row[4], by_s[4];
    const V slopes[4] = {slope, slope, slope, slope};
    sum_lanes<T>(value, by_row);
    sum_lanes<T>(slopes, by_s);
    for (int a = 0; a < 4; ++a) drows[4 * j + a] += by_row[a];
    ds[j] += by_s[0];
  }
}

// y[(4 i + a) * width + l] of a period: the adjoint of the column that lane l of vector i belongs
// to, zero for the columns before `fresh`.
template <typename V, typename T>
void spread_adjoint(const T* adjoint, int64_t n_columns, int64_t fresh, T* y) {
  using Lanes = Period<V, T>;
  for (int i = 0; i < Lanes::vectors; ++i)
    for (int a = 0; a < 4; ++a)
      for (int l = 0; l < Lanes::width; ++l) {
        const int64_t k = (i * Lanes::width + l) / kPowers;
        y[(4 * i + a) * Lanes::width + l] = k < fresh ? T(0) : adjoint[a * n_columns + k];
      }
}

template <typename V, typename T>
void tabulate_grad_center(const TabulateQuery<T>& query, const T* adjoint, int64_t c, T* ds,
                          T* drows) {
  using Lanes = Period<V, T>;
  constexpr int P = kVectorRegisters >= 32 && Lanes::vectors == 3 ? 2 : 1;
  constexpr int64_t kPeriods = kColumns / Lanes::columns;
  const int64_t n_lanes = kPowers * query.n_columns;
  const T* s = query.s + c * query.n_slots;
  const T* rows = query.rows + 4 * c * query.n_slots;
  for (int64_t j = 0; j < query.n_slots; ++j) ds[j] = 0;
  for (int64_t k = 0; k < 4 * query.n_slots; ++k) drows[k] = 0;
  if (query.n_slots == 0) return;
  const int64_t n = first_equal(s, rows, query.n_slots) + 1;
  T spread[4 * kPeriods * Lanes::lanes];
  for (int64_t first_lane = 0; first_lane < n_lanes; first_lane += kPeriods * Lanes::lanes) {
    const int64_t left = n_lanes - first_lane;
    int64_t n_periods = (left + Lanes::lanes - 1) / Lanes::lanes;
    if (n_periods > kPeriods) n_periods = kPeriods;
    int64_t last_lane = first_lane + (n_periods - 1) * Lanes::lanes;
    // The last period ends where the table does, and leaves out what the one before it has seen.
    const int64_t back =
        last_lane + Lanes::lanes > n_lanes ? last_lane + Lanes::lanes - n_lanes : 0;
    last_lane -= back;
    for (int64_t b = 0; b < n_periods; ++b) {
      const bool is_last = b == n_periods - 1;
      const int64_t lane = is_last ? last_lane : first_lane + b * Lanes::lanes;
      spread_adjoint<V>(adjoint + lane / kPowers, query.n_columns, is_last ? back / kPowers : 0,
                        spread + 4 * b * Lanes::lanes);
    }
    int64_t j = 0;
    for (; j + P <= n; j += P) {
      Slot<V, T> slots[P];
      for (int i = 0; i < P; ++i) slots[i] = make_slot<V>(query, s[j + i]);
      sum_columns<P, V>(slots, rows + 4 * j, first_lane, n_periods, last_lane, spread, ds + j,
                        drows + 4 * j);
    }
    for (; j < n; ++j) {
      const Slot<V, T> slot = make_slot<V>(query, s[j]);
      sum_columns<1, V>(&slot, rows + 4 * j, first_lane, n_periods, last_lane, spread, ds + j,
                        drows + 4 * j);
    }
  }
  for (int64_t j = n; j < query.n_slots; ++j) {
    ds[j] = ds[n - 1];
    for (int a = 0; a < 4; ++a) drows[4 * j + a] = drows[4 * (n - 1) + a];
  }
}

// out[j] = sum over the columns of coefficient j of the row of a point times adjoint [n_columns]:
// one product with powers is left for all columns.
template <typename T>
DEEPMD_INLINE void project(const TabulatePoints<T>& points, const TablePoint<T>& at,
                           const T* adjoint, T out[kPowers]) {
  const T* row = points.table + at.row * kPowers * points.n_columns;
  for (int j = 0; j < kPowers; ++j) out[j] = 0;
  for (int64_t k = 0; k < points.n_columns; ++k, row += kPowers)
    for (int j = 0; j < kPowers; ++j) out[j] += row[j] * adjoint[k];
}

}  // namespace

template <typename T>
void tabulate(const TabulateQuery<T>& query, int64_t begin, int64_t end, T* out) {
  using V = Vec<T, kWidth<T>>;
  const bool wide = query.n_columns >= Period<V, T>::columns;
  for (int64_t c = begin; c < end; ++c) {
    T* to = out + 4 * c * query.n_columns;
    if (wide)
      tabulate_center<V>(query, c, to);
    else
      tabulate_center<T>(query, c, to);
  }
}

template <typename T>
void tabulate_grad(const TabulateQuery<T>& query, const T* adjoint, int64_t begin, int64_t end,
                   T* ds, T* drows) {
  using V = Vec<T, kWidth<T>>;
  const bool wide = query.n_columns >= Period<V, T>::columns;
  for (int64_t c = begin; c < end; ++c) {
    const T* from = adjoint + 4 * c * query.n_columns;
    T* to_s = ds + c * query.n_slots;
    T* to_rows = drows + 4 * c * query.n_slots;
    if (wide)
      tabulate_grad_center<V>(query, from, c, to_s, to_rows);
    else
      tabulate_grad_center<T>(query, from, c, to_s, to_rows);
  }
}

template <typename T>
void tabulate_points(const TabulatePoints<T>& points, int64_t begin, int64_t end, T* out) {
  for (int64_t p = begin; p < end; ++p) {
    const TablePoint<T> at = table_locate(points.s[p], points.grid);
    const T* row = points.table + at.row * kPowers * points.n_columns;
    for (int64_t k = 0; k < points.n_columns; ++k, row += kPowers) {
      T value = 0;
      for (int j = 0; j < kPowers; ++j) value += row[j] * at.value[j];
      out[p * points.n_columns + k] = value;
    }
  }
}

template <typename T>
void tabulate_points_grad(const TabulatePoints<T>& points, const T* adjoint, int64_t begin,
                          int64_t end, T* ds) {
  for (int64_t p = begin; p < end; ++p) {
    const TablePoint<T> at = table_locate(points.s[p], points.grid);
    T sum[kPowers];
    project(points, at, adjoint + p * points.n_columns, sum);
    ds[p] = 0;
    for (int j = 1; j < kPowers; ++j) ds[p] += sum[j] * at.slope[j];
  }
}

template <typename T>
void tabulate_sum(const TabulateSum<T>& sum, int64_t begin, int64_t end, T* out) {
  const TabulatePoints<T>& points = sum.points;
  for (int64_t c = begin; c < end; ++c) {
    T* to = out + c * points.n_columns;
    for (int64_t k = 0; k < points.n_columns; ++k) to[k] = 0;
    for (int64_t p = c * sum.n_per_center; p < (c + 1) * sum.n_per_center; ++p) {
      TablePoint<T> at = table_locate(points.s[p], points.grid);
      for (int j = 0; j < kPowers; ++j) at.value[j] *= sum.factor[p];
      const T* row = points.table + at.row * kPowers * points.n_columns;
      for (int64_t k = 0; k < points.n_columns; ++k, row += kPowers) {
        T value = 0;
        for (int j = 0; j < kPowers; ++j) value += row[j] * at.value[j];
        to[k] += value;
      }
    }
  }
}

template <typename T>
void tabulate_sum_grad(const TabulateSum<T>& sum, const T* adjoint, int64_t begin, int64_t end,
                       T* ds, T* dfactor) {
  const TabulatePoints<T>& points = sum.points;
  for (int64_t p = begin; p < end; ++p) {
    const TablePoint<T> at = table_locate(points.s[p], points.grid);
    T along[kPowers];
    project(points, at, adjoint + p / sum.n_per_center * points.n_columns, along);
    T value = 0, slope = 0;
    for (int j = 0; j < kPowers; ++j) {
      value += along[j] * at.value[j];
      slope += along[j] * at.slope[j];
    }
    dfactor[p] = value;
    ds[p] = slope * sum.factor[p];
  }
}

#define INSTANTIATE(T)                                                                             \
  template void tabulate<T>(const TabulateQuery<T>&, int64_t, int64_t, T*);                        \
  template void tabulate_grad<T>(const TabulateQuery<T>&, const T*, int64_t, int64_t, T*, T*);     \
  template void tabulate_points<T>(const TabulatePoints<T>&, int64_t, int64_t, T*);                \
  template void tabulate_points_grad<T>(const TabulatePoints<T>&, const T*, int64_t, int64_t, T*); \
  template void tabulate_sum<T>(const TabulateSum<T>&, int64_t, int64_t, T*);                      \
  template void tabulate_sum_grad<T>(const TabulateSum<T>&, const T*, int64_t, int64_t, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
