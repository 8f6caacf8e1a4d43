// SPDX-License-Identifier: BSD-3-Clause
// Tabulated functions of slots and their sums: include/tabulate.h has the formulas,
// include/gpu_tabulate.h the functions.
//
// A block prepares kPoints slots at a time in shared memory. The six coefficients of a polynomial,
// side by side, are read by the thread that has the column, all of those of a slot by the threads
// of a warp at once.
#include "lanes.h"

#include "tabulate.h"

using deepmd::kPowers;
using deepmd::TabulatePoints;
using deepmd::TabulateSum;

constexpr int kThreads = 128;  // of a block
constexpr int kPoints = 64;

// A slot with its A factors, those of its row, and, for derivatives, the weights of slopes.
template <int A, bool kSlope>
struct Point {
  real value[kPowers], slope[kSlope ? kPowers : 1], factor[A];
  int64_t row;  // where the numbers of its row in the table begin
};

template <int A, bool kSlope>
DEVICE void prepare(const TabulatePoints<real>& points, int64_t p, Point<A, kSlope>* point) {
  const deepmd::TablePoint<real> at = deepmd::table_locate(points.s[p], points.grid);
  for (int i = 0; i < kPowers; ++i) {
    point->value[i] = at.value[i];
    if (kSlope) point->slope[i] = at.slope[i];
  }
  point->row = at.row * kPowers * points.n_columns;
}

// Coefficients of a column, which are aligned to two numbers.
struct alignas(2 * sizeof(real)) Two {
  real v[2];
};
struct Coefficients {
  Two pair[kPowers / 2];
};
DEVICE Coefficients read_column(const real* table, int64_t row, int64_t k) {
  Coefficients c;
  const Two* const from = reinterpret_cast<const Two*>(table + row + kPowers * k);
  UNROLLED(i, kPowers / 2) c.pair[i] = from[i];
  return c;
}
DEVICE real weigh(const Coefficients& c, const real* weights) {
  real sum = 0;
  UNROLLED(i, kPowers) sum += c.pair[i / 2].v[i % 2] * weights[i];
  return sum;
}

// How many of the slots of centre c differ, those at its end that are the same being one. By all
// threads of the block.
template <int A>
DEVICE int64_t distinct_slots(const TabulateSum<real>& query, int64_t c, int32_t* shared) {
  const int64_t n = query.n_per_center, last = (c + 1) * n - 1;
  block_sync();
  if (threadIdx.x == 0) *shared = -1;
  block_sync();
  int32_t other = -1;
  EACH_THREAD(j, n - 1) {
    const int64_t p = c * n + j;
    bool same = query.points.s[p] == query.points.s[last];
    for (int a = 0; a < A; ++a)
      same = same && query.factor[A * p + a] == query.factor[A * last + a];
    if (!same) other = j;
  }
  if (other >= 0) atomicMax(shared, other);
  block_sync();
  return n == 0 ? 0 : *shared + 2;
}

// out[c][a][k] = sum over slots of rows[a] G_k (1 + types[k]), types being there with kTypes. A
// block for each centre: a thread has a column of up to kThreads, and one of several parts of the
// slots where there are fewer columns.
template <int A, bool kTypes, bool kRuns>
DEVICE void sum_slots(const TabulateSum<real>& query, const real* types, int64_t n_centers,
                      real* out) {
  SHARED Point<A, false> points[kPoints];
  SHARED real parts[A * kThreads];
  SHARED int32_t shared;
  const int64_t n_columns = query.points.n_columns;
  EACH_BLOCK(c, n_centers) {
    const int64_t n = kRuns ? distinct_slots<A>(query, c, &shared) : query.n_per_center;
    for (int64_t begin = 0; begin < n_columns; begin += kThreads) {
      const int width = int(n_columns - begin < kThreads ? n_columns - begin : kThreads);
      const int down = kThreads / width;
      const int start = int(threadIdx.x) / width;
      const int64_t k = begin + int(threadIdx.x) % width;
      real sum[A] = {};
      for (int64_t first = 0; first < n; first += kPoints) {
        const int count = int(n - first < kPoints ? n - first : kPoints);
        block_sync();
        UNROLL_BY(1)
        EACH_THREAD(j, count) {
          const int64_t p = c * query.n_per_center + first + j;
          prepare(query.points, p, points + j);
          const real times = first + j == n - 1 ? real(query.n_per_center - n + 1) : real(1);
          for (int a = 0; a < A; ++a) points[j].factor[a] = times * query.factor[A * p + a];
        }
        block_sync();
        if (start < down) {
          UNROLL_BY(2)
          for (int j = start; j < count; j += down) {
            const Coefficients column = read_column(query.points.table, points[j].row, k);
            real value = weigh(column, points[j].value);
            if (kTypes)
              value += value * types[(c * query.n_per_center + first + j) * n_columns + k];
            for (int a = 0; a < A; ++a) sum[a] += points[j].factor[a] * value;
          }
        }
      }
      block_sync();
      for (int a = 0; a < A; ++a) parts[a * kThreads + threadIdx.x] = sum[a];
      block_sync();
      EACH_THREAD(i, A * width) {
        const int a = i / width, column = i % width;
        real total = 0;
        for (int d = 0; d < down; ++d) total += parts[a * kThreads + d * width + column];
        out[(c * A + a) * n_columns + begin + column] = total;
      }
    }
  }
}

