// SPDX-License-Identifier: BSD-3-Clause
// Sorting of short lists by counting, without a branch that could be missed.
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

// Keys are padded to a multiple of this with the largest number.
constexpr std::int64_t kRanksPadding = 16;

}  // namespace deepmd

DEEPMD_EACH_ISA(
// ranks[i] = number of the first `size` keys below keys[i]; reads keys and writes ranks up to `padded`.
void ranks(const std::int32_t* keys, std::int64_t size, std::int64_t padded, std::int32_t* ranks);
)
