// SPDX-License-Identifier: BSD-3-Clause
#include "dense.h"

#include "gemm.h"
#include "tanh.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

// A vector of a row, or the first `count` numbers of one.
template <typename T>
struct Whole {
  using V = Vec<T, kWidth<T>>;
  DEEPMD_INLINE V get(const T* p) const { return load<V>(p); }
  DEEPMD_INLINE void put(T* p, const V& v) const { store(p, v); }
};

template <typename T>
struct Part {
  using V = Vec<T, kWidth<T>>;
  int64_t count;
  DEEPMD_INLINE V get(const T* p) const {
    V v{};
    for (int64_t i = 0; i < count; ++i) v[i] = p[i];
    return v;
  }
  DEEPMD_INLINE void put(T* p, const V& v) const {
    for (int64_t i = 0; i < count; ++i) p[i] = v[i];
  }
};

// Calls element(access, row, column) for all vectors of a range of a matrix.
template <typename T, typename F>
DEEPMD_INLINE void for_vectors(const GemmRange& range, const F& element) {
  for (int64_t i = range.row; i < range.end_row; ++i) {
    int64_t j = range.column;
    for (; j + kWidth<T> <= range.end_column; j += kWidth<T>) element(Whole<T>{}, i, j);
    if (j < range.end_column) element(Part<T>{range.end_column - j}, i, j);
  }
}

template <typename T>
GemmShape forward(const DenseLayer<T>& layer) {
  return {layer.n, layer.n_out, layer.n_in, false, false};
}

template <typename T>
GemmShape backward(const DenseLayer<T>& layer) {
  return {layer.n, layer.n_in, layer.n_out, false, true};
}

template <typename T, typename A, typename V>
DEEPMD_INLINE V scaled(const A& access, const T* idt, int64_t j, const V& v) {
  return idt == nullptr ? v : v * access.get(idt + j);
}

// The cotangent of z from that of y, d_y, at place `at`, column j.
template <typename T, typename A, typename V>
DEEPMD_INLINE void put_slope(const A& access, const DenseSlope<T>& below, int64_t at, int64_t j,
                             const V& d_y) {
  const V h = access.get(below.h + at);
  V d_h = scaled(access, below.idt, j, d_y);
  if (below.d_h != nullptr) d_h += access.get(below.d_h + at);
  access.put(below.d_z + at, d_h - d_h * h * h);
}

}  // namespace

template <typename T>
int64_t dense_blocks(const DenseLayer<T>& layer) {
  return gemm_blocks<T>(forward(layer));
}

template <typename T>
int64_t dense_back_blocks(const DenseLayer<T>& layer) {
  return gemm_blocks<T>(backward(layer));
}

template <typename T>
void dense(const DenseLayer<T>& layer, const T* x, int64_t begin, int64_t end, T* h, T* y) {
  const GemmShape shape = forward(layer);
  const int64_t n = layer.n_out;
  for (int64_t block = begin; block < end; ++block) {
    gemm(shape, x, layer.matrix, block, block + 1, false, h);
    for_vectors<T>(gemm_range<T>(shape, block), [&](const auto& access, int64_t i, int64_t j) {
      const auto value = tanh<T>(access.get(h + i * n + j) + access.get(layer.bias + j));
      access.put(h + i * n + j, value);
      if (!changes(layer)) return;
      auto out = scaled(access, layer.idt, j, value);
      if (layer.skip) out += access.get(x + i * n + j);
      access.put(y + i * n + j, out);
    });
  }
}

template <typename T>
void dense_back(const DenseLayer<T>& layer, const T* d_y, const T* d_z, int64_t begin, int64_t end,
                T* d_x, const DenseSlope<T>& below) {
  const GemmShape shape = backward(layer);
  const int64_t n = layer.n_in;
  for (int64_t block = begin; block < end; ++block) {
    gemm(shape, d_z, layer.matrix, block, block + 1, false, d_x);
    if (!layer.skip && below.d_z == nullptr) continue;
    for_vectors<T>(gemm_range<T>(shape, block), [&](const auto& access, int64_t i, int64_t j) {
      const int64_t at = i * n + j;
      auto d = access.get(d_x + at);
      if (layer.skip) {
        d += access.get(d_y + at);
        access.put(d_x + at, d);
      }
      if (below.d_z != nullptr) put_slope(access, below, at, j, d);
    });
  }
}

