// SPDX-License-Identifier: BSD-3-Clause
// Neighbour lists on the GPU: the same pairs in the same order as those of neighbors.h, to the bit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "closest_pair.h"
#include "gpu.h"
#include "neighbors.h"

struct CellFrame;  // of the kernels

namespace deepmd {
namespace gpu {

// A given list on the device: atom i < n_local of each frame has the neighbours
// rows[begin[i]] … rows[begin[i + 1] - 1].
struct GivenRows {
  const std::int64_t* begin = nullptr;  // [n_local + 1]
  const std::int32_t* rows = nullptr;
};

// The same on the host, one row after the other.
void flatten(const GivenList& list, std::vector<std::int64_t>* begin,
             std::vector<std::int32_t>* rows);

template <typename T>
class NeighborList {
 public:
  explicit NeighborList(const Stream& stream) : stream_(stream) {}

  // Counts the pairs, and fills in splits [n_frames * n_local * n_types + 1] of the device. Of the
  // query coord, type and box are on the device. given: for a mesh that has a list. Waits for the
  // number of pairs. Returns what is wrong, naming frame and atom, or an empty string.
  //
  // What is wrong is found by the processor: kernels tell that something is. So are the pairs of
  // frames beyond what the kernels can do, as with boxes much smaller than the cutoff.
  std::string build(const NeighborQuery<T>& query, const GivenRows& given,
                    const ParallelFor& parallel_for, std::int32_t* splits);

  std::int64_t n_pairs() const { return n_pairs_; }
  const std::vector<std::int64_t>& dropped() const { return dropped_; }
  const std::vector<std::int32_t>& max_found() const { return max_found_; }

  // The pairs; center may be null. To be called once.
  void write(const NeighborOutput<T>& out, const ParallelFor& parallel_for) const;

  // Of the pairs that were written. Waits.
  ClosestPair<T> closest_pair(const NeighborOutput<T>& pairs) const;

 private:
  using Count = unsigned long long;

  // What is on the device; null where a query does without.
  struct Device {
    const GivenRows* given = nullptr;
    std::int64_t most_cells = 0;  // of a frame of a search
    CellFrame* frames = nullptr;  // of a search, as are the following
    T *inside = nullptr, *at = nullptr;
    std::int32_t *cell = nullptr, *wrapped = nullptr, *image_cell = nullptr;
    const std::int32_t *start = nullptr, *order = nullptr;
    Count* report = nullptr;
    // neighbours within the cutoff, by section
    std::int32_t* begin = nullptr;
    float* distance2 = nullptr;
    std::int32_t *atom = nullptr, *image = nullptr;
  };

  std::int64_t n_rows() const { return query_.n_frames * query_.n_all; }
  std::int64_t n_centers() const { return query_.n_frames * query_.n_local; }
  std::int64_t n_sections() const { return n_centers() * query_.n_types; }
  bool searched() const { return query_.mesh->search != Search::given; }
  bool periodic() const { return query_.mesh->search == Search::periodic; }

  void sort_into_cells();
  void look(const std::int32_t* begin, std::int32_t* found);  // counts, or fills in by `begin`
  void limit(const std::int32_t* found, std::int32_t* kept);
  void keep_nearest(std::int32_t* kept);
  std::string build_on_host(const ParallelFor& parallel_for);

  const Stream& stream_;
  NeighborQuery<T> query_;
  std::int64_t n_pairs_ = 0;
  std::vector<std::int64_t> dropped_;
  std::vector<std::int32_t> max_found_;
  std::int32_t* splits_ = nullptr;
  Device on_;
  // of what the processor looks at
  std::unique_ptr<deepmd::NeighborList<T>> on_host_;
  std::vector<T> coord_, box_;
  std::vector<std::int32_t> type_;
};

}  // namespace gpu
}  // namespace deepmd
