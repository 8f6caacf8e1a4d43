// SPDX-License-Identifier: BSD-3-Clause
//
// A pair does not touch the table itself. Its contribution is a 4 x 6 matrix of numbers, row
// component times Hermite weight, and pairs of one centre that share an interval, or neighbouring
// intervals, share nodes: neighbours arrive sorted by distance, so their matrices are summed per
// node first, for all derivative orders at once. What is left is a product of small matrices with
// the columns of the table, a few nodes per centre, whose cost depends neither on the number of
// orders nor much on that of pairs.
#pragma once

#include "columns.h"
#include "hermite.h"
#include "moment.h"

namespace deepmd {
namespace DEEPMD_ISA {

using std::int32_t;
using std::int64_t;

// ---------------------------------------------------------------------------------------------------
// Weights of one pair

template <typename T>
struct HermiteBasis {
  // c[order][power][4 node + m], for Horner's rule with all eight lanes at once.
  T c[kHermiteOrders][6][8];

  constexpr HermiteBasis() : c() {
    for (int order = 0; order < kHermiteOrders; ++order)
      for (int power = 0; power < 6; ++power)
        for (int node = 0; node < 2; ++node)
          for (int m = 0; m < 3; ++m)
            c[order][power][4 * node + m] = T(hermite_coefficient(node, m, order, power));
  }
};

template <typename T>
constexpr HermiteBasis<T> kBasis{};

// One table's grid and the factors step^(m - order) of its weights.
template <typename T>
struct Interpolant {
  HermiteGrid<T> grid;
  T factor;  // of all weights
  Lanes<T, 8> scale[kHermiteOrders];
};

template <typename T>
DEEPMD_INLINE void prepare(const T range[2], const MomentShape& shape, Interpolant<T>& f) {
  const int octaves = static_cast<int>(shape.octaves), m = static_cast<int>(shape.per_octave);
  const int uniform = static_cast<int>(shape.n_nodes) - octaves * m;
  f.grid = make_hermite_grid(range[0], range[1], uniform, octaves, m);
  f.factor = T(1) / static_cast<T>(shape.divisor);
  const T h = f.grid.step;
  const T scale[8] = {T(1), h, h * h, T(0), T(1), h, h * h, T(0)};
  f.scale[0] = Lanes<T, 8>::from(scale) * f.factor;
  for (int d = 1; d < kHermiteOrders; ++d) f.scale[d] = f.scale[d - 1] * f.grid.inv_step;
}

template <typename T>
DEEPMD_RARE void rare_weights(HermitePoint<T> point, HermiteGrid<T> grid, int64_t order, T w[8]) {
  hermite_weights(point, grid, static_cast<int>(order < kHermiteOrders ? order : kHermiteOrders),
                  w);
}

// As hermite_weights(), all lanes at once, and divided.
template <typename T>
DEEPMD_INLINE Lanes<T, 8> weights(const Interpolant<T>& f, const HermitePoint<T>& point,
                                  int64_t order) {
  if (__builtin_expect(point.side != kUniform || order >= kHermiteOrders, 0)) {
    T w[8];
    rare_weights(point, f.grid, order, w);
    return Lanes<T, 8>::from(w) * f.factor;
  }
  const auto& c = kBasis<T>.c[order];
  Lanes<T, 8> w = Lanes<T, 8>::from(c[5]);
  for (int power = 4; power >= 0; --power) w = w * point.offset + Lanes<T, 8>::from(c[power]);
  return w * f.scale[order];
}

// ---------------------------------------------------------------------------------------------------
// The nodes that a centre's pairs touch

constexpr int kTerms = 64;   // nodes collected before the table is read
constexpr int kPoints = 96;  // pairs collected before the table is read (moment_rows)

// Follows the interval from pair to pair and numbers the nodes in the order in which they are met.
// Nodes counts over all tables; an interval never begins at the last node of a table, so
// neighbouring intervals are always of the same table.
struct NodeWindow {
  int64_t first = -2;  // node where the current interval begins
  int low = 0, high = 0;

  // Numbers of the two nodes of the interval that begins at `node`; new_term() gives a fresh
  // number.
  template <typename F>
  DEEPMD_INLINE void move(int64_t node, const F& new_term) {
    const int old_low = low, old_high = high;
    if (node == first - 1) {
      high = old_low;
      low = new_term(node);
    } else if (node == first + 1) {
      low = old_high;
      high = new_term(node + 1);
    } else {
      low = new_term(node);
      high = new_term(node + 1);
    }
    first = node;
  }
};

// Calls flush() when the terms may run out, then visit(node, sum) for every run of pairs within one
// interval, with sum[a] the eight weights summed over the run's pairs and orders, times row
// component a.
template <typename T, typename Visit>
DEEPMD_INLINE void for_each_run(const MomentShape& shape, const MomentPairs<T>& pairs,
                                const T* rows, int64_t center, const Visit& visit) {
  for (int64_t section = center * shape.ntypes; section < (center + 1) * shape.ntypes; ++section) {
    const int64_t table = pairs.table_of[section];
    int64_t p = pairs.splits[section];
    const int64_t end = pairs.splits[section + 1];
    if (table < 0 || p == end) continue;
    Interpolant<T> f;
    prepare(pairs.range + 2 * table, shape, f);
    HermitePoint<T> point = hermite_locate(pairs.s[p * pairs.step], f.grid);
    while (p < end) {
      const int interval = point.interval;
      Lanes<T, 8> sum[4];
      for (int a = 0; a < 4; ++a) sum[a] = Lanes<T, 8>::zero();
      do {
        const T* row = rows + p * shape.orders * 4;
        for (int64_t j = 0; j < shape.orders; ++j, row += 4) {
          const Lanes<T, 8> w = weights(f, point, shape.order + j);
          for (int a = 0; a < 4; ++a) sum[a] = sum[a] + w * row[a];
        }
        if (++p == end) break;
        point = hermite_locate(pairs.s[p * pairs.step], f.grid);
      } while (point.interval == interval);
      visit(table * shape.n_nodes + interval, sum);
    }
  }
}

// low[4a + m] and high[4a + m] += the lanes of sum[a] that belong to the two nodes.
template <typename T>
DEEPMD_INLINE void add_nodes(const Lanes<T, 8> sum[4], T low[16], T high[16]) {
  for (int a = 0; a < 4; ++a) {
    T lanes[8];
    sum[a].to(lanes);
    (Lanes<T, 4>::from(low + 4 * a) + Lanes<T, 4>::from(lanes)).to(low + 4 * a);
    (Lanes<T, 4>::from(high + 4 * a) + Lanes<T, 4>::from(lanes + 4)).to(high + 4 * a);
  }
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
