// SPDX-License-Identifier: BSD-3-Clause
//
// Short vectors of the instruction set that is being compiled, by the vector extensions that GCC
// and Clang share: arithmetic is written with ordinary operators.
#pragma once

#include <cstdint>

// Every function below is inlined, so how a compiler would pass such vectors does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

#define DEEPMD_INLINE inline __attribute__((always_inline))

// Keeps v in a register; without it GCC reads an operand from memory once for every use.
#if defined(__x86_64__)
#define DEEPMD_KEEP(v) asm("" : "+v"(v))
#elif defined(__aarch64__)
#define DEEPMD_KEEP(v) asm("" : "+w"(v))
#else
#define DEEPMD_KEEP(v) (void)(v)
#endif

#if defined(__clang__)
#define DEEPMD_SHUFFLE(T, N, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DEEPMD_SHUFFLE(T, N, a, b, ...) \
  __builtin_shuffle(a, b, typename Vector<T, N>::Indices{__VA_ARGS__})
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

#define DEEPMD_DEFINE_VECTOR(T, I, N)                              \
  template <>                                                      \
  struct Vector<T, N> {                                            \
    typedef T Type __attribute__((vector_size(N * sizeof(T))));    \
    typedef I Indices __attribute__((vector_size(N * sizeof(T)))); \
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

// N numbers side by side, in as many registers as that takes.
template <typename T, int N>
struct Lanes {
  static constexpr int kPart = kWidth<T> < N ? kWidth<T> : N;
  static constexpr int kParts = N / kPart;
  Vec<T, kPart> part[kParts];

  static DEEPMD_INLINE Lanes zero() {
    Lanes x;
    for (int i = 0; i < kParts; ++i) x.part[i] = Vec<T, kPart>{};
    return x;
  }
  static DEEPMD_INLINE Lanes from(const T* p) {
    Lanes x;
    for (int i = 0; i < kParts; ++i) x.part[i] = load<Vec<T, kPart>>(p + i * kPart);
    return x;
  }
  DEEPMD_INLINE void to(T* p) const {
    for (int i = 0; i < kParts; ++i) store(p + i * kPart, part[i]);
  }
  friend DEEPMD_INLINE Lanes operator+(Lanes x, const Lanes& y) {
    for (int i = 0; i < kParts; ++i) x.part[i] += y.part[i];
    return x;
  }
  friend DEEPMD_INLINE Lanes operator*(Lanes x, const Lanes& y) {
    for (int i = 0; i < kParts; ++i) x.part[i] *= y.part[i];
    return x;
  }
  friend DEEPMD_INLINE Lanes operator*(Lanes x, T y) {
    for (int i = 0; i < kParts; ++i) x.part[i] *= y;
    return x;
  }
};

// out[i] = sum over the lanes of v[i]. (Of the overloads those drop out whose vectors are not
// defined.)
template <typename T>
DEEPMD_INLINE void sum_lanes(const T v[4], T out[4]) {
  for (int i = 0; i < 4; ++i) out[i] = v[i];
}

template <typename T>
DEEPMD_INLINE void sum_lanes(const Vec<T, 2> v[4], T out[4]) {
  for (int i = 0; i < 4; ++i) out[i] = v[i][0] + v[i][1];
}

template <typename T>
DEEPMD_INLINE void sum_lanes(const Vec<T, 4> v[4], T out[4]) {
  const Vec<T, 4> x =
      DEEPMD_SHUFFLE(T, 4, v[0], v[1], 0, 4, 2, 6) + DEEPMD_SHUFFLE(T, 4, v[0], v[1], 1, 5, 3, 7);
  const Vec<T, 4> y =
      DEEPMD_SHUFFLE(T, 4, v[2], v[3], 0, 4, 2, 6) + DEEPMD_SHUFFLE(T, 4, v[2], v[3], 1, 5, 3, 7);
  store(out, DEEPMD_SHUFFLE(T, 4, x, y, 0, 1, 4, 5) + DEEPMD_SHUFFLE(T, 4, x, y, 2, 3, 6, 7));
}

// The lower half of v plus its upper half.
template <typename H, typename V>
DEEPMD_INLINE H fold(const V& v) {
  H half[2];
  __builtin_memcpy(half, &v, sizeof(V));
  return half[0] + half[1];
}

template <typename T>
DEEPMD_INLINE void sum_lanes(const Vec<T, 8> v[4], T out[4]) {
  const Vec<T, 8> x = DEEPMD_SHUFFLE(T, 8, v[0], v[1], 0, 8, 2, 10, 4, 12, 6, 14) +
                      DEEPMD_SHUFFLE(T, 8, v[0], v[1], 1, 9, 3, 11, 5, 13, 7, 15);
  const Vec<T, 8> y = DEEPMD_SHUFFLE(T, 8, v[2], v[3], 0, 8, 2, 10, 4, 12, 6, 14) +
                      DEEPMD_SHUFFLE(T, 8, v[2], v[3], 1, 9, 3, 11, 5, 13, 7, 15);
  store(out, fold<Vec<T, 4>, Vec<T, 8>>(DEEPMD_SHUFFLE(T, 8, x, y, 0, 1, 8, 9, 4, 5, 12, 13) +
                                        DEEPMD_SHUFFLE(T, 8, x, y, 2, 3, 10, 11, 6, 7, 14, 15)));
}

template <typename T>
DEEPMD_INLINE void sum_lanes(const Vec<T, 16> v[4], T out[4]) {
  Vec<T, 8> half[4];
  for (int i = 0; i < 4; ++i) half[i] = fold<Vec<T, 8>, Vec<T, 16>>(v[i]);
  sum_lanes<T>(half, out);
}

// a[0] b[0] a[1] b[1] ..., of the lower halves of a and b, and of the upper ones. (Of the overloads
// those drop out whose vectors are not defined.)
template <typename T>
DEEPMD_INLINE void interleave(const Vec<T, 2>& a, const Vec<T, 2>& b, Vec<T, 2> out[2]) {
  out[0] = DEEPMD_SHUFFLE(T, 2, a, b, 0, 2);
  out[1] = DEEPMD_SHUFFLE(T, 2, a, b, 1, 3);
}

template <typename T>
DEEPMD_INLINE void interleave(const Vec<T, 4>& a, const Vec<T, 4>& b, Vec<T, 4> out[2]) {
  out[0] = DEEPMD_SHUFFLE(T, 4, a, b, 0, 4, 1, 5);
  out[1] = DEEPMD_SHUFFLE(T, 4, a, b, 2, 6, 3, 7);
}

template <typename T>
DEEPMD_INLINE void interleave(const Vec<T, 8>& a, const Vec<T, 8>& b, Vec<T, 8> out[2]) {
  out[0] = DEEPMD_SHUFFLE(T, 8, a, b, 0, 8, 1, 9, 2, 10, 3, 11);
  out[1] = DEEPMD_SHUFFLE(T, 8, a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

template <typename T>
DEEPMD_INLINE void interleave(const Vec<T, 16>& a, const Vec<T, 16>& b, Vec<T, 16> out[2]) {
  out[0] = DEEPMD_SHUFFLE(T, 16, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  out[1] =
      DEEPMD_SHUFFLE(T, 16, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

// R vectors of N as a matrix [R][N]; on return they are its transpose [N][R], in the same order of
// registers. R is a power of 2. Each step is a perfect shuffle, which takes the highest bit of an
// element's place to the lowest.
template <typename T, int N, int R>
DEEPMD_INLINE void transpose(Vec<T, N> x[R]) {
  for (int step = 1; step < R; step *= 2) {
    Vec<T, N> y[R];
    for (int i = 0; i < R / 2; ++i) interleave<T>(x[i], x[i + R / 2], y + 2 * i);
    for (int i = 0; i < R; ++i) x[i] = y[i];
  }
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
