// SPDX-License-Identifier: BSD-3-Clause
// Sums over pairs of neighbours of a tabulated function; include/gpu_angles.h has the functions.
//
// Both kernels have a number for each number of the tables and each centre: angle_weights makes
// those by which a table is multiplied, from the pairs; angle_rows takes the sum of the columns of
// the tables, weighted by an adjoint, to the pairs. Products of matrices do the rest.
#include "kernel.h"

#include "angle_grid.h"
#include "gpu_angles_view.h"

using View = deepmd::gpu::AngleView<real>;
using Grid = deepmd::AngleGrid<real>;
using Place = deepmd::AnglePlace<real>;
using deepmd::kAnglePowers;

DEVICE Grid grid_of(const View& x) {
  return deepmd::make_angle_grid<real>(x.octaves, x.per_octave);
}

// ---------------------------------------------------------------------------------------------------
// Slots

// Slots of a type: its pairs, and one for all that are empty if these count.
struct Section {
  int64_t begin;
  int n_pairs, n;
  const real* empty;
  real weight;  // number of empty slots
};

DEVICE Section section_of(const View& x, int64_t center, int64_t type) {
  const int64_t at = center * x.ntypes + type;
  const int64_t begin = x.splits[at], end = x.splits[at + 1];
  Section s;
  s.begin = begin < 0 ? 0 : begin;
  const int64_t n_pairs = (end < x.n_pairs ? end : x.n_pairs) - s.begin;
  s.n_pairs = n_pairs < 0 ? 0 : int(n_pairs);
  s.empty = x.empty + 4 * center;
  s.weight = x.count[at];
  const bool zero = s.empty[1] == real(0) && s.empty[2] == real(0) && s.empty[3] == real(0);
  s.n = s.n_pairs + (!zero && s.weight != real(0) ? 1 : 0);
  return s;
}

// Vector of a slot, and N tangents.
template <int N>
struct Slot {
  real weight;
  real x[1 + N][3];
};

template <int N>
DEVICE Slot<N> slot_of(const View& x, const Section& section, int i) {
  const bool full = i < section.n_pairs;
  const int64_t p = section.begin + i;
  Slot<N> slot;
  slot.weight = full ? real(1) : section.weight;
  for (int a = 0; a < 3; ++a) {
    slot.x[0][a] = full ? x.rows[4 * p + 1 + a] : section.empty[1 + a];
    for (int v = 0; v < N; ++v) slot.x[1 + v][a] = full ? x.tangents[v][4 * p + 1 + a] : real(0);
  }
  return slot;
}

