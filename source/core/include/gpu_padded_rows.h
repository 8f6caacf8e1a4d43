// SPDX-License-Identifier: BSD-3-Clause
// Environment rows in slots on the GPU; see padded.h.
#pragma once

#include <cstdint>

#include "gpu.h"
#include "padded.h"

namespace deepmd {
namespace gpu {

// Of the query all but sel is on the device.
template <typename T>
void padded_env_rows(const Stream& stream, const PaddedQuery<T>& query, std::int64_t n_centers,
                     const PaddedRows<T>& out);

// merged [n]: 0 for atoms of types from 0 to n_types - 1, -1 for virtual ones, and 1 for wrong
// ones.
template <typename T>
void merge_types(const Stream& stream, const std::int32_t* type, std::int64_t n,
                 std::int64_t n_types, std::int32_t* merged);

// Of slots nlist [n_frames, width]: the type of the neighbour in each, n_types where there is none.
template <typename T>
void slot_types(const Stream& stream, const std::int32_t* nlist, const std::int32_t* type,
                std::int64_t n_frames, std::int64_t width, std::int64_t n_all, std::int64_t n_types,
                std::int32_t* found, bool* filled);

}  // namespace gpu
}  // namespace deepmd
