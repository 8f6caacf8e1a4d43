// SPDX-License-Identifier: BSD-3-Clause
//
// Centres are taken in chunks whose adjoints fit into the cache. For every chunk the terms of its
// centres are sorted by node, stably; then every node sums its terms in that order, chunk after
// chunk, in registers. A node's columns belong to one range of the loop over groups of nodes and
// blocks of columns, so the order of the sum is fixed. A range goes through all its groups chunk by
// chunk, which keeps the adjoints in the cache.
#include "moment.h"

#include "moment_nodes.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

constexpr int64_t kChunk = 32;   // centres
constexpr int64_t kGroups = 16;  // ranges of nodes with about as many terms each

template <typename T>
struct Scratch {
  T* c;             // [2 n_pairs][16] terms, a chunk's from 2 splits[its first section] on
  int32_t* center;  // [2 n_pairs]
  int32_t* node;    // [2 n_pairs]
  int32_t* sorted;  // [2 n_pairs] terms of a chunk in the order of their nodes
  int32_t* begin;   // [n_chunks][n_nodes + 1] where a node's terms begin in `sorted`
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

#define DEEPMD_INSTANTIATE(T)                                                                  \
  template std::int64_t moment_table_scratch<T>(const MomentShape&);                           \
  template void moment_table<T>(const MomentShape&, const MomentPairs<T>&, const T*, const T*, \
                                const ParallelFor&, void*, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
