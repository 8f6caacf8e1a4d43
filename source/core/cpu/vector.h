// SPDX-License-Identifier: BSD-3-Clause
//
// Short vectors of the instruction set that is being compiled, by the vector extensions that GCC and
// Clang share: arithmetic is written with ordinary operators.
#pragma once

#include <cstdint>

// Every function below is inlined, so how a compiler would pass such vectors does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

#define DEEPMD_INLINE inline __attribute__((always_inline))

#if defined(__clang__)
#define DEEPMD_SHUFFLE(T, N, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DEEPMD_SHUFFLE(T, N, a, b, ...) __builtin_shuffle(a, b, typename Vector<T, N>::Lanes{__VA_ARGS__})
#endif

namespace deepmd {
namespace DEEPMD_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kVectorRegisters = 32;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kVectorRegisters = 16;
#else
constexpr int kVectorBytes = 16;
constexpr int kVectorRegisters = 16;
#endif

// Elements of T in one register.
template <typename T>
constexpr int kWidth = kVectorBytes / static_cast<int>(sizeof(T));

template <typename T, int N>
struct Vector;

#define DEEPMD_DEFINE_VECTOR(T, I, N)                            \
  template <>                                                \
  struct Vector<T, N> {                                      \
    typedef T Type __attribute__((vector_size(N * sizeof(T)))); \
    typedef I Lanes __attribute__((vector_size(N * sizeof(T)))); \
  };
DEEPMD_DEFINE_VECTOR(float, std::int32_t, 4)
DEEPMD_DEFINE_VECTOR(float, std::int32_t, 8)
DEEPMD_DEFINE_VECTOR(float, std::int32_t, 16)
DEEPMD_DEFINE_VECTOR(double, std::int64_t, 2)
DEEPMD_DEFINE_VECTOR(double, std::int64_t, 4)
DEEPMD_DEFINE_VECTOR(double, std::int64_t, 8)
#undef DEEPMD_DEFINE_VECTOR

template <typename T, int N>
using Vec = typename Vector<T, N>::Type;

// V is a vector of T, or T itself. Addresses need no more alignment than T does.
template <typename V, typename T>
DEEPMD_INLINE V load(const T* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(V));
  return v;
}

template <typename V, typename T>
DEEPMD_INLINE void store(T* p, const V& v) {
  __builtin_memcpy(p, &v, sizeof(V));
}

// The sums over the lanes of four vectors, as a vector of four.
template <typename T, typename V>
struct SumLanes;

template <typename T>
struct SumLanes<T, T> {
  static DEEPMD_INLINE Vec<T, 4> of(const T v[4]) { return Vec<T, 4>{v[0], v[1], v[2], v[3]}; }
};

template <>
struct SumLanes<double, Vec<double, 2>> {
  static DEEPMD_INLINE Vec<double, 4> of(const Vec<double, 2> v[4]) {
    return Vec<double, 4>{v[0][0] + v[0][1], v[1][0] + v[1][1], v[2][0] + v[2][1],
                          v[3][0] + v[3][1]};
  }
};

template <typename T>
struct SumLanes<T, Vec<T, 4>> {
  static DEEPMD_INLINE Vec<T, 4> of(const Vec<T, 4> v[4]) {
    typedef Vec<T, 4> V;
    const V x = DEEPMD_SHUFFLE(T, 4, v[0], v[1], 0, 4, 2, 6) + DEEPMD_SHUFFLE(T, 4, v[0], v[1], 1, 5, 3, 7);
    const V y = DEEPMD_SHUFFLE(T, 4, v[2], v[3], 0, 4, 2, 6) + DEEPMD_SHUFFLE(T, 4, v[2], v[3], 1, 5, 3, 7);
    return DEEPMD_SHUFFLE(T, 4, x, y, 0, 1, 4, 5) + DEEPMD_SHUFFLE(T, 4, x, y, 2, 3, 6, 7);
  }
};

template <typename V, typename H>
DEEPMD_INLINE H fold(const V& v) {
  H half[2];
  __builtin_memcpy(half, &v, sizeof(V));
  return half[0] + half[1];
}

template <typename T>
struct SumLanes<T, Vec<T, 8>> {
  static DEEPMD_INLINE Vec<T, 4> of(const Vec<T, 8> v[4]) {
    typedef Vec<T, 8> V;
    const V x = DEEPMD_SHUFFLE(T, 8, v[0], v[1], 0, 8, 2, 10, 4, 12, 6, 14) +
                DEEPMD_SHUFFLE(T, 8, v[0], v[1], 1, 9, 3, 11, 5, 13, 7, 15);
    const V y = DEEPMD_SHUFFLE(T, 8, v[2], v[3], 0, 8, 2, 10, 4, 12, 6, 14) +
                DEEPMD_SHUFFLE(T, 8, v[2], v[3], 1, 9, 3, 11, 5, 13, 7, 15);
    return fold<V, Vec<T, 4>>(DEEPMD_SHUFFLE(T, 8, x, y, 0, 1, 8, 9, 4, 5, 12, 13) +
                              DEEPMD_SHUFFLE(T, 8, x, y, 2, 3, 10, 11, 6, 7, 14, 15));
  }
};

template <>
struct SumLanes<float, Vec<float, 16>> {
  static DEEPMD_INLINE Vec<float, 4> of(const Vec<float, 16> v[4]) {
    typedef Vec<float, 8> H;
    const H half[4] = {fold<Vec<float, 16>, H>(v[0]), fold<Vec<float, 16>, H>(v[1]),
                       fold<Vec<float, 16>, H>(v[2]), fold<Vec<float, 16>, H>(v[3])};
    return SumLanes<float, H>::of(half);
  }
};

}  // namespace DEEPMD_ISA
}  // namespace deepmd

