// SPDX-License-Identifier: BSD-3-Clause
#include "neighbors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "cell_grid.h"

namespace deepmd {
namespace {

const std::int64_t kCentersPerChunk = 32;

std::string text(std::int64_t value) { return std::to_string(value); }

// Non-negative floats are ordered as their bits are.
std::uint64_t bits(float value) {
  std::uint32_t result;
  std::memcpy(&result, &value, sizeof(result));
  return result;
}

struct Candidate {
  std::int32_t atom;
  std::int32_t image[3];
};

// Candidates of one centre by type, each with (bits of its float32 distance², place in `found`).
struct Candidates {
  explicit Candidates(std::int64_t n_types) : found(n_types), order(n_types) {}

  void clear() {
    for (auto& list : found) list.clear();
    for (auto& list : order) list.clear();
  }

  void add(std::int32_t type, const Candidate& candidate, float distance2) {
    order[type].push_back(bits(distance2) << 32 | found[type].size());
    found[type].push_back(candidate);
  }

  std::vector<std::vector<Candidate>> found;
  std::vector<std::vector<std::uint64_t>> order;
};

template <typename T>
float float_distance2(T x, T y, T z, const T* from) {
  const float dx = static_cast<float>(x) - static_cast<float>(from[0]);
  const float dy = static_cast<float>(y) - static_cast<float>(from[1]);
  const float dz = static_cast<float>(z) - static_cast<float>(from[2]);
  return dx * dx + dy * dy + dz * dz;
}

std::string coincide(std::int64_t i, std::int64_t j) {
  return "has atoms " + text(std::min(i, j)) + " and " + text(std::max(i, j)) +
         " (counted from 0) at the same place";
}

// Candidates around atom i by looking into cells; returns what is wrong, or an empty string.
template <typename T>
std::string search(const CellGrid<T>& grid, std::int64_t i, const std::int32_t* type, float cutoff,
                   Candidates* candidates) {
  const T* from = grid.position.data() + 3 * i;
  const T limit2 = static_cast<T>(cutoff) * static_cast<T>(cutoff);
  const float float_limit2 = cutoff * cutoff;
  std::int64_t twin = -1;
  grid.near(i, [&](std::int32_t first, std::int32_t last, const std::int64_t* image) {
    double shift[3];
    for (int d = 0; d < 3; ++d) {
      shift[d] = image[0] * grid.lattice[d] + image[1] * grid.lattice[3 + d] +
                 image[2] * grid.lattice[6 + d];
    }
    const bool home = image[0] == 0 && image[1] == 0 && image[2] == 0;
    for (std::int32_t a = first; a < last; ++a) {
      const T x = static_cast<T>(grid.x[a] + shift[0]);
      const T y = static_cast<T>(grid.y[a] + shift[1]);
      const T z = static_cast<T>(grid.z[a] + shift[2]);
      const T dx = x - from[0], dy = y - from[1], dz = z - from[2];
      const T distance2 = dx * dx + dy * dy + dz * dz;
      if (!(distance2 < limit2)) continue;
      const std::int32_t j = grid.atom[a];
      if (home && j == i) continue;
      if (distance2 == 0) twin = j;
      const float float2 = float_distance2(x, y, z, from);
      if (!(float2 <= float_limit2)) continue;
      candidates->add(type[j],
                      {j,
                       {static_cast<std::int32_t>(image[0]), static_cast<std::int32_t>(image[1]),
                        static_cast<std::int32_t>(image[2])}},
                      float2);
    }
  });
  return twin < 0 ? "" : coincide(i, twin);
}

// Candidates around atom i from a given list.
template <typename T>
std::string follow(const GivenList& list, std::int64_t k, const T* coord, const std::int32_t* type,
                   std::int64_t n_all, float cutoff, Candidates* candidates) {
  const std::int64_t i = list.centers[k];
  const T* from = coord + 3 * i;
  const float float_limit2 = cutoff * cutoff;
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
    if (to[0] == from[0] && to[1] == from[1] && to[2] == from[2]) return coincide(i, j);
    const float float2 = float_distance2(to[0], to[1], to[2], from);
    if (float2 <= float_limit2) candidates->add(type[j], {j, {0, 0, 0}}, float2);
  }
  return "";
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
std::string NeighborList<T>::build(const NeighborQuery<T>& query, const ParallelFor& parallel_for) {
  query_ = query;
  chunks_.clear();
  dropped_.assign(query.n_types, 0);
  max_found_.assign(query.n_types, 0);
  const std::int64_t n_types = query.n_types;
  const std::int64_t n_centers = query.n_frames * query.n_local;
  const std::int64_t most = std::numeric_limits<std::int32_t>::max();
  if (!(query.cutoff > 0) || !std::isfinite(query.cutoff)) {
    return "the cutoff is " + std::to_string(query.cutoff) + ", expected a positive number";
  }
  if (query.n_frames * query.n_all > most || n_centers * n_types >= most) {
    return "too many atoms in one call: " + text(query.n_frames) + " frames of " +
           text(query.n_all) + " atoms";
  }
  splits_.assign(n_centers * n_types + 1, 0);

  const bool searched = query.mesh->search != Search::given;
  std::vector<CellGrid<T>> grids(searched ? query.n_frames : 0);
  std::vector<std::string> wrong(query.n_frames);
  parallel_for(query.n_frames, 200 * query.n_all, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t f = begin; f < end; ++f) {
      const T* coord = query.coord + 3 * f * query.n_all;
      const std::int32_t* type = query.type + f * query.n_all;
      wrong[f] = check_atoms(query.n_all, n_types, coord, type);
      if (!wrong[f].empty() || !searched) continue;
      try {
        const T* box = query.mesh->search == Search::periodic ? query.box + 9 * f : nullptr;
        wrong[f] = grids[f].build(query.n_all, coord, type, box, query.cutoff);
      } catch (const std::bad_alloc&) {
        wrong[f] = "needs more memory for its neighbour list than there is";
      }
    }
  });
  for (std::int64_t f = 0; f < query.n_frames; ++f) {
    if (!wrong[f].empty()) return in_frame(f, wrong[f]);
  }

