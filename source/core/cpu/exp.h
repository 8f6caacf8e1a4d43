// SPDX-License-Identifier: BSD-3-Clause
//
// exp of a vector, to a few units in the last place.
#pragma once

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {

template <typename T>
struct ExpConstants;

template <>
struct ExpConstants<double> {
  static constexpr double kLargest = 708.0;             // exp of more may not be finite
  static constexpr double kShift = 6755399441055744.0;  // 1.5 2^52, added to round to an integer
  static constexpr double kLn2High = 6.93147180369123816490e-01,
                          kLn2Low = 1.90821492927058770002e-10;
  static constexpr std::int64_t kMantissaBits = 52, kOne = std::int64_t{1023} << 52;
  static constexpr int kDegree = 13;
};

template <>
struct ExpConstants<float> {
  static constexpr float kLargest = 87.0f;
  static constexpr float kShift = 12582912.0f;  // 1.5 2^23
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr std::int32_t kMantissaBits = 23, kOne = std::int32_t{127} << 23;
  static constexpr int kDegree = 7;
};

// exp(y) = scale (1 + p): y = k ln 2 + r with |r| <= ln(2)/2, scale = 2^k, and p = exp(r) - 1 is a
// Taylor polynomial.
template <typename T>
DEEPMD_INLINE void split_exp(Vec<T, kWidth<T>> y, Vec<T, kWidth<T>>& scale, Vec<T, kWidth<T>>& p) {
  using C = ExpConstants<T>;
  using V = Vec<T, kWidth<T>>;
  using I = typename Vector<T, kWidth<T>>::Indices;
  const V shifted = y * T(1.44269504088896340736) + C::kShift;
  const V k = shifted - C::kShift;
  const V r = (y - k * C::kLn2High) - k * C::kLn2Low;
  T factorial = T(1);
  for (int i = 2; i <= C::kDegree; ++i) factorial *= T(i);
  T coefficient = 1 / factorial;
  V q = V{} + coefficient;
  for (int i = C::kDegree; i > 2; --i) {
    coefficient *= T(i);
    q = q * r + coefficient;
  }
  p = r + r * r * q;
  scale = (V)(((I)shifted << C::kMantissaBits) + C::kOne);
}

// Arguments beyond the largest are taken for it, on both sides; a NaN stays.
template <typename T>
DEEPMD_INLINE Vec<T, kWidth<T>> exp(Vec<T, kWidth<T>> x) {
  using V = Vec<T, kWidth<T>>;
  const V largest = V{} + ExpConstants<T>::kLargest;
  x = x > largest ? largest : x;
  x = x < -largest ? -largest : x;
  V scale, p;
  split_exp<T>(x, scale, p);
  return scale * p + scale;
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
