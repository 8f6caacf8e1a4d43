// SPDX-License-Identifier: BSD-3-Clause
// A step of Adam (Kingma and Ba, arXiv:1412.6980, in the form before its section 2.1) for a number
// x with gradient g and moments m, v:
//
//   m += (1 - beta1) (g - m)
//   v += (1 - beta2) (g^2 - v)
//   x -= rate m / (sqrt(v) + epsilon)
//
// The gradient is a sum of one or two arrays, so that the sum need not be written to memory.
#pragma once

#include <cstdint>

#include "adam_formula.h"
#include "isa.h"

// The gradient is a, or a + b where b is not null.
DEEPMD_EACH_ISA(
// Sum of g^2 over n numbers; not finite if one of the squares is not.
template <typename T>
T sum_squares(const T* a, const T* b, std::int64_t n);

// The step for n numbers. No array may overlap another.
template <typename T>
void adam_step(const AdamRates<T>& rates, const T* a, const T* b, std::int64_t n, T* x, T* m, T* v);
)
