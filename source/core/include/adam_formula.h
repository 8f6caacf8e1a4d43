// SPDX-License-Identifier: BSD-3-Clause
// What host and device share of adam.h.
#pragma once

#include "macros.h"

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
  return {T(rate) * T(DEEPMD_BUILTIN(sqrt)(T(1) - T(power2))) / (T(1) - T(power1)), T(1) - T(beta1),
          T(1) - T(beta2), T(epsilon)};
}

}  // namespace deepmd
