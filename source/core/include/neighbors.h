// SPDX-License-Identifier: BSD-3-Clause
// Neighbour list: all pairs (centre, neighbour) closer than a cutoff, in a fixed order, at most
// sel[t] nearest of each type t, or `total` nearest of all types together.
//
// Which neighbours, and in which order. Candidates of centre i are, when this code searches, all
// atoms and periodic images with |x|^2 < rcut^2 in T, itself excepted; or else what a given list
// holds. Of these it keeps those with |x|^2 <= rcut^2 computed in float32 from coordinates rounded
// to float32, sorts them by (type, that |x|^2, index) and cuts each type off at sel[t]. Ties in
// float32 are frequent in crystals; index means the position in an array of the local atoms
// followed by the images, the images cell by cell. This is the rule of DeePMD-kit, so that a list
// that overflows loses the same neighbours there and here. Atoms of negative type are no centres
// and no neighbours.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cell_grid.h"
#include "mesh.h"
#include "parallel.h"

namespace deepmd {

template <typename T>
struct NeighborQuery {
  std::int64_t n_frames = 0;
  std::int64_t n_local = 0;  // the first n_local atoms of each frame are centres
  std::int64_t n_all = 0;    // atoms of each frame, ghosts included
  std::int64_t n_types = 0;
  const T* coord = nullptr;            // [n_frames, n_all, 3]
  const std::int32_t* type = nullptr;  // [n_frames, n_all]
  const T* box = nullptr;              // [n_frames, 3, 3], rows are lattice vectors
  float cutoff = 0;
  const std::int32_t* sel = nullptr;  // [n_types]; -1 keeps all
  std::int64_t total = -1;            // of all types together, the nearest; -1 keeps all
  const Mesh* mesh = nullptr;
};

// What is wrong with the numbers of a query, or an empty string.
template <typename T>
std::string check_sizes(const NeighborQuery<T>& query);

// Where the pairs are written.
template <typename T>
struct NeighborOutput {
  std::int32_t* center = nullptr;    // [n_pairs] row in [n_frames * n_all]
  std::int32_t* neighbor = nullptr;  // [n_pairs] row in [n_frames * n_all]
  T* shift = nullptr;                // [n_pairs, 3]: x = r[neighbor] - r[center] + shift
};

template <typename T>
class NeighborList {
 public:
  // Returns what is wrong with the query, naming frame and atom, or an empty string.
  std::string build(const NeighborQuery<T>& query, const ParallelFor& parallel_for);

  std::int64_t n_pairs() const { return splits_.empty() ? 0 : splits_.back(); }

  // Copies the pairs; center may be null.
  void write(const NeighborOutput<T>& out, const ParallelFor& parallel_for) const;

  // [n_frames * n_local * n_types + 1]: pairs of centre row c and neighbour type t are
  // splits[c * n_types + t] <= p < splits[c * n_types + t + 1].
  const std::vector<std::int32_t>& splits() const { return splits_; }
  // Per type: neighbours beyond sel, over all centres; and the largest number around one centre.
  // With a total the first entry is about all types together, and the others are zero.
  const std::vector<std::int64_t>& dropped() const { return dropped_; }
  const std::vector<std::int32_t>& max_found() const { return max_found_; }

 private:
  // The pairs of some consecutive centres, found by one thread.
  struct Chunk {
    std::vector<std::int32_t> points;  // neighbours: points of the grid, or atoms of a given list
    std::vector<std::int64_t> dropped;
    std::vector<std::int32_t> max_found;
    std::string wrong;

    // Counts n_found neighbours in entry t, and keeps at most `most` of them.
    void limit(std::int64_t t, std::int64_t n_found, std::int64_t most, std::int64_t* kept);
  };

  // The steps of build(); they return what is wrong, and find_pairs() leaves it in the chunk.
  std::string prepare_frames(const ParallelFor& parallel_for);  // checks atoms, fills the grids
  void find_pairs(std::int64_t c);                              // of the centres of chunk c
  std::string join_chunks();

  NeighborQuery<T> query_;
  std::vector<CellGrid<T>> grids_;      // by frame; none for a given list
  std::vector<std::int64_t> entry_of_;  // of a given list, by centre
  std::vector<Chunk> chunks_;
  std::vector<std::int32_t> splits_;
  std::vector<std::int64_t> dropped_;
  std::vector<std::int32_t> max_found_;
};

}  // namespace deepmd
