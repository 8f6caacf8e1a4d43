// SPDX-License-Identifier: BSD-3-Clause
// Loops over pairs (center, neighbor): differences, their transpose, and the virial per atom.
//
// The kinds of loop:
//   over pairs  writes out[p] for begin <= p < end;
//   over rows   writes out[row] for begin <= row < end, and goes through all pairs in order. A row
//   is
//               thus summed in the order of the pairs, however the rows are shared among threads;
//   by parts    sums what the pairs begin <= p < end give to all rows. What parts there are must
//   not
//               depend on the threads, and add_parts() sums over them.
#pragma once

#include <cstdint>

#include "isa.h"

DEEPMD_EACH_ISA(

// Over pairs: out[p] = values[neighbor[p]] - values[center[p]] + shift[p], each of `width` numbers;
// shift may be null for 0.
template <typename T>
void gather_pairs(const T* values, const std::int32_t* center, const std::int32_t* neighbor,
                  const T* shift, std::int64_t width, std::int64_t begin, std::int64_t end, T* out);

// Over rows: out[neighbor[p]] += pairs[p], out[center[p]] -= pairs[p], starting from zero.
template <typename T>
void scatter_pairs(const T* pairs, const std::int32_t* center, const std::int32_t* neighbor,
                   std::int64_t n_pairs, std::int64_t width, std::int64_t begin, std::int64_t end,
                   T* out);

// Over rows: out[neighbor[p]][3a + b] -= g[p][a] x[p][b], starting from zero.
template <typename T>
void pair_virial(const T* g, const T* x, const std::int32_t* neighbor, std::int64_t n_pairs,
                 std::int64_t begin, std::int64_t end, T* out);

// By parts, from zero: force [n_frames n_all][3], force[neighbor[p]] -= g[p] and force[center[p]] +=
// g[p]; and virial [n_frames][9], of the frame of center[p], whose number 3a + b gets -= g[p][a]
// x[p][b]. What pairs with the same centre that follow each other give to it, and to its frame, is
// summed first.
template <typename T>
void pair_forces(const T* g, const T* x, const std::int32_t* center, const std::int32_t* neighbor,
                 std::int64_t n_frames, std::int64_t n_all, std::int64_t begin, std::int64_t end,
                 T* force, T* virial);

// out[i] = sum over the parts of parts[i], for begin <= i < end; from one part to the next are `stride`
// numbers.
template <typename T>
void add_parts(const T* parts, std::int64_t n_parts, std::int64_t stride, std::int64_t begin,
               std::int64_t end, T* out);

// Over pairs: out[p][a] = f[center[p]][a] - f[neighbor[p]][a] - sum_b m[p][3a + b] x[p][b], with m[p] =
// w[frame of center[p]] + atom_w[neighbor[p]]; atom_w may be null for 0. A frame has n_all rows.
template <typename T>
void pair_forces_vjp(const T* f, const T* w, const T* atom_w, const T* x,
                     const std::int32_t* center, const std::int32_t* neighbor, std::int64_t n_all,
                     std::int64_t begin, std::int64_t end, T* out);

// Over pairs: out[p][a] = -sum_b w[neighbor[p]][3a + b] v[p][b]; transposed, w[3b + a].
template <typename T>
void pair_virial_vjp(const T* w, const T* v, const std::int32_t* neighbor, bool transpose,
                     std::int64_t begin, std::int64_t end, T* out);

)
