// SPDX-License-Identifier: BSD-3-Clause
#include "layer_norm.h"

#include "elements.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

template <typename T>
T mean(int64_t width, const T* x) {
  ElementSum<T> sum;
  for_elements<T>(width, [&](int64_t i, auto zero) { sum.add(load<decltype(zero)>(x + i)); });
  return sum.total() / T(width);
}

// sum (x - center) z, and with z = x - center where z is null.
template <typename T>
T moment(int64_t width, const T* x, T center, const T* z) {
  ElementSum<T> sum;
  for_elements<T>(width, [&](int64_t i, auto zero) {
    using V = decltype(zero);
    const V c = load<V>(x + i) - center;
    sum.add(c * (z == nullptr ? c : load<V>(z + i)));
  });
  return sum.total();
}

// A row: y = rho (x - center).
template <typename T>
struct Row {
  int64_t width;
  const T* x;
  T center, rho;

  Row(const T* x, int64_t width, T epsilon) : width(width), x(x), center(mean(width, x)) {
    const T square = moment<T>(width, x, center, nullptr) / T(width);
    rho = T(1) / T(__builtin_sqrt(square + epsilon));
  }

  // (y . v) / width
  T along(const T* v) const { return rho * moment(width, x, center, v) / T(width); }
};

}  // namespace

template <typename T>
void layer_norm(const T* x, int64_t width, T epsilon, int64_t begin, int64_t end, T* y) {
  for (int64_t p = begin; p < end; ++p) {
    const Row<T> row(x + p * width, width, epsilon);
    T* out = y + p * width;
    for_elements<T>(width, [&](int64_t i, auto zero) {
      store(out + i, (load<decltype(zero)>(row.x + i) - row.center) * row.rho);
    });
  }
}

template <typename T>
void layer_norm_vjp(const T* x, const T* g, int64_t width, T epsilon, int64_t begin, int64_t end,
                    T* out) {
  for (int64_t p = begin; p < end; ++p) {
    const Row<T> row(x + p * width, width, epsilon);
    const T* v = g + p * width;
    const T shift = mean(width, v), length = row.along(v) * row.rho;
    T* to = out + p * width;
    for_elements<T>(width, [&](int64_t i, auto zero) {
      using V = decltype(zero);
      const V c = load<V>(row.x + i) - row.center;
      store(to + i, (load<V>(v + i) - shift - c * length) * row.rho);
    });
  }
}

template <typename T>
void layer_norm_hvp(const T* x, const T* g, const T* u, int64_t width, T epsilon, int64_t begin,
                    int64_t end, T* out) {
  for (int64_t p = begin; p < end; ++p) {
    const Row<T> row(x + p * width, width, epsilon);
    const T* gi = g + p * width;
    const T* ui = u + p * width;
    const T g_mean = mean(width, gi), u_mean = mean(width, ui);
    const T g_along = row.along(gi), u_along = row.along(ui);
    // (dy . g) / width of dy = rho (u - mean u - y (y . u) / width)
    const T product = moment(width, ui, u_mean, gi) / T(width);
    const T change = row.rho * (product - u_along * g_along);
    T* to = out + p * width;
    for_elements<T>(width, [&](int64_t i, auto zero) {
      using V = decltype(zero);
      const V y = (load<V>(row.x + i) - row.center) * row.rho;
      const V jg = (load<V>(gi + i) - g_mean - y * g_along) * row.rho;
      const V dy = (load<V>(ui + i) - u_mean - y * u_along) * row.rho;
      store(to + i, -(jg * u_along + dy * g_along + y * change) * row.rho);
    });
  }
}

#define DEEPMD_INSTANTIATE(T)                                                            \
  template void layer_norm<T>(const T*, int64_t, T, int64_t, int64_t, T*);               \
  template void layer_norm_vjp<T>(const T*, const T*, int64_t, T, int64_t, int64_t, T*); \
  template void layer_norm_hvp<T>(const T*, const T*, const T*, int64_t, T, int64_t, int64_t, T*);
DEEPMD_INSTANTIATE(float)
DEEPMD_INSTANTIATE(double)
#undef DEEPMD_INSTANTIATE

}  // namespace DEEPMD_ISA
}  // namespace deepmd
