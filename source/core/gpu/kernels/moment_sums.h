// SPDX-License-Identifier: BSD-3-Clause
// The moment of a tabulated embedding and its transpose by rows; include/moment.h has the formulas,
// and moment_chunk.h what a warp does. A block for each centre, whose warps take turns in chunks of
// its pairs. kOfRows: for rows of order 0 alone, and their own derivative.
#pragma once

#include "moment_chunk.h"

constexpr int kMomentWarps = 4;

// The lanes sum weights times rows over the pairs of each node first: 12 numbers, which then
// multiply the three rows of the node in the table. All columns of the sum are in registers.
template <int N, bool kOfRows>
DEVICE void moment(const View& m, const real* table, const real* rows, const real* start,
                   real* out) {
  struct Pair {
    real w[6], row[4];
    int low;
  };
  // [m] of a node, each for the four rows of the moment; in the end the sums of a warp
  SHARED Four shared_terms[kMomentWarps][kMostNodes * 3];
  SHARED Pair shared_pairs[kMomentWarps][kWarp];
  SHARED Nodes shared_nodes[kMomentWarps];
  const int warp = warp_of_block(), lane = lane_of_warp();
  Four* const terms = shared_terms[warp];
  Pair* const pairs = shared_pairs[warp];
  Nodes* const nodes = &shared_nodes[warp];
  const int64_t orders = kOfRows ? 1 : m.orders;

  EACH_BLOCK(center, m.n_centers) {
    for (int64_t first = 0; first < m.n_columns; first += kWarp * N) {
      real sum[4][N] = {};
      for_each_chunk(m, center, warp, kMomentWarps, [&](const Chunk& chunk) {
        if (chunk.table < 0 || orders == 0) return;
        const HermiteGrid<real> grid = grid_of(m, chunk.table);
        const int64_t p = chunk.first + (lane < chunk.n ? lane : 0);
        const HermitePoint<real> point = deepmd::hermite_locate(m.s[p * m.step], grid);
        const Touched touched = touch(point.interval, chunk.n, nodes);

        for (int64_t j = 0; j < orders; ++j) {
          const Weights weights = weights_of(m, point, grid, kOfRows ? 0 : m.order + j);
          UNROLLED(q, 6) pairs[lane].w[q] = weights.w[q];
          UNROLLED(a, 4) pairs[lane].row[a] = rows[(p * orders + j) * 4 + a];
          pairs[lane].low = touched.low;
          warp_sync();
          EACH_LANE(k, 12 * touched.count) {
            const int e = k / 12, a = k % 4, q = k / 4 % 3;
            real term = j == 0 ? real(0) : terms[k / 4].v[a];
            for (int i = nodes->first[e]; i < chunk.n; ++i) {
              const int second = pairs[i].low - e;  // whether it is that of the interval
              if (second != 0 && second != 1) break;
              term += pairs[i].w[3 * second + q] * pairs[i].row[a];
            }
            terms[k / 4].v[a] = term;
          }
          warp_sync();
        }

        const real* of_table = table + chunk.table * m.n_nodes * 3 * m.n_columns;
        for (int e = 0; e < touched.count; ++e) {
          const real* node = of_table + int64_t(nodes->node[e]) * 3 * m.n_columns;
          UNROLLED(q, 3) {
            real g[N];
            load_columns<N>(node + q * m.n_columns, first, m.n_columns, g);
            const Four term = terms[3 * e + q];
            UNROLLED(a, 4) UNROLLED(j, N) sum[a][j] += term.v[a] * g[j];
          }
        }
        warp_sync();
      });
      const int64_t at = center * 4 * m.n_columns;
      add_warps<N>(sum, shared_terms[0][0].v, kMostNodes * 12, first, m.n_columns,
                   start == nullptr ? nullptr : start + at, out + at);
    }
  }
}

// For each node of a chunk the products of its three rows with the four of the adjoint come first,
// sums over columns; then every lane finishes its pair.
template <int N, bool kOfRows>
DEVICE void moment_rows(const View& m, const real* table, const real* rows, const real* adjoint,
                        real* out) {
  constexpr int kStride = 13;  // 12, and one for other banks
  SHARED real shared_dots[kMomentWarps][kMostNodes * kStride];
  SHARED Nodes shared_nodes[kMomentWarps];
  const int warp = warp_of_block(), lane = lane_of_warp();
  real* const dots = shared_dots[warp];
  Nodes* const nodes = &shared_nodes[warp];
  const bool one_strip = m.n_columns <= kWarp * N;
  mark_lost_pairs(m.splits, m.n_centers * m.ntypes, m.n_pairs, 4 * m.orders, out);

  EACH_BLOCK(center, m.n_centers) {
    const real* of_center = adjoint + center * 4 * m.n_columns;
    real y[4][N];
    if (one_strip) load_adjoint<N>(of_center, 0, m.n_columns, y);
    for_each_chunk(m, center, warp, kMomentWarps, [&](const Chunk& chunk) {
      real* const of_chunk = out + chunk.first * m.orders * 4;
      if (chunk.table < 0) {
        const real value = chunk.table == kLeftOut ? real(0) : not_a_number();
        for (int64_t i = lane; i < chunk.n * m.orders * 4; i += kWarp) of_chunk[i] = value;
        return;
      }
      const HermiteGrid<real> grid = grid_of(m, chunk.table);
      const int64_t p = chunk.first + (lane < chunk.n ? lane : 0);
      const HermitePoint<real> point = deepmd::hermite_locate(m.s[p * m.step], grid);
      const Touched touched = touch(point.interval, chunk.n, nodes);
      warp_sync();

      const real* of_table = table + chunk.table * m.n_nodes * 3 * m.n_columns;
      for (int e = 0; e < touched.count; ++e) {
        const real* node = of_table + int64_t(nodes->node[e]) * 3 * m.n_columns;
        real sum[12] = {};
        for (int64_t first = 0; first < m.n_columns; first += kWarp * N) {
          if (!one_strip) load_adjoint<N>(of_center, first, m.n_columns, y);
          UNROLLED(q, 3) {
            real g[N];
            load_columns<N>(node + q * m.n_columns, first, m.n_columns, g);
            UNROLLED(a, 4) UNROLLED(j, N) sum[4 * q + a] += y[a][j] * g[j];
          }
        }
        sums_of_12(sum, dots + e * kStride);
      }
      warp_sync();

      if (lane < chunk.n) {
        const real* const low = dots + touched.low * kStride;
        const real* const high = low - kStride;
        const auto product = [&](const Weights& weights, int a) {
          real value = 0;
          UNROLLED(q, 3) {
            value += weights.w[q] * low[4 * q + a] + weights.w[3 + q] * high[4 * q + a];
          }
          return value;
        };
        if constexpr (!kOfRows) {
          for (int64_t j = 0; j < m.orders; ++j) {
            const Weights weights = weights_of(m, point, grid, m.order + j);
            ROLLED(a, 4) { out[(p * m.orders + j) * 4 + a] = product(weights, a); }
          }
        } else {
          const Weights value = weights_of(m, point, grid, 0);
          const Weights slope = weights_of(m, point, grid, 1);
          real by_s = 0;
          ROLLED(a, 4) by_s += product(slope, a) * rows[4 * p + a];
          ROLLED(a, 4) out[4 * p + a] = product(value, a) + (a == 0 ? by_s : real(0));
        }
      }
      warp_sync();
    });
  }
}
