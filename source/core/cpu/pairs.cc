// SPDX-License-Identifier: BSD-3-Clause
#include "pairs.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

// The loops for a width that the compiler knows; kWidth = 0 stands for any.
template <int kWidth, typename T>
void gather(const T* values, const std::int32_t* center, const std::int32_t* neighbor,
            const T* shift, std::int64_t any_width, std::int64_t begin, std::int64_t end, T* out) {
  const std::int64_t width = kWidth > 0 ? kWidth : any_width;
  for (std::int64_t p = begin; p < end; ++p) {
    const T* from = values + center[p] * width;
    const T* to = values + neighbor[p] * width;
    for (std::int64_t j = 0; j < width; ++j) {
      const T difference = to[j] - from[j];
      out[p * width + j] = shift == nullptr ? difference : difference + shift[p * width + j];
    }
  }
}

template <int kWidth, typename T>
void scatter(const T* pairs, const std::int32_t* center, const std::int32_t* neighbor,
             std::int64_t n_pairs, std::int64_t any_width, std::int64_t begin, std::int64_t end,
             T* out) {
  const std::int64_t width = kWidth > 0 ? kWidth : any_width;
  for (std::int64_t k = begin * width; k < end * width; ++k) out[k] = 0;
  for (std::int64_t p = 0; p < n_pairs; ++p) {
    const T* pair = pairs + p * width;
    const std::int64_t to = neighbor[p], from = center[p];
    if (to >= begin && to < end) {
      for (std::int64_t j = 0; j < width; ++j) out[to * width + j] += pair[j];
    }
    if (from >= begin && from < end) {
      for (std::int64_t j = 0; j < width; ++j) out[from * width + j] -= pair[j];
    }
  }
}

}  // namespace

template <typename T>
void gather_pairs(const T* values, const std::int32_t* center, const std::int32_t* neighbor,
                  const T* shift, std::int64_t width, std::int64_t begin, std::int64_t end,
                  T* out) {
  if (width == 3) {
    gather<3>(values, center, neighbor, shift, width, begin, end, out);
  } else {
    gather<0>(values, center, neighbor, shift, width, begin, end, out);
  }
}

template <typename T>
void scatter_pairs(const T* pairs, const std::int32_t* center, const std::int32_t* neighbor,
                   std::int64_t n_pairs, std::int64_t width, std::int64_t begin, std::int64_t end,
                   T* out) {
  if (width == 3) {
    scatter<3>(pairs, center, neighbor, n_pairs, width, begin, end, out);
  } else {
    scatter<0>(pairs, center, neighbor, n_pairs, width, begin, end, out);
  }
}

template <typename T>
void pair_virial(const T* g, const T* x, const std::int32_t* neighbor, std::int64_t n_pairs,
                 std::int64_t begin, std::int64_t end, T* out) {
  for (std::int64_t k = begin * 9; k < end * 9; ++k) out[k] = 0;
  for (std::int64_t p = 0; p < n_pairs; ++p) {
    const std::int64_t row = neighbor[p];
    if (row < begin || row >= end) continue;
    for (int a = 0; a < 3; ++a) {
      for (int b = 0; b < 3; ++b) out[row * 9 + 3 * a + b] -= g[3 * p + a] * x[3 * p + b];
    }
  }
}

template <typename T>
void pair_forces(const T* g, const T* x, const std::int32_t* center, const std::int32_t* neighbor,
                 std::int64_t n_frames, std::int64_t n_all, std::int64_t begin, std::int64_t end,
                 T* force, T* virial) {
  const std::int64_t n_rows = n_frames * n_all;
  for (std::int64_t k = 0; k < n_rows * 3; ++k) force[k] = 0;
  for (std::int64_t k = 0; k < n_frames * 9; ++k) virial[k] = 0;
  for (std::int64_t p = begin; p < end;) {
    const std::int64_t from = center[p];
    T sum[3] = {}, product[9] = {};
    for (; p < end && center[p] == from; ++p) {
      T* const to = force + 3 * static_cast<std::int64_t>(neighbor[p]);
      for (int a = 0; a < 3; ++a) {
        const T pair = g[3 * p + a];
        to[a] -= pair;
        sum[a] += pair;
        for (int b = 0; b < 3; ++b) product[3 * a + b] += pair * x[3 * p + b];
      }
    }
    for (int a = 0; a < 3; ++a) force[3 * from + a] += sum[a];
    T* const frame = virial + from / n_all * 9;
    for (int k = 0; k < 9; ++k) frame[k] -= product[k];
  }
}

