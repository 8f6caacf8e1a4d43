// SPDX-License-Identifier: BSD-3-Clause
// Layer normalisation: layer_norm.h has the formulas, gpu_layer_norm.h the functions. A warp for
// each row, which goes through it three times: for means, for products with what is left, for the
// result.
#include "kernel.h"

#include "env_matrix.h"  // square_root

// Rows of the warps of all blocks.
#define EACH_WARP(row, n)                                                                 \
  for (int64_t row = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; row < (n); \
       row += int64_t(gridDim.x) * blockDim.x / kWarp)

DEVICE real mean(const real* x, int64_t width) {
  real sum = 0;
  EACH_LANE(i, width) sum += x[i];
  return warp_sum(sum) / real(width);
}

// 1 / sqrt(variance + epsilon), of the sum of squares.
DEVICE real inverse_deviation(real squares, int64_t width, real epsilon) {
  return 1 / deepmd::square_root(squares / real(width) + epsilon);
}

BLOCK_KERNEL(layer_norm, const real* xs, int64_t n, int64_t width, real epsilon, real* outs) {
  EACH_WARP(row, n) {
    const real* const x = xs + row * width;
    real* const out = outs + row * width;
    const real center = mean(x, width);
    real squares = 0;
    EACH_LANE(i, width) squares += (x[i] - center) * (x[i] - center);
    const real rho = inverse_deviation(warp_sum(squares), width, epsilon);
    EACH_LANE(i, width) out[i] = (x[i] - center) * rho;
  }
}

BLOCK_KERNEL(layer_norm_vjp, const real* xs, const real* gs, int64_t n, int64_t width, real epsilon,
             real* outs) {
  EACH_WARP(row, n) {
    const real* const x = xs + row * width;
    const real* const g = gs + row * width;
    real* const out = outs + row * width;
    const real center = mean(x, width), shift = mean(g, width);
    real squares = 0, along = 0;
    UNROLL_BY(2)
    EACH_LANE(i, width) {
      const real c = x[i] - center;
      squares += c * c;
      along += c * g[i];
    }
    const real rho = inverse_deviation(warp_sum(squares), width, epsilon);
    const real length = rho * warp_sum(along) / real(width) * rho;
    EACH_LANE(i, width) out[i] = (g[i] - shift - (x[i] - center) * length) * rho;
  }
}

BLOCK_KERNEL(layer_norm_hvp, const real* xs, const real* gs, const real* us, int64_t n,
             int64_t width, real epsilon, real* outs) {
  EACH_WARP(row, n) {
    const real* const x = xs + row * width;
    const real* const g = gs + row * width;
    const real* const u = us + row * width;
    real* const out = outs + row * width;
    const real center = mean(x, width), g_mean = mean(g, width), u_mean = mean(u, width);
    real squares = 0, g_sum = 0, u_sum = 0, products = 0;
    EACH_LANE(i, width) {
      const real c = x[i] - center;
      squares += c * c;
      g_sum += c * g[i];
      u_sum += c * u[i];
      products += (u[i] - u_mean) * g[i];
    }
    const real rho = inverse_deviation(warp_sum(squares), width, epsilon);
    // (y . g) / width, (y . u) / width, and (dy . g) / width of dy = rho (u - mean u - y (y . u) /
    // width)
    const real g_along = rho * warp_sum(g_sum) / real(width);
    const real u_along = rho * warp_sum(u_sum) / real(width);
    const real change = rho * (warp_sum(products) / real(width) - u_along * g_along);
    EACH_LANE(i, width) {
      const real y = (x[i] - center) * rho;
      const real jg = (g[i] - g_mean - y * g_along) * rho;
      const real dy = (u[i] - u_mean - y * u_along) * rho;
      out[i] = -(jg * u_along + dy * g_along + y * change) * rho;
    }
  }
}
