// SPDX-License-Identifier: BSD-3-Clause
#include "neighbors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "ranks.h"
#include "same_place.h"
#include "within.h"

namespace deepmd {
namespace {

const std::int64_t kCentersPerChunk = 16;
const std::int64_t kLongestCounted = 256;  // longer lists are sorted in n log n
const std::int64_t kMost = std::numeric_limits<std::int32_t>::max();  // atoms or pairs in a call

std::string text(std::int64_t value) { return std::to_string(value); }

// Non-negative floats are ordered as their bits are.
std::uint64_t bits(float value) {
  std::uint32_t result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

// What is near one centre, by the point of the grid, or by the atom of a given list. Reused from
// centre to centre, so that memory is asked for rarely.
struct Candidates {
  explicit Candidates(std::int64_t n_types) : order(n_types), count(n_types) {}

  void clear() {
    for (std::int64_t& n : count) n = 0;
  }

  void reserve(std::size_t size) {
    if (size <= hits.size()) return;
    hits.resize(2 * size);
    for (auto& keys : order) keys.resize(2 * size);
  }

  // Sorts a point in: by type, by distance² in float32, and for the time being by its number.
  void rank(std::int32_t type, float distance2, std::int32_t point) {
    order[type][count[type]++] = bits(distance2) << 32 | static_cast<std::uint32_t>(point);
  }

  static std::int32_t point(std::uint64_t key) {
    return static_cast<std::int32_t>(key & 0xffffffffu);
  }

  std::vector<std::int32_t> hits;
  std::vector<std::vector<std::uint64_t>> order;  // by type, count[type] of them
  std::vector<std::int64_t> count;
};

template <typename T>
float float_distance2(T x, T y, T z, const T* from) {
  const float dx = static_cast<float>(x) - static_cast<float>(from[0]);
  const float dy = static_cast<float>(y) - static_cast<float>(from[1]);
  const float dz = static_cast<float>(z) - static_cast<float>(from[2]);
  return dx * dx + dy * dy + dz * dz;
}

template <typename T>
T distance2(T x, T y, T z, const T* from) {
  const T dx = x - from[0], dy = y - from[1], dz = z - from[2];
  return dx * dx + dy * dy + dz * dz;
}

std::string coincide(std::int64_t i, std::int64_t j) {
  return "has atoms " + text(std::min(i, j)) + " and " + text(std::max(i, j)) +
         " (counted from 0) at the same place";
}

// Candidates around atom i by looking into cells; returns what is wrong, or an empty string.
template <typename T>
std::string search(const CellGrid<T>& grid, std::int64_t i, const std::int32_t* type, float cutoff,
                   Candidates* near) {
  const std::int32_t home = grid.home[i];
  const T from[3] = {grid.x[home], grid.y[home], grid.z[home]};
  const float float_from[3] = {static_cast<float>(from[0]), static_cast<float>(from[1]),
                               static_cast<float>(from[2])};
  const T limit2 = static_cast<T>(cutoff) * static_cast<T>(cutoff);
  const float float_limit2 = cutoff * cutoff;
  const T same = same_place(from);
  // What rounding to float32 may make of that distance.
  const float float_same = static_cast<float>(same) + same_place(float_from);
  const auto kernel = DEEPMD_PICK(within<T>);
  std::int64_t n = 0;
  grid.near(i, [&](std::int64_t first, std::int64_t last) {
    near->reserve(n + last - first + 1);
    n += kernel(grid.x.data(), grid.y.data(), grid.z.data(), first, last, from, limit2,
                near->hits.data() + n);
  });
  for (std::int64_t h = 0; h < n; ++h) {
    const std::int32_t p = near->hits[h];
    if (p == home) continue;
    const std::int32_t j = grid.atom[p];
    const T x = grid.x[p], y = grid.y[p], z = grid.z[p];
    const float d2 = float_distance2(x, y, z, from);
    if (d2 < float_same * float_same && distance2(x, y, z, from) < same * same) {
      return coincide(i, j);
    }
    if (d2 <= float_limit2) near->rank(type[j], d2, p);
  }
  return "";
}

// Candidates around atom i from a given list.
template <typename T>
std::string follow(const GivenList& list, std::int64_t k, const T* coord, const std::int32_t* type,
                   std::int64_t n_all, float cutoff, Candidates* near) {
  const std::int64_t i = list.centers[k];
  const T* from = coord + 3 * i;
  const float float_limit2 = cutoff * cutoff;
  const T same = same_place(from);
  near->reserve(list.counts[k]);
  for (std::int32_t n = 0; n < list.counts[k]; ++n) {
    const std::int32_t j = list.rows[k][n];
    if (j < 0 || j >= n_all) {
      return "has an invalid mesh tensor: a neighbour of atom " + text(i) + " is " + text(j) +
             ", expected 0 to " + text(n_all - 1);
    }
    if (j == i) {
      return "has an invalid mesh tensor: atom " + text(i) + " is listed as its own neighbour";
    }
    if (type[j] < 0) continue;
    const T* to = coord + 3 * j;
    if (distance2(to[0], to[1], to[2], from) < same * same) return coincide(i, j);
    const float d2 = float_distance2(to[0], to[1], to[2], from);
    if (d2 <= float_limit2) near->rank(type[j], d2, j);
  }
  return "";
}

// Sorts keys of (distance in the upper half, point in the lower) by distance; ties stay in any
// order.
class Sorter {
 public:
  void sort(std::vector<std::uint64_t>* keys, std::int64_t size) {
    if (size > kLongestCounted) {
      std::sort(keys->begin(), keys->begin() + size);
      return;
    }
    const std::int64_t padded = (size + kRanksPadding - 1) / kRanksPadding * kRanksPadding;
    for (std::int64_t i = 0; i < size; ++i) {
      upper_[i] = static_cast<std::int32_t>((*keys)[i] >> 32);
    }
    for (std::int64_t i = size; i < padded; ++i) upper_[i] = std::numeric_limits<int>::max();
    count_(upper_, size, padded, rank_);
    sorted_.resize(keys->size());
    std::fill(taken_, taken_ + size, 0);
    for (std::int64_t i = 0; i < size; ++i) sorted_[rank_[i] + taken_[rank_[i]]++] = (*keys)[i];
    std::swap(*keys, sorted_);
  }

 private:
  decltype(DEEPMD_PICK(ranks)) count_ = DEEPMD_PICK(ranks);
  std::int32_t upper_[kLongestCounted], rank_[kLongestCounted], taken_[kLongestCounted];
  std::vector<std::uint64_t> sorted_;
};

// Puts candidates of the same float32 distance in order, given a sorted list of keys. Ties are rare
// but in crystals. `before` compares two points.
template <typename F>
void order_ties(std::uint64_t* keys, std::int64_t size, const F& before) {
  for (std::int64_t a = 0; a < size;) {
    std::int64_t b = a + 1;
    while (b < size && keys[b] >> 32 == keys[a] >> 32) ++b;
    if (b > a + 1) {
      std::sort(keys + a, keys + b, [&](std::uint64_t left, std::uint64_t right) {
        return before(Candidates::point(left), Candidates::point(right));
      });
    }
    a = b;
  }
}

// How many of the nearest `total` candidates are of each type, given sorted lists.
template <typename F>
void keep_nearest(const Candidates& near, std::int64_t total, const F& before,
                  std::vector<std::int64_t>* kept) {
  const std::int64_t n_types = static_cast<std::int64_t>(near.count.size());
  std::fill(kept->begin(), kept->end(), 0);
  for (std::int64_t n = 0; n < total; ++n) {
    std::int64_t nearest = -1;
    std::uint64_t best = 0;
    for (std::int64_t t = 0; t < n_types; ++t) {
      if ((*kept)[t] == near.count[t]) continue;
      const std::uint64_t key = near.order[t][(*kept)[t]];
      const bool closer =
          nearest < 0 || key >> 32 < best >> 32 ||
          (key >> 32 == best >> 32 && before(Candidates::point(key), Candidates::point(best)));
      if (closer) nearest = t, best = key;
    }
    ++(*kept)[nearest];
  }
}

template <typename T>
std::string check_atoms(std::int64_t n_all, std::int64_t n_types, const T* coord,
                        const std::int32_t* type) {
  for (std::int64_t i = 0; i < n_all; ++i) {
    if (type[i] >= n_types) {
      return "has atom " + text(i) + " of type " + text(type[i]) + ", expected less than " +
             text(n_types) + " (or negative for a virtual atom)";
    }
    if (type[i] < 0) continue;
    if (!std::isfinite(coord[3 * i]) || !std::isfinite(coord[3 * i + 1]) ||
        !std::isfinite(coord[3 * i + 2])) {
      return "has atom " + text(i) + " at a position that is not finite";
    }
  }
  return "";
}

std::string in_frame(std::int64_t frame, const std::string& wrong) {
  return wrong.empty() ? "" : "frame " + text(frame) + " " + wrong;
}

}  // namespace

template <typename T>
std::string check_sizes(const NeighborQuery<T>& query) {
  if (!(query.cutoff > 0) || !std::isfinite(query.cutoff)) {
    return "the cutoff is " + std::to_string(query.cutoff) + ", expected a positive number";
  }
  if (query.n_frames * query.n_all > kMost ||
      query.n_frames * query.n_local * query.n_types >= kMost) {
    return "too many atoms in one call: " + text(query.n_frames) + " frames of " +
           text(query.n_all) + " atoms";
  }
  return "";
}

template std::string check_sizes(const NeighborQuery<float>&);
template std::string check_sizes(const NeighborQuery<double>&);

template <typename T>
std::string NeighborList<T>::build(const NeighborQuery<T>& query, const ParallelFor& parallel_for) {
  query_ = query;
  grids_.clear();
  chunks_.clear();
  dropped_.assign(query.n_types, 0);
  max_found_.assign(query.n_types, 0);
  std::string wrong = check_sizes(query);
  if (!wrong.empty()) return wrong;
  const std::int64_t n_centers = query.n_frames * query.n_local;
  splits_.assign(n_centers * query.n_types + 1, 0);
  wrong = prepare_frames(parallel_for);
  if (!wrong.empty()) return wrong;
  chunks_.resize((n_centers + kCentersPerChunk - 1) / kCentersPerChunk);
  parallel_for(static_cast<std::int64_t>(chunks_.size()), 20000 * kCentersPerChunk,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c) {
                   try {
                     find_pairs(c);
                   } catch (const std::bad_alloc&) {
                     chunks_[c].wrong = "the neighbour list needs more memory than there is";
                   }
                 }
               });
  return join_chunks();
}

