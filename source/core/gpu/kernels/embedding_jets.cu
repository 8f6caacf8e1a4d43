// SPDX-License-Identifier: BSD-3-Clause
// Embedding nets with two derivatives; include/embedding_jets.h has the formulas, jet_tables.h the
// arrays. Matrices are small and there may be many nets, so that products are done here: a block
// takes 16 nodes, which are 48 rows, through 32 columns of a layer, a thread one node and 4 of the
// columns, and what follows the product is done in registers.
//
// Arrays between layers have a row for value, first and second derivative of each node: x and z
// [n][3][width]; z has tanh z in the place of the value.
#include "kernel.h"

#include "jet_tables.h"

using deepmd::gpu::JetNodes;
using deepmd::gpu::JetStep;
using deepmd::gpu::JetTables;
using deepmd::gpu::kJetColumns;
using deepmd::gpu::kJetNodes;
using deepmd::gpu::kJetSums;

constexpr int kRows = 3 * kJetNodes;
constexpr int kTerms = 16;  // of products that are in shared memory at a time
constexpr int kThreads = 128;
constexpr int kGroups = 8;                   // threads of a node
constexpr int kOwned = kJetColumns / kGroups;  // columns of a thread

// The nodes of a block: begin <= node < end of item, and the first of its columns.
struct Place {
  JetNodes<real> item;
  int64_t block, begin, end, column;
};

DEVICE Place place_of(const JetTables<real>& tables, int64_t block, int64_t column) {
  Place place;
  place.item = find_item(tables.nodes, tables.n_items, block);
  place.block = block;
  place.begin = (block - place.item.block) * place.item.each;
  place.end = place.begin + place.item.each;
  if (place.end > place.item.n) place.end = place.item.n;
  place.column = column;
  return place;
}

DEVICE Place place_of(const JetTables<real>& tables, int64_t width) {
  const int64_t groups = (width + kJetColumns - 1) / kJetColumns;
  return place_of(tables, int64_t(blockIdx.x) / groups, int64_t(blockIdx.x) % groups * kJetColumns);
}

// What goes into the first layer: s, 1, 0.
DEVICE real input(const real* x, const JetNodes<real>& item, int64_t row, int64_t n_in, int64_t k) {
  if (x != nullptr) return x[(3 * item.first + row) * n_in + k];
  const int64_t order = row % 3;
  return order == 0 ? item.nodes[row / 3] : real(order == 1);
}

// 1 where the width stays, 2 where it doubles, 0 where there is no skip connection.
DEVICE int copies(const JetStep& step) {
  return step.n_out == step.n_in ? 1 : step.n_out == 2 * step.n_in ? 2 : 0;
}

struct Sums {
  real of[3][kOwned];
};

// Of the node and the columns of this thread: sum over k < n of a(row, k) b(k, column).
template <typename A, typename B>
DEVICE Sums multiply(const Place& place, int64_t n, int64_t width, const A& a, const B& b,
                     bool b_by_column) {
  SHARED real rows[kRows][kTerms + 1];
  SHARED real columns[kTerms][kJetColumns + 1];
  Sums sums = {};
  const int node = int(threadIdx.x) / kGroups, group = int(threadIdx.x) % kGroups;
  for (int64_t begin = 0; begin < n; begin += kTerms) {
    EACH_THREAD(e, kRows * kTerms) {
      const int64_t row = 3 * place.begin + e / kTerms, k = begin + e % kTerms;
      rows[e / kTerms][e % kTerms] = row < 3 * place.end && k < n ? a(row, k) : real(0);
    }
    EACH_THREAD(e, kTerms * kJetColumns) {
      // neighbouring threads read neighbours in memory
      const int k = b_by_column ? e % kTerms : e / kJetColumns;
      const int j = b_by_column ? e / kTerms : e % kJetColumns;
      const bool ok = begin + k < n && place.column + j < width;
      columns[k][j] = ok ? b(begin + k, place.column + j) : real(0);
    }
    block_sync();
    for (int k = 0; k < kTerms; ++k) {
      for (int q = 0; q < kOwned; ++q) {
        const real factor = columns[k][group + kGroups * q];
        for (int d = 0; d < 3; ++d) sums.of[d][q] += rows[3 * node + d][k] * factor;
      }
    }
    block_sync();
  }
  return sums;
}

// The node and column q of this thread, and whether they are there.
DEVICE bool mine(const Place& place, int64_t width, int q, int64_t* node, int64_t* j) {
  *node = place.begin + int(threadIdx.x) / kGroups;
  *j = place.column + int(threadIdx.x) % kGroups + kGroups * q;
  return *node < place.end && *j < width;
}

