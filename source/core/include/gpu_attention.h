// SPDX-License-Identifier: BSD-3-Clause
// Attention among the neighbours of each centre, on the GPU; attention.h has the formulas. Rows of
// results of pairs that no section has are not set.
#pragma once

#include <cstdint>

#include "attention.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// Sizes beside those of an AttentionShape, whose splits are on the device.
struct AttentionSizes {
  std::int64_t n_pairs, n_centers;
};

// out [n_pairs, width].
template <typename T>
void attention(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
               const AttentionPairs<const T>& x, T* out);

// Derivative of <adjoint, out> by x.
template <typename T>
void attention_vjp(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
                   const AttentionPairs<const T>& x, const T* adjoint,
                   const AttentionPairs<T>& gradient);

// Derivatives of <u, attention_vjp> by x and by the adjoint.
template <typename T>
void attention_hvp(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
                   const AttentionPairs<const T>& x, const AttentionPairs<const T>& u,
                   const T* adjoint, const AttentionPairs<T>& gradient, T* adjoint_gradient);

}  // namespace gpu
}  // namespace deepmd
