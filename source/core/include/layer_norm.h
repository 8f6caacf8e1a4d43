// SPDX-License-Identifier: BSD-3-Clause
// Rows x [width] with mean 0 and variance 1, and derivatives.
//
//   y = rho (x - mean x), rho = 1 / sqrt(mean (x - mean x)^2 + epsilon)
//   J v = rho (v - mean v - y (y . v) / width), the derivative along v, a symmetric matrix
//   derivative of J g along u: rho (-(y . u)/width J g - dy (y . g)/width - y (dy . g)/width),
//   dy = J u
#pragma once

#include <cstdint>

#include "isa.h"

DEEPMD_EACH_ISA(
// Of the rows begin <= p < end of arrays [n, width].
template <typename T>
void layer_norm(const T* x, std::int64_t width, T epsilon, std::int64_t begin, std::int64_t end,
                T* y);

// J g.
template <typename T>
void layer_norm_vjp(const T* x, const T* g, std::int64_t width, T epsilon, std::int64_t begin,
                    std::int64_t end, T* out);

// Derivatives of <u, J g> by x.
template <typename T>
void layer_norm_hvp(const T* x, const T* g, const T* u, std::int64_t width, T epsilon,
                    std::int64_t begin, std::int64_t end, T* out);
)
