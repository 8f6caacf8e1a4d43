// SPDX-License-Identifier: BSD-3-Clause
// A function of one number by cubic polynomials: a[4k] u^3 + a[4k+1] u^2 + a[4k+2] u + a[4k+3] on
// interval k of n, u = (x - start)/step - k; zero beyond the last one.
#pragma once

#include "macros.h"

namespace deepmd {

// Derivative of order 0, 1, 2 ... at x >= start.
DEEPMD_FORMULA double cubic_derivative(int order, double x, double start, double step, int n,
                                       const double* a) {
  const double place = (x - start) / step;
  if (!(place < static_cast<double>(n))) return 0.0;
  const int k = static_cast<int>(place);
  const double u = place - static_cast<double>(k);
  a += 4 * k;
  switch (order) {
    case 0: return ((a[0] * u + a[1]) * u + a[2]) * u + a[3];
    case 1: return ((3 * a[0] * u + 2 * a[1]) * u + a[2]) / step;
    case 2: return (6 * a[0] * u + 2 * a[1]) / (step * step);
    case 3: return 6 * a[0] / (step * step * step);
    default: return 0.0;
  }
}

}  // namespace deepmd
