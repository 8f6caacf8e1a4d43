// SPDX-License-Identifier: BSD-3-Clause
// The moment's transpose by the table; include/moment.h has the formula, and gpu/moment.cc the
// order of the kernels. Intervals are numbered by their first nodes, over all tables.
#include "moment_chunk.h"

constexpr int kTableWarps = 4;
constexpr int kPart = 128;  // pairs of an interval that a warp sums

// Interval, -1 for none, and centre of each pair.
KERNEL(moment_intervals, View m, int32_t* interval, int32_t* center) {
  EACH(p, m.n_pairs) {
    const int64_t n_sections = m.n_centers * m.ntypes;
    const int64_t section = find_row(m.splits, n_sections, p);
    int64_t found = -1;
    if (section < n_sections && p >= m.splits[section] && p < m.splits[section + 1]) {
      const int64_t table = m.table_of[section];
      if (inside(table, m.n_tables))
        found =
            table * m.n_nodes + deepmd::hermite_locate(m.s[p * m.step], grid_of(m, table)).interval;
    }
    interval[p] = int32_t(found);
    center[p] = int32_t(section / m.ntypes);
  }
}

// counts [intervals][stretches], which begin as zero, of stretches of `length` pairs.
KERNEL(count_intervals, const int32_t* interval, int64_t n_pairs, int64_t length, int64_t stretches,
       int32_t* counts) {
  EACH(p, n_pairs) {
    if (interval[p] >= 0) atomicAdd(counts + interval[p] * stretches + p / length, 1);
  }
}

// Where the pairs of each interval begin, and how many parts they are; sums has the sums of counts.
KERNEL(count_parts, const int32_t* sums, int64_t n_intervals, int64_t stretches, int32_t* begin,
       int32_t* parts) {
  EACH(i, n_intervals + 1) {
    begin[i] = sums[i * stretches];
    if (i < n_intervals) parts[i] = (sums[(i + 1) * stretches] - begin[i] + kPart - 1) / kPart;
  }
}

// Puts the pairs of each interval into their order, a warp those of a stretch, 32 at a time. next
// begins as the sums of counts.
BLOCK_KERNEL(place_pairs, const int32_t* interval, int64_t n_pairs, int64_t length,
             int64_t stretches, int32_t* next, int32_t* order) {
  const int64_t stretch = int64_t(blockIdx.x) * kTableWarps + warp_of_block();
  if (stretch >= stretches) return;
  const int lane = lane_of_warp();
  const int64_t end = clamp((stretch + 1) * length, 0, n_pairs);
  for (int64_t first = stretch * length; first < end; first += kWarp) {
    const int64_t p = first + lane;
    const int32_t mine = p < end ? interval[p] : -1;
    int before = 0, after = 0;  // others of the same interval
    for (int other = 0; other < kWarp; ++other) {
      const bool same = __shfl_sync(kAllLanes, mine, other) == mine;
      before += same && other < lane;
      after += same && other > lane;
    }
    const int64_t place = mine < 0 ? 0 : mine * stretches + stretch;
    const int32_t at = mine < 0 ? 0 : next[place] + before;
    warp_sync();
    if (mine >= 0) order[at] = int32_t(p);
    if (mine >= 0 && after == 0) next[place] = at + 1;
    warp_sync();
  }
}

struct OneOrder {
  Four row;
  real w[6];
};

struct ManyOrders {
  Four w[6];  // weights times rows, summed over orders
};

// What a pair gives, with its rows, to the six numbers that each column has in an interval.
DEVICE void prepare(const View& m, const HermitePoint<real>& point, const HermiteGrid<real>& grid,
                    const real* rows, OneOrder* pair) {
  const Weights weights = weights_of(m, point, grid, m.order);
  UNROLLED(q, 6) pair->w[q] = weights.w[q];
  UNROLLED(a, 4) pair->row.v[a] = rows[a];
}
DEVICE void prepare(const View& m, const HermitePoint<real>& point, const HermiteGrid<real>& grid,
                    const real* rows, ManyOrders* pair) {
  UNROLLED(q, 6) UNROLLED(a, 4) pair->w[q].v[a] = 0;
  for (int64_t j = 0; j < m.orders; ++j) {
    const Weights weights = weights_of(m, point, grid, m.order + j);
    UNROLLED(q, 6) UNROLLED(a, 4) pair->w[q].v[a] += weights.w[q] * rows[4 * j + a];
  }
}

template <int N>
DEVICE void add(const OneOrder& pair, const real y[4][N], real sum[6][N]) {
  const Four row = pair.row;
  real product[N] = {};
  UNROLLED(a, 4) UNROLLED(j, N) product[j] += row.v[a] * y[a][j];
  UNROLLED(q, 6) {
    const real w = pair.w[q];
    UNROLLED(j, N) sum[q][j] += w * product[j];
  }
}
template <int N>
DEVICE void add(const ManyOrders& pair, const real y[4][N], real sum[6][N]) {
  UNROLLED(q, 6) {
    const Four w = pair.w[q];
    UNROLLED(a, 4) UNROLLED(j, N) sum[q][j] += w.v[a] * y[a][j];
  }
}

