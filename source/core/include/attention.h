// SPDX-License-Identifier: BSD-3-Clause
// Attention among the neighbours of one centre.
//
// Pair p has the query q, the key k and the value v, each divided by its length, a unit vector r
// and a weight w. With a_ij = q_i . k_j of two pairs of a centre,
//
//   out_i = sum_j P_ij w_i w_j (r_i . r_j) v_j
//
//   P_ij = m_j exp(s_ij) / (e + sum_l m_l exp(s_il))
//
//   plain    s = a_ij, m = w (0 leaves a pair out, 1 does not), e = 0
//   smooth   s = (a_ij + 20) w_i w_j - 20, m = 1, e = exp(-20) for each empty slot
//
// Lengths are at least kLeastLength, so that |a| <= 1: exp() needs no shift. Without rows there is
// no factor r_i . r_j; `diagonal` = false leaves the terms i = j out, but not out of the sum that
// P is divided by.
//
// The matrices of a centre live in scratch memory while it is worked on; nothing is kept for all.
#pragma once

#include <cstdint>

#include "attention_terms.h"
#include "isa.h"

namespace deepmd {

struct AttentionShape {
  std::int64_t width;  // of queries, keys and values
  bool smooth, diagonal;
  std::int64_t slots;  // for neighbours of a centre; of the smooth form
  std::int64_t ntypes;
  const std::int32_t* splits;  // [n_centers * ntypes + 1]
};

// Of all pairs: the inputs, a tangent or a cotangent of them.
template <typename T>
struct AttentionPairs {
  T* qkv;      // [n_pairs, 3 width]
  T* weights;  // [n_pairs]
  T* rows;     // [n_pairs, 4], of which the last three have the direction of r; or null
};

// Numbers that a kernel needs as scratch for a centre with n pairs.
DEEPMD_FORMULA std::int64_t attention_scratch(std::int64_t width, std::int64_t n) {
  return 8 * n * width + 4 * n * n + 64 * n;
}

}  // namespace deepmd

// Each works on the centres begin <= c < end and writes the rows of their pairs.
DEEPMD_EACH_ISA(
// out [n_pairs, width].
template <typename T>
void attention(const AttentionShape& shape, const AttentionPairs<const T>& x, std::int64_t begin,
               std::int64_t end, T* scratch, T* out);

// Derivative of <adjoint, out> by x.
template <typename T>
void attention_vjp(const AttentionShape& shape, const AttentionPairs<const T>& x,
                   const T* adjoint, std::int64_t begin, std::int64_t end, T* scratch,
                   const AttentionPairs<T>& gradient);

// Derivatives of <u, attention_vjp> by x and by the adjoint.
template <typename T>
void attention_hvp(const AttentionShape& shape, const AttentionPairs<const T>& x,
                   const AttentionPairs<const T>& u, const T* adjoint, std::int64_t begin,
                   std::int64_t end, T* scratch, const AttentionPairs<T>& gradient,
                   T* adjoint_gradient);
)