template <typename T>
std::string NeighborList<T>::prepare_frames(const ParallelFor& parallel_for) {
  const NeighborQuery<T>& query = query_;
  const bool searched = query.mesh->search != Search::given;
  grids_.resize(searched ? query.n_frames : 0);
  std::vector<std::string> wrong(query.n_frames);
  parallel_for(
      query.n_frames, 10000 + 200 * query.n_all, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t f = begin; f < end; ++f) {
          const T* coord = query.coord + 3 * f * query.n_all;
          const std::int32_t* type = query.type + f * query.n_all;
          wrong[f] = check_atoms(query.n_all, query.n_types, coord, type);
          if (!wrong[f].empty() || !searched) continue;
          try {
            const T* box = query.mesh->search == Search::periodic ? query.box + 9 * f : nullptr;
            wrong[f] = grids_[f].build(query.n_all, coord, type, box, query.cutoff);
          } catch (const std::bad_alloc&) {
            wrong[f] = "needs more memory for its neighbour list than there is";
          }
        }
      });
  for (std::int64_t f = 0; f < query.n_frames; ++f) {
    if (!wrong[f].empty()) return in_frame(f, wrong[f]);
  }
  if (!searched) {
    entry_of_.resize(query.n_local);
    for (std::int64_t k = 0; k < query.n_local; ++k) entry_of_[query.mesh->given.centers[k]] = k;
  }
  return "";
}