// Layer step.layer of all nets. z may be null; out null is the array of each item, which may be
// null too.
BLOCK_KERNEL(jets_layer, JetTables<real> tables, JetStep step, const real* x, real* z, real* out) {
  const int64_t n_in = step.n_in, n_out = step.n_out;
  const Place place = place_of(tables, n_out);
  const JetNodes<real>& item = place.item;
  const auto layer = tables.layers[item.net * tables.n_layers + step.layer];
  const Sums sums = multiply(
      place, n_in, n_out, [&](int64_t row, int64_t k) { return input(x, item, row, n_in, k); },
      [&](int64_t k, int64_t j) { return layer.matrix[k * n_out + j]; }, false);
  const int copied = copies(step);
  for (int q = 0; q < kOwned; ++q) {
    int64_t node, j;
    if (!mine(place, n_out, q, &node, &j)) continue;
    const real t = tanh(sums.of[0][q] + layer.bias[j]), z1 = sums.of[1][q], z2 = sums.of[2][q];
    const real slope = 1 - t * t, idt = layer.idt == nullptr ? real(1) : layer.idt[j];
    real h[3] = {t * idt, slope * z1 * idt, slope * (z2 - 2 * t * z1 * z1) * idt};
    if (z != nullptr) {
      real* at = z + 3 * (item.first + node) * n_out + j;
      at[0] = t;
      at[n_out] = z1;
      at[2 * n_out] = z2;
    }
    if (out == nullptr && item.jets == nullptr) continue;
    if (copied > 0) {
      const int64_t from = j < n_in ? j : j - n_in;
      for (int d = 0; d < 3; ++d) h[d] += input(x, item, 3 * node + d, n_in, from);
    }
    real* at = out != nullptr ? out + 3 * (item.first + node) * n_out + j
                              : item.jets + 3 * node * n_out + j;
    for (int d = 0; d < 3; ++d) at[d * n_out] = h[d];
  }
}

// A jet of z with tanh z in the place of the value, or of a cotangent.
struct Jet {
  real of[3];
};

DEVICE Jet jet_at(const real* x, int64_t node, int64_t width, int64_t j) {
  x += 3 * node * width + j;
  return {{x[0], x[width], x[2 * width]}};
}

// Derivatives of tanh at z; the second and the third times z'.
struct Slopes {
  real first, second, third;
};

DEVICE Slopes slopes(const Jet& z) {
  const real t = z.of[0], first = 1 - t * t;
  return {first, -2 * t * first * z.of[1], first * (6 * t * t - 2) * z.of[1]};
}

// From the cotangent g of what a layer returns: that of its z, to d_z.
DEVICE void put_slope(const Jet& z, Jet g, real idt, int64_t width, real* d_z) {
  const Slopes s = slopes(z);
  for (int d = 0; d < 3; ++d) g.of[d] *= idt;
  d_z[0] = g.of[0] * s.first + g.of[1] * s.second +
           g.of[2] * (s.third * z.of[1] - 2 * z.of[0] * s.first * z.of[2]);
  d_z[width] = g.of[1] * s.first + 2 * g.of[2] * s.second;
  d_z[2 * width] = g.of[2] * s.first;
}

// d_z of the last layer.
BLOCK_KERNEL(jets_top, JetTables<real> tables, JetStep step, const real* z, real* d_z) {
  const int64_t width = step.n_out;
  const Place place = place_of(tables, width);
  const real* idt = tables.layers[place.item.net * tables.n_layers + step.layer].idt;
  for (int q = 0; q < kOwned; ++q) {
    int64_t node, j;
    if (!mine(place, width, q, &node, &j)) continue;
    const int64_t at = place.item.first + node;
    put_slope(jet_at(z, at, width, j), jet_at(place.item.grad, node, width, j),
              idt == nullptr ? real(1) : idt[j], width, d_z + 3 * at * width + j);
  }
}

// From d_z of a layer that is not the first, and the cotangent g of what it returns, or null for
// that of an item: that of what goes into it, to g_below if it is not null, and d_z of the layer
// below from its z.
BLOCK_KERNEL(jets_back, JetTables<real> tables, JetStep step, const real* d_z, const real* g,
             const real* z_below, real* d_z_below, real* g_below) {
  const int64_t n_in = step.n_in, n_out = step.n_out;
  const Place place = place_of(tables, n_in);
  const JetNodes<real>& item = place.item;
  const auto* layer = tables.layers + item.net * tables.n_layers + step.layer;
  const real *matrix = layer->matrix, *idt = layer[-1].idt;
  const Sums sums = multiply(
      place, n_out, n_in,
      [&](int64_t row, int64_t k) { return d_z[(3 * item.first + row) * n_out + k]; },
      [&](int64_t k, int64_t i) { return matrix[i * n_out + k]; }, true);
  const int copied = copies(step);
  for (int q = 0; q < kOwned; ++q) {
    int64_t node, i;
    if (!mine(place, n_in, q, &node, &i)) continue;
    Jet d = {{sums.of[0][q], sums.of[1][q], sums.of[2][q]}};
    for (int copy = 0; copy < copied; ++copy) {
      const int64_t j = i + copy * n_in;
      const Jet given =
          g == nullptr ? jet_at(item.grad, node, n_out, j) : jet_at(g, item.first + node, n_out, j);
      for (int k = 0; k < 3; ++k) d.of[k] += given.of[k];
    }
    const int64_t at = item.first + node;
    if (g_below != nullptr)
      for (int k = 0; k < 3; ++k) g_below[(3 * at + k) * n_in + i] = d.of[k];
    put_slope(jet_at(z_below, at, n_in, i), d, idt == nullptr ? real(1) : idt[i], n_in,
              d_z_below + 3 * at * n_in + i);
  }
}

