// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_mask_rows.h"

namespace deepmd {
namespace gpu {

template <typename T>
void mask_rows(const Stream& stream, const T* coord, const std::int32_t* type,
               const std::int32_t* mask, std::int64_t n_frames, std::int64_t n, T* rows,
               T* derivative, T* x, std::int32_t* nlist) {
  const std::int64_t n_slots = n_frames * n * n;
  T* const distances = stream.scratch<T>(n_slots);
  const auto kernel = [](const char* name) { return Kernel{"mask_rows", name, real_of<T>()}; };
  stream.for_each(kernel("mask_distances"), n_slots, coord, type, mask, n_frames, n, distances);
  stream.for_each(kernel("mask_rows"), n_slots, coord, type, mask, distances, n_frames, n, rows,
                  derivative, x, nlist);
}

#define INSTANTIATE(T)                                                                          \
  template void mask_rows<T>(const Stream&, const T*, const std::int32_t*, const std::int32_t*, \
                             std::int64_t, std::int64_t, T*, T*, T*, std::int32_t*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
