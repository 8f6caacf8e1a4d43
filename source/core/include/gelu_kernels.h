// SPDX-License-Identifier: BSD-3-Clause
// gelu of arrays; gelu.h has the formulas.
#pragma once

#include <cstdint>

#include "isa.h"

DEEPMD_EACH_ISA(

// out[i] = phi(x[i]), begin <= i < end.
template <typename T>
void gelu(const T* x, std::int64_t begin, std::int64_t end, T* out);

// out[i] = dy[i] phi'(x[i]).
template <typename T>
void gelu_grad(const T* dy, const T* x, std::int64_t begin, std::int64_t end, T* out);

)
