// SPDX-License-Identifier: BSD-3-Clause
// What a warp does with up to 32 pairs of a section, a lane for each: their places in the table,
// and the nodes that they touch.
//
// Pairs come sorted by distance, so neighbouring lanes are often in one interval, or in
// neighbouring ones, which share a node. Every node of a chunk is therefore handled once, for all
// of its pairs and all orders of derivatives; what is left for a pair are small sums with its own
// weights.
#pragma once

#include "lanes.h"

#include "gpu_moment_view.h"
#include "hermite.h"

using deepmd::HermiteGrid;
using deepmd::HermitePoint;
using View = deepmd::gpu::MomentView<real>;

// Numbers in place of a table: the section is left out, or its table does not exist.
constexpr int64_t kLeftOut = -1, kNoTable = -2;

// Pairs first … first + n - 1, of a section.
struct Chunk {
  int64_t first;
  int n;
  int64_t table;  // or one of the above
};

// Calls visit(chunk) for every n_warps-th chunk of a centre from the warp-th on.
template <typename Visit>
DEVICE void for_each_chunk(const View& m, int64_t center, int warp, int n_warps,
                           const Visit& visit) {
  int64_t turn = warp;  // chunks that others have before it is this warp's turn
  for (int64_t section = center * m.ntypes; section < (center + 1) * m.ntypes; ++section) {
    const int64_t from = clamp(m.splits[section], 0, m.n_pairs);
    const int64_t n = clamp(m.splits[section + 1], from, m.n_pairs) - from;
    const int64_t chunks = (n + kWarp - 1) / kWarp;
    if (turn < chunks) {
      const int64_t named = m.table_of[section];
      const int64_t table = inside(named, m.n_tables) ? named : named == -1 ? kLeftOut : kNoTable;
      for (; turn < chunks; turn += n_warps) {
        const int64_t begin = n * turn / chunks, end = n * (turn + 1) / chunks;
        visit(Chunk{from + begin, int(end - begin), table});
      }
    }
    turn -= chunks;
  }
}

// The grid of a table; of no numbers where its range is none.
DEVICE HermiteGrid<real> grid_of(const View& m, int64_t table) {
  real lo = m.range[2 * table], hi = m.range[2 * table + 1];
  const real width = hi - lo;
  if (!(width > 0 && width * 0 == 0)) lo = hi = not_a_number();
  const int octaves = int(m.octaves), per_octave = int(m.per_octave);
  return deepmd::make_hermite_grid(lo, hi, int(m.n_nodes) - octaves * per_octave, octaves,
                                   per_octave);
}

// Weights of value, first and second derivative at the first node and at the second one.
struct Weights {
  real w[6];
};

DEVICE Weights weights_of(const View& m, const HermitePoint<real>& point,
                          const HermiteGrid<real>& grid, int64_t order) {
  real w[8];
  switch (order) {  // each with constants of its own
    case 0: deepmd::hermite_weights(point, grid, 0, w); break;
    case 1: deepmd::hermite_weights(point, grid, 1, w); break;
    case 2: deepmd::hermite_weights(point, grid, 2, w); break;
    case 3: deepmd::hermite_weights(point, grid, 3, w); break;
    case 4: deepmd::hermite_weights(point, grid, 4, w); break;
    case 5: deepmd::hermite_weights(point, grid, 5, w); break;
    default: deepmd::hermite_weights(point, grid, deepmd::kHermiteOrders, w);
  }
  return {{w[0] * m.factor, w[1] * m.factor, w[2] * m.factor, w[4] * m.factor, w[5] * m.factor,
           w[6] * m.factor}};
}

constexpr int kMostNodes = 2 * kWarp;

// Nodes that a warp has met, and where the pairs begin that touch each of them.
struct Nodes {
  int node[kMostNodes], first[kMostNodes];
};

// What a lane knows of its pair: the nodes of its interval are nodes number low and low - 1.
struct Touched {
  int low;
  int count;  // of all nodes of the warp
};

// Numbers the nodes that n pairs touch, in the order in which these go down; a step up begins anew.
// Ends without a barrier.
DEVICE Touched touch(int interval, int n, Nodes* nodes) {
  const int lane = lane_of_warp();
  const int before = __shfl_up_sync(kAllLanes, interval, 1);
  int fresh = interval == before ? 0 : interval == before - 1 ? 1 : 2;
  if (lane == 0) fresh = 2;
  if (lane >= n) fresh = 0;
  int sum = fresh;  // over this lane and those before it
  for (int step = 1; step < kWarp; step *= 2) {
    const int left = __shfl_up_sync(kAllLanes, sum, step);
    if (lane >= step) sum += left;
  }
  const int low = sum - 1;
  if (fresh > 0) {
    nodes->node[low] = interval;
    nodes->first[low] = lane;
  }
  if (fresh > 1) {
    nodes->node[low - 1] = interval + 1;
    nodes->first[low - 1] = lane;
  }
  return {low, __shfl_sync(kAllLanes, sum, kWarp - 1)};
}
