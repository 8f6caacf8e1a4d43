// SPDX-License-Identifier: BSD-3-Clause
// Points within a distance of a point.
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

// Points are read up to the next multiple of this from the first one on.
constexpr std::int64_t kWithinPadding = 16;

}  // namespace deepmd

DEEPMD_EACH_ISA(
// Writes the points first <= p < last with |x|^2 < limit2, x = point - center, to `hits`, in this
// order, and returns how many they are. There must be room for one more than last - first.
// Nothing is fused, so all instruction sets agree.
template <typename T>
std::int64_t within(const T* x, const T* y, const T* z, std::int64_t first, std::int64_t last,
                    const T center[3], T limit2, std::int32_t* hits);
)
