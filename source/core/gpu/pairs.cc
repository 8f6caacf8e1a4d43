// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_pairs.h"

namespace deepmd {
namespace gpu {
namespace {

Kernel sort(const char* name) { return {"sort", name, Real::kSingle}; }

template <typename T>
Kernel pairs_kernel(const char* name) {
  return {"pairs", name, real_of<T>()};
}

}  // namespace

void exclusive_sums(const Stream& stream, const std::int32_t* counts, std::int64_t n,
                    std::int32_t* sums) {
  constexpr std::int64_t block = 1024;  // kSumBlock of sort.cu
  const std::int64_t blocks = (n + block - 1) / block;
  std::int32_t* totals = stream.scratch<std::int32_t>(blocks);
  stream.launch(sort("block_totals"), {blocks, 256}, counts, n, totals);
  stream.launch(sort("scan_totals"), {1, 256}, totals, blocks, sums + n);
  stream.launch(sort("scan_blocks"), {blocks, 256}, counts, totals, n, sums);
}

Places places_by_row(const Stream& stream, const std::int32_t* index, std::int64_t n,
                     std::int64_t n_rows) {
  std::int32_t* splits = stream.scratch<std::int32_t>(n_rows + 1);
  std::int32_t* next = stream.scratch<std::int32_t>(n_rows + 1);
  std::int32_t* any = stream.scratch<std::int32_t>(n);
  std::int32_t* order = stream.scratch<std::int32_t>(n);
  stream.zero(next, n_rows);
  stream.for_each(sort("count"), n, index, n, n_rows, next);
  exclusive_sums(stream, next, n_rows, splits);
  stream.copy(splits, n_rows, next);
  stream.for_each(sort("place"), n, index, n, n_rows, next, any);
  stream.launch(sort("sort_rows"), {(n_rows + 3) / 4, 128}, splits, any, n_rows, order);
  return {splits, order};
}

template <typename T>
void gather_pairs(const Stream& stream, const T* values, const std::int32_t* center,
                  const std::int32_t* neighbor, const T* shift, std::int64_t n_rows,
                  std::int64_t width, std::int64_t n_pairs, T* out) {
  stream.for_each(pairs_kernel<T>("gather_pairs"), n_pairs * width, values, center, neighbor, shift,
                  n_rows, width, n_pairs, out);
}

template <typename T>
void scatter_pairs(const Stream& stream, const T* pairs, const std::int32_t* center,
                   const std::int32_t* neighbor, std::int64_t n_pairs, std::int64_t width,
                   std::int64_t n_rows, T* out) {
  const Places to = places_by_row(stream, neighbor, n_pairs, n_rows);
  const Places from = places_by_row(stream, center, n_pairs, n_rows);
  stream.for_each(pairs_kernel<T>("scatter_pairs"), n_rows * width, pairs, to.splits, to.order,
                  from.splits, from.order, n_rows, width, out);
}

template <typename T>
void pair_virial(const Stream& stream, const T* g, const T* x, const std::int32_t* neighbor,
                 std::int64_t n_pairs, std::int64_t n_rows, T* out) {
  const Places to = places_by_row(stream, neighbor, n_pairs, n_rows);
  stream.for_each(pairs_kernel<T>("pair_virial"), n_rows * 9, g, x, to.splits, to.order, n_rows,
                  out);
}

template <typename T>
void pair_forces(const Stream& stream, const T* g, const T* x, const std::int32_t* center,
                 const std::int32_t* neighbor, std::int64_t n_pairs, std::int64_t n_frames,
                 std::int64_t n_all, T* force, T* virial, T* atom_virial) {
  const std::int64_t n_rows = n_frames * n_all, three = 3, nine = 9;
  const Places to = places_by_row(stream, neighbor, n_pairs, n_rows);
  const Places from = places_by_row(stream, center, n_pairs, n_rows);
  // -g at the neighbour and +g at the centre: the other way round than scatter_pairs
  stream.for_each(pairs_kernel<T>("scatter_pairs"), n_rows * 3, g, from.splits, from.order,
                  to.splits, to.order, n_rows, three, force);
  T* by_center = stream.scratch<T>(n_rows * 9);
  stream.for_each(pairs_kernel<T>("pair_virial"), n_rows * 9, g, x, from.splits, from.order, n_rows,
                  by_center);
  stream.launch(pairs_kernel<T>("frame_sums"), {n_frames * 9, 128}, by_center, n_frames, n_all,
                nine, virial);
  if (atom_virial != nullptr)
    stream.for_each(pairs_kernel<T>("pair_virial"), n_rows * 9, g, x, to.splits, to.order, n_rows,
                    atom_virial);
}

template <typename T>
void pair_forces_vjp(const Stream& stream, const T* f, const T* w, const T* atom_w, const T* x,
                     const std::int32_t* center, const std::int32_t* neighbor, std::int64_t n_pairs,
                     std::int64_t n_frames, std::int64_t n_all, T* out) {
  stream.for_each(pairs_kernel<T>("pair_forces_vjp"), n_pairs * 3, f, w, atom_w, x, center,
                  neighbor, n_pairs, n_frames, n_all, out);
}

template <typename T>
void pair_virial_vjp(const Stream& stream, const T* w, const T* v, const std::int32_t* neighbor,
                     bool transpose, std::int64_t n_pairs, std::int64_t n_rows, T* out) {
  stream.for_each(pairs_kernel<T>("pair_virial_vjp"), n_pairs * 3, w, v, neighbor,
                  std::int32_t(transpose), n_pairs, n_rows, out);
}

#define INSTANTIATE(T)                                                                             \
  template void gather_pairs<T>(const Stream&, const T*, const std::int32_t*, const std::int32_t*, \
                                const T*, std::int64_t, std::int64_t, std::int64_t, T*);           \
  template void scatter_pairs<T>(const Stream&, const T*, const std::int32_t*,                     \
                                 const std::int32_t*, std::int64_t, std::int64_t, std::int64_t,    \
                                 T*);                                                              \
  template void pair_virial<T>(const Stream&, const T*, const T*, const std::int32_t*,             \
                               std::int64_t, std::int64_t, T*);                                    \
  template void pair_forces<T>(const Stream&, const T*, const T*, const std::int32_t*,             \
                               const std::int32_t*, std::int64_t, std::int64_t, std::int64_t, T*,  \
                               T*, T*);                                                            \
  template void pair_forces_vjp<T>(const Stream&, const T*, const T*, const T*, const T*,          \
                                   const std::int32_t*, const std::int32_t*, std::int64_t,         \
                                   std::int64_t, std::int64_t, T*);                                \
  template void pair_virial_vjp<T>(const Stream&, const T*, const T*, const std::int32_t*, bool,   \
                                   std::int64_t, std::int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
