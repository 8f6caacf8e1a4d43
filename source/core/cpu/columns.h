// SPDX-License-Identifier: BSD-3-Clause
//
// The columns of a matrix in blocks of registers.
#pragma once

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {

using std::int64_t;

// n_columns as full vectors; if they do not fill the last one it is moved back and shares `overlap`
// columns with the one before it.
template <typename V, typename T>
struct Columns {
  static constexpr int width = sizeof(V) / sizeof(T);
  int64_t n_vectors, last, overlap;

  explicit Columns(int64_t n) {
    n_vectors = (n + width - 1) / width;
    last = n - width;
    overlap = n_vectors * width - n;
  }
};

// The vectors in blocks of at most Max and of about equal size.
template <int Max>
DEEPMD_INLINE int64_t count_blocks(int64_t n_vectors) {
  return (n_vectors + Max - 1) / Max;
}

// Calls body.block<N>(v) for block b: N vectors from vector v on.
template <int Max, typename Body>
DEEPMD_INLINE void run_block(int64_t n_vectors, int64_t b, const Body& body) {
  const int64_t blocks = count_blocks<Max>(n_vectors);
  const int64_t v = b * n_vectors / blocks;
  switch ((b + 1) * n_vectors / blocks - v) {
    case 1: return body.template block<1>(v);
    case 2: return body.template block<2>(v);
    case 3: return body.template block<(Max < 3 ? 1 : 3)>(v);
    default: return body.template block<(Max < 4 ? 1 : 4)>(v);
  }
}

// Offsets of the vectors v … v+N-1: equally spaced but for the very last one.
template <int N, typename V, typename T>
struct Offsets {
  int64_t begin, last;
  bool ends;
  DEEPMD_INLINE Offsets(const Columns<V, T>& columns, int64_t v)
      : begin(v * Columns<V, T>::width), ends(v + N == columns.n_vectors) {
    last = ends ? columns.last : begin + (N - 1) * Columns<V, T>::width;
  }
  DEEPMD_INLINE int64_t operator[](int i) const {
    return i == N - 1 ? last : begin + i * Columns<V, T>::width;
  }
};

// The vector at p with its first `skip` lanes zero.
template <typename V, typename T>
DEEPMD_INLINE V load_tail(const T* p, int64_t skip) {
  T lanes[sizeof(V) / sizeof(T)];
  store(lanes, load<V>(p));
  for (int64_t i = 0; i < skip; ++i) lanes[i] = T(0);
  return load<V>(lanes);
}

// Adds v to columns at p, but for the first `skip` lanes.
template <typename V, typename T>
DEEPMD_INLINE void add_columns(T* p, const V& v, int64_t skip) {
  if (skip == 0) {
    store(p, load<V>(p) + v);
    return;
  }
  T lanes[sizeof(V) / sizeof(T)];
  store(lanes, v);
  for (int64_t i = skip; i < static_cast<int64_t>(sizeof(V) / sizeof(T)); ++i) p[i] += lanes[i];
}

// Vectors of a block, of which a kernel keeps three or four accumulators each.
constexpr int kBlock = kVectorRegisters >= 32 ? 4 : 2;

}  // namespace DEEPMD_ISA
}  // namespace deepmd
