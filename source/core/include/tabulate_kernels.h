// SPDX-License-Identifier: BSD-3-Clause
// Tabulated functions of whole arrays; tabulate.h has the formulas.
#pragma once

#include <cstdint>

#include "isa.h"
#include "tabulate.h"

// The first four handle centres begin <= c < end. In the first two the slots at the end of a
// centre that are equal to its last one, which is what padding looks like, are computed once.
DEEPMD_EACH_ISA(

// out[c][a][k] = sum_j rows[c][j][a] G_k(s[c][j]): [n_centers, 4, n_columns].
template <typename T>
void tabulate(const TabulateQuery<T>& query, std::int64_t begin, std::int64_t end, T* out);

// With Y = adjoint [n_centers, 4, n_columns]:
//   drows[c][j][a] = sum_k G_k(s) Y[c][a][k],  ds[c][j] = sum_a rows[c][j][a] sum_k dG_k/ds Y[c][a][k].
template <typename T>
void tabulate_grad(const TabulateQuery<T>& query, const T* adjoint, std::int64_t begin,
                   std::int64_t end, T* ds, T* drows);

// The same with functions G_k(s) (1 + t[c][j][k]), t [n_centers, n_slots, n_columns].
template <typename T>
void tabulate_types(const TabulateQuery<T>& query, const T* t, std::int64_t begin, std::int64_t end,
                    T* out);

// The same derivatives of those, and dt[c][j][k] = G_k(s) sum_a rows[c][j][a] Y[c][a][k].
template <typename T>
void tabulate_types_grad(const TabulateQuery<T>& query, const T* t, const T* adjoint,
                         std::int64_t begin, std::int64_t end, T* ds, T* drows, T* dt);

// Points begin <= p < end: out[p][k] = G_k(s[p]), [n_points, n_columns].
template <typename T>
void tabulate_points(const TabulatePoints<T>& points, std::int64_t begin, std::int64_t end, T* out);

// ds[p] = sum_k adjoint[p][k] dG_k/ds(s[p]).
template <typename T>
void tabulate_points_grad(const TabulatePoints<T>& points, const T* adjoint, std::int64_t begin,
                          std::int64_t end, T* ds);

// Centres begin <= c < end: out[c][k] = sum_p factor[p] G_k(s[p]), [n_centers, n_columns].
template <typename T>
void tabulate_sum(const TabulateSum<T>& sum, std::int64_t begin, std::int64_t end, T* out);

// Points begin <= p < end, of centre c: dfactor[p] = sum_k adjoint[c][k] G_k(s[p]),
// ds[p] = factor[p] sum_k adjoint[c][k] dG_k/ds(s[p]).
template <typename T>
void tabulate_sum_grad(const TabulateSum<T>& sum, const T* adjoint, std::int64_t begin,
                       std::int64_t end, T* ds, T* dfactor);

)