BLOCK_KERNEL(tabulate, TabulateSum<real> query, int64_t n_centers, real* out) {
  sum_slots<4, false, true>(query, nullptr, n_centers, out);
}

BLOCK_KERNEL(tabulate_types, TabulateSum<real> query, const real* types, int64_t n_centers,
             real* out) {
  sum_slots<4, true, false>(query, types, n_centers, out);
}

BLOCK_KERNEL(tabulate_sum, TabulateSum<real> query, int64_t n_centers, real* out) {
  sum_slots<1, false, false>(query, nullptr, n_centers, out);
}

// Sums of N = 2 or 8 numbers over the lanes; the lane has that of the number that is returned.
template <int N>
DEVICE int sum_lanes(real v[N]) {
  const int lane = lane_of_warp();
  int number = lane / 16;
  fold<N>(v, 16);
  if (N == 8) {
    fold<N == 8 ? 4 : 2>(v, 8);
    fold<2>(v, 4);
    number = lane / 4;
  }
  for (int bit = N == 8 ? 2 : 8; bit > 0; bit /= 2) v[0] += __shfl_xor_sync(kAllLanes, v[0], bit);
  return number;
}

// Derivatives by s and the rows, and with kTypes by the types: a block for each centre, or for
// kPoints of its slots. A warp has a slot, its lanes have columns.
template <int A, bool kTypes, bool kRuns>
DEVICE void derivatives(const TabulateSum<real>& query, const real* types, const real* adjoint,
                        int64_t n_centers, real* ds, real* drows, real* dtypes) {
  constexpr int kSums = A == 4 ? 8 : 2;  // A by the rows, one by s
  SHARED Point<A, true> points[kPoints];
  SHARED int32_t shared;
  const int64_t n_columns = query.points.n_columns, n_slots = query.n_per_center;
  const int64_t n_chunks = kRuns ? int64_t(n_slots > 0) : (n_slots + kPoints - 1) / kPoints;
  EACH_BLOCK(block, n_centers * n_chunks) {
    // so many blocks that an int32_t does not hold them would be of terabytes
    const int64_t c = kRuns ? block : int32_t(block) / int32_t(n_chunks);
    const int64_t begin = (block - c * n_chunks) * kPoints;
    const real* const y = adjoint + c * A * n_columns;
    int64_t n = begin + kPoints < n_slots ? begin + kPoints : n_slots;
    if (kRuns) n = distinct_slots<A>(query, c, &shared);
    for (int64_t first = begin; first < n; first += kPoints) {
      const int count = int(n - first < kPoints ? n - first : kPoints);
      block_sync();
      UNROLL_BY(1)
      EACH_THREAD(j, count) {
        const int64_t p = c * n_slots + first + j;
        prepare(query.points, p, points + j);
        for (int a = 0; a < A; ++a) points[j].factor[a] = query.factor[A * p + a];
      }
      block_sync();
      for (int j = warp_of_block(); j < count; j += warps_of_block()) {
        const int64_t p = c * n_slots + first + j;
        real sum[kSums] = {};
        UNROLL_BY(2)
        for (int64_t k = lane_of_warp(); k < n_columns; k += kWarp) {
          const Coefficients column = read_column(query.points.table, points[j].row, k);
          real value = weigh(column, points[j].value), slope = weigh(column, points[j].slope);
          real along = 0, yk[A];
          for (int a = 0; a < A; ++a) {
            yk[a] = y[a * n_columns + k];
            along += points[j].factor[a] * yk[a];
          }
          if (kTypes) {
            const real factor = 1 + types[p * n_columns + k];
            dtypes[p * n_columns + k] = value * along;
            value *= factor;
            slope *= factor;
          }
          for (int a = 0; a < A; ++a) sum[a] += value * yk[a];
          sum[A] += slope * along;
        }
        const int number = sum_lanes<kSums>(sum);
        if (lane_of_warp() % (kWarp / kSums) == 0) {
          if (number < A) drows[A * p + number] = sum[0];
          if (number == A) ds[p] = sum[0];
        }
      }
    }
    if (!kRuns) continue;
    block_sync();
    const int64_t from = c * n_slots + n - 1;
    EACH_THREAD(j, n_slots - n) {
      ds[from + 1 + j] = ds[from];
      for (int a = 0; a < A; ++a) drows[A * (from + 1 + j) + a] = drows[A * from + a];
    }
  }
}

