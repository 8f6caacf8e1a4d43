// SPDX-License-Identifier: BSD-3-Clause
//
// A pair does not touch the table itself. Its contribution is a 4 x 6 matrix of numbers, row
// component times Hermite weight, and pairs of one centre that share an interval, or neighbouring
// intervals, share nodes: neighbours arrive sorted by distance, so their matrices are summed per
// node first, for all derivative orders at once. What is left is a product of small matrices with
// the columns of the table, a few nodes per centre, whose cost depends neither on the number of
// orders nor much on that of pairs.
#include "moment.h"

#include "columns.h"
#include "hermite.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

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
  f.grid = make_hermite_grid(range[0], range[1], static_cast<int>(shape.n_nodes));
  f.factor = T(1) / static_cast<T>(shape.divisor);
  const T h = f.grid.step;
  const T scale[8] = {T(1), h, h * h, T(0), T(1), h, h * h, T(0)};
  f.scale[0] = Lanes<T, 8>::from(scale) * f.factor;
  for (int d = 1; d < kHermiteOrders; ++d) f.scale[d] = f.scale[d - 1] * f.grid.inv_step;
}

// As hermite_weights(), all lanes at once, and divided.
template <typename T>
DEEPMD_INLINE Lanes<T, 8> weights(const Interpolant<T>& f, const HermitePoint<T>& point,
                                  int64_t order) {
  if (__builtin_expect(point.side != 0 || order >= kHermiteOrders, 0)) {
    T w[8];
    hermite_weights(point, f.grid, static_cast<int>(order < kHermiteOrders ? order : kHermiteOrders),
                    w);
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
DEEPMD_INLINE void for_each_run(const MomentShape& shape, const MomentPairs<T>& pairs, const T* rows,
                                int64_t center, const Visit& visit) {
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

// ---------------------------------------------------------------------------------------------------
// moment

template <typename T>
struct Terms {
  int count = 0;
  int64_t node[kTerms];
  alignas(64) T c[kTerms][16];

  DEEPMD_INLINE int add(int64_t new_node) {
    node[count] = new_node;
    for (int i = 0; i < 16; ++i) c[count][i] = T(0);
    return count++;
  }
};

// out[a][:] += sum over terms and m of c[4a + m] table[node][m][:].
template <typename V, typename T>
struct AddTerms {
  const Terms<T>& terms;
  const T* table;
  int64_t n_columns;
  T* out;
  Columns<V, T> columns;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    V sum[4][N];
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i) sum[a][i] = V{};
    for (int e = 0; e < terms.count; ++e) {
      const T* node = table + terms.node[e] * 3 * n_columns;
      const T* c = terms.c[e];
      for (int m = 0; m < 3; ++m, node += n_columns) {
        V g[N];
        for (int i = 0; i < N; ++i) {
          g[i] = load<V>(node + at[i]);
          DEEPMD_KEEP(g[i]);
        }
        for (int a = 0; a < 4; ++a)
          for (int i = 0; i < N; ++i) sum[a][i] += g[i] * c[4 * a + m];
      }
    }
    for (int a = 0; a < 4; ++a)
      for (int i = 0; i < N; ++i)
        add_columns(out + a * n_columns + at[i], sum[a][i],
                    at.ends && i == N - 1 ? columns.overlap : 0);
  }
};

template <typename V, typename T>
void add_terms(const Terms<T>& terms, const T* table, int64_t n_columns, T* out) {
  const AddTerms<V, T> body{terms, table, n_columns, out, Columns<V, T>(n_columns)};
  const int64_t n_vectors = body.columns.n_vectors;
  for (int64_t b = 0; b < count_blocks<kBlock>(n_vectors); ++b)
    run_block<kBlock>(n_vectors, b, body);
}

}  // namespace