  std::vector<std::int64_t> entry_of;  // of the given list, by centre
  if (!searched) {
    entry_of.resize(query.n_local);
    for (std::int64_t k = 0; k < query.n_local; ++k) entry_of[query.mesh->given.centers[k]] = k;
  }

  chunks_.resize((n_centers + kCentersPerChunk - 1) / kCentersPerChunk);
  const auto find = [&](std::int64_t c) {
    Chunk& chunk = chunks_[c];
    chunk.dropped.assign(n_types, 0);
    chunk.max_found.assign(n_types, 0);
    Candidates candidates(n_types);
    const std::int64_t end = std::min(n_centers, (c + 1) * kCentersPerChunk);
    for (std::int64_t row = c * kCentersPerChunk; row < end; ++row) {
      const std::int64_t f = row / query.n_local, i = row % query.n_local;
      const std::int64_t first_row = f * query.n_all;
      const T* coord = query.coord + 3 * first_row;
      const std::int32_t* type = query.type + first_row;
      if (type[i] < 0) continue;
      candidates.clear();
      chunk.wrong = in_frame(
          f, searched ? search(grids[f], i, type, query.cutoff, &candidates)
                      : follow(query.mesh->given, entry_of[i], coord, type, query.n_all,
                               query.cutoff, &candidates));
      if (!chunk.wrong.empty()) return;
      for (std::int64_t t = 0; t < n_types; ++t) {
        const auto& found = candidates.found[t];
        auto& order = candidates.order[t];
        std::sort(order.begin(), order.end());
        const auto place = [](std::uint64_t key) { return key & 0xffffffffu; };
        for (std::size_t a = 0; a < order.size();) {  // ties, which are rare but for crystals
          std::size_t b = a + 1;
          while (b < order.size() && order[b] >> 32 == order[a] >> 32) ++b;
          if (b > a + 1) {
            std::sort(order.begin() + a, order.begin() + b,
                      [&](std::uint64_t left, std::uint64_t right) {
                        const Candidate& p = found[place(left)];
                        const Candidate& q = found[place(right)];
                        return searched ? grids[f].before(p.atom, p.image, q.atom, q.image)
                                        : p.atom < q.atom;
                      });
          }
          a = b;
        }
        const std::int64_t n_found = static_cast<std::int64_t>(order.size());
        const std::int64_t kept =
            query.sel[t] < 0 ? n_found : std::min<std::int64_t>(n_found, query.sel[t]);
        chunk.dropped[t] += n_found - kept;
        chunk.max_found[t] =
            std::max(chunk.max_found[t], static_cast<std::int32_t>(std::min(n_found, most)));
        splits_[row * n_types + t + 1] = static_cast<std::int32_t>(kept);
        for (std::int64_t n = 0; n < kept; ++n) {
          const Candidate& q = found[place(order[n])];
          chunk.neighbor.push_back(static_cast<std::int32_t>(first_row + q.atom));
          double images[3] = {0, 0, 0};
          double shift[3] = {0, 0, 0};
          if (searched && grids[f].periodic) {
            const CellGrid<T>& grid = grids[f];
            for (int d = 0; d < 3; ++d) {
              images[d] = static_cast<double>(q.image[d]) + grid.wrapped[3 * i + d] -
                          grid.wrapped[3 * q.atom + d];
            }
            for (int d = 0; d < 3; ++d) {
              shift[d] = images[0] * grid.lattice[d] + images[1] * grid.lattice[3 + d] +
                         images[2] * grid.lattice[6 + d];
            }
          }
          for (int d = 0; d < 3; ++d) chunk.shift.push_back(static_cast<T>(shift[d]));
        }
      }
    }
  };
  parallel_for(static_cast<std::int64_t>(chunks_.size()), 20000 * kCentersPerChunk,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t c = begin; c < end; ++c) {
                   try {
                     find(c);
                   } catch (const std::bad_alloc&) {
                     chunks_[c].wrong = "the neighbour list needs more memory than there is";
                   }
                 }
               });

  std::int64_t n_pairs = 0;
  for (const Chunk& chunk : chunks_) {
    if (!chunk.wrong.empty()) return chunk.wrong;
    n_pairs += static_cast<std::int64_t>(chunk.neighbor.size());
    for (std::int64_t t = 0; t < n_types; ++t) {
      dropped_[t] += chunk.dropped[t];
      max_found_[t] = std::max(max_found_[t], chunk.max_found[t]);
    }
  }
  if (n_pairs > most) {
    return "too many pairs in one call: " + text(n_pairs) + "; give it fewer frames or atoms";
  }
  for (std::size_t s = 1; s < splits_.size(); ++s) splits_[s] += splits_[s - 1];
  return "";
}

