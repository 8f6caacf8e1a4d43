// SPDX-License-Identifier: BSD-3-Clause
#include "angles.h"

#include "hermite.h"
#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

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
struct Intervals {
  T inv_unit, per_octave, end, inv_end;
  T last;  // 2^octaves
  int octaves, m, half;

  explicit Intervals(const AngleShape& shape)
      : inv_unit(T(1) / T(kAngleUnit)),
        per_octave(T(shape.per_octave)),
        octaves(static_cast<int>(shape.octaves)),
        m(static_cast<int>(shape.per_octave)),
        half(static_cast<int>(shape.octaves * shape.per_octave)) {
    T length = T(1);
    for (int o = 0; o < octaves; ++o) length *= T(2);
    last = length;
    end = T(kAngleUnit) * (length - T(1));
    inv_end = per_octave * inv_unit / (length / T(2));
  }

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

  // Width of an interval 0 ... half.
  DEEPMD_INLINE T width(int i) const {
    T w = T(kAngleUnit) / per_octave;
    const int o = i / m;
    for (int k = 1; k <= o && k < octaves; ++k) w *= T(2);
    return w;
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
      const T w = intervals.width(i);
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

// ---------------------------------------------------------------------------------------------------
// From pairs to nodes

// What the pairs of two types add to the polynomials of their intervals.
template <typename T, int N>
void add_pairs(const Intervals<T>& intervals, const Slots<T>& s, int64_t one, int64_t other) {
  using L = Lanes<T, 8>;
  for_blocks(s, one, other, [&](int64_t j, int64_t k, int count, int times) {
    Block<T> block;
    make_block<T, N>(intervals, s, j, k, T(times), &block);
    for (int b = 0; b < count; ++b) {
      const T t = block.t[b], w = block.weight[b];
      T* to = s.polynomials + kCoefficients * block.interval[b];
      L sum = L::from(to);
      if (N == 0) sum = sum + powers<T, 0>(t) * w;
      if (N == 1) sum = sum + powers<T, 1>(t) * (w * block.first[0][b] * block.inverse[b]);
      if (N == 2) {
        const T along = block.first[0][b] * block.first[1][b] * block.inverse[b];
        sum = sum + powers<T, 1>(t) * (w * block.second[b] * block.inverse[b]);
        sum = sum + powers<T, 2>(t) * (w * along * block.inverse[b]);
      }
      sum.to(to);
    }
  });
}

// Weights of the numbers of the nodes, for the pairs of two types, added to `nodes`.
template <typename T>
void add_weights(const AngleShape& shape, const Intervals<T>& intervals, const Slots<T>& s, int top,
                 int64_t one, int64_t other, T* nodes) {
  for (int side = 0; side < 2; ++side) {
    T* first = s.polynomials + kCoefficients * side * (intervals.half + 1);
    for (int64_t i = 0; i < kCoefficients * (top + 1); ++i) first[i] = T(0);
  }
  if (shape.n_tangents == 0) add_pairs<T, 0>(intervals, s, one, other);
  if (shape.n_tangents == 1) add_pairs<T, 1>(intervals, s, one, other);
  if (shape.n_tangents == 2) add_pairs<T, 2>(intervals, s, one, other);
  to_nodes(intervals, top, s.polynomials, nodes);
}

// The numbers of nodes that the intervals 0 ... top touch, in whole blocks.
struct Span {
  int64_t begin, end;
  Span(const AngleShape& shape, int top) {
    const int64_t half = shape.octaves * shape.per_octave, nodes = angle_nodes(shape);
    const int64_t first = half - top - 1, last = half + top + 2;
    begin = (first > 0 ? 3 * first : 0) / kBlock * kBlock;
    end = 3 * (last < nodes ? last : nodes);
    end = (end + kBlock - 1) / kBlock * kBlock;
  }
};

// ---------------------------------------------------------------------------------------------------
// From nodes to pairs

// out[b] = coefficients . weights(t), the D-th derivative of the polynomials by t.
template <int D, typename T>
DEEPMD_INLINE void derivative(const T* polynomials, const Block<T>& block, T* out) {
  using L = Lanes<T, 8>;
  for (int b = 0; b < kBlock; b += 4) {
    Vec<T, L::kPart> sum[4];
    for (int i = 0; i < 4; ++i) {
      const L product = L::from(polynomials + kCoefficients * block.interval[b + i]) *
                        powers<T, D>(block.t[b + i]);
      sum[i] = product.part[0];
      for (int part = 1; part < L::kParts; ++part) sum[i] += product.part[part];
    }
    sum_lanes<T>(sum, out + b);
  }
}

template <typename T, int N>
void add_forces(const Intervals<T>& intervals, const Slots<T>& s, int64_t one, int64_t other) {
  for_blocks(s, one, other, [&](int64_t j, int64_t k, int count, int times) {
    Block<T> block;
    make_block<T, N>(intervals, s, j, k, T(times), &block);
    T first[kBlock], second[kBlock];
    derivative<1>(s.polynomials, block, first);
    for (int b = 0; b < kBlock; ++b) {
      first[b] *= block.inverse[b] * block.weight[b];
      second[b] = first[b];
    }
    if (N == 1) {
      derivative<2>(s.polynomials, block, second);
      for (int b = 0; b < kBlock; ++b)
        second[b] *= block.inverse[b] * block.inverse[b] * block.weight[b] * block.first[0][b];
    }
    for (int b = count; b < kBlock; ++b) first[b] = second[b] = T(0);
    // second multiplies the rows, first the tangents
    T sum[3][kBlock];
    const T *x = s.x[0] + k, *y = s.y[0] + k, *z = s.z[0] + k;
    const T xj = s.x[0][j], yj = s.y[0][j], zj = s.z[0][j];
    T* __restrict gx = s.gx + k, * __restrict gy = s.gy + k, * __restrict gz = s.gz + k;
    for (int b = 0; b < kBlock; ++b) {
      sum[0][b] = second[b] * x[b];
      sum[1][b] = second[b] * y[b];
      sum[2][b] = second[b] * z[b];
      gx[b] += second[b] * xj;
      gy[b] += second[b] * yj;
      gz[b] += second[b] * zj;
    }
    if (N == 1) {
      const T *ux = s.x[1] + k, *uy = s.y[1] + k, *uz = s.z[1] + k;
      const T vx = s.x[1][j], vy = s.y[1][j], vz = s.z[1][j];
      for (int b = 0; b < kBlock; ++b) {
        sum[0][b] += first[b] * ux[b];
        sum[1][b] += first[b] * uy[b];
        sum[2][b] += first[b] * uz[b];
        gx[b] += first[b] * vx;
        gy[b] += first[b] * vy;
        gz[b] += first[b] * vz;
      }
    }
    for (int step = kBlock / 2; step > 0; step /= 2)
      for (int a = 0; a < 3; ++a)
        for (int b = 0; b < step; ++b) sum[a][b] += sum[a][b + step];
    s.gx[j] += sum[0][0];
    s.gy[j] += sum[1][0];
    s.gz[j] += sum[2][0];
  });
}

}  // namespace

template <typename T>
int64_t angle_scratch(const AngleShape& shape) {
  return Slots<T>(shape, nullptr).bytes;
}

template <typename T>
void angle_sums(const AngleShape& shape, const AnglePairs<T>& pairs, const T* columns, int64_t from,
                int64_t to, void* scratch, T* out) {
  const Intervals<T> intervals(shape);
  const Slots<T> s(shape, scratch);
  const int64_t n_columns = shape.n_columns, stride = angle_stride(shape);
  for (int64_t i = 0; i < stride; ++i) s.nodes[i] = T(0);
  for (int64_t center = from; center < to; ++center) {
    T* sum = out + center * n_columns;
    for (int64_t m = 0; m < n_columns; ++m) sum[m] = T(0);
    const int top = load_center(shape, pairs, intervals, center, s);
    const Span span(shape, top);
    for_tables(shape, pairs, s, [&](int64_t table, int64_t one, int64_t other) {
      add_weights(shape, intervals, s, top, one, other, s.nodes);
      for (int64_t m = 0; m < n_columns; ++m) {
        const T* column = columns + (table * n_columns + m) * stride;
        T lanes[kBlock] = {};
        for (int64_t i = span.begin; i < span.end; i += kBlock)
          for (int b = 0; b < kBlock; ++b) lanes[b] += s.nodes[i + b] * column[i + b];
        for (int step = kBlock / 2; step > 0; step /= 2)
          for (int b = 0; b < step; ++b) lanes[b] += lanes[b + step];
        sum[m] += lanes[0];
      }
      for (int64_t i = span.begin; i < span.end; ++i) s.nodes[i] = T(0);
    });
  }
}

template <typename T>
void angle_weights(const AngleShape& shape, const AnglePairs<T>& pairs, int64_t from, int64_t to,
                   int64_t origin, void* scratch, T* out) {
  const Intervals<T> intervals(shape);
  const Slots<T> s(shape, scratch);
  const int64_t size = shape.n_tables * angle_stride(shape);
  for (int64_t center = from; center < to; ++center) {
    T* weights = out + (center - origin) * size;
    for (int64_t i = 0; i < size; ++i) weights[i] = T(0);
    const int top = load_center(shape, pairs, intervals, center, s);
    for_tables(shape, pairs, s, [&](int64_t table, int64_t one, int64_t other) {
      add_weights(shape, intervals, s, top, one, other, weights + table * angle_stride(shape));
    });
  }
}

template <typename T>
void angle_rows(const AngleShape& shape, const AnglePairs<T>& pairs, const T* columns,
                const T* adjoint, int64_t from, int64_t to, void* scratch, T* out) {
  const Intervals<T> intervals(shape);
  const Slots<T> s(shape, scratch);
  const int64_t n_columns = shape.n_columns, stride = angle_stride(shape);
  for (int64_t center = from; center < to; ++center) {
    const int top = load_center(shape, pairs, intervals, center, s);
    const Span span(shape, top);
    const int64_t n = s.begin[shape.ntypes];
    for (int64_t i = 0; i < n + kBlock; ++i) s.gx[i] = s.gy[i] = s.gz[i] = T(0);
    for_tables(shape, pairs, s, [&](int64_t table, int64_t one, int64_t other) {
      for (int64_t i = span.begin; i < span.end; ++i) s.nodes[i] = T(0);
      for (int64_t m = 0; m < n_columns; ++m) {
        const T y = adjoint[center * n_columns + m];
        const T* column = columns + (table * n_columns + m) * stride;
        for (int64_t i = span.begin; i < span.end; ++i) s.nodes[i] += y * column[i];
      }
      to_polynomials(intervals, top, s.nodes, s.polynomials);
      if (shape.n_tangents == 0) add_forces<T, 0>(intervals, s, one, other);
      if (shape.n_tangents == 1) add_forces<T, 1>(intervals, s, one, other);
    });
    for (int64_t type = 0; type < shape.ntypes; ++type) {
      const int64_t section = center * shape.ntypes + type;
      int64_t i = s.begin[type];
      for (int64_t p = pairs.splits[section]; p < pairs.splits[section + 1]; ++p, ++i) {
        T* row = out + 4 * p;
        row[0] = T(0);
        row[1] = s.gx[i];
        row[2] = s.gy[i];
        row[3] = s.gz[i];
      }
    }
  }
}

template <typename T>
void angle_add(const T* weight, int64_t weight_step, const T* adjoint, int64_t adjoint_step,
               int64_t n, int64_t size, T* out) {
  for (int64_t c = 0; c < n; ++c) {
    const T y = adjoint[c * adjoint_step];
    const T* w = weight + c * weight_step;
    for (int64_t i = 0; i < size; ++i) out[i] += y * w[i];
  }
}

#define DEEPMD_INSTANTIATE(T)                                                                      \
  template int64_t angle_scratch<T>(const AngleShape&);                                            \
  template void angle_sums<T>(const AngleShape&, const AnglePairs<T>&, const T*, int64_t, int64_t, \
                              void*, T*);                                                          \
  template void angle_weights<T>(const AngleShape&, const AnglePairs<T>&, int64_t, int64_t,        \
                                 int64_t, void*, T*);                                              \
  template void angle_rows<T>(const AngleShape&, const AnglePairs<T>&, const T*, const T*,         \
                              int64_t, int64_t, void*, T*);                                        \
  template void angle_add<T>(const T*, int64_t, const T*, int64_t, int64_t, int64_t, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
