// SPDX-License-Identifier: BSD-3-Clause
// The nodes of the tables of angles.h: scalars in, scalars out.
//
// Intervals i = 0 … half - 1 are between nodes half + i and half + i + 1 on the side of positive
// products, half - i and half - i - 1 on the other; i = half is what is beyond the last node.
#pragma once

#include "hermite.h"
#include "macros.h"

namespace deepmd {

constexpr double kAngleUnit = 0.25;  // length of the first octave
constexpr int kAnglePowers = 6;      // of the polynomial of an interval

template <typename T>
struct AngleGrid {
  T inv_unit, per_octave, end, inv_end;
  T last;  // 2^octaves
  int octaves, m, half;
};

template <typename T>
DEEPMD_FORMULA AngleGrid<T> make_angle_grid(int octaves, int per_octave) {
  T length = T(1);
  for (int o = 0; o < octaves; ++o) length *= T(2);
  AngleGrid<T> grid;
  grid.inv_unit = T(1) / T(kAngleUnit);
  grid.per_octave = T(per_octave);
  grid.octaves = octaves;
  grid.m = per_octave;
  grid.half = octaves * per_octave;
  grid.last = length;
  grid.end = T(kAngleUnit) * (length - T(1));
  grid.inv_end = grid.per_octave * grid.inv_unit / (length / T(2));
  return grid;
}

// Width of an interval 0 … half.
template <typename T>
DEEPMD_FORMULA T angle_width(const AngleGrid<T>& grid, int i) {
  T w = T(kAngleUnit) / grid.per_octave;
  const int o = i / grid.m;
  for (int k = 1; k <= o && k < grid.octaves; ++k) w *= T(2);
  return w;
}

// Interval of a product, on which side, the place t in it, and dt/de.
template <typename T>
struct AnglePlace {
  int interval;
  bool negative;
  T t, slope;
};

// A NaN is beyond all nodes. The processor finds many places at a time (cpu/angle_blocks.h).
template <typename T>
DEEPMD_FORMULA AnglePlace<T> angle_place(const AngleGrid<T>& grid, T product) {
  const bool negative = product < T(0);
  const T a = negative ? -product : product;
  T y = a * grid.inv_unit + T(1);
  if (!(y < grid.last)) {
    const T slope = negative ? -grid.inv_end : grid.inv_end;
    return AnglePlace<T>{grid.half, negative, (a - grid.end) * grid.inv_end, slope};
  }
  int octave = 0;
  T slope = grid.per_octave * grid.inv_unit;
  for (; y >= T(2); ++octave) {
    y *= T(0.5);
    slope *= T(0.5);
  }
  const T u = (y - T(1)) * grid.per_octave;
  const int k = static_cast<int>(u) < grid.m ? static_cast<int>(u) : grid.m - 1;
  return AnglePlace<T>{octave * grid.m + k, negative, u - T(k), negative ? -slope : slope};
}

}  // namespace deepmd
