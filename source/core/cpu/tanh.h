// SPDX-License-Identifier: BSD-3-Clause
//
// tanh of a vector, to a few units in the last place.
#pragma once

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {

template <typename T>
struct TanhConstants;

template <>
struct TanhConstants<double> {
  static constexpr double kLargest = 20.0;              // beyond it tanh is 1
  static constexpr double kShift = 6755399441055744.0;  // 1.5 2^52, added to round to an integer
  static constexpr double kLn2High = 6.93147180369123816490e-01,
                          kLn2Low = 1.90821492927058770002e-10;
  static constexpr std::int64_t kMantissaBits = 52, kOne = std::int64_t{1023} << 52;
  static constexpr int kDegree = 13;
};

template <>
struct TanhConstants<float> {
  static constexpr float kLargest = 10.0f;
  static constexpr float kShift = 12582912.0f;  // 1.5 2^23
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  static constexpr std::int32_t kMantissaBits = 23, kOne = std::int32_t{127} << 23;
  static constexpr int kDegree = 7;
};

// With e = exp(2 |x|) - 1, |tanh x| = e / (e + 2). For 2 |x| = k ln 2 + r with |r| <= ln(2)/2,
// e = 2^k (exp(r) - 1) + (2^k - 1), and exp(r) - 1 is a Taylor polynomial: small x stay exact.
template <typename T>
DEEPMD_INLINE Vec<T, kWidth<T>> tanh(Vec<T, kWidth<T>> x) {
  using C = TanhConstants<T>;
  using V = Vec<T, kWidth<T>>;
  using I = typename Vector<T, kWidth<T>>::Indices;
  const I sign = (I)x & (I)(-V{});
  V y = (V)((I)x ^ sign);
  const V largest = V{} + C::kLargest;
  y = y > largest ? largest : y;  // false for a NaN, which stays
  y += y;
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
  const V p = r + r * r * q;
  const V scale = (V)(((I)shifted << C::kMantissaBits) + C::kOne);
  const V e = scale * p + (scale - T(1));
  return (V)((I)(e / (e + T(2))) | sign);
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