template <typename T>
void moment(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table, const T* rows,
            const T* start, const ParallelFor& parallel_for, T* out) {
  const int64_t n_columns = shape.n_columns;
  const bool wide = n_columns >= kWidth<T>;
  const int64_t cost = 2000 + 12 * n_columns * (1 + shape.n_pairs / (shape.n_centers + 1)) / 4;
  parallel_for(shape.n_centers, cost, [&](int64_t begin, int64_t end) {
    Terms<T> terms;
    for (int64_t center = begin; center < end; ++center) {
      T* moment = out + center * 4 * n_columns;
      for (int64_t i = 0; i < 4 * n_columns; ++i)
        moment[i] = start == nullptr ? T(0) : start[center * 4 * n_columns + i];
      NodeWindow window;
      const auto flush = [&] {
        if (wide)
          add_terms<Vec<T, kWidth<T>>>(terms, table, n_columns, moment);
        else
          add_terms<T>(terms, table, n_columns, moment);
        terms.count = 0;
        window = NodeWindow();
      };
      for_each_run(shape, pairs, rows, center, [&](int64_t node, const Lanes<T, 8> sum[4]) {
        if (node != window.first) {
          if (terms.count + 2 > kTerms) flush();
          window.move(node, [&](int64_t i) { return terms.add(i); });
        }
        add_nodes(sum, terms.c[window.low], terms.c[window.high]);
      });
      if (terms.count > 0) flush();
    }
  });
}

// ---------------------------------------------------------------------------------------------------
// moment_rows

namespace {

// A pair that waits for the products of its two nodes.
template <typename T>
struct Waiting {
  int64_t pair;
  HermitePoint<T> point;
  int low, high;
};

template <typename T>
struct Products {
  int count = 0;
  int64_t node[kTerms];
  alignas(64) T dot[kTerms][3][4];  // table[node][m] . adjoint[a]
};

// dot[m][a] = table[node][m] . adjoint[a] for every node.
template <typename V, typename T>
void multiply(Products<T>& products, const T* table, int64_t n_columns, const T* adjoint) {
  const Columns<V, T> columns(n_columns);
  // In the last vector the columns that the one before has seen are left out.
  V tail[4];
  for (int a = 0; a < 4; ++a)
    tail[a] = load_tail<V>(adjoint + a * n_columns + columns.last, columns.overlap);
  for (int e = 0; e < products.count; ++e) {
    const T* node = table + products.node[e] * 3 * n_columns;
    V sum[3][4];
    for (int m = 0; m < 3; ++m) {
      const V g = load<V>(node + m * n_columns + columns.last);
      for (int a = 0; a < 4; ++a) sum[m][a] = g * tail[a];
    }
    for (int64_t v = 0; v < columns.n_vectors - 1; ++v) {
      const int64_t at = v * Columns<V, T>::width;
      V y[4];
      for (int a = 0; a < 4; ++a) {
        y[a] = load<V>(adjoint + a * n_columns + at);
        DEEPMD_KEEP(y[a]);
      }
      for (int m = 0; m < 3; ++m) {
        V g = load<V>(node + m * n_columns + at);
        DEEPMD_KEEP(g);
        for (int a = 0; a < 4; ++a) sum[m][a] += g * y[a];
      }
    }
    for (int m = 0; m < 3; ++m) sum_lanes<T>(sum[m], products.dot[e][m]);
  }
}

// <adjoint, G^(order)> of a pair, for each row component.
template <typename T>
DEEPMD_INLINE Lanes<T, 4> product(const Products<T>& products, const Interpolant<T>& f,
                                  const Waiting<T>& x, int64_t order) {
  T w[8];
  weights(f, x.point, order).to(w);
  auto sum = Lanes<T, 4>::zero();
  for (int m = 0; m < 3; ++m) {
    sum = sum + Lanes<T, 4>::from(products.dot[x.low][m]) * w[m];
    sum = sum + Lanes<T, 4>::from(products.dot[x.high][m]) * w[4 + m];
  }
  return sum;
}

// Calls put(its place in out, pair, product) for all pairs, where product(order) is <adjoint,
// G^(order)>. A pair has `per_pair` numbers in out, which are zero in sections that are left out.
template <typename T, typename Put>
DEEPMD_INLINE void for_each_product(const MomentShape& shape, const MomentPairs<T>& pairs,
                                    const T* table, const T* adjoint, int64_t per_pair,
                                    const ParallelFor& parallel_for, T* out, const Put& put) {
  const int64_t n_columns = shape.n_columns;
  const bool wide = n_columns >= kWidth<T>;
  const int64_t cost = 2000 + 12 * n_columns * (1 + shape.n_pairs / (shape.n_centers + 1)) / 4;
  parallel_for(shape.n_centers, cost, [&](int64_t begin, int64_t end) {
    Products<T> products;
    Waiting<T> waiting[kPoints];
    for (int64_t center = begin; center < end; ++center) {
      for (int64_t section = center * shape.ntypes; section < (center + 1) * shape.ntypes;
           ++section) {
        const int64_t from = pairs.splits[section], to = pairs.splits[section + 1];
        const int64_t k = pairs.table_of[section];
        if (k < 0) {
          for (int64_t i = from * per_pair; i < to * per_pair; ++i) out[i] = T(0);
          continue;
        }
        Interpolant<T> f;
        prepare(pairs.range + 2 * k, shape, f);
        int n_waiting = 0;
        NodeWindow window;
        const auto flush = [&] {
          const T* y = adjoint + center * 4 * n_columns;
          if (wide)
            multiply<Vec<T, kWidth<T>>>(products, table, n_columns, y);
          else
            multiply<T>(products, table, n_columns, y);
          for (int i = 0; i < n_waiting; ++i) {
            const Waiting<T>& x = waiting[i];
            put(out + x.pair * per_pair, x.pair,
                [&](int64_t order) { return product(products, f, x, order); });
          }
          products.count = 0;
          n_waiting = 0;
          window = NodeWindow();
        };
        for (int64_t p = from; p < to; ++p) {
          const HermitePoint<T> point = hermite_locate(pairs.s[p * pairs.step], f.grid);
          const int64_t node = k * shape.n_nodes + point.interval;
          if (n_waiting == kPoints) flush();
          if (node != window.first) {
            if (products.count + 2 > kTerms) flush();
            window.move(node, [&](int64_t i) {
              products.node[products.count] = i;
              return products.count++;
            });
          }
          waiting[n_waiting++] = Waiting<T>{p, point, window.low, window.high};
        }
        if (n_waiting > 0) flush();
      }
    }
  });
}

}  // namespace