// The cotangents of the nodes, through the first layer; a warp for each.
BLOCK_KERNEL(jets_nodes, JetTables<real> tables, JetStep step, const real* d_z, const real* g) {
  const int64_t width = step.n_out;
  const Place place = place_of(tables, blockIdx.x, 0);
  const JetNodes<real>& item = place.item;
  const real* matrix = tables.layers[item.net * tables.n_layers].matrix;
  for (int64_t node = place.begin + threadIdx.x / kWarp; node < place.end;
       node += kThreads / kWarp) {
    const int64_t at = item.first + node;
    real sum = 0;
    EACH_LANE(j, width) sum += d_z[3 * at * width + j] * matrix[j];
    sum = warp_sum(sum);
    if (threadIdx.x % kWarp != 0) continue;
    for (int copy = 0; copy < copies(step); ++copy)
      sum += g == nullptr ? item.grad[3 * node * width + copy] : g[3 * at * width + copy];
    item.d_nodes[node] = sum;
  }
}

// parts [n_in + 1][n_out] of a chunk of nodes: the cotangents of matrix and bias, which is like a
// matrix with an input of (1, 0, 0). A block has 32 rows and columns of them; a thread 2 and 4.
BLOCK_KERNEL(jets_weights, JetTables<real> tables, JetStep step, const real* x, const real* d_z,
             real* parts, int64_t n_weights) {
  SHARED real left[kTerms][kJetColumns], right[kTerms][kJetColumns];
  const int64_t n_in = step.n_in, n_out = step.n_out;
  const int64_t across = (n_out + kJetColumns - 1) / kJetColumns;
  const int64_t tiles = across * ((n_in + 1 + kJetColumns - 1) / kJetColumns);
  const int64_t tile = int64_t(blockIdx.x) % tiles;
  const Place place = place_of(tables, int64_t(blockIdx.x) / tiles, tile % across * kJetColumns);
  const int64_t first = tile / across * kJetColumns;
  const JetNodes<real>& item = place.item;
  const int group = int(threadIdx.x) % kGroups, own = int(threadIdx.x) / kGroups;
  real sums[2][kOwned] = {};
  for (int64_t begin = 3 * place.begin; begin < 3 * place.end; begin += kTerms) {
    EACH_THREAD(e, kTerms * kJetColumns) {
      const int64_t row = begin + e / kJetColumns, i = first + e % kJetColumns;
      const int64_t j = place.column + e % kJetColumns;
      const bool ok = row < 3 * place.end;
      left[e / kJetColumns][e % kJetColumns] = !ok || i > n_in ? real(0)
                                               : i == n_in     ? real(row % 3 == 0)
                                                               : input(x, item, row, n_in, i);
      right[e / kJetColumns][e % kJetColumns] =
          ok && j < n_out ? d_z[(3 * item.first + row) * n_out + j] : real(0);
    }
    block_sync();
    for (int k = 0; k < kTerms; ++k)
      for (int p = 0; p < 2; ++p)
        for (int q = 0; q < kOwned; ++q)
          sums[p][q] += left[k][own + kThreads / kGroups * p] * right[k][group + kGroups * q];
    block_sync();
  }
  real* out = parts + place.block * n_weights;
  for (int p = 0; p < 2; ++p) {
    const int64_t i = first + own + kThreads / kGroups * p;
    for (int q = 0; q < kOwned; ++q) {
      const int64_t j = place.column + group + kGroups * q;
      if (i <= n_in && j < n_out) out[i * n_out + j] = sums[p][q];
    }
  }
}

// parts [n_out] of a chunk of nodes: the cotangent of idt. g as in jets_back; 256 threads.
BLOCK_KERNEL(jets_idt, JetTables<real> tables, JetStep step, const real* z, const real* g,
             real* parts, int64_t n_weights) {
  SHARED real sums[kJetSums][kJetColumns];
  const int64_t width = step.n_out;
  const Place place = place_of(tables, width);
  const JetNodes<real>& item = place.item;
  const int lane = int(threadIdx.x) % kJetColumns, turn = int(threadIdx.x) / kJetColumns;
  const int64_t j = place.column + lane;
  real sum = 0;
  for (int64_t node = place.begin + turn; node < place.end && j < width; node += kJetSums) {
    const int64_t at = item.first + node;
    const Jet jet = jet_at(z, at, width, j);
    const Jet given = g == nullptr ? jet_at(item.grad, node, width, j) : jet_at(g, at, width, j);
    const Slopes s = slopes(jet);
    sum += given.of[0] * jet.of[0] + given.of[1] * (s.first * jet.of[1]) +
           given.of[2] * (s.second * jet.of[1] + s.first * jet.of[2]);
  }
  sums[turn][lane] = sum;
  block_sync();
  if (turn > 0 || j >= width) return;
  for (int k = 1; k < kJetSums; ++k) sum += sums[k][lane];
  parts[place.block * n_weights + j] = sum;
}
