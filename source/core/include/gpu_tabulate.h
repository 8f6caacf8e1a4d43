// SPDX-License-Identifier: BSD-3-Clause
// Tabulated functions of whole arrays on the GPU; tabulate_kernels.h has the formulas. Arrays of
// queries are on the device.
#pragma once

#include <cstdint>

#include "gpu.h"
#include "tabulate.h"

namespace deepmd {
namespace gpu {

template <typename T>
void tabulate(const Stream& stream, const TabulateQuery<T>& query, std::int64_t n_centers, T* out);

template <typename T>
void tabulate_grad(const Stream& stream, const TabulateQuery<T>& query, const T* adjoint,
                   std::int64_t n_centers, T* ds, T* drows);

template <typename T>
void tabulate_types(const Stream& stream, const TabulateQuery<T>& query, const T* t,
                    std::int64_t n_centers, T* out);

template <typename T>
void tabulate_types_grad(const Stream& stream, const TabulateQuery<T>& query, const T* t,
                         const T* adjoint, std::int64_t n_centers, T* ds, T* drows, T* dt);

template <typename T>
void tabulate_points(const Stream& stream, const TabulatePoints<T>& points, std::int64_t n_points,
                     T* out);

template <typename T>
void tabulate_points_grad(const Stream& stream, const TabulatePoints<T>& points, const T* adjoint,
                          std::int64_t n_points, T* ds);

template <typename T>
void tabulate_sum(const Stream& stream, const TabulateSum<T>& sum, std::int64_t n_centers, T* out);

template <typename T>
void tabulate_sum_grad(const Stream& stream, const TabulateSum<T>& sum, const T* adjoint,
                       std::int64_t n_centers, T* ds, T* dfactor);

}  // namespace gpu
}  // namespace deepmd