template <typename T>
void moment_rows(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table,
                 const T* adjoint, const ParallelFor& parallel_for, T* out) {
  for_each_product(shape, pairs, table, adjoint, 4 * shape.orders, parallel_for, out,
                   [&](T* row, int64_t, const auto& product) {
                     for (int64_t j = 0; j < shape.orders; ++j, row += 4)
                       product(shape.order + j).to(row);
                   });
}

template <typename T>
void moment_of_rows_vjp(const MomentShape& shape, const MomentPairs<T>& pairs, const T* table,
                        const T* rows, const T* adjoint, const ParallelFor& parallel_for, T* out) {
  for_each_product(shape, pairs, table, adjoint, 4, parallel_for, out,
                   [&](T* row, int64_t pair, const auto& product) {
                     product(0).to(row);
                     T slope[4];
                     product(1).to(slope);
                     for (int a = 0; a < 4; ++a) row[0] += slope[a] * rows[4 * pair + a];
                   });
}

// ---------------------------------------------------------------------------------------------------
// moment_table
//
// Centres are taken in chunks whose adjoints fit into the cache. For every chunk the terms of its
// centres are sorted by node, stably; then every node sums its terms in that order, chunk after
// chunk, in registers. A node's columns belong to one range of the loop over groups of nodes and
// blocks of columns, so the order of the sum is fixed. A range goes through all its groups chunk by
// chunk, which keeps the adjoints in the cache.

namespace {

constexpr int64_t kChunk = 32;   // centres
constexpr int64_t kGroups = 16;  // ranges of nodes with about as many terms each

template <typename T>
struct Scratch {
  T* c;              // [2 n_pairs][16] terms, a chunk's from 2 splits[its first section] on
  int32_t* center;   // [2 n_pairs]
  int32_t* node;     // [2 n_pairs]
  int32_t* sorted;   // [2 n_pairs] terms of a chunk in the order of their nodes
  int32_t* begin;    // [n_chunks][n_nodes + 1] where a node's terms begin in `sorted`
  int64_t bytes;