template <typename T>
void NeighborList<T>::Chunk::limit(std::int64_t t, std::int64_t n_found, std::int64_t most,
                                   std::int64_t* kept) {
  *kept = most < 0 ? n_found : std::min(n_found, most);
  dropped[t] += n_found - *kept;
  max_found[t] = std::max(max_found[t], static_cast<std::int32_t>(std::min(n_found, kMost)));
}

template <typename T>
void NeighborList<T>::find_pairs(std::int64_t c) {
  const NeighborQuery<T>& query = query_;
  const std::int64_t n_types = query.n_types;
  const bool searched = !grids_.empty();
  Chunk& chunk = chunks_[c];
  chunk.dropped.assign(n_types, 0);
  chunk.max_found.assign(n_types, 0);
  Candidates near(n_types);
  std::vector<std::int64_t> kept(n_types);
  Sorter sorter;
  const std::int64_t end = std::min(query.n_frames * query.n_local, (c + 1) * kCentersPerChunk);
  for (std::int64_t row = c * kCentersPerChunk; row < end; ++row) {
    const std::int64_t f = row / query.n_local, i = row % query.n_local;
    const T* coord = query.coord + 3 * f * query.n_all;
    const std::int32_t* type = query.type + f * query.n_all;
    if (type[i] < 0) continue;
    near.clear();
    chunk.wrong = in_frame(f, searched ? search(grids_[f], i, type, query.cutoff, &near)
                                       : follow(query.mesh->given, entry_of_[i], coord, type,
                                                query.n_all, query.cutoff, &near));
    if (!chunk.wrong.empty()) return;
    const auto before = [&](std::int32_t p, std::int32_t q) {
      return searched ? grids_[f].before(p, q) : p < q;
    };
    std::int64_t n_found = 0;
    for (std::int64_t t = 0; t < n_types; ++t) {
      sorter.sort(&near.order[t], near.count[t]);
      order_ties(near.order[t].data(), near.count[t], before);
      kept[t] = near.count[t];
      n_found += kept[t];
      if (query.total < 0) chunk.limit(t, kept[t], query.sel[t], &kept[t]);
    }
    if (query.total >= 0) {
      std::int64_t n_kept = n_found;
      chunk.limit(0, n_found, query.total, &n_kept);
      if (n_kept < n_found) keep_nearest(near, n_kept, before, &kept);
    }
    for (std::int64_t t = 0; t < n_types; ++t) {
      const std::uint64_t* keys = near.order[t].data();
      splits_[row * n_types + t + 1] = static_cast<std::int32_t>(kept[t]);
      const std::size_t first = chunk.points.size();
      chunk.points.resize(first + kept[t]);
      for (std::int64_t n = 0; n < kept[t]; ++n)
        chunk.points[first + n] = Candidates::point(keys[n]);
    }
  }
}

