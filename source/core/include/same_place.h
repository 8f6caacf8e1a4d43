// SPDX-License-Identifier: BSD-3-Clause
// When two atoms count as being in one place.
#pragma once

#include "macros.h"

namespace deepmd {

constexpr double kSamePlace = 1e-5;  // Angstrom

// Distance below which only rounding separates two atoms: no two are meant to be there.
template <typename T>
DEEPMD_FORMULA T same_place(const T* position) {
  constexpr T epsilon = static_cast<T>(sizeof(T) == 4 ? 0x1p-23 : 0x1p-52);
  T size = 0;
  for (int d = 0; d < 3; ++d) size += position[d] < 0 ? -position[d] : position[d];
  return static_cast<T>(kSamePlace) + 8 * epsilon * size;
}

}  // namespace deepmd
