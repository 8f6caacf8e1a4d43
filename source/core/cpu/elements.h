// SPDX-License-Identifier: BSD-3-Clause
//
// Loops over the elements of arrays of any length.
#pragma once

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {

// Calls f(i, zero) for all elements 0 <= i < n: for i to i + width - 1 where zero is a vector, for
// i alone where it is a number.
template <typename T, typename F>
DEEPMD_INLINE void for_elements(std::int64_t n, const F& f) {
  std::int64_t i = 0;
  for (; i + kWidth<T> <= n; i += kWidth<T>) f(i, Vec<T, kWidth<T>>{});
  for (; i < n; ++i) f(i, T(0));
}

// A sum over such a loop.
template <typename T>
struct ElementSum {
  Vec<T, kWidth<T>> lanes = Vec<T, kWidth<T>>{};
  T rest = T(0);

  DEEPMD_INLINE void add(const Vec<T, kWidth<T>>& x) { lanes += x; }
  DEEPMD_INLINE void add(T x) { rest += x; }
  DEEPMD_INLINE T total() const {
    T sum = rest;
    for (int i = 0; i < kWidth<T>; ++i) sum += lanes[i];
    return sum;
  }
};

template <typename T>
DEEPMD_INLINE T dot(std::int64_t n, const T* x, const T* y) {
  ElementSum<T> sum;
  for_elements<T>(n, [&](std::int64_t i, auto zero) {
    using V = decltype(zero);
    sum.add(load<V>(x + i) * load<V>(y + i));
  });
  return sum.total();
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
