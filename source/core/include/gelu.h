// SPDX-License-Identifier: BSD-3-Clause
// The activation function gelu in its form with tanh:
//
//   phi(x) = x (1 + tanh u) / 2,   u = sqrt(2/pi) (x + 0.044715 x^3).
#pragma once

#include "macros.h"

namespace deepmd {

DEEPMD_FORMULA double gelu_tanh(double x) { return DEEPMD_BUILTIN(tanh)(x); }
DEEPMD_FORMULA float gelu_tanh(float x) { return DEEPMD_BUILTIN(tanhf)(x); }

// phi(x) and its derivative.
template <typename T>
DEEPMD_FORMULA void gelu_jet(T x, T* value, T* slope) {
  constexpr double factor = 0.79788456080286535588;  // sqrt(2/pi)
  constexpr double cubic = 0.044715;
  const T t = gelu_tanh(T(factor) * (x + T(cubic) * x * x * x));
  const T du = T(factor) * (1 + T(3 * cubic) * x * x);
  *value = T(0.5) * x * (1 + t);
  *slope = T(0.5) * (1 + t) + T(0.5) * x * (1 - t * t) * du;
}

}  // namespace deepmd
