// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_tabulate.h"

#include <algorithm>

namespace deepmd {
namespace gpu {
namespace {

constexpr std::int64_t kPoints = 64;  // that kernels of tabulate.cu prepare at a time

template <typename T>
Kernel tabulate_kernel(const char* name) {
  return {"tabulate", name, real_of<T>()};
}

Grid blocks(std::int64_t n) { return {std::min<std::int64_t>(n, 1 << 20), 128}; }

std::int64_t chunks(std::int64_t n) { return (n + kPoints - 1) / kPoints; }

// Rows as factors, four of each slot.
template <typename T>
TabulateSum<T> with_rows(const TabulateQuery<T>& query) {
  return {{query.grid, query.table, query.n_columns, query.s}, query.n_slots, query.rows};
}

}  // namespace

template <typename T>
void tabulate(const Stream& stream, const TabulateQuery<T>& query, std::int64_t n_centers, T* out) {
  stream.launch(tabulate_kernel<T>("tabulate"), blocks(n_centers), with_rows(query), n_centers,
                out);
}

template <typename T>
void tabulate_grad(const Stream& stream, const TabulateQuery<T>& query, const T* adjoint,
                   std::int64_t n_centers, T* ds, T* drows) {
  stream.launch(tabulate_kernel<T>("tabulate_grad"), blocks(n_centers), with_rows(query), adjoint,
                n_centers, ds, drows);
}

template <typename T>
void tabulate_types(const Stream& stream, const TabulateQuery<T>& query, const T* t,
                    std::int64_t n_centers, T* out) {
  stream.launch(tabulate_kernel<T>("tabulate_types"), blocks(n_centers), with_rows(query), t,
                n_centers, out);
}

template <typename T>
void tabulate_types_grad(const Stream& stream, const TabulateQuery<T>& query, const T* t,
                         const T* adjoint, std::int64_t n_centers, T* ds, T* drows, T* dt) {
  stream.launch(tabulate_kernel<T>("tabulate_types_grad"),
                blocks(n_centers * chunks(query.n_slots)), with_rows(query), t, adjoint, n_centers,
                ds, drows, dt);
}

template <typename T>
void tabulate_points(const Stream& stream, const TabulatePoints<T>& points, std::int64_t n_points,
                     T* out) {
  stream.launch(tabulate_kernel<T>("tabulate_points"), blocks(chunks(n_points)), points, n_points,
                out);
}

template <typename T>
void tabulate_points_grad(const Stream& stream, const TabulatePoints<T>& points, const T* adjoint,
                          std::int64_t n_points, T* ds) {
  stream.launch(tabulate_kernel<T>("tabulate_points_grad"), blocks(chunks(n_points)), points,
                adjoint, n_points, ds);
}

template <typename T>
void tabulate_sum(const Stream& stream, const TabulateSum<T>& sum, std::int64_t n_centers, T* out) {
  stream.launch(tabulate_kernel<T>("tabulate_sum"), blocks(n_centers), sum, n_centers, out);
}

template <typename T>
void tabulate_sum_grad(const Stream& stream, const TabulateSum<T>& sum, const T* adjoint,
                       std::int64_t n_centers, T* ds, T* dfactor) {
  stream.launch(tabulate_kernel<T>("tabulate_sum_grad"),
                blocks(n_centers * chunks(sum.n_per_center)), sum, adjoint, n_centers, ds, dfactor);
}

#define INSTANTIATE(T)                                                                             \
  template void tabulate<T>(const Stream&, const TabulateQuery<T>&, std::int64_t, T*);             \
  template void tabulate_grad<T>(const Stream&, const TabulateQuery<T>&, const T*, std::int64_t,   \
                                 T*, T*);                                                          \
  template void tabulate_types<T>(const Stream&, const TabulateQuery<T>&, const T*, std::int64_t,  \
                                  T*);                                                             \
  template void tabulate_types_grad<T>(const Stream&, const TabulateQuery<T>&, const T*, const T*, \
                                       std::int64_t, T*, T*, T*);                                  \
  template void tabulate_points<T>(const Stream&, const TabulatePoints<T>&, std::int64_t, T*);     \
  template void tabulate_points_grad<T>(const Stream&, const TabulatePoints<T>&, const T*,         \
                                        std::int64_t, T*);                                         \
  template void tabulate_sum<T>(const Stream&, const TabulateSum<T>&, std::int64_t, T*);           \
  template void tabulate_sum_grad<T>(const Stream&, const TabulateSum<T>&, const T*, std::int64_t, \
                                     T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
