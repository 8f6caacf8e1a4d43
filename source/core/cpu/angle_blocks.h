// SPDX-License-Identifier: BSD-3-Clause
//
// The slots of a centre, the pairs of them in blocks, and the intervals that their products are in.
#pragma once

#include "angles.h"
#include "hermite.h"
#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace angles {

using std::int32_t;
using std::int64_t;

constexpr int kBlock = 16;        // pairs that are handled side by side
constexpr int kCoefficients = 8;  // of a polynomial, with two that are zero

// ---------------------------------------------------------------------------------------------------
// Intervals

template <typename T>
struct Float;
template <>
struct Float<double> {
  static constexpr int shift = 52, bias = 1023;
  static constexpr double whole = 4503599627370496.0;  // 2^shift: whole numbers are its last bits
  static constexpr std::int64_t whole_bits = std::int64_t{bias + shift} << shift;
};
template <>
struct Float<float> {
  static constexpr int shift = 23, bias = 127;
  static constexpr float whole = 8388608.0f;
  static constexpr std::int32_t whole_bits = (bias + shift) << shift;
};

template <typename T>
struct Intervals : AngleGrid<T> {
  using Grid = AngleGrid<T>;
  using Grid::end;
  using Grid::half;
  using Grid::inv_end;
  using Grid::inv_unit;
  using Grid::last;
  using Grid::octaves;
  using Grid::per_octave;

  explicit Intervals(const AngleShape& shape)
      : Grid(make_angle_grid<T>(static_cast<int>(shape.octaves),
                                static_cast<int>(shape.per_octave))) {}

  // Where each of kBlock numbers `e` is: an interval 0 ... half of the side of positive e, or, half
  // + 1 further on, of that of negative ones; the place t in it; and de/dt, inverted. A NaN is
  // beyond all nodes.
  DEEPMD_INLINE void locate(const T* e, int32_t* interval, T* t, T* inverse) const {
    using F = Float<T>;
    constexpr int W = kWidth<T>;
    using V = Vec<T, W>;
    using I = typename Vector<T, W>::Indices;
    const V one = V{} + T(1), most = V{} + last, n_octaves = V{} + T(octaves);
    for (int b = 0; b < kBlock; b += W) {
      const V product = load<V>(e + b);
      const V a = product < V{} ? -product : product;
      const V y = a * inv_unit + T(1);
      // what is beyond all nodes is the beginning of an octave that there is not
      const V x = y < most ? y : most;
      // The exponent of x is the octave; as the last bits of a large number it becomes a number.
      const I exponent = (I)x >> F::shift;
      const V octave = (V)(exponent | F::whole_bits) - (F::whole + T(F::bias));
      const V scale = (V)((2 * F::bias - exponent) << F::shift);
      const V u = (x * scale - T(1)) * per_octave;
      V k = (u + F::whole) - F::whole;  // u, rounded
      k = k > u ? k - one : k;
      k = k < V{} + (per_octave - T(1)) ? k : V{} + (per_octave - T(1));
      const V inside = octave * per_octave + k;
      const V at = octave < n_octaves ? inside : V{} + T(half);
      const V place = product < V{} ? at + T(half + 1) : at;
      const V inv = octave < n_octaves ? scale * (per_octave * inv_unit) : V{} + inv_end;
      store(t + b, octave < n_octaves ? u - k : (a - end) * inv_end);
      store(inverse + b, product < V{} ? -inv : inv);
      for (int l = 0; l < W; ++l) interval[b + l] = static_cast<int32_t>(place[l]);
    }
  }
};

