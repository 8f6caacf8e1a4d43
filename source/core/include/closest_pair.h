// SPDX-License-Identifier: BSD-3-Clause
// The closest two atoms of a neighbour list.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "neighbors.h"

namespace deepmd {

template <typename T>
struct Atom {
  std::int32_t type = -1;
  T at[3] = {};  // Angstrom; of a periodic image, the place of the image
};

template <typename T>
struct ClosestPair {
  Atom<T> center, neighbor;
  T distance = std::numeric_limits<T>::infinity();
};

// Looks at the first pair of each section only: they are ordered by distance.
template <typename T>
ClosestPair<T> closest_pair(const NeighborQuery<T>& query, const std::vector<std::int32_t>& splits,
                            const NeighborOutput<T>& pairs) {
  ClosestPair<T> closest;
  T smallest = std::numeric_limits<T>::infinity();
  std::int64_t found = -1;
  const auto place = [&](std::int64_t p, int a) {
    return query.coord[3 * static_cast<std::int64_t>(pairs.neighbor[p]) + a] +
           pairs.shift[3 * p + a];
  };
  for (std::size_t section = 0; section + 1 < splits.size(); ++section) {
    const std::int64_t p = splits[section];
    if (p == splits[section + 1]) continue;
    T squared = 0;
    for (int a = 0; a < 3; ++a) {
      const T x = place(p, a) - query.coord[3 * static_cast<std::int64_t>(pairs.center[p]) + a];
      squared += x * x;
    }
    if (!(squared < smallest)) continue;
    smallest = squared;
    found = p;
  }
  if (found < 0) return closest;
  closest.distance = std::sqrt(smallest);
  closest.center.type = query.type[pairs.center[found]];
  closest.neighbor.type = query.type[pairs.neighbor[found]];
  for (int a = 0; a < 3; ++a) {
    closest.center.at[a] = query.coord[3 * static_cast<std::int64_t>(pairs.center[found]) + a];
    closest.neighbor.at[a] = place(found, a);
  }
  return closest;
}

}  // namespace deepmd