// sums [parts][6][n_columns], a warp for each strip of each part.
template <int N, typename Pair>
DEVICE void sum_parts(const View& m, const real* rows, const real* adjoint, const int32_t* center,
                      const int32_t* begin, const int32_t* order, const int32_t* part_splits,
                      int64_t strips, real* sums) {
  SHARED Pair shared_pairs[kTableWarps][kWarp];
  SHARED int32_t shared_centers[kTableWarps][kWarp];
  Pair* const pairs = shared_pairs[warp_of_block()];
  int32_t* const centers = shared_centers[warp_of_block()];
  const int64_t n_intervals = m.n_tables * m.n_nodes;
  const int64_t task = int64_t(blockIdx.x) * kTableWarps + warp_of_block();
  const int64_t part = task / strips, column = task % strips * kWarp * N;
  if (part >= part_splits[n_intervals]) return;
  const int64_t interval = find_row(part_splits, n_intervals, part);
  const int64_t table = interval / m.n_nodes;
  const int first_node = int(interval % m.n_nodes);
  const int64_t from = begin[interval] + (part - part_splits[interval]) * kPart;
  const int64_t to = clamp(from + kPart, from, begin[interval + 1]);
  const HermiteGrid<real> grid = grid_of(m, table);

  real sum[6][N] = {};
  for (int64_t first = from; first < to; first += kWarp) {
    const int n = int(clamp(to - first, 0, kWarp)), lane = lane_of_warp();
    const int64_t p = order[first + (lane < n ? lane : 0)];
    HermitePoint<real> point = deepmd::hermite_locate(m.s[p * m.step], grid);
    // at a node compilers may round s to another side here than where the interval was found
    if (point.interval != first_node) point.offset = point.interval < first_node ? 0 : 1;
    point.interval = first_node;
    prepare(m, point, grid, rows + p * m.orders * 4, pairs + lane);
    centers[lane] = center[p];
    warp_sync();
    for (int i = 0; i < n; ++i) {
      real y[4][N];
      load_adjoint<N>(adjoint + centers[i] * 4 * m.n_columns, column, m.n_columns, y);
      add<N>(pairs[i], y, sum);
    }
    warp_sync();
  }
  UNROLLED(q, 6) {
    store_columns<N>(sums + (part * 6 + q) * m.n_columns, column, m.n_columns, sum[q]);
  }
}

#define SUM_PARTS                                                                             \
  View m, const real *rows, const real *adjoint, const int32_t *center, const int32_t *begin, \
      const int32_t *order, const int32_t *part_splits, int64_t strips, real *sums
BLOCK_KERNEL(sum_parts_1, SUM_PARTS) {
  sum_parts<1, OneOrder>(m, rows, adjoint, center, begin, order, part_splits, strips, sums);
}
BLOCK_KERNEL(sum_parts_2, SUM_PARTS) {
  sum_parts<2, OneOrder>(m, rows, adjoint, center, begin, order, part_splits, strips, sums);
}
BLOCK_KERNEL(sum_parts_4, SUM_PARTS) {
  sum_parts<4, OneOrder>(m, rows, adjoint, center, begin, order, part_splits, strips, sums);
}
BLOCK_KERNEL(sum_parts_of_orders_1, SUM_PARTS) {
  sum_parts<1, ManyOrders>(m, rows, adjoint, center, begin, order, part_splits, strips, sums);
}
BLOCK_KERNEL(sum_parts_of_orders_2, SUM_PARTS) {
  sum_parts<2, ManyOrders>(m, rows, adjoint, center, begin, order, part_splits, strips, sums);
}
BLOCK_KERNEL(sum_parts_of_orders_4, SUM_PARTS) {
  sum_parts<4, ManyOrders>(m, rows, adjoint, center, begin, order, part_splits, strips, sums);
}

// A node is the first one of its own interval and the second one of that before it. No interval
// begins at the last node of a table, so these are of one table.
KERNEL(sum_nodes, const real* sums, const int32_t* part_splits, int64_t n_nodes, int64_t n_columns,
       real* out) {
  EACH(i, n_nodes * 3 * n_columns) {
    const int64_t node = i / (3 * n_columns), at = i % (3 * n_columns);
    real sum = 0;
    for (int64_t part = part_splits[node]; part < part_splits[node + 1]; ++part)
      sum += sums[part * 6 * n_columns + at];
    if (node > 0)
      for (int64_t part = part_splits[node - 1]; part < part_splits[node]; ++part)
        sum += sums[(part * 6 + 3) * n_columns + at];
    out[i] = sum;
  }
}