DEVICE real dot(const real* a, const real* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

// Change of the product of two slots along tangent v = 1, 2 of both.
template <int N>
DEVICE real change(const Slot<N>& j, const Slot<N>& k, int v) {
  return dot(j.x[v], k.x[0]) + dot(j.x[0], k.x[v]);
}

// Whether a table has the function of two types.
DEVICE bool is_table(const View& x, int64_t one, int64_t other, int64_t table) {
  return inside(table, x.n_tables) && x.table_of[one * x.ntypes + other] == table;
}

// ---------------------------------------------------------------------------------------------------
// From pairs to nodes

constexpr int kSide = 16;              // a tile has kSide x kSide pairs, one for each thread
constexpr int kPairs = kSide * kSide;  // threads of the block
constexpr int kIntervals = 256;        // of each side, that are summed at a time
constexpr int kWarps = kPairs / kWarp;

// Sums for the polynomials of the intervals low <= i < low + kIntervals of both sides, and a tile
// of pairs on the way there. Of the intervals each belongs to a warp, which adds its pairs in
// order.
struct Sums {
  real powers[2 * kIntervals][kAnglePowers];
  int place[kPairs];  // 2 (interval - low) + side, or -1
  real t[kPairs];
  real first[kPairs];   // factor of the N-th derivative of the powers, or of the first if N = 2
  real second[kPairs];  // if N = 2
  Grid grid;
  int low;
  int more;  // whether there are pairs beyond
};

DEVICE real power(real t, int n) {
  const real t2 = t * t;
  real product = n & 1 ? t : real(1);
  if (n & 2) product *= t2;
  if (n & 4) product *= t2 * t2;
  return product;
}

// A pair of a tile; `times` 0 if it is none.
template <int N>
DEVICE void load_pair(const View& x, const Section& one, const Section& other, int j, int k,
                      int times, Sums& sums) {
  const int i = int(threadIdx.x);
  sums.place[i] = -1;
  if (times == 0) return;
  const Slot<N> a = slot_of<N>(x, one, j), b = slot_of<N>(x, other, k);
  const Place place = deepmd::angle_place(sums.grid, dot(a.x[0], b.x[0]));
  const int above = place.interval - sums.low;
  if (above >= kIntervals) sums.more = 1;
  if (above < 0 || above >= kIntervals) return;
  const real weight = real(times) * a.weight * b.weight;
  sums.place[i] = 2 * above + (place.negative ? 1 : 0);
  sums.t[i] = place.t;
  if (N == 0) sums.first[i] = weight;
  if (N == 1) sums.first[i] = weight * change<N>(a, b, N) * place.slope;
  if (N == 2) {
    const real along = change<N>(a, b, 1) * change<N>(a, b, N) * place.slope;
    const real twice = dot(a.x[1], b.x[N]) + dot(a.x[N], b.x[1]);
    sums.first[i] = weight * twice * place.slope;
    sums.second[i] = weight * along * place.slope;
  }
}

template <int N>
DEVICE void add_pairs(Sums& sums) {
  const int warp = int(threadIdx.x) / kWarp, q = int(threadIdx.x) % kWarp;
  const int last = 2 * (sums.grid.half - sums.low);  // and those of a parabola from there on
  for (int base = 0; base < kPairs; base += kWarp) {
    const int mine = sums.place[base + q];
    unsigned left = warp_ballot(mine >= 0 && mine % kWarps == warp);
    for (; left != 0; left &= left - 1) {
      const int i = base + __ffs(int(left)) - 1;
      const int place = sums.place[i];
      if (q >= (place < last ? kAnglePowers : 3)) continue;
      const real t = sums.t[i], first = sums.first[i];
      real value = N == 0  ? first * power(t, q)
                   : q < 1 ? real(0)
                           : first * (real(q) * power(t, q - 1));
      if (N == 2 && q >= 2) value += sums.second[i] * (real(q * (q - 1)) * power(t, q - 2));
      sums.powers[place][q] += value;
    }
  }
}

// Adds an interval to the numbers of its near or far node.
template <int kNode>
DEVICE void add_interval(const Sums& sums, int interval, bool negative, real (&number)[3]) {
  if (interval < sums.low || interval >= sums.low + kIntervals) return;
  const real* const c = sums.powers[2 * (interval - sums.low) + (negative ? 1 : 0)];
  const real w = deepmd::angle_width(sums.grid, interval);
  const real factor[3] = {real(1), negative ? -w : w, w * w};
  if (interval == sums.grid.half) {
    for (int m = 0; m < 3; ++m) number[m] += factor[m] * (m == 2 ? real(0.5) * c[m] : c[m]);
    return;
  }
  for (int m = 0; m < 3; ++m) {
    real sum = 0;
    for (int p = 0; p < kAnglePowers; ++p)
      sum += real(deepmd::hermite_coefficient(kNode, m, 0, p)) * c[p];
    number[m] += factor[m] * sum;
  }
}

// nodes[centre][table][node][3] of all tables, a block for each table of a centre.
template <int N>
DEVICE void weights(const View& x, real* nodes, Sums& sums) {
  const int half = x.octaves * x.per_octave;
  const int64_t center = x.first + int64_t(blockIdx.x) / x.n_tables;
  const int64_t table = int64_t(blockIdx.x) % x.n_tables;
  const int n_nodes = 2 * half + 1;
  nodes += int64_t(blockIdx.x) * 3 * n_nodes;
  EACH_THREAD(i, 3 * n_nodes) nodes[i] = 0;
  if (threadIdx.x == 0) sums.grid = grid_of(x);
  for (int low = 0; low <= half; low += kIntervals) {
    block_sync();
    EACH_THREAD(i, 2 * kIntervals) {
      for (int q = 0; q < kAnglePowers; ++q) sums.powers[i][q] = 0;
    }
    if (threadIdx.x == 0) sums.low = low;
    if (threadIdx.x == 0) sums.more = 0;
    block_sync();
    for (int64_t one = 0; one < x.ntypes; ++one)
      for (int64_t other = one; other < x.ntypes; ++other) {
        if (!is_table(x, one, other, table)) continue;
        const Section a = section_of(x, center, one), b = section_of(x, center, other);
        for (int first = 0; first < a.n; first += kSide)
          for (int second = one == other ? first : 0; second < b.n; second += kSide) {
            const int j = first + int(threadIdx.x) / kSide, k = second + int(threadIdx.x) % kSide;
            // of a type both orders count, and a slot with itself
            const int times = j >= a.n || k >= b.n ? 0 : one != other || j == k ? 1 : j < k ? 2 : 0;
            load_pair<N>(x, a, b, j, k, times, sums);
            block_sync();
            add_pairs<N>(sums);
            block_sync();
          }
      }
    EACH_THREAD(node, n_nodes) {
      const int d = node - half, i = d < 0 ? -d : d;
      real number[3] = {};
      if (d >= 0) add_interval<0>(sums, i, false, number);
      if (d <= 0) add_interval<0>(sums, i, true, number);
      if (d != 0) add_interval<1>(sums, i - 1, d < 0, number);
      for (int m = 0; m < 3; ++m) nodes[3 * node + m] += number[m];
    }
    if (sums.more == 0) return;
  }
}

BLOCK_KERNEL(angle_weights_0, View x, real* nodes) {
  SHARED Sums sums;
  weights<0>(x, nodes, sums);
}

BLOCK_KERNEL(angle_weights_1, View x, real* nodes) {
  SHARED Sums sums;
  weights<1>(x, nodes, sums);
}

BLOCK_KERNEL(angle_weights_2, View x, real* nodes) {
  SHARED Sums sums;
  weights<2>(x, nodes, sums);
}

// ---------------------------------------------------------------------------------------------------
// From nodes to pairs

// First and second derivative by the product at a place.
struct Slopes {
  real first, second;
};

DEVICE Slopes slopes_at(const Grid& grid, const real* nodes, const Place& place) {
  const int sign = place.negative ? -1 : 1, node = grid.half + sign * place.interval;
  const real w = deepmd::angle_width(grid, place.interval), t = place.t;
  const real factor[3] = {real(1), real(sign) * w, w * w};
  real c[kAnglePowers] = {};
  if (place.interval == grid.half) {
    c[1] = factor[1] * nodes[3 * node + 1];
    c[2] = real(0.5) * factor[2] * nodes[3 * node + 2];
  } else {
    for (int m = 0; m < 3; ++m) {
      const real near = factor[m] * nodes[3 * node + m];
      const real far = factor[m] * nodes[3 * (node + sign) + m];
      for (int p = 1; p < kAnglePowers; ++p)
        c[p] += real(deepmd::hermite_coefficient(0, m, 0, p)) * near +
                real(deepmd::hermite_coefficient(1, m, 0, p)) * far;
    }
  }
  Slopes slopes = {0, 0};
  for (int p = kAnglePowers - 1; p >= 1; --p) slopes.first = slopes.first * t + real(p) * c[p];
  for (int p = kAnglePowers - 1; p >= 2; --p)
    slopes.second = slopes.second * t + real(p * (p - 1)) * c[p];
  slopes.first *= place.slope;
  slopes.second *= place.slope * place.slope;
  return slopes;
}

// A block for each section, a warp for each of its pairs; lanes are the slots that it is a
// neighbour of. nodes [centre][table][node][3].
template <int N>
DEVICE void rows(const View& x, const real* nodes, real* out) {
  const Grid grid = grid_of(x);
  const int64_t size = 3 * (2 * int64_t(grid.half) + 1);
  const int64_t at = int64_t(blockIdx.x) / x.ntypes, type = int64_t(blockIdx.x) % x.ntypes;
  const Section section = section_of(x, x.first + at, type);
  for (int j = int(threadIdx.x) / kWarp; j < section.n_pairs; j += int(blockDim.x) / kWarp) {
    const Slot<N> mine = slot_of<N>(x, section, j);
    real sum[3] = {};
    for (int64_t other = 0; other < x.ntypes; ++other) {
      const int64_t low = type < other ? type : other, high = type < other ? other : type;
      const int64_t table = x.table_of[low * x.ntypes + high];
      if (!inside(table, x.n_tables)) continue;
      const Section others = section_of(x, x.first + at, other);
      EACH_LANE(k, others.n) {
        const Slot<N> its = slot_of<N>(x, others, k);
        const Place place = deepmd::angle_place(grid, dot(mine.x[0], its.x[0]));
        const Slopes slopes = slopes_at(grid, nodes + (at * x.n_tables + table) * size, place);
        const real weight = type == other ? real(2) * its.weight : its.weight;
        const real first = slopes.first * weight;
        const real second = N == 0 ? first : slopes.second * weight * change<N>(mine, its, N);
        for (int a = 0; a < 3; ++a) {
          sum[a] += second * its.x[0][a];
          if (N == 1) sum[a] += first * its.x[N][a];
        }
      }
    }
    for (int a = 0; a < 3; ++a) sum[a] = warp_sum(sum[a]);
    if (threadIdx.x % kWarp != 0) continue;
    real* const row = out + 4 * (section.begin + j);
    row[0] = 0;
    for (int a = 0; a < 3; ++a) row[1 + a] = sum[a];
  }
}

BLOCK_KERNEL(angle_rows_0, View x, const real* nodes, real* out) { rows<0>(x, nodes, out); }

BLOCK_KERNEL(angle_rows_1, View x, const real* nodes, real* out) { rows<1>(x, nodes, out); }