BLOCK_KERNEL(tabulate_grad, TabulateSum<real> query, const real* adjoint, int64_t n_centers,
             real* ds, real* drows) {
  derivatives<4, false, true>(query, nullptr, adjoint, n_centers, ds, drows, nullptr);
}

BLOCK_KERNEL(tabulate_types_grad, TabulateSum<real> query, const real* types, const real* adjoint,
             int64_t n_centers, real* ds, real* drows, real* dtypes) {
  derivatives<4, true, false>(query, types, adjoint, n_centers, ds, drows, dtypes);
}

BLOCK_KERNEL(tabulate_sum_grad, TabulateSum<real> query, const real* adjoint, int64_t n_centers,
             real* ds, real* drows) {
  derivatives<1, false, false>(query, nullptr, adjoint, n_centers, ds, drows, nullptr);
}

// The functions at kPoints points for each block, whose threads go through columns and points.
BLOCK_KERNEL(tabulate_points, TabulatePoints<real> query, int64_t n_points, real* out) {
  SHARED Point<1, false> points[kPoints];
  const int64_t n_columns = query.n_columns;
  EACH_BLOCK(block, (n_points + kPoints - 1) / kPoints) {
    const int64_t first = block * kPoints;
    const int count = int(n_points - first < kPoints ? n_points - first : kPoints);
    block_sync();
    UNROLL_BY(1)
    EACH_THREAD(j, count) prepare(query, first + j, points + j);
    block_sync();
    for (int64_t begin = 0; begin < n_columns; begin += kThreads) {
      const int width = int(n_columns - begin < kThreads ? n_columns - begin : kThreads);
      const int down = kThreads / width;
      const int start = int(threadIdx.x) / width;
      const int64_t k = begin + int(threadIdx.x) % width;
      for (int j = start; j < count && start < down; j += down)
        out[(first + j) * n_columns + k] =
            weigh(read_column(query.table, points[j].row, k), points[j].value);
    }
  }
}

BLOCK_KERNEL(tabulate_points_grad, TabulatePoints<real> query, const real* adjoint,
             int64_t n_points, real* ds) {
  SHARED Point<1, true> points[kPoints];
  const int64_t n_columns = query.n_columns;
  EACH_BLOCK(block, (n_points + kPoints - 1) / kPoints) {
    const int64_t first = block * kPoints;
    const int count = int(n_points - first < kPoints ? n_points - first : kPoints);
    block_sync();
    UNROLL_BY(1)
    EACH_THREAD(j, count) prepare(query, first + j, points + j);
    block_sync();
    for (int j = warp_of_block(); j < count; j += warps_of_block()) {
      const int64_t p = first + j;
      real sum = 0;
      for (int64_t k = lane_of_warp(); k < n_columns; k += kWarp)
        sum += adjoint[p * n_columns + k] *
               weigh(read_column(query.table, points[j].row, k), points[j].slope);
      sum = warp_sum(sum);
      if (lane_of_warp() == 0) ds[p] = sum;
    }
  }
}
