// SPDX-License-Identifier: BSD-3-Clause
// The activation function gelu: gelu.h has the formulas, gpu_gelu.h the functions.
#include "kernel.h"

#include "gelu.h"

KERNEL(gelu, const real* x, int64_t n, real* out) {
  EACH(i, n) {
    real slope;
    deepmd::gelu_jet(x[i], out + i, &slope);
  }
}

KERNEL(gelu_grad, const real* dy, const real* x, int64_t n, real* out) {
  EACH(i, n) {
    real value, slope;
    deepmd::gelu_jet(x[i], &value, &slope);
    out[i] = dy[i] * slope;
  }
}
