// SPDX-License-Identifier: BSD-3-Clause
// The smooth smallest of distances r_j, s = sum_j r_j w_j / sum_j w_j with w_j = exp(-r_j/alpha),
// and a switch from 1 at s below low to 0 from high on.
#pragma once

#include "env_matrix.h"
#include "macros.h"

namespace deepmd {

struct SoftMin {
  double alpha, low, high;
};

// Distances of displacements x, and with them the switch, are of double precision whatever T is.
template <typename T>
DEEPMD_FORMULA double length(const T* x) {
  const double a = x[0], b = x[1], c = x[2];
  return square_root(a * a + b * b + c * c);
}

// w_j, with a factor that all have in common: 1 for the nearest one.
DEEPMD_FORMULA double soft_min_weight(double r, double nearest, const SoftMin& soft) {
  return DEEPMD_BUILTIN(exp)((nearest - r) / soft.alpha);
}

struct SoftMinSwitch {
  double value, slope;
  bool constant;  // no derivative is computed
};

DEEPMD_FORMULA SoftMinSwitch soft_min_switch(double s, const SoftMin& soft) {
  if (s >= soft.high) return {0, 0, true};
  if (s < soft.low) return {1, 0, true};
  const double width = soft.high - soft.low;
  const double u = (s - soft.low) / width, v = 1 - u;
  return {u * u * u * ((15 - 6 * u) * u - 10) + 1, -30 * u * u * v * v / width, false};
}

// Derivative of the switch by x_j is this times x_j; weights: the sum of all w_j.
DEEPMD_FORMULA double soft_min_pull(double slope, double s, double r, double weight, double weights,
                                    const SoftMin& soft) {
  return slope * weight / weights * (1 + (s - r) / soft.alpha) / r;
}

}  // namespace deepmd