// Weights of the d-th derivative of the powers of t: (E + O t) (a + b t^2 + c t^4), lane by lane.
template <typename T>
struct Powers {
  T even[3][8] = {{1, 0, 1, 0, 1, 0, 0, 0}, {0, 1, 0, 1, 0, 1, 0, 0}, {0, 0, 1, 0, 1, 0, 0, 0}};
  T odd[3][8] = {{0, 1, 0, 1, 0, 1, 0, 0}, {0, 0, 1, 0, 1, 0, 0, 0}, {0, 0, 0, 1, 0, 1, 0, 0}};
  T a[3][8] = {{1, 1, 0, 0, 0, 0, 0, 0}, {0, 1, 2, 0, 0, 0, 0, 0}, {0, 0, 2, 6, 0, 0, 0, 0}};
  T b[3][8] = {{0, 0, 1, 1, 0, 0, 0, 0}, {0, 0, 0, 3, 4, 0, 0, 0}, {0, 0, 0, 0, 12, 20, 0, 0}};
  T c[3][8] = {{0, 0, 0, 0, 1, 1, 0, 0}, {0, 0, 0, 0, 0, 5, 0, 0}, {0, 0, 0, 0, 0, 0, 0, 0}};
};

template <typename T>
constexpr Powers<T> kPowers{};

template <typename T, int D>
DEEPMD_INLINE Lanes<T, 8> powers(T t) {
  using L = Lanes<T, 8>;
  const T t2 = t * t;
  const L first = L::from(kPowers<T>.even[D]) + L::from(kPowers<T>.odd[D]) * t;
  L second = L::from(kPowers<T>.a[D]) + L::from(kPowers<T>.b[D]) * t2;
  if (D < 2) second = second + L::from(kPowers<T>.c[D]) * (t2 * t2);
  return first * second;
}

// Coefficients of the polynomial of one number of a node: [3 node + derivative][power].
template <typename T>
struct Basis {
  T c[6][8];
  constexpr Basis() : c() {
    for (int node = 0; node < 2; ++node)
      for (int m = 0; m < 3; ++m)
        for (int p = 0; p < 6; ++p) c[3 * node + m][p] = T(hermite_coefficient(node, m, 0, p));
  }
};

template <typename T>
constexpr Basis<T> kBasis{};

template <typename T>
constexpr T kParabola[3][8] = {
    {1, 0, 0, 0, 0, 0, 0, 0}, {0, 1, 0, 0, 0, 0, 0, 0}, {0, 0, T(0.5), 0, 0, 0, 0, 0}};

// Calls body(coefficients' place, nodes' numbers, factor, basis, how many) for the intervals 0 ...
// top of both sides; the numbers of the near and of the far node of an interval are `number[q]`
// places from the beginning of `node`, multiplied by factor[q].
template <typename T, typename Body>
DEEPMD_INLINE void for_intervals(const Intervals<T>& intervals, int top, const Body& body) {
  for (int side = 0; side < 2; ++side) {
    const int sign = side == 0 ? 1 : -1;
    for (int i = 0; i <= top; ++i) {
      const T w = angle_width(intervals, i);
      const T factor[3] = {T(1), T(sign) * w, w * w};
      const int near = 3 * (intervals.half + sign * i);
      body(side * (intervals.half + 1) + i, near, near + 3 * sign, factor, i == intervals.half);
    }
  }
}

// Polynomials of both sides, from the numbers of the nodes.
template <typename T>
void to_polynomials(const Intervals<T>& intervals, int top, const T* nodes, T* polynomials) {
  using L = Lanes<T, 8>;
  for_intervals(intervals, top, [&](int place, int near, int far, const T* factor, bool beyond) {
    L sum = L::zero();
    for (int q = 0; q < 3; ++q) {
      const T first = nodes[near + q] * factor[q];
      if (beyond) {
        sum = sum + L::from(kParabola<T>[q]) * first;
        continue;
      }
      sum = sum + L::from(kBasis<T>.c[q]) * first;
      sum = sum + L::from(kBasis<T>.c[3 + q]) * (nodes[far + q] * factor[q]);
    }
    sum.to(polynomials + kCoefficients * place);
  });
}

template <typename T>
DEEPMD_INLINE T dot8(const T* a, const T* b) {
  T sum = T(0);
  for (int i = 0; i < 6; ++i) sum += a[i] * b[i];
  return sum;
}

