// SPDX-License-Identifier: BSD-3-Clause
// A step of Adam for all variables of a type in one launch; adam.h has the formulas, adam_tables.h
// the arrays. Whether all is finite is found first, in *bad, and then nothing else is changed: the
// host hears of it when everything is done.
#include "kernel.h"

#include "adam_formula.h"
#include "adam_tables.h"

using deepmd::gpu::AdamSettings;
using deepmd::gpu::AdamUpdate;
using deepmd::gpu::kAdamBlock;

template <typename T>
DEVICE bool is_finite(T value) {
  return value - value == 0;
}

// The numbers of `item` that a thread of this block handles: begin <= i < end, in steps of blocks.
struct Range {
  int64_t begin, end;
};

DEVICE Range range_of(const AdamUpdate<real>& item) {
  const int64_t begin = (int64_t(blockIdx.x) - item.block) * kAdamBlock, end = begin + kAdamBlock;
  return {begin + threadIdx.x, end < item.size ? end : item.size};
}

DEVICE real gradient(const AdamUpdate<real>& item, int64_t i) {
  return item.b == nullptr ? item.a[i] : item.a[i] + item.b[i];
}

KERNEL(adam_begin, const double* loss, int32_t* bad) {
  if (blockIdx.x == 0 && threadIdx.x == 0) *bad = is_finite(*loss) ? 0 : 1;
}

KERNEL(adam_check, const AdamUpdate<real>* items, int64_t n_items, int32_t* bad) {
  const AdamUpdate<real> item = find_item(items, n_items, blockIdx.x);
  const Range range = range_of(item);
  bool finite = true;
  for (int64_t i = range.begin; i < range.end; i += blockDim.x) {
    const real g = gradient(item, i);
    finite = finite && is_finite(g * g);
  }
  if (!finite) atomicMax(bad, 1);
}

KERNEL(adam_step, const AdamUpdate<real>* items, int64_t n_items, const int32_t* bad,
       const float* power1, const float* power2, AdamSettings settings) {
  if (*bad != 0) return;
  const AdamUpdate<real> item = find_item(items, n_items, blockIdx.x);
  const auto rates = deepmd::adam_rates<real>(settings.rate, settings.beta1, settings.beta2,
                                              settings.epsilon, *power1, *power2);
  const Range range = range_of(item);
  for (int64_t i = range.begin; i < range.end; i += blockDim.x) {
    const real g = gradient(item, i);
    const real m = item.m[i] + (g - item.m[i]) * rates.one_minus_beta1;
    const real v = item.v[i] + (g * g - item.v[i]) * rates.one_minus_beta2;
    item.m[i] = m;
    item.v[i] = v;
    item.x[i] -= m * rates.rate / (sqrt(v) + rates.epsilon);
  }
}

// After all steps, which read the powers.
KERNEL(adam_end, const int32_t* bad, AdamSettings settings, float* power1, float* power2) {
  if (blockIdx.x > 0 || threadIdx.x > 0 || *bad != 0) return;
  *power1 *= settings.beta1;
  *power2 *= settings.beta2;
}
