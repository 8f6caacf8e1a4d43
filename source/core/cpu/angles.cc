// SPDX-License-Identifier: BSD-3-Clause
#include "angles.h"

#include "angle_blocks.h"

namespace deepmd {
namespace DEEPMD_ISA {

using namespace angles;  // NOLINT(build/namespaces)

namespace {

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
