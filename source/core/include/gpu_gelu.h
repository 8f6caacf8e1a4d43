// SPDX-License-Identifier: BSD-3-Clause
// The activation function gelu of n numbers on the GPU; gelu.h has the formulas.
#pragma once

#include <cstdint>

#include "gpu.h"

namespace deepmd {
namespace gpu {

template <typename T>
void gelu(const Stream& stream, const T* x, std::int64_t n, T* out);

template <typename T>
void gelu_grad(const Stream& stream, const T* dy, const T* x, std::int64_t n, T* out);

}  // namespace gpu
}  // namespace deepmd
