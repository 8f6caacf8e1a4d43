// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_neighbors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "gpu_pairs.h"
#include "kernels/cell_frame.h"

namespace deepmd {
namespace gpu {
namespace {

using std::int32_t;
using std::int64_t;

constexpr int kThreads = 128, kWarps = kThreads / 32;
constexpr int64_t kMostTypes = 2048;  // whose counters fit into shared memory
constexpr int64_t kMost = std::numeric_limits<int32_t>::max();

template <typename T>
Kernel neighbors(const char* name) {
  return {"neighbors", name, real_of<T>()};
}

template <typename T>
Kernel cells(const char* name) {
  return {"cells", name, real_of<T>()};
}

// A warp for each centre; those of a block have a counter for each type.
Grid by_center(int64_t n_centers, int64_t n_types = 0) {
  return {(n_centers + kWarps - 1) / kWarps, kThreads, kWarps * n_types * int64_t(sizeof(int32_t))};
}

Grid in_blocks(int64_t n, int64_t most) { return {std::min((n + 255) / 256, most), 256}; }

}  // namespace

void flatten(const GivenList& list, std::vector<int64_t>* begin, std::vector<int32_t>* rows) {
  const std::size_t n = list.centers.size();
  begin->assign(n + 1, 0);
  for (std::size_t k = 0; k < n; ++k) (*begin)[list.centers[k] + 1] = list.counts[k];
  for (std::size_t i = 0; i < n; ++i) (*begin)[i + 1] += (*begin)[i];
  rows->resize(begin->back());
  for (std::size_t k = 0; k < n; ++k)
    std::copy_n(list.rows[k], list.counts[k], rows->data() + (*begin)[list.centers[k]]);
}

template <typename T>
std::string NeighborList<T>::build(const NeighborQuery<T>& query, const GivenRows& given,
                                   const ParallelFor& parallel_for, int32_t* splits) {
  query_ = query;
  splits_ = splits;
  const std::string wrong = check_sizes(query);
  if (!wrong.empty()) return wrong;
  on_.given = &given;
  on_.most_cells = std::max<int64_t>(64, 2 * query.n_all);  // see choose_cells() of cells.cu
  const int64_t n_types = query.n_types;
  if (n_types > kMostTypes || (searched() && query.n_frames * on_.most_cells > kMost))
    return build_on_host(parallel_for);

  const int64_t n_report = kTotals + 2 * n_types;
  on_.report = stream_.scratch<Count>(n_report);
  stream_.zero(on_.report, n_report);
  stream_.for_each(neighbors<T>("check_atoms"), n_rows(), query.coord, query.type, n_rows(),
                   n_types, on_.report);
  if (searched()) sort_into_cells();
  int32_t* const found = stream_.scratch<int32_t>(n_sections());
  int32_t* const kept = stream_.scratch<int32_t>(n_sections());
  look(nullptr, found);
  limit(found, kept);
  on_.begin = stream_.scratch<int32_t>(n_sections() + 1);
  exclusive_sums(stream_, found, n_sections(), on_.begin);

  std::vector<Count> report(n_report);
  stream_.read(on_.report, n_report, report.data());
  if (report[kWrong] != 0 || report[kFound] > Count(kMost)) return build_on_host(parallel_for);
  n_pairs_ = static_cast<int64_t>(report[kKept]);
  dropped_.assign(report.begin() + kTotals, report.begin() + kTotals + n_types);
  max_found_.resize(n_types);
  std::memcpy(max_found_.data(), report.data() + kTotals + n_types, n_types * sizeof(int32_t));

  const int64_t n_found = static_cast<int64_t>(report[kFound]);
  on_.distance2 = stream_.scratch<float>(n_found);
  on_.atom = stream_.scratch<int32_t>(n_found);
  if (searched()) on_.image = stream_.scratch<int32_t>(n_found);
  look(on_.begin, nullptr);
  if (query.total >= 0) keep_nearest(kept);
  exclusive_sums(stream_, kept, n_sections(), splits_);
  return "";
}

template <typename T>
void NeighborList<T>::sort_into_cells() {
  const int64_t n = n_rows(), n_cells = query_.n_frames * on_.most_cells;
  const T* const box = periodic() ? query_.box : nullptr;
  on_.frames = stream_.scratch<CellFrame>(query_.n_frames);
  on_.inside = stream_.scratch<T>(3 * n);
  on_.at = stream_.scratch<T>(3 * n);
  on_.cell = stream_.scratch<int32_t>(n);
  if (periodic()) {
    on_.wrapped = stream_.scratch<int32_t>(3 * n);
    on_.image_cell = stream_.scratch<int32_t>(3 * n);
  }
  stream_.launch(cells<T>("measure_frames"), {query_.n_frames, 256}, query_.coord, query_.type, box,
                 query_.n_frames, query_.n_all, double(query_.cutoff), on_.frames, on_.report);
  stream_.for_each(cells<T>("wrap_atoms"), n, on_.frames, query_.coord, query_.type, box,
                   query_.n_frames, query_.n_all, on_.most_cells, on_.inside, on_.wrapped, on_.cell,
                   on_.image_cell, on_.report);
  const Places places = places_by_row(stream_, on_.cell, n, n_cells);
  on_.start = places.splits;
  on_.order = places.order;
  stream_.for_each(cells<T>("sort_points"), n, on_.inside, on_.start, on_.order, n_cells, n,
                   on_.at);
}

template <typename T>
void NeighborList<T>::look(const int32_t* begin, int32_t* found) {
  const Grid grid = by_center(n_centers(), query_.n_types);
  const T limit2 = static_cast<T>(query_.cutoff) * static_cast<T>(query_.cutoff);
  const float float_limit2 = query_.cutoff * query_.cutoff;
  if (searched()) {
    stream_.launch(neighbors<T>("near_atoms"), grid, on_.frames, on_.inside, query_.type, on_.cell,
                   on_.start, on_.order, on_.at, on_.most_cells, int32_t(periodic()), n_centers(),
                   query_.n_local, query_.n_all, query_.n_types, limit2, float_limit2, begin, found,
                   on_.distance2, on_.atom, on_.image, on_.report);
  } else {
    stream_.launch(neighbors<T>("near_listed"), grid, query_.coord, query_.type, on_.given->begin,
                   on_.given->rows, n_centers(), query_.n_local, query_.n_all, query_.n_types,
                   float_limit2, begin, found, on_.distance2, on_.atom, on_.report);
  }
}

template <typename T>
void NeighborList<T>::limit(const int32_t* found, int32_t* kept) {
  const int64_t n_types = query_.n_types;
  auto* const max_found = reinterpret_cast<int32_t*>(on_.report + kTotals + n_types);
  if (query_.total >= 0) {
    stream_.launch(neighbors<T>("limit_centers"), in_blocks(n_centers(), 4096), found, query_.total,
                   n_centers(), n_types, on_.report, max_found);
    return;
  }
  int32_t* const sel = stream_.scratch<int32_t>(n_types);
  stream_.write(query_.sel, n_types, sel);
  stream_.launch(neighbors<T>("limit_sections"), in_blocks(n_sections(), 4096), found, sel,
                 n_sections(), n_types, kept, on_.report, max_found);
}

template <typename T>
void NeighborList<T>::keep_nearest(int32_t* kept) {
  stream_.launch(neighbors<T>("count_nearest"), by_center(n_centers(), query_.n_types), on_.begin,
                 on_.distance2, on_.atom, on_.image, on_.frames, on_.image_cell, query_.type,
                 query_.total, n_centers(), query_.n_local, query_.n_types, kept);
}

template <typename T>
void NeighborList<T>::write(const NeighborOutput<T>& out, const ParallelFor& parallel_for) const {
  if (on_host_ == nullptr) {
    stream_.launch(neighbors<T>("write_pairs"), by_center(n_centers()), on_.begin, on_.distance2,
                   on_.atom, on_.image, on_.frames, on_.image_cell, on_.wrapped, query_.type,
                   splits_, n_centers(), query_.n_local, query_.n_all, query_.n_types, out.center,
                   out.neighbor, out.shift);
    return;
  }
  std::vector<int32_t> center(n_pairs_), neighbor(n_pairs_);
  std::vector<T> shift(3 * n_pairs_);
  on_host_->write({center.data(), neighbor.data(), shift.data()}, parallel_for);
  if (out.center != nullptr) stream_.write(center.data(), n_pairs_, out.center);
  stream_.write(neighbor.data(), n_pairs_, out.neighbor);
  stream_.write(shift.data(), 3 * n_pairs_, out.shift);
}

template <typename T>
std::string NeighborList<T>::build_on_host(const ParallelFor& parallel_for) {
  const auto copy = [&](const auto* device, int64_t n, auto* host) {
    host->resize(n);
    stream_.read(device, n, host->data());
  };
  copy(query_.coord, 3 * n_rows(), &coord_);
  copy(query_.type, n_rows(), &type_);
  NeighborQuery<T> query = query_;
  query.coord = coord_.data();
  query.type = type_.data();
  if (periodic()) {
    copy(query_.box, 9 * query_.n_frames, &box_);
    query.box = box_.data();
  }
  on_host_ = std::make_unique<deepmd::NeighborList<T>>();
  const std::string wrong = on_host_->build(query, parallel_for);
  if (!wrong.empty()) return wrong;
  n_pairs_ = on_host_->n_pairs();
  dropped_ = on_host_->dropped();
  max_found_ = on_host_->max_found();
  stream_.write(on_host_->splits().data(), n_sections() + 1, splits_);
  return "";
}

template <typename T>
ClosestPair<T> NeighborList<T>::closest_pair(const NeighborOutput<T>& pairs) const {
  const Grid grid = in_blocks(n_sections(), 512);
  T* const distances2 = stream_.scratch<T>(grid.blocks);
  int32_t* const found = stream_.scratch<int32_t>(grid.blocks);
  T* const on_device = stream_.scratch<T>(10);
  stream_.launch(neighbors<T>("closest_of_blocks"), grid, query_.coord, splits_, pairs.center,
                 pairs.neighbor, pairs.shift, n_sections(), distances2, found);
  stream_.launch(neighbors<T>("closest_pair"), {1, 256}, distances2, found, grid.blocks,
                 query_.coord, query_.type, pairs.center, pairs.neighbor, pairs.shift, on_device);
  T values[10];
  stream_.read(on_device, 10, values);
  ClosestPair<T> closest;
  if (values[0] == 0) return closest;
  closest.distance = std::sqrt(values[1]);
  Atom<T>* const atoms[] = {&closest.center, &closest.neighbor};
  for (int k = 0; k < 2; ++k) {
    atoms[k]->type = static_cast<int32_t>(values[2 + 4 * k]);
    for (int d = 0; d < 3; ++d) atoms[k]->at[d] = values[3 + 4 * k + d];
  }
  return closest;
}

template class NeighborList<float>;
template class NeighborList<double>;

}  // namespace gpu
}  // namespace deepmd
