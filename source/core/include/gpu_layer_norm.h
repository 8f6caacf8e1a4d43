// SPDX-License-Identifier: BSD-3-Clause
// Layer normalisation of n rows on the GPU; layer_norm.h has the formulas.
#pragma once

#include <cstdint>

#include "gpu.h"

namespace deepmd {
namespace gpu {

template <typename T>
void layer_norm(const Stream& stream, const T* x, std::int64_t n, std::int64_t width, T epsilon,
                T* y);

template <typename T>
void layer_norm_vjp(const Stream& stream, const T* x, const T* g, std::int64_t n,
                    std::int64_t width, T epsilon, T* out);

template <typename T>
void layer_norm_hvp(const Stream& stream, const T* x, const T* g, const T* u, std::int64_t n,
                    std::int64_t width, T epsilon, T* out);

}  // namespace gpu
}  // namespace deepmd
