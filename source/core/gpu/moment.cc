// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "gpu_moment.h"
#include "gpu_moment_view.h"
#include "gpu_pairs.h"
#include "strips.h"

namespace deepmd {
namespace gpu {
namespace {

constexpr int kThreads = 128;  // kMomentWarps of moment_sums.h, kTableWarps of moment_table.cu
constexpr std::int64_t kWarps = kThreads / 32;

template <typename T>
MomentView<T> view_of(const MomentShape& shape, const MomentPairs<T>& pairs) {
  MomentView<T> view;
  view.range = pairs.range;
  view.s = pairs.s;
  view.step = pairs.step;
  view.splits = pairs.splits;
  view.table_of = pairs.table_of;
  view.n_tables = shape.n_tables;
  view.n_nodes = shape.n_nodes;
  view.n_columns = shape.n_columns;
  view.n_pairs = shape.n_pairs;
  view.n_centers = shape.n_centers;
  view.ntypes = shape.ntypes;
  view.orders = shape.orders;
  view.order = shape.order;
  view.octaves = shape.octaves;
  view.per_octave = shape.per_octave;
  view.factor = T(1) / static_cast<T>(shape.divisor);
  return view;
}

template <typename T>
Kernel of_rows(const char* name) {
  return {"moment", name, real_of<T>()};
}

template <typename T>
Kernel of_orders(const char* name) {
  return {"moment_orders", name, real_of<T>()};
}

template <typename T>
Kernel of_table(const char* name) {
  return {"moment_table", name, real_of<T>()};
}

std::int64_t blocks_of(std::int64_t warps) { return (warps + kWarps - 1) / kWarps; }

}  // namespace

template <typename T>
void moment(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
            const T* table, const T* rows, T* out) {
  const ByStrip names{"moment_1", "moment_2", "moment_4"};
  stream.launch(of_orders<T>(names.of(shape.n_columns)), {shape.n_centers, kThreads},
                view_of(shape, pairs), table, rows, out);
}

template <typename T>
void moment_rows(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                 const T* table, const T* adjoint, T* out) {
  const ByStrip names{"moment_rows_1", "moment_rows_2", "moment_rows_4"};
  stream.launch(of_orders<T>(names.of(shape.n_columns)), {shape.n_centers, kThreads},
                view_of(shape, pairs), table, adjoint, out);
}

template <typename T>
void moment_of_rows(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                    const T* table, const T* rows, const T* start, T* out) {
  const ByStrip names{"moment_of_rows_1", "moment_of_rows_2", "moment_of_rows_4"};
  stream.launch(of_rows<T>(names.of(shape.n_columns)), {shape.n_centers, kThreads},
                view_of(shape, pairs), table, rows, start, out);
}

template <typename T>
void moment_of_rows_vjp(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                        const T* table, const T* rows, const T* adjoint, T* out) {
  const ByStrip names{"moment_of_rows_vjp_1", "moment_of_rows_vjp_2", "moment_of_rows_vjp_4"};
  stream.launch(of_rows<T>(names.of(shape.n_columns)), {shape.n_centers, kThreads},
                view_of(shape, pairs), table, rows, adjoint, out);
}

// Pairs are sorted by their interval, of all tables, stably. Then the pairs of an interval are
// summed in parts, and every node sums the parts of the two intervals beside it: no sum depends on
// the order in which threads run, and no interval keeps the GPU waiting that holds most of the
// pairs.
template <typename T>
void moment_table(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                  const T* rows, const T* adjoint, T* out) {
  constexpr std::int64_t part = 128;     // kPart of moment_table.cu
  constexpr std::int64_t stretch = 512;  // pairs that a warp sorts, at least
  const std::int64_t n_pairs = shape.n_pairs, n_nodes = shape.n_tables * shape.n_nodes;
  if (n_nodes > INT32_MAX) throw Error("the tables of a moment have too many nodes for a GPU");
  const MomentView<T> view = view_of(shape, pairs);

  std::int32_t* interval = stream.scratch<std::int32_t>(n_pairs);
  std::int32_t* center = stream.scratch<std::int32_t>(n_pairs);
  stream.for_each(of_table<T>("moment_intervals"), n_pairs, view, interval, center);

  // Every warp counts the pairs of a stretch for each interval; sums over all of these, by interval
  // first, are where it puts them.
  const std::int64_t length = std::max(stretch, n_nodes / 128 * 32);
  const std::int64_t stretches = (n_pairs + length - 1) / length;
  std::int32_t* counts = stream.scratch<std::int32_t>(n_nodes * stretches);
  std::int32_t* next = stream.scratch<std::int32_t>(n_nodes * stretches + 1);
  std::int32_t* begin = stream.scratch<std::int32_t>(n_nodes + 1);
  std::int32_t* parts = stream.scratch<std::int32_t>(n_nodes);
  std::int32_t* part_splits = stream.scratch<std::int32_t>(n_nodes + 1);
  std::int32_t* order = stream.scratch<std::int32_t>(n_pairs);
  stream.zero(counts, n_nodes * stretches);
  stream.for_each(of_table<T>("count_intervals"), n_pairs, interval, n_pairs, length, stretches,
                  counts);
  exclusive_sums(stream, counts, n_nodes * stretches, next);
  stream.for_each(of_table<T>("count_parts"), n_nodes + 1, next, n_nodes, stretches, begin, parts);
  exclusive_sums(stream, parts, n_nodes, part_splits);
  stream.launch(of_table<T>("place_pairs"), {blocks_of(stretches), kThreads}, interval, n_pairs,
                length, stretches, next, order);

  const std::int64_t most_parts = n_pairs / part + std::min(n_nodes, n_pairs);
  const std::int64_t strips =
      (shape.n_columns + strip_of(shape.n_columns) - 1) / strip_of(shape.n_columns);
  T* sums = stream.scratch<T>(most_parts * 6 * shape.n_columns);
  const ByStrip one{"sum_parts_1", "sum_parts_2", "sum_parts_4"};
  const ByStrip many{"sum_parts_of_orders_1", "sum_parts_of_orders_2", "sum_parts_of_orders_4"};
  const ByStrip& names = shape.orders == 1 ? one : many;
  stream.launch(of_table<T>(names.of(shape.n_columns)), {blocks_of(most_parts * strips), kThreads},
                view, rows, adjoint, center, begin, order, part_splits, strips, sums);
  stream.for_each(of_table<T>("sum_nodes"), n_nodes * 3 * shape.n_columns, sums, part_splits,
                  n_nodes, shape.n_columns, out);
}

template <typename T>
void moment_tangent_rows(const Stream& stream, const T* rows, const T* tangent, std::int64_t n,
                         T* s, T* tangent_rows) {
  stream.for_each(of_rows<T>("moment_tangent_rows"), n * 8, rows, tangent, n, s, tangent_rows);
}

template <typename T>
void moment_outside(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                    std::int64_t* count) {
  stream.zero(count, 1);
  stream.launch(of_rows<T>("moment_outside"), {blocks_of(shape.n_centers * shape.ntypes), kThreads},
                view_of(shape, pairs), count);
}

#define INSTANTIATE(T)                                                                             \
  template void moment<T>(const Stream&, const MomentShape&, const MomentPairs<T>&, const T*,      \
                          const T*, T*);                                                           \
  template void moment_rows<T>(const Stream&, const MomentShape&, const MomentPairs<T>&, const T*, \
                               const T*, T*);                                                      \
  template void moment_of_rows<T>(const Stream&, const MomentShape&, const MomentPairs<T>&,        \
                                  const T*, const T*, const T*, T*);                               \
  template void moment_of_rows_vjp<T>(const Stream&, const MomentShape&, const MomentPairs<T>&,    \
                                      const T*, const T*, const T*, T*);                           \
  template void moment_table<T>(const Stream&, const MomentShape&, const MomentPairs<T>&,          \
                                const T*, const T*, T*);                                           \
  template void moment_tangent_rows<T>(const Stream&, const T*, const T*, std::int64_t, T*, T*);   \
  template void moment_outside<T>(const Stream&, const MomentShape&, const MomentPairs<T>&,        \
                                  std::int64_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
