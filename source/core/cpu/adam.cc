// SPDX-License-Identifier: BSD-3-Clause
#include "adam.h"

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

DEEPMD_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
DEEPMD_INLINE double square_root(double x) { return __builtin_sqrt(x); }

// Whether there are two arrays is known while compiling, so that the loops have no branch.
template <bool kTwo, typename T>
T squares(const T* a, const T* b, int64_t n) {
  using V = Vec<T, kWidth<T>>;
  constexpr int kSums = 8;  // independent, to hide the latency of an addition
  V sum[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kWidth<T> <= n; i += kSums * kWidth<T>)
    for (int k = 0; k < kSums; ++k) {
      V g = load<V>(a + i + k * kWidth<T>);
      if (kTwo) g += load<V>(b + i + k * kWidth<T>);
      sum[k] += g * g;
    }
  for (int k = 1; k < kSums; ++k) sum[0] += sum[k];
  T total = 0;
  for (int k = 0; k < kWidth<T>; ++k) total += sum[0][k];
  for (; i < n; ++i) {
    const T g = kTwo ? a[i] + b[i] : a[i];
    total += g * g;
  }
  return total;
}

// Left to the compiler, which makes vectors of it.
template <bool kTwo, typename T>
void step(const AdamRates<T>& rates, const T* __restrict a, const T* __restrict b, int64_t n,
          T* __restrict x, T* __restrict m, T* __restrict v) {
  const T rate = rates.rate, epsilon = rates.epsilon;
  const T first = rates.one_minus_beta1, second = rates.one_minus_beta2;
  for (int64_t i = 0; i < n; ++i) {
    const T g = kTwo ? a[i] + b[i] : a[i];
    const T mi = m[i] + (g - m[i]) * first;
    const T vi = v[i] + (g * g - v[i]) * second;
    m[i] = mi;
    v[i] = vi;
    x[i] -= mi * rate / (square_root(vi) + epsilon);
  }
}

}  // namespace

template <typename T>
T sum_squares(const T* a, const T* b, int64_t n) {
  return b == nullptr ? squares<false>(a, b, n) : squares<true>(a, b, n);
}

template <typename T>
void adam_step(const AdamRates<T>& rates, const T* a, const T* b, int64_t n, T* x, T* m, T* v) {
  if (b == nullptr)
    step<false>(rates, a, b, n, x, m, v);
  else
    step<true>(rates, a, b, n, x, m, v);
}

#define INSTANTIATE(T)                                    \
  template T sum_squares<T>(const T*, const T*, int64_t); \
  template void adam_step<T>(const AdamRates<T>&, const T*, const T*, int64_t, T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