  Scratch(const MomentShape& shape, void* memory) {
    const int64_t chunks = (shape.n_centers + kChunk - 1) / kChunk;
    const int64_t nodes = shape.n_tables * shape.n_nodes;
    const int64_t terms = 2 * shape.n_pairs;
    c = static_cast<T*>(memory);
    center = reinterpret_cast<int32_t*>(c + 16 * terms);
    node = center + terms;
    sorted = node + terms;
    begin = sorted + terms;
    bytes = 16 * terms * static_cast<int64_t>(sizeof(T)) +
            (3 * terms + chunks * (nodes + 1)) * static_cast<int64_t>(sizeof(int32_t));
  }
};

template <typename T>
void sort_chunk(const MomentShape& shape, const MomentPairs<T>& pairs, const T* rows, int64_t chunk,
                const Scratch<T>& scratch) {
  const int64_t first = chunk * kChunk;
  const int64_t last = first + kChunk < shape.n_centers ? first + kChunk : shape.n_centers;
  const int64_t base = 2 * static_cast<int64_t>(pairs.splits[first * shape.ntypes]);
  const int64_t nodes = shape.n_tables * shape.n_nodes;
  int32_t* begin = scratch.begin + chunk * (nodes + 1);
  for (int64_t i = 0; i <= nodes; ++i) begin[i] = 0;
  T* c = scratch.c + 16 * base;
  int32_t* owner = scratch.center + base;
  int32_t* node_of = scratch.node + base;
  int count = 0;
  for (int64_t center = first; center < last; ++center) {
    NodeWindow window;
    for_each_run(shape, pairs, rows, center, [&](int64_t node, const Lanes<T, 8> sum[4]) {
      if (node != window.first)
        window.move(node, [&](int64_t i) {
          owner[count] = static_cast<int32_t>(center);
          node_of[count] = static_cast<int32_t>(i);
          for (int j = 0; j < 16; ++j) c[16 * count + j] = T(0);
          ++begin[i + 1];
          return count++;
        });
      add_nodes(sum, c + 16 * window.low, c + 16 * window.high);
    });
  }
  for (int64_t i = 0; i < nodes; ++i) begin[i + 1] += begin[i];
  // Filling moves every begin[i] to begin[i + 1]; afterwards they are moved back.
  for (int e = 0; e < count; ++e) scratch.sorted[base + begin[node_of[e]]++] = e;
  for (int64_t i = nodes; i > 0; --i) begin[i] = begin[i - 1];
  begin[0] = 0;
}

template <typename V, typename T>
struct SumNodes {
  const MomentShape& shape;
  const MomentPairs<T>& pairs;
  const Scratch<T>& scratch;
  const T* adjoint;
  T* out;
  Columns<V, T> columns;
  int64_t chunk;
  int64_t from, to;  // nodes

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    const Offsets<N, V, T> at(columns, v);
    const int64_t n_columns = shape.n_columns;
    const int64_t nodes = shape.n_tables * shape.n_nodes;
    const int32_t* begin = scratch.begin + chunk * (nodes + 1);
    const int64_t base = 2 * static_cast<int64_t>(pairs.splits[chunk * kChunk * shape.ntypes]);
    for (int64_t node = from; node < to; ++node) {
      if (begin[node] == begin[node + 1]) continue;
      V sum[3][N];
      for (int m = 0; m < 3; ++m)
        for (int j = 0; j < N; ++j) sum[m][j] = V{};
      for (int32_t i = begin[node]; i < begin[node + 1]; ++i) {
        const int64_t e = base + scratch.sorted[base + i];
        const T* c = scratch.c + 16 * e;
        const T* y = adjoint + scratch.center[e] * 4 * n_columns;
        for (int a = 0; a < 4; ++a, y += n_columns) {
          V g[N];
          for (int j = 0; j < N; ++j) {
            g[j] = load<V>(y + at[j]);
            DEEPMD_KEEP(g[j]);
          }
          for (int m = 0; m < 3; ++m)
            for (int j = 0; j < N; ++j) sum[m][j] += g[j] * c[4 * a + m];
        }
      }
      for (int m = 0; m < 3; ++m)
        for (int j = 0; j < N; ++j)
          add_columns(out + (node * 3 + m) * n_columns + at[j], sum[m][j],
                      at.ends && j == N - 1 ? columns.overlap : 0);
    }
  }
};