template <typename T>
void add_parts(const T* parts, std::int64_t n_parts, std::int64_t stride, std::int64_t begin,
               std::int64_t end, T* out) {
  for (std::int64_t i = begin; i < end; ++i) out[i] = parts[i];
  for (std::int64_t k = 1; k < n_parts; ++k)
    for (std::int64_t i = begin; i < end; ++i) out[i] += parts[k * stride + i];
}

template <typename T>
void pair_forces_vjp(const T* f, const T* w, const T* atom_w, const T* x,
                     const std::int32_t* center, const std::int32_t* neighbor, std::int64_t n_all,
                     std::int64_t begin, std::int64_t end, T* out) {
  std::int64_t first = 0, last = 0;  // rows of the frame that m is of
  T m[9] = {};
  for (std::int64_t p = begin; p < end; ++p) {
    const std::int64_t to = neighbor[p], from = center[p];
    if (from < first || from >= last) {
      first = from / n_all * n_all;
      last = first + n_all;
      for (int k = 0; k < 9; ++k) m[k] = w[from / n_all * 9 + k];
    }
    for (int a = 0; a < 3; ++a) {
      T value = f[3 * from + a] - f[3 * to + a];
      for (int b = 0; b < 3; ++b) value -= m[3 * a + b] * x[3 * p + b];
      if (atom_w != nullptr)
        for (int b = 0; b < 3; ++b) value -= atom_w[9 * to + 3 * a + b] * x[3 * p + b];
      out[3 * p + a] = value;
    }
  }
}

template <typename T>
void pair_virial_vjp(const T* w, const T* v, const std::int32_t* neighbor, bool transpose,
                     std::int64_t begin, std::int64_t end, T* out) {
  const int along_a = transpose ? 1 : 3, along_b = transpose ? 3 : 1;
  for (std::int64_t p = begin; p < end; ++p) {
    const T* m = w + static_cast<std::int64_t>(neighbor[p]) * 9;
    for (int a = 0; a < 3; ++a) {
      T sum = 0;
      for (int b = 0; b < 3; ++b) sum -= m[along_a * a + along_b * b] * v[3 * p + b];
      out[3 * p + a] = sum;
    }
  }
}

#define INSTANTIATE(T)                                                                             \
  template void gather_pairs<T>(const T*, const std::int32_t*, const std::int32_t*, const T*,      \
                                std::int64_t, std::int64_t, std::int64_t, T*);                     \
  template void scatter_pairs<T>(const T*, const std::int32_t*, const std::int32_t*, std::int64_t, \
                                 std::int64_t, std::int64_t, std::int64_t, T*);                    \
  template void pair_virial<T>(const T*, const T*, const std::int32_t*, std::int64_t,              \
                               std::int64_t, std::int64_t, T*);                                    \
  template void pair_forces<T>(const T*, const T*, const std::int32_t*, const std::int32_t*,       \
                               std::int64_t, std::int64_t, std::int64_t, std::int64_t, T*, T*);    \
  template void add_parts<T>(const T*, std::int64_t, std::int64_t, std::int64_t, std::int64_t,     \
                             T*);                                                                  \
  template void pair_forces_vjp<T>(const T*, const T*, const T*, const T*, const std::int32_t*,    \
                                   const std::int32_t*, std::int64_t, std::int64_t, std::int64_t,  \
                                   T*);                                                            \
  template void pair_virial_vjp<T>(const T*, const T*, const std::int32_t*, bool, std::int64_t,    \
                                   std::int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