template <typename T>
void NeighborList<T>::write(const NeighborOutput<T>& out, const ParallelFor& parallel_for) const {
  const std::int64_t n_centers = query_.n_frames * query_.n_local;
  parallel_for(
      static_cast<std::int64_t>(chunks_.size()), 4000 * kCentersPerChunk,
      [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t c = begin; c < end; ++c) {
          const Chunk& chunk = chunks_[c];
          const std::int64_t first = c * kCentersPerChunk;
          const std::int64_t last = std::min(n_centers, first + kCentersPerChunk);
          const std::int64_t pair = splits_[first * query_.n_types];
          std::copy(chunk.neighbor.begin(), chunk.neighbor.end(), out.neighbor + pair);
          std::copy(chunk.shift.begin(), chunk.shift.end(), out.shift + 3 * pair);
          if (out.center == nullptr) continue;
          for (std::int64_t row = first; row < last; ++row) {
            const std::int64_t f = row / query_.n_local, i = row % query_.n_local;
            std::fill(out.center + splits_[row * query_.n_types],
                      out.center + splits_[(row + 1) * query_.n_types],
                      static_cast<std::int32_t>(f * query_.n_all + i));
          }
        }
      });
}

template class NeighborList<float>;
template class NeighborList<double>;

}  // namespace deepmd