// The transpose: adds to the numbers of the nodes.
template <typename T>
void to_nodes(const Intervals<T>& intervals, int top, const T* polynomials, T* nodes) {
  for_intervals(intervals, top, [&](int place, int near, int far, const T* factor, bool beyond) {
    const T* c = polynomials + kCoefficients * place;
    for (int q = 0; q < 3; ++q) {
      if (beyond) {
        nodes[near + q] += factor[q] * dot8(kParabola<T>[q], c);
        continue;
      }
      nodes[near + q] += factor[q] * dot8(kBasis<T>.c[q], c);
      nodes[far + q] += factor[q] * dot8(kBasis<T>.c[3 + q], c);
    }
  });
}

// ---------------------------------------------------------------------------------------------------
// The slots of a centre

constexpr int kVectors = 3;  // rows, and up to two tangents

template <typename T>
struct Slots {
  int64_t* begin;                              // [ntypes + 1], first slot of a type
  T *x[kVectors], *y[kVectors], *z[kVectors];  // components of rows and tangents
  T *gx, *gy, *gz;                             // derivatives by the rows
  T* weight;
  T *polynomials, *nodes;
  int64_t size;  // of an array
  int64_t bytes;

  Slots(const AngleShape& shape, void* memory) {
    size = shape.most + shape.ntypes + kBlock;
    begin = static_cast<int64_t*>(memory);
    T* p = reinterpret_cast<T*>(begin + shape.ntypes + 1);
    for (int v = 0; v < kVectors; ++v) {
      x[v] = p + (3 * v) * size;
      y[v] = p + (3 * v + 1) * size;
      z[v] = p + (3 * v + 2) * size;
    }
    p += 3 * kVectors * size;
    gx = p;
    gy = p + size;
    gz = p + 2 * size;
    weight = p + 3 * size;
    polynomials = p + 4 * size;
    nodes = polynomials + 2 * kCoefficients * (shape.octaves * shape.per_octave + 1);
    bytes = reinterpret_cast<char*>(nodes + angle_stride(shape)) - static_cast<char*>(memory);
  }
};

// Copies rows and tangents of a centre, section after section, the empty slots of a section after
// its neighbours. Returns the interval, on each side, beyond which no product is.
template <typename T>
int load_center(const AngleShape& shape, const AnglePairs<T>& pairs, const Intervals<T>& intervals,
                int64_t center, const Slots<T>& s) {
  const T* vectors[kVectors] = {pairs.rows, pairs.tangents[0], pairs.tangents[1]};
  const T* empty = pairs.empty + 4 * center;
  const bool has_empty = empty[1] != T(0) || empty[2] != T(0) || empty[3] != T(0);
  const int n_vectors = 1 + static_cast<int>(shape.n_tangents);
  int64_t n = 0;
  T longest = T(0), total = T(0);
  for (int64_t type = 0; type < shape.ntypes; ++type) {
    const int64_t section = center * shape.ntypes + type;
    s.begin[type] = n;
    for (int64_t p = pairs.splits[section]; p < pairs.splits[section + 1]; ++p, ++n) {
      for (int v = 0; v < n_vectors; ++v) {
        s.x[v][n] = vectors[v][4 * p + 1];
        s.y[v][n] = vectors[v][4 * p + 2];
        s.z[v][n] = vectors[v][4 * p + 3];
      }
      s.weight[n] = T(1);
    }
    if (has_empty && pairs.count[section] != T(0)) {
      s.x[0][n] = empty[1];
      s.y[0][n] = empty[2];
      s.z[0][n] = empty[3];
      for (int v = 1; v < n_vectors; ++v) s.x[v][n] = s.y[v][n] = s.z[v][n] = T(0);
      s.weight[n++] = pairs.count[section];
    }
  }
  s.begin[shape.ntypes] = n;
  for (int64_t i = 0; i < n; ++i) {
    const T r2 = s.x[0][i] * s.x[0][i] + s.y[0][i] * s.y[0][i] + s.z[0][i] * s.z[0][i];
    longest = r2 > longest ? r2 : longest;
    total += r2;
  }
  for (int64_t i = n; i < n + kBlock; ++i) {
    for (int v = 0; v < n_vectors; ++v) s.x[v][i] = s.y[v][i] = s.z[v][i] = T(0);
    s.weight[i] = T(0);
  }
  // a little further, since products are rounded; a NaN is behind the last node
  const T furthest = total == total ? longest * T(1.0001) : total;
  int32_t top[kBlock];
  T e[kBlock], t[kBlock], inverse[kBlock];
  for (int b = 0; b < kBlock; ++b) e[b] = furthest;
  intervals.locate(e, top, t, inverse);
  return top[0];
}

