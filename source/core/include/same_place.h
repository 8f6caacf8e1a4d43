// SPDX-License-Identifier: BSD-3-Clause
// When two atoms count as being in one place.
#pragma once

#include <cmath>
#include <limits>

namespace deepmd {

const double kSamePlace = 1e-5;  // Angstrom

// Distance below which only rounding separates two atoms: no two are meant to be there.
template <typename T>
T same_place(const T* position) {
  const T size = std::fabs(position[0]) + std::fabs(position[1]) + std::fabs(position[2]);
  return static_cast<T>(kSamePlace) + 8 * std::numeric_limits<T>::epsilon() * size;
}

}  // namespace deepmd
