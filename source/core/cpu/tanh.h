// SPDX-License-Identifier: BSD-3-Clause
//
// tanh of a vector, to a few units in the last place.
#pragma once

#include "exp.h"

namespace deepmd {
namespace DEEPMD_ISA {

// With e = exp(2 |x|) - 1, |tanh x| = e / (e + 2); e is made so that small x stay exact. Beyond 20
// (float: 10) tanh is 1.
template <typename T>
DEEPMD_INLINE Vec<T, kWidth<T>> tanh(Vec<T, kWidth<T>> x) {
  using V = Vec<T, kWidth<T>>;
  using I = typename Vector<T, kWidth<T>>::Indices;
  const I sign = (I)x & (I)(-V{});
  V y = (V)((I)x ^ sign);
  const V largest = V{} + (sizeof(T) == sizeof(double) ? T(20) : T(10));
  y = y > largest ? largest : y;  // false for a NaN, which stays
  y += y;
  V scale, p;
  split_exp<T>(y, scale, p);
  const V e = scale * p + (scale - T(1));
  return (V)((I)(e / (e + T(2))) | sign);
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
