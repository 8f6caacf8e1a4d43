// SPDX-License-Identifier: BSD-3-Clause
// The neighbour list against a loop over all atoms and images.
#include "neighbors.h"

#include <algorithm>
#include <tuple>

#include "check.h"
#include "threads.h"

namespace {

using std::int32_t;
using std::int64_t;

// Frame, centre, type of the neighbour, and the displacement rounded to 1e-6: what a pair is.
using Pair = std::tuple<int64_t, int64_t, int32_t, int64_t, int64_t, int64_t>;

struct Atoms {
  int64_t frames = 2, n = 17;
  std::vector<double> coord, box;
  std::vector<int32_t> type;

  explicit Atoms(double length) : coord(check::random<double>(2 * 17 * 3, 4)) {
    for (double& x : coord) x *= 1.2 * length;  // also outside of the box
    for (int64_t f = 0; f < frames; ++f) {
      for (const double b : {length, 0.0, 0.0, 0.2 * length, length, 0.0, -0.1, 0.3, length})
        box.push_back(b);
      for (int64_t i = 0; i < n; ++i) type.push_back(i == 3 ? -1 : i % 2);
    }
  }
};

Pair pair_of(int64_t frame, int64_t center, int32_t type, const double x[3]) {
  return {frame,
          center,
          type,
          std::llround(1e6 * x[0]),
          std::llround(1e6 * x[1]),
          std::llround(1e6 * x[2])};
}

std::vector<Pair> all_pairs(const Atoms& atoms, double cutoff, bool periodic) {
  std::vector<Pair> pairs;
  const int reach = periodic ? 3 : 0;
  for (int64_t f = 0; f < atoms.frames; ++f)
    for (int64_t i = 0; i < atoms.n; ++i)
      for (int64_t j = 0; j < atoms.n; ++j)
        for (int a = -reach; a <= reach; ++a)
          for (int b = -reach; b <= reach; ++b)
            for (int c = -reach; c <= reach; ++c) {
              if (atoms.type[f * atoms.n + i] < 0 || atoms.type[f * atoms.n + j] < 0) continue;
              if (i == j && a == 0 && b == 0 && c == 0) continue;
              double x[3];
              for (int k = 0; k < 3; ++k)
                x[k] = atoms.coord[(f * atoms.n + j) * 3 + k] -
                       atoms.coord[(f * atoms.n + i) * 3 + k] + a * atoms.box[9 * f + k] +
                       b * atoms.box[9 * f + 3 + k] + c * atoms.box[9 * f + 6 + k];
              if (x[0] * x[0] + x[1] * x[1] + x[2] * x[2] < cutoff * cutoff)
                pairs.push_back(pair_of(f, i, atoms.type[f * atoms.n + j], x));
            }
  std::sort(pairs.begin(), pairs.end());
  return pairs;
}

struct Found {
  std::vector<Pair> pairs;
  std::vector<int32_t> neighbor, splits;
  std::vector<int64_t> dropped;
  bool ordered = true;  // by distance in each section
};

Found find(const Atoms& atoms, float cutoff, bool periodic, int32_t keep, int threads) {
  const std::vector<int32_t> sel = {keep, keep};
  deepmd::Mesh mesh;
  mesh.search = periodic ? deepmd::Search::periodic : deepmd::Search::open;
  deepmd::NeighborQuery<double> query;
  query.n_frames = atoms.frames;
  query.n_local = query.n_all = atoms.n;
  query.n_types = 2;
  query.coord = atoms.coord.data();
  query.type = atoms.type.data();
  query.box = atoms.box.data();
  query.cutoff = cutoff;
  query.sel = sel.data();
  query.mesh = &mesh;
  deepmd::NeighborList<double> list;
  CHECK(list.build(query, on_threads(threads)).empty());
  Found found;
  std::vector<int32_t> center(list.n_pairs());
  std::vector<double> shift(3 * list.n_pairs());
  found.neighbor.resize(list.n_pairs());
  list.write({center.data(), found.neighbor.data(), shift.data()}, on_threads(threads));
  for (size_t section = 0; section + 1 < list.splits().size(); ++section) {
    double last = 0;
    for (int32_t p = list.splits()[section]; p < list.splits()[section + 1]; ++p) {
      const int64_t row = center[p];
      double x[3], r2 = 0;
      for (int k = 0; k < 3; ++k) {
        x[k] = atoms.coord[3 * found.neighbor[p] + k] - atoms.coord[3 * row + k] + shift[3 * p + k];
        r2 += x[k] * x[k];
      }
      found.ordered = found.ordered && r2 >= last - 1e-4 &&
                      atoms.type[found.neighbor[p]] == static_cast<int32_t>(section % 2) &&
                      row == static_cast<int64_t>(section / 2);
      last = r2;
      found.pairs.push_back(
          pair_of(row / atoms.n, row % atoms.n, atoms.type[found.neighbor[p]], x));
    }
  }
  std::sort(found.pairs.begin(), found.pairs.end());
  found.splits = list.splits();
  found.dropped = list.dropped();
  return found;
}

TEST(pairs_within_the_cutoff) {
  for (const double length : {3.0, 6.0})
    for (const bool periodic : {false, true}) {
      const Atoms atoms(length);
      const Found found = find(atoms, 3.5F, periodic, -1, 1);
      CHECK(found.pairs == all_pairs(atoms, 3.5, periodic));
      CHECK(found.ordered);
      CHECK(found.dropped == std::vector<int64_t>({0, 0}));
      const Found other = find(atoms, 3.5F, periodic, -1, 3);
      CHECK(other.neighbor == found.neighbor && other.splits == found.splits);
    }
}

TEST(the_farthest_are_dropped) {
  const Atoms atoms(6.0);
  const Found all = find(atoms, 3.5F, true, -1, 1), few = find(atoms, 3.5F, true, 2, 2);
  int64_t dropped = 0;
  for (size_t s = 0; s + 1 < all.splits.size(); ++s) {
    const int32_t count = all.splits[s + 1] - all.splits[s], kept = std::min(count, 2);
    dropped += count - kept;
    CHECK(few.splits[s + 1] - few.splits[s] == kept);
    for (int32_t k = 0; k < kept; ++k)
      CHECK(few.neighbor[few.splits[s] + k] == all.neighbor[all.splits[s] + k]);
  }
  CHECK(dropped > 0 && few.dropped[0] + few.dropped[1] == dropped);
}

}  // namespace

TEST_MAIN()