template <typename T>
std::string NeighborList<T>::join_chunks() {
  std::int64_t n_pairs = 0;
  for (const Chunk& chunk : chunks_) {
    if (!chunk.wrong.empty()) return chunk.wrong;
    n_pairs += static_cast<std::int64_t>(chunk.points.size());
    for (std::int64_t t = 0; t < query_.n_types; ++t) {
      dropped_[t] += chunk.dropped[t];
      max_found_[t] = std::max(max_found_[t], chunk.max_found[t]);
    }
  }
  if (n_pairs > kMost) {
    return "too many pairs in one call: " + text(n_pairs) + "; give it fewer frames or atoms";
  }
  for (std::size_t s = 1; s < splits_.size(); ++s) splits_[s] += splits_[s - 1];
  return "";
}

template <typename T>
void NeighborList<T>::write(const NeighborOutput<T>& out, const ParallelFor& parallel_for) const {
  const std::int64_t n_centers = query_.n_frames * query_.n_local, n_types = query_.n_types;
  const auto copy = [&](std::int64_t c) {
    const std::int64_t first = c * kCentersPerChunk;
    const std::int64_t last = std::min(n_centers, first + kCentersPerChunk);
    const std::int32_t* point = chunks_[c].points.data();
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t f = row / query_.n_local, i = row % query_.n_local;
      const std::int64_t first_row = f * query_.n_all;
      const CellGrid<T>* grid = grids_.empty() ? nullptr : &grids_[f];
      for (std::int64_t p = splits_[row * n_types]; p < splits_[(row + 1) * n_types];
           ++p, ++point) {
        const std::int32_t j = grid == nullptr ? *point : grid->atom[*point];
        if (out.center != nullptr) out.center[p] = static_cast<std::int32_t>(first_row + i);
        out.neighbor[p] = static_cast<std::int32_t>(first_row + j);
        T* shift = out.shift + 3 * p;
        shift[0] = shift[1] = shift[2] = 0;
        if (grid == nullptr || !grid->periodic) continue;
        // The image is that of the wrapped atoms; here it must bridge the given coordinates.
        const std::int32_t* image = grid->image.data() + 3 * *point;
        const std::int32_t* of_center = grid->wrapped.data() + 3 * i;
        const std::int32_t* of_neighbor = grid->wrapped.data() + 3 * static_cast<std::int64_t>(j);
        double images[3];
        for (int d = 0; d < 3; ++d) {
          images[d] = static_cast<double>(image[d]) + of_center[d] - of_neighbor[d];
        }
        const double* lattice = grid->lattice;
        for (int d = 0; d < 3; ++d) {
          shift[d] = static_cast<T>(images[0] * lattice[d] + images[1] * lattice[3 + d] +
                                    images[2] * lattice[6 + d]);
        }
      }
    }
  };
  parallel_for(static_cast<std::int64_t>(chunks_.size()), 4000 * kCentersPerChunk,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c) copy(c);
               });
}

template class NeighborList<float>;
template class NeighborList<double>;

}  // namespace deepmd