template <typename T>
void dense_along(const DenseLayer<T>& layer, const T* t_x, const T* h, const T* d_y, int64_t begin,
                 int64_t end, T* t_h, T* t_y, T* d_h) {
  const GemmShape shape = forward(layer);
  const int64_t n = layer.n_out;
  for (int64_t block = begin; block < end; ++block) {
    gemm(shape, t_x, layer.matrix, block, block + 1, false, t_h);
    for_vectors<T>(gemm_range<T>(shape, block), [&](const auto& access, int64_t i, int64_t j) {
      const int64_t at = i * n + j;
      const auto z = access.get(t_h + at), value = access.get(h + at);
      const auto tangent = z - z * value * value;
      access.put(t_h + at, tangent);
      access.put(d_h + at, T(-2) * value * z * scaled(access, layer.idt, j, access.get(d_y + at)));
      if (!changes(layer)) return;
      auto out = scaled(access, layer.idt, j, tangent);
      if (layer.skip) out += access.get(t_x + at);
      access.put(t_y + at, out);
    });
  }
}

template <typename T>
void dense_energy(const T* matrix, const T* bias, int64_t width, const T* y, int64_t begin,
                  int64_t end, T* energy) {
  for (int64_t i = begin; i < end; ++i) {
    Vec<T, kWidth<T>> sum{};
    for_vectors<T>({i, i + 1, 0, width}, [&](const auto& access, int64_t, int64_t j) {
      sum += access.get(y + i * width + j) * access.get(matrix + j);
    });
    T total = bias == nullptr ? T(0) : bias[0];
    for (int k = 0; k < kWidth<T>; ++k) total += sum[k];
    energy[i] = total;
  }
}

template <typename T>
void dense_energy_back(const T* matrix, int64_t width, const T* d_energy, int64_t begin,
                       int64_t end, T* d_y, const DenseSlope<T>& below) {
  for_vectors<T>({begin, end, 0, width}, [&](const auto& access, int64_t i, int64_t j) {
    const auto d = access.get(matrix + j) * d_energy[i];
    access.put(d_y + i * width + j, d);
    put_slope(access, below, i * width + j, j, d);
  });
}

template <typename T>
void dense_output(const DenseLayer<T>& layer, const T* x, const T* h, int64_t begin, int64_t end,
                  T* y) {
  const int64_t n = layer.n_out;
  for_vectors<T>({begin, end, 0, n}, [&](const auto& access, int64_t i, int64_t j) {
    auto out = scaled(access, layer.idt, j, access.get(h + i * n + j));
    if (layer.skip) out += access.get(x + i * n + j);
    access.put(y + i * n + j, out);
  });
}

template <typename T>
void dense_sums(const T* a, const T* b, int64_t n, int64_t width, bool add, T* sum) {
  for (int64_t j = 0; j < width && !add; ++j) sum[j] = T(0);
  for_vectors<T>({0, n, 0, width}, [&](const auto& access, int64_t i, int64_t j) {
    auto term = access.get(a + i * width + j);
    if (b != nullptr) term *= access.get(b + i * width + j);
    access.put(sum + j, access.get(sum + j) + term);
  });
}

#define DEEPMD_INSTANTIATE(T)                                                                    \
  template int64_t dense_blocks<T>(const DenseLayer<T>&);                                        \
  template int64_t dense_back_blocks<T>(const DenseLayer<T>&);                                   \
  template void dense<T>(const DenseLayer<T>&, const T*, int64_t, int64_t, T*, T*);              \
  template void dense_back<T>(const DenseLayer<T>&, const T*, const T*, int64_t, int64_t, T*,    \
                              const DenseSlope<T>&);                                             \
  template void dense_along<T>(const DenseLayer<T>&, const T*, const T*, const T*, int64_t,      \
                               int64_t, T*, T*, T*);                                             \
  template void dense_energy<T>(const T*, const T*, int64_t, const T*, int64_t, int64_t, T*);    \
  template void dense_energy_back<T>(const T*, int64_t, const T*, int64_t, int64_t, T*,          \
                                     const DenseSlope<T>&);                                      \
  template void dense_output<T>(const DenseLayer<T>&, const T*, const T*, int64_t, int64_t, T*); \
  template void dense_sums<T>(const T*, const T*, int64_t, int64_t, bool, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