template <typename V, typename T>
void sum_nodes(const MomentShape& shape, const MomentPairs<T>& pairs, const Scratch<T>& scratch,
               const T* adjoint, const ParallelFor& parallel_for, T* out) {
  const Columns<V, T> columns(shape.n_columns);
  const int64_t blocks = count_blocks<kBlock>(columns.n_vectors);
  const int64_t chunks = (shape.n_centers + kChunk - 1) / kChunk;
  const int64_t nodes = shape.n_tables * shape.n_nodes;
  // Terms before a node, over all chunks, and from them the first node of every group.
  const auto before = [&](int64_t node) {
    int64_t sum = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk)
      sum += scratch.begin[chunk * (nodes + 1) + node];
    return sum;
  };
  const int64_t terms = before(nodes);
  int64_t group[kGroups + 1] = {};
  group[kGroups] = nodes;
  for (int64_t g = 1; g < kGroups; ++g) {
    int64_t low = group[g - 1], high = nodes;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (before(middle) < terms * g / kGroups)
        low = middle + 1;
      else
        high = middle;
    }
    group[g] = low;
  }
  const int64_t cost = 1000 + terms / kGroups * 12 * kBlock;
  parallel_for(kGroups * blocks, cost, [&](int64_t begin, int64_t end) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      for (int64_t unit = begin; unit < end; ++unit) {
        const int64_t g = unit % kGroups;
        const SumNodes<V, T> body{shape,   pairs, scratch,  adjoint,     out,
                                  columns, chunk, group[g], group[g + 1]};
        run_block<kBlock>(columns.n_vectors, unit / kGroups, body);
      }
    }
  });
}

}  // namespace

template <typename T>
std::int64_t moment_table_scratch(const MomentShape& shape) {
  return Scratch<T>(shape, nullptr).bytes;
}

template <typename T>
void moment_table(const MomentShape& shape, const MomentPairs<T>& pairs, const T* rows,
                  const T* adjoint, const ParallelFor& parallel_for, void* memory, T* out) {
  const Scratch<T> scratch(shape, memory);
  const int64_t chunks = (shape.n_centers + kChunk - 1) / kChunk;
  const int64_t nodes = shape.n_tables * shape.n_nodes;
  parallel_for(nodes, shape.n_columns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * 3 * shape.n_columns; i < end * 3 * shape.n_columns; ++i) out[i] = T(0);
  });
  parallel_for(chunks, 1000 + shape.n_pairs / (chunks + 1) * 20 * (1 + shape.orders),
               [&](int64_t begin, int64_t end) {
                 for (int64_t chunk = begin; chunk < end; ++chunk)
                   sort_chunk(shape, pairs, rows, chunk, scratch);
               });
  if (shape.n_columns >= kWidth<T>)
    sum_nodes<Vec<T, kWidth<T>>>(shape, pairs, scratch, adjoint, parallel_for, out);
  else
    sum_nodes<T>(shape, pairs, scratch, adjoint, parallel_for, out);
}

template <typename T>
std::int64_t moment_outside(const MomentShape& shape, const MomentPairs<T>& pairs) {
  int64_t outside = 0;
  for (int64_t section = 0; section < shape.n_centers * shape.ntypes; ++section) {
    const int64_t table = pairs.table_of[section];
    if (table < 0) continue;
    const T lo = pairs.range[2 * table], hi = pairs.range[2 * table + 1];
    // Written so that a NaN counts.
    for (int64_t p = pairs.splits[section]; p < pairs.splits[section + 1]; ++p)
      outside += !(pairs.s[p * pairs.step] >= lo && pairs.s[p * pairs.step] <= hi);
  }
  return outside;
}

#define INSTANTIATE(T)                                                                            \
  template void moment<T>(const MomentShape&, const MomentPairs<T>&, const T*, const T*,          \
                          const T*, const ParallelFor&, T*);                                      \
  template void moment_rows<T>(const MomentShape&, const MomentPairs<T>&, const T*, const T*,     \
                               const ParallelFor&, T*);                                           \
  template void moment_of_rows_vjp<T>(const MomentShape&, const MomentPairs<T>&, const T*,        \
                                      const T*, const T*, const ParallelFor&, T*);                \
  template std::int64_t moment_table_scratch<T>(const MomentShape&);                              \
  template void moment_table<T>(const MomentShape&, const MomentPairs<T>&, const T*, const T*,    \
                                const ParallelFor&, void*, T*);                                   \
  template std::int64_t moment_outside<T>(const MomentShape&, const MomentPairs<T>&);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
