// SPDX-License-Identifier: BSD-3-Clause
// Environments of all atoms that a mask leaves in: op/stock/descrpt_se_a_mask.cc has the layout.
#include "kernel.h"

#include "env_matrix.h"
#include "exact.h"

DEVICE bool takes_part(const int32_t* type, const int32_t* mask, int64_t i) {
  return mask[i] != 0 && type[i] >= 0;
}

// Distances [n_frames, n, n] from centres to atoms, by which these are ordered: infinite where
// there is no neighbour, and where it is not a number.
KERNEL(mask_distances, const real* coord, const int32_t* type, const int32_t* mask,
       int64_t n_frames, int64_t n, real* distances) {
  EACH(k, n_frames * n * n) {
    const int64_t center = k / n, j = center / n * n + k - center * n;
    const real zero = 0, infinity = 1 / zero;
    real r = infinity;
    if (j != center && takes_part(type, mask, center) && takes_part(type, mask, j)) {
      real x[3];
      for (int d = 0; d < 3; ++d) x[d] = coord[3 * j + d] - coord[3 * center + d];
      r = deepmd::square_root(dot3(x, x));
    }
    distances[k] = r < infinity ? r : infinity;
  }
}

// A thread for each centre and atom, which finds the slot of the atom.
KERNEL(mask_rows, const real* coord, const int32_t* type, const int32_t* mask,
       const real* distances, int64_t n_frames, int64_t n, real* rows, real* derivative, real* x,
       int32_t* nlist) {
  EACH(k, n_frames * n * n) {
    const int64_t center = k / n, first = center / n * n, j = first + k - center * n;
    const bool real_center = takes_part(type, mask, center);
    int64_t slot = center * n;
    for (int64_t i = first; i < first + n; ++i) {
      const real mine = distances[k], other = distances[center * n + i - first];
      const bool closer = other < mine || (other == mine && i < j);
      slot += type[i] < type[j] || (type[i] == type[j] && closer);
    }
    real at[3] = {0, 0, 0}, row[4] = {0, 0, 0, 0}, slope[12] = {};
    if (real_center && j != center && takes_part(type, mask, j)) {
      for (int d = 0; d < 3; ++d) at[d] = coord[3 * j + d] - coord[3 * center + d];
      const real s = 1 / deepmd::square_root(dot3(at, at)), s2 = s * s;
      row[0] = s;
      for (int a = 0; a < 3; ++a) {
        row[1 + a] = at[a] * s2;
        slope[a] = at[a] * s * s2;
        for (int b = 0; b < 3; ++b)
          slope[3 * (1 + a) + b] = 2 * at[a] * at[b] * s2 * s2 - (a == b ? s2 : real(0));
      }
    }
    nlist[slot] = real_center ? int32_t(j - first) : -1;
    for (int a = 0; a < 4; ++a) rows[4 * slot + a] = row[a];
    for (int a = 0; a < 12; ++a) derivative[12 * slot + a] = slope[a];
    for (int d = 0; d < 3; ++d) x[3 * slot + d] = at[d];
  }
}
