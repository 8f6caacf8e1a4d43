// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_layer_norm.h"

namespace deepmd {
namespace gpu {
namespace {

// A warp for each row.
template <typename T, typename... A>
void for_each_row(const Stream& stream, const char* name, std::int64_t n, A... arguments) {
  constexpr int threads = 128, rows = threads / 32;
  constexpr std::int64_t most = 1 << 20;
  const std::int64_t blocks = (n + rows - 1) / rows;
  stream.launch({"layer_norm", name, real_of<T>()}, {blocks < most ? blocks : most, threads},
                arguments...);
}

}  // namespace

template <typename T>
void layer_norm(const Stream& stream, const T* x, std::int64_t n, std::int64_t width, T epsilon,
                T* y) {
  for_each_row<T>(stream, "layer_norm", n, x, n, width, epsilon, y);
}

template <typename T>
void layer_norm_vjp(const Stream& stream, const T* x, const T* g, std::int64_t n,
                    std::int64_t width, T epsilon, T* out) {
  for_each_row<T>(stream, "layer_norm_vjp", n, x, g, n, width, epsilon, out);
}

template <typename T>
void layer_norm_hvp(const Stream& stream, const T* x, const T* g, const T* u, std::int64_t n,
                    std::int64_t width, T epsilon, T* out) {
  for_each_row<T>(stream, "layer_norm_hvp", n, x, g, u, n, width, epsilon, out);
}

#define INSTANTIATE(T)                                                                           \
  template void layer_norm<T>(const Stream&, const T*, std::int64_t, std::int64_t, T, T*);       \
  template void layer_norm_vjp<T>(const Stream&, const T*, const T*, std::int64_t, std::int64_t, \
                                  T, T*);                                                        \
  template void layer_norm_hvp<T>(const Stream&, const T*, const T*, const T*, std::int64_t,     \
                                  std::int64_t, T, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