// A block of pairs (j, k ... k + kBlock - 1), of which the first `count` count.
template <typename T>
struct Block {
  int32_t interval[kBlock];
  T t[kBlock], inverse[kBlock];
  T weight[kBlock];    // w_j w_k, and twice that where the other order counts
  T first[2][kBlock];  // change of e along each tangent
  T second[kBlock];    // second change of e along both
};

template <typename T, int N>
DEEPMD_INLINE void make_block(const Intervals<T>& intervals, const Slots<T>& s, int64_t j,
                              int64_t k, T times, Block<T>* block) {
  const T xj = s.x[0][j], yj = s.y[0][j], zj = s.z[0][j], wj = times * s.weight[j];
  const T *x = s.x[0] + k, *y = s.y[0] + k, *z = s.z[0] + k, *w = s.weight + k;
  T e[kBlock];
  for (int b = 0; b < kBlock; ++b) {
    e[b] = xj * x[b] + yj * y[b] + zj * z[b];
    block->weight[b] = wj * w[b];
  }
  intervals.locate(e, block->interval, block->t, block->inverse);
  for (int v = 1; v <= N; ++v) {
    const T vx = s.x[v][j], vy = s.y[v][j], vz = s.z[v][j];
    const T *ux = s.x[v] + k, *uy = s.y[v] + k, *uz = s.z[v] + k;
    for (int b = 0; b < kBlock; ++b)
      block->first[v - 1][b] =
          (vx * x[b] + vy * y[b] + vz * z[b]) + (xj * ux[b] + yj * uy[b] + zj * uz[b]);
  }
  if (N == 2) {
    const T *vx = s.x[1] + k, *vy = s.y[1] + k, *vz = s.z[1] + k;
    const T *ux = s.x[2] + k, *uy = s.y[2] + k, *uz = s.z[2] + k;
    for (int b = 0; b < kBlock; ++b)
      block->second[b] = (s.x[1][j] * ux[b] + s.y[1][j] * uy[b] + s.z[1][j] * uz[b]) +
                         (s.x[2][j] * vx[b] + s.y[2][j] * vy[b] + s.z[2][j] * vz[b]);
  }
}

// Calls body(j, k, count, times) for blocks of the pairs of slots of two types: those of the same
// slot alone, and one order of each with times = 2 where the types are the same.
template <typename T, typename Body>
DEEPMD_INLINE void for_blocks(const Slots<T>& s, int64_t one, int64_t other, const Body& body) {
  const int64_t* begin = s.begin;
  for (int64_t j = begin[one]; j < begin[one + 1]; ++j) {
    int64_t k = begin[other];
    if (one == other) {
      body(j, j, 1, 1);
      k = j + 1;
    }
    for (; k < begin[other + 1]; k += kBlock) {
      const int64_t left = begin[other + 1] - k;
      body(j, k, static_cast<int>(left < kBlock ? left : kBlock), one == other ? 2 : 1);
    }
  }
}

// Calls body(table, one, other) for the types of two slots that there are.
template <typename T, typename Body>
DEEPMD_INLINE void for_tables(const AngleShape& shape, const AnglePairs<T>& pairs,
                              const Slots<T>& s, const Body& body) {
  const int64_t* begin = s.begin;
  for (int64_t one = 0; one < shape.ntypes; ++one)
    for (int64_t other = one; other < shape.ntypes; ++other) {
      const int64_t table = pairs.table_of[one * shape.ntypes + other];
      if (table < 0 || begin[one] == begin[one + 1] || begin[other] == begin[other + 1]) continue;
      body(table, one, other);
    }
}

}  // namespace angles
}  // namespace DEEPMD_ISA
}  // namespace deepmd
