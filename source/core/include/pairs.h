// SPDX-License-Identifier: BSD-3-Clause
// Loops over pairs (center, neighbor): differences, their transpose, and the virial.
#pragma once

#include <cstdint>

#include "isa.h"

DEEPMD_EACH_ISA(
// out[p][j] = values[neighbor[p]][j] - values[center[p]][j] for pairs begin <= p < end.
template <typename T>
void gather_pairs(const T* values, const std::int32_t* center, const std::int32_t* neighbor,
                  std::int64_t width, std::int64_t begin, std::int64_t end, T* out);
)
