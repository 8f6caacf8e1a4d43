// SPDX-License-Identifier: BSD-3-Clause
// Products that are rounded before something is added to them, as on every processor: for decisions
// that must be the same everywhere. Sums of them are written with +.
#pragma once

DEVICE float times(float a, float b) { return __fmul_rn(a, b); }
DEVICE double times(double a, double b) { return __dmul_rn(a, b); }

// a · b, and a · b for the numbers of b at 0, stride and 2 stride.
template <typename T>
DEVICE T dot3(const T* a, const T* b, int stride = 1) {
  return times(a[0], b[0]) + times(a[1], b[stride]) + times(a[2], b[2 * stride]);
}
