// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_padded_rows.h"

#include <vector>

namespace deepmd {
namespace gpu {
namespace {

template <typename T>
Kernel padded_rows(const char* name) {
  return {"padded_rows", name, real_of<T>()};
}

}  // namespace

template <typename T>
void padded_env_rows(const Stream& stream, const PaddedQuery<T>& query, std::int64_t n_centers,
                     const PaddedRows<T>& out) {
  std::vector<std::int32_t> sections, slot_type;
  for (std::int64_t t = 0; t < query.n_types; ++t) {
    sections.push_back(static_cast<std::int32_t>(slot_type.size()));
    slot_type.insert(slot_type.end(), query.sel[t], static_cast<std::int32_t>(t));
  }
  auto* const sections_on = stream.scratch<std::int32_t>(query.n_types);
  auto* const types_on = stream.scratch<std::int32_t>(query.n_slots);
  stream.write(sections.data(), query.n_types, sections_on);
  stream.write(slot_type.data(), query.n_slots, types_on);
  const char* const name = query.components == 1 ? "padded_env_rows_radial" : "padded_env_rows";
  stream.for_each(padded_rows<T>(name), n_centers * query.n_slots, query.coord, query.type,
                  query.splits, query.neighbor, query.shift, sections_on, types_on, query.avg,
                  query.std, query.rcut, query.rcut_smth, query.n_types, query.n_slots,
                  query.n_local, query.n_all, n_centers, out.rows, out.derivative, out.x,
                  out.nlist);
}

template <typename T>
void merge_types(const Stream& stream, const std::int32_t* type, std::int64_t n,
                 std::int64_t n_types, std::int32_t* merged) {
  stream.for_each(padded_rows<T>("merge_types"), n, type, n, n_types, merged);
}

template <typename T>
void slot_types(const Stream& stream, const std::int32_t* nlist, const std::int32_t* type,
                std::int64_t n_frames, std::int64_t width, std::int64_t n_all, std::int64_t n_types,
                std::int32_t* found, bool* filled) {
  stream.for_each(padded_rows<T>("slot_types"), n_frames * width, nlist, type, n_frames, width,
                  n_all, n_types, found, filled);
}

#define INSTANTIATE(T)                                                                         \
  template void padded_env_rows<T>(const Stream&, const PaddedQuery<T>&, std::int64_t,         \
                                   const PaddedRows<T>&);                                      \
  template void merge_types<T>(const Stream&, const std::int32_t*, std::int64_t, std::int64_t, \
                               std::int32_t*);                                                 \
  template void slot_types<T>(const Stream&, const std::int32_t*, const std::int32_t*,         \
                              std::int64_t, std::int64_t, std::int64_t, std::int64_t,          \
                              std::int32_t*, bool*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
