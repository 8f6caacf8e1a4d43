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

#include <cmath>
#include <cstdint>

#include "isa.h"

namespace deepmd {

template <typename T>
struct AdamRates {
  T rate;  // learning rate sqrt(1 - beta2^t) / (1 - beta1^t)
  T one_minus_beta1;
  T one_minus_beta2;
  T epsilon;
};

// Rates of the step t, with power1 = beta1^t and power2 = beta2^t. The bias corrections are
// computed in the type of the variable, as TensorFlow does.
template <typename T>
DEEPMD_FORMULA AdamRates<T> adam_rates(float rate, float beta1, float beta2, float epsilon,
                                       float power1, float power2) {
  return {T(rate) * std::sqrt(T(1) - T(power2)) / (T(1) - T(power1)), T(1) - T(beta1),
          T(1) - T(beta2), T(epsilon)};
}

}  // namespace deepmd

// The gradient is a, or a + b where b is not null.
DEEPMD_EACH_ISA(
// Sum of g^2 over n numbers; not finite if one of the squares is not.
template <typename T>
T sum_squares(const T* a, const T* b, std::int64_t n);

// The step for n numbers. No array may overlap another.
template <typename T>
void adam_step(const AdamRates<T>& rates, const T* a, const T* b, std::int64_t n, T* x, T* m, T* v);
)
