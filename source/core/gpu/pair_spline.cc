// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_pair_spline.h"

namespace deepmd {
namespace gpu {

template <typename T>
void pair_spline(const Stream& stream, const PairTable& table, std::int32_t order, const T* r,
                 const std::int32_t* center, const std::int32_t* neighbor, const std::int32_t* type,
                 std::int64_t n_pairs, std::int64_t n_rows, T* out) {
  stream.for_each({"pair_spline", "pair_spline", real_of<T>()}, n_pairs, r, center, neighbor, type,
                  table.table, table.start, table.step, table.n_intervals, table.n_types, order,
                  n_pairs, n_rows, out);
}

#define INSTANTIATE(T)                                                                        \
  template void pair_spline<T>(const Stream&, const PairTable&, std::int32_t, const T*,       \
                               const std::int32_t*, const std::int32_t*, const std::int32_t*, \
                               std::int64_t, std::int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
