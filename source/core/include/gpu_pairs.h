// SPDX-License-Identifier: BSD-3-Clause
// Loops over pairs on the GPU; pairs.h has the formulas. Indices outside of the arrays are not
// followed: what they would give is NaN, or is left out of a sum.
#pragma once

#include <cstdint>

#include "gpu.h"

namespace deepmd {
namespace gpu {

// The places p of index [n] by the row index[p] that they name: those of a row are
// order[splits[row]] … order[splits[row + 1] - 1], ascending. splits [n_rows + 1], order [n].
struct Places {
  const std::int32_t* splits;
  const std::int32_t* order;
};
Places places_by_row(const Stream& stream, const std::int32_t* index, std::int64_t n,
                     std::int64_t n_rows);

template <typename T>
void gather_pairs(const Stream& stream, const T* values, const std::int32_t* center,
                  const std::int32_t* neighbor, const T* shift, std::int64_t n_rows,
                  std::int64_t width, std::int64_t n_pairs, T* out);

template <typename T>
void scatter_pairs(const Stream& stream, const T* pairs, const std::int32_t* center,
                   const std::int32_t* neighbor, std::int64_t n_pairs, std::int64_t width,
                   std::int64_t n_rows, T* out);

template <typename T>
void pair_virial(const Stream& stream, const T* g, const T* x, const std::int32_t* neighbor,
                 std::int64_t n_pairs, std::int64_t n_rows, T* out);

// atom_virial may be null.
template <typename T>
void pair_forces(const Stream& stream, const T* g, const T* x, const std::int32_t* center,
                 const std::int32_t* neighbor, std::int64_t n_pairs, std::int64_t n_frames,
                 std::int64_t n_all, T* force, T* virial, T* atom_virial);

template <typename T>
void pair_forces_vjp(const Stream& stream, const T* f, const T* w, const T* atom_w, const T* x,
                     const std::int32_t* center, const std::int32_t* neighbor, std::int64_t n_pairs,
                     std::int64_t n_frames, std::int64_t n_all, T* out);

template <typename T>
void pair_virial_vjp(const Stream& stream, const T* w, const T* v, const std::int32_t* neighbor,
                     bool transpose, std::int64_t n_pairs, std::int64_t n_rows, T* out);

// sums [n_rows]: exclusive prefix sums of counts [n_rows], and their total in sums[n_rows].
void exclusive_sums(const Stream& stream, const std::int32_t* counts, std::int64_t n,
                    std::int32_t* sums);

}  // namespace gpu
}  // namespace deepmd
