// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_gelu.h"

namespace deepmd {
namespace gpu {

template <typename T>
void gelu(const Stream& stream, const T* x, std::int64_t n, T* out) {
  stream.for_each({"gelu", "gelu", real_of<T>()}, n, x, n, out);
}

template <typename T>
void gelu_grad(const Stream& stream, const T* dy, const T* x, std::int64_t n, T* out) {
  stream.for_each({"gelu", "gelu_grad", real_of<T>()}, n, dy, x, n, out);
}

#define INSTANTIATE(T)                                              \
  template void gelu<T>(const Stream&, const T*, std::int64_t, T*); \
  template void gelu_grad<T>(const Stream&, const T*, const T*, std::int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
