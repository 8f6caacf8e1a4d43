// SPDX-License-Identifier: BSD-3-Clause
#include "gelu.h"

#include "gelu_kernels.h"

namespace deepmd {
namespace DEEPMD_ISA {

using std::int64_t;

template <typename T>
void gelu(const T* x, int64_t begin, int64_t end, T* out) {
  T slope;
  for (int64_t i = begin; i < end; ++i) gelu_jet(x[i], out + i, &slope);
}

template <typename T>
void gelu_grad(const T* dy, const T* x, int64_t begin, int64_t end, T* out) {
  for (int64_t i = begin; i < end; ++i) {
    T value, slope;
    gelu_jet(x[i], &value, &slope);
    out[i] = dy[i] * slope;
  }
}

#define INSTANTIATE(T)                                   \
  template void gelu<T>(const T*, int64_t, int64_t, T*); \
  template void gelu_grad<T>(const T*, const T*, int64_t, int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
