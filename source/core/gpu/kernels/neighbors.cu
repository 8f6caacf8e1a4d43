// SPDX-License-Identifier: BSD-3-Clause
// Neighbour lists; include/neighbors.h has the rule of what is kept in which order, and this
// decides everything as core/cell_grid.cc and core/neighbors.cc do, to the bit. A section is the
// neighbours of one type around a centre.
#include "kernel.h"

#include "cell_frame.h"
#include "exact.h"
#include "same_place.h"

DEVICE bool is_finite(real x) { return x - x == 0; }

KERNEL(check_atoms, const real* coord, const int32_t* type, int64_t n, int64_t n_types,
       unsigned long long* report) {
  EACH(i, n) {
    const bool finite =
        is_finite(coord[3 * i]) && is_finite(coord[3 * i + 1]) && is_finite(coord[3 * i + 2]);
    if (type[i] >= n_types || (type[i] >= 0 && !finite)) report[kWrong] = 1;
  }
}

// Neighbours within the cutoff --------------------------------------------------------------------

// Images of atoms: three numbers of lattice vectors.
constexpr int32_t kMostImages = 511;
DEVICE int32_t pack_image(int32_t a, int32_t b, int32_t c) {
  return (a + kMostImages) << 20 | (b + kMostImages) << 10 | (c + kMostImages);
}
DEVICE int32_t image_along(int32_t image, int d) {
  return (image >> (20 - 10 * d) & 1023) - kMostImages;
}

// Where neighbours of a centre go.
struct Near {
  int32_t* counts;       // [n_types] in shared memory, beginning with zeros
  const int32_t* begin;  // [n_types], place of each section; null: neighbours are counted only
  float* distance2;      // of all sections, as is the following
  int32_t* atom;
};

// Gives the place of the neighbour, -1: there is none.
DEVICE int32_t take(const Near& near, int32_t type, float distance2, int32_t atom) {
  const int32_t n = atomicAdd(near.counts + type, 1);
  if (near.begin == nullptr) return -1;
  const int32_t at = near.begin[type] + n;
  near.distance2[at] = distance2;
  near.atom[at] = atom;
  return at;
}

DEVICE real distance2(const real* a, const real* b) {
  const real x[3] = {a[0] - b[0], a[1] - b[1], a[2] - b[2]};
  return dot3(x, x);
}

DEVICE float float_distance2(const real* a, const real* b) {
  const float x[3] = {float(a[0]) - float(b[0]), float(a[1]) - float(b[1]),
                      float(a[2]) - float(b[2])};
  return dot3(x, x);
}

DEVICE int32_t floor_quotient(int32_t a, int32_t b) { return (a >= 0 ? a : a - b + 1) / b; }

// What a search in cells reads.
struct CellPoints {
  const real* inside;    // [rows, 3], atoms in the box
  const int32_t* type;   // [rows]
  const int32_t* cell;   // [rows], among those of all frames; -1: in none
  const int32_t* start;  // [frames * most_cells + 1], where a cell begins in the following
  const int32_t* atom;   // row of each point
  const real* at;        // [points, 3]
  int64_t most_cells;    // of a frame
  int64_t n_types;
  real limit2;         // cutoff²
  float float_limit2;  // the same in float32
};

// Neighbours of an atom among the points begin … end - 1 of an image, for `step` lanes from `lane`.
DEVICE bool look_at(const CellPoints& points, int64_t row, int32_t begin, int32_t end, int lane,
                    int step, const double* shift, int32_t image, const Near& near,
                    int32_t* images) {
  const real* from = points.inside + 3 * row;
  const real same = deepmd::same_place(from);
  bool right = true;
  UNROLL_BY(1)  // registers are short
  for (int32_t k = begin + lane; k < end; k += step) {
    const int32_t j = points.atom[k];
    real to[3];
    for (int d = 0; d < 3; ++d) to[d] = real(points.at[3 * int64_t(k) + d] + shift[d]);
    const real exact = distance2(to, from);
    const bool itself = j == row && image == pack_image(0, 0, 0);
    if (!(exact < points.limit2) || itself) continue;
    if (exact < times(same, same)) right = false;
    const float narrow = float_distance2(to, from);
    if (!(narrow <= points.float_limit2) || points.type[j] >= points.n_types) continue;
    const int32_t place = take(near, points.type[j], narrow, j);
    if (place >= 0) images[place] = image;
  }
  return right;
}

// Neighbours of an atom in the cells around its own, by all lanes of a warp: a quarter of the warp
// for each row of cells along z, whose points are consecutive.
DEVICE bool look_around(const CellFrame& frame, const CellPoints& points, int64_t f, int64_t row,
                        bool periodic, const Near& near, int32_t* images) {
  constexpr int kLanes = 8;
  const int lane = int(threadIdx.x) % kWarp;
  // none of these is larger than choose_cells() lets it be
  int32_t rest = int32_t(points.cell[row] - f * points.most_cells), low[3], high[3];
  for (int d = 2; d >= 0; --d) {
    const int32_t mine = rest % frame.cells[d];
    rest /= frame.cells[d];
    low[d] = mine - frame.reach[d];
    high[d] = mine + frame.reach[d];
    if (periodic) continue;
    low[d] = low[d] < 0 ? 0 : low[d];
    high[d] = high[d] < frame.cells[d] ? high[d] : frame.cells[d] - 1;
  }
  const int32_t n_y = high[1] - low[1] + 1, n = (high[0] - low[0] + 1) * n_y;
  bool right = true;
  for (int32_t k = lane / kLanes; k < n; k += kWarp / kLanes) {
    const int32_t x = low[0] + k / n_y, y = low[1] + k % n_y;
    const int32_t of_x = floor_quotient(x, frame.cells[0]);
    const int32_t of_y = floor_quotient(y, frame.cells[1]);
    const int32_t* start =
        points.start + f * points.most_cells +
        ((x - of_x * frame.cells[0]) * frame.cells[1] + y - of_y * frame.cells[1]) * frame.cells[2];
    for (int32_t z = low[2]; z <= high[2];) {
      const int32_t of_z = floor_quotient(z, frame.cells[2]), first = of_z * frame.cells[2];
      const int32_t last =
          high[2] < first + frame.cells[2] - 1 ? high[2] : first + frame.cells[2] - 1;
      const double of[3] = {double(of_x), double(of_y), double(of_z)};
      double shift[3];
      for (int d = 0; d < 3; ++d) shift[d] = dot3(of, frame.lattice + d, 3);
      const int32_t image = pack_image(of_x, of_y, of_z);
      right &= look_at(points, row, start[z - first], start[last - first + 1], lane % kLanes,
                       kLanes, shift, image, near, images);
      z = last + 1;
    }
  }
  return right;
}

// found [n_centers * n_types]: sizes of the sections. Or, where `begin` [n_centers * n_types + 1]
// is not null, the neighbours in any order. A warp for each centre.
BLOCK_KERNEL(near_atoms, const CellFrame* frames, const real* inside, const int32_t* type,
             const int32_t* cell, const int32_t* start, const int32_t* atom, const real* at,
             int64_t most_cells, int32_t periodic, int64_t n_centers, int64_t n_local,
             int64_t n_all, int64_t n_types, real limit2, float float_limit2, const int32_t* begin,
             int32_t* found, float* near_distance2, int32_t* near_atom, int32_t* near_image,
             unsigned long long* report) {
  DYNAMIC_SHARED(int32_t, all_counts);
  int32_t* const counts = all_counts + threadIdx.x / kWarp * n_types;
  const CellPoints points = {inside, type,       cell,    start,  atom,
                             at,     most_cells, n_types, limit2, float_limit2};
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t c = blockIdx.x * warps + threadIdx.x / kWarp; c < n_centers;
       c += gridDim.x * warps) {
    EACH_LANE(t, n_types) counts[t] = 0;
    warp_sync();
    const int64_t f = c / n_local, row = f * n_all + c % n_local;
    if (cell[row] >= 0) {
      const Near near = {counts, begin == nullptr ? nullptr : begin + c * n_types, near_distance2,
                         near_atom};
      if (!look_around(frames[f], points, f, row, periodic != 0, near, near_image))
        report[kWrong] = 1;
    }
    warp_sync();
    if (begin == nullptr) {
      EACH_LANE(t, n_types) found[c * n_types + t] = counts[t];
    }
    warp_sync();
  }
}

// The same of a given list: atom i of each frame has the neighbours list[list_begin[i]] …
// list[list_begin[i + 1] - 1].
BLOCK_KERNEL(near_listed, const real* coord, const int32_t* type, const int64_t* list_begin,
             const int32_t* list, int64_t n_centers, int64_t n_local, int64_t n_all,
             int64_t n_types, float float_limit2, const int32_t* begin, int32_t* found,
             float* near_distance2, int32_t* near_atom, unsigned long long* report) {
  DYNAMIC_SHARED(int32_t, all_counts);
  int32_t* const counts = all_counts + threadIdx.x / kWarp * n_types;
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t c = blockIdx.x * warps + threadIdx.x / kWarp; c < n_centers;
       c += gridDim.x * warps) {
    EACH_LANE(t, n_types) counts[t] = 0;
    warp_sync();
    const int64_t f = c / n_local, i = c % n_local, first = f * n_all, row = first + i;
    if (type[row] >= 0) {
      const Near near = {counts, begin == nullptr ? nullptr : begin + c * n_types, near_distance2,
                         near_atom};
      const real* from = coord + 3 * row;
      const real same = deepmd::same_place(from);
      for (int64_t k = list_begin[i] + threadIdx.x % kWarp; k < list_begin[i + 1]; k += kWarp) {
        const int64_t j = list[k];
        if (!inside(j, n_all) || j == i) {
          report[kWrong] = 1;
          continue;
        }
        const int32_t t = type[first + j];
        if (!inside(t, n_types)) continue;
        const real* to = coord + 3 * (first + j);
        if (distance2(to, from) < times(same, same)) report[kWrong] = 1;
        const float narrow = float_distance2(to, from);
        if (narrow <= float_limit2) take(near, t, narrow, int32_t(first + j));
      }
    }
    warp_sync();
    if (begin == nullptr) {
      EACH_LANE(t, n_types) found[c * n_types + t] = counts[t];
    }
    warp_sync();
  }
}

// What is kept of them ----------------------------------------------------------------------------

// Counts a section, or a centre with all of its sections, and gives how many of it stay.
DEVICE int64_t limit(int64_t n_found, int64_t most, unsigned long long* dropped,
                     int32_t* max_found) {
  const int64_t n_kept = most < 0 || n_found < most ? n_found : most;
  if (n_kept < n_found) atomicAdd(dropped, static_cast<unsigned long long>(n_found - n_kept));
  // a look before costs less than many threads that wait for each other
  if (n_found > *max_found) atomicMax(max_found, int32_t(n_found));
  return n_kept;
}

DEVICE void add_totals(int64_t n_found, int64_t n_kept, int64_t* parts,
                       unsigned long long* report) {
  n_found = block_sum(n_found, parts);
  n_kept = block_sum(n_kept, parts);
  if (threadIdx.x != 0) return;
  atomicAdd(report + kFound, static_cast<unsigned long long>(n_found));
  atomicAdd(report + kKept, static_cast<unsigned long long>(n_kept));
}

// kept [n_sections] of sections of at most sel [n_types] neighbours.
BLOCK_KERNEL(limit_sections, const int32_t* found, const int32_t* sel, int64_t n_sections,
             int64_t n_types, int32_t* kept, unsigned long long* report, int32_t* max_found) {
  SHARED int64_t parts[kWarp];
  int64_t n_found = 0, n_kept = 0;
  EACH(s, n_sections) {
    const int64_t t = s % n_types;
    const int64_t stay = limit(found[s], sel[t], report + kTotals + t, max_found + t);
    kept[s] = int32_t(stay);
    n_found += found[s];
    n_kept += stay;
  }
  add_totals(n_found, n_kept, parts, report);
}

// The same of centres of at most `total` neighbours of all types.
BLOCK_KERNEL(limit_centers, const int32_t* found, int64_t total, int64_t n_centers, int64_t n_types,
             unsigned long long* report, int32_t* max_found) {
  SHARED int64_t parts[kWarp];
  int64_t n_found = 0, n_kept = 0;
  EACH(c, n_centers) {
    int64_t here = 0;
    for (int64_t t = 0; t < n_types; ++t) here += found[c * n_types + t];
    n_kept += limit(here, total, report + kTotals, max_found);
    n_found += here;
  }
  add_totals(n_found, n_kept, parts, report);
}

// Neighbours as near_atoms and near_listed leave them, and how images are ordered; image is null
// where there are none.
struct Order {
  const float* distance2;
  const int32_t* atom;
  const int32_t* image;
  const CellFrame* frames;
  const int32_t* image_cell;  // [rows, 3]
};

// Whether neighbour p comes before neighbour q of the same distance, in frame f.
DEVICE bool before(const Order& order, int64_t f, int64_t p, int64_t q) {
  const int64_t i = order.atom[p], j = order.atom[q];
  const int32_t home = pack_image(0, 0, 0);
  const int32_t of_p = order.image == nullptr ? home : order.image[p];
  const int32_t of_q = order.image == nullptr ? home : order.image[q];
  if ((of_p != home) != (of_q != home)) return of_q != home;
  if (of_p != home) {
    const CellFrame& frame = order.frames[f];
    for (int d = 0; d < 3; ++d) {
      const int64_t cell_p =
          order.image_cell[3 * i + d] + image_along(of_p, d) * frame.image_cells[d];
      const int64_t cell_q =
          order.image_cell[3 * j + d] + image_along(of_q, d) * frame.image_cells[d];
      if (cell_p != cell_q) return cell_p < cell_q;
    }
  }
  return i != j ? i < j : p < q;
}

// How many of the neighbours begin … end - 1 come before neighbour p.
DEVICE int32_t rank_among(const Order& order, int64_t f, int32_t begin, int32_t end, int32_t p) {
  const float mine = order.distance2[p];
  int32_t rank = 0, same = 0;
  for (int32_t q = begin; q < end; ++q) {
    const float other = order.distance2[q];
    rank += other < mine;
    same += other == mine;
  }
  if (same == 1) return rank;  // itself alone, but in crystals
  for (int32_t q = begin; q < end; ++q)
    if (order.distance2[q] == mine && q != p && before(order, f, q, p)) ++rank;
  return rank;
}

// kept [n_centers * n_types]: how many of the `total` nearest of each centre are of each type.
BLOCK_KERNEL(count_nearest, const int32_t* begin, const float* distance2, const int32_t* atom,
             const int32_t* image, const CellFrame* frames, const int32_t* image_cell,
             const int32_t* type, int64_t total, int64_t n_centers, int64_t n_local,
             int64_t n_types, int32_t* kept) {
  DYNAMIC_SHARED(int32_t, all_counts);
  int32_t* const counts = all_counts + threadIdx.x / kWarp * n_types;
  const Order order = {distance2, atom, image, frames, image_cell};
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t c = blockIdx.x * warps + threadIdx.x / kWarp; c < n_centers;
       c += gridDim.x * warps) {
    EACH_LANE(t, n_types) counts[t] = 0;
    warp_sync();
    const int32_t first = begin[c * n_types], last = begin[(c + 1) * n_types];
    EACH_LANE(k, last - first) {
      const int32_t p = first + k;
      if (rank_among(order, c / n_local, first, last, p) < total)
        atomicAdd(counts + type[atom[p]], 1);
    }
    warp_sync();
    EACH_LANE(t, n_types) kept[c * n_types + t] = counts[t];
    warp_sync();
  }
}

// The pairs, splits [n_centers * n_types + 1] of them: those of each section that stay, in order. A
// warp for each centre; every lane finds the rank of a neighbour in its section. center may be
// null, and so is `wrapped` where there are no images.
BLOCK_KERNEL(write_pairs, const int32_t* begin, const float* distance2, const int32_t* atom,
             const int32_t* image, const CellFrame* frames, const int32_t* image_cell,
             const int32_t* wrapped, const int32_t* type, const int32_t* splits, int64_t n_centers,
             int64_t n_local, int64_t n_all, int64_t n_types, int32_t* center, int32_t* neighbor,
             real* shift) {
  const Order order = {distance2, atom, image, frames, image_cell};
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t c = blockIdx.x * warps + threadIdx.x / kWarp; c < n_centers;
       c += gridDim.x * warps) {
    const int64_t f = c / n_local, row = f * n_all + c % n_local;
    const int32_t first = begin[c * n_types], last = begin[(c + 1) * n_types];
    EACH_LANE(k, last - first) {
      const int32_t p = first + k;
      const int64_t j = atom[p], section = c * n_types + type[j];
      const int32_t rank = rank_among(order, f, begin[section], begin[section + 1], p);
      if (rank >= splits[section + 1] - splits[section]) continue;
      const int64_t to = int64_t(splits[section]) + rank;
      if (center != nullptr) center[to] = int32_t(row);
      neighbor[to] = int32_t(j);
      double images[3] = {0, 0, 0};
      if (wrapped != nullptr)
        // The image is that of the wrapped atoms; here it must bridge the given coordinates.
        for (int d = 0; d < 3; ++d)
          images[d] = double(image_along(image[p], d)) + wrapped[3 * row + d] - wrapped[3 * j + d];
      for (int d = 0; d < 3; ++d)
        shift[3 * to + d] =
            wrapped == nullptr ? real(0) : real(dot3(images, frames[f].lattice + d, 3));
    }
  }
}

// The closest pair -------------------------------------------------------------------------------

// A pair and its distance², p < 0: none.
struct Closest {
  real distance2;
  int32_t p;
};

DEVICE Closest closer(const Closest& a, const Closest& b) {
  if (a.p < 0) return b;
  if (b.p < 0) return a;
  if (a.distance2 != b.distance2) return a.distance2 < b.distance2 ? a : b;
  return a.p < b.p ? a : b;
}

// The closest of what the threads have, in thread 0.
DEVICE Closest closest_of_block(Closest mine, real* distances, int32_t* places) {
  for (int step = int(blockDim.x) / 2; step > 0; step /= 2) {
    distances[threadIdx.x] = mine.distance2;
    places[threadIdx.x] = mine.p;
    block_sync();
    if (int(threadIdx.x) < step)
      mine = closer(mine, Closest{distances[threadIdx.x + step], places[threadIdx.x + step]});
    block_sync();
  }
  return mine;
}

// The closest of the first pairs of all sections: of those of each block.
BLOCK_KERNEL(closest_of_blocks, const real* coord, const int32_t* splits, const int32_t* center,
             const int32_t* neighbor, const real* shift, int64_t n_sections, real* distances2,
             int32_t* found) {
  SHARED real distances[256];
  SHARED int32_t places[256];
  Closest mine = {0, -1};
  EACH(s, n_sections) {
    const int64_t p = splits[s];
    if (p == splits[s + 1]) continue;
    real x[3];
    for (int d = 0; d < 3; ++d)
      x[d] = coord[3 * int64_t(neighbor[p]) + d] + shift[3 * p + d] -
             coord[3 * int64_t(center[p]) + d];
    mine = closer(mine, Closest{dot3(x, x), int32_t(p)});
  }
  mine = closest_of_block(mine, distances, places);
  if (threadIdx.x != 0) return;
  distances2[blockIdx.x] = mine.distance2;
  found[blockIdx.x] = mine.p;
}

// out: 0 if there is no pair, distance², then type and position of the centre and of the neighbour.
BLOCK_KERNEL(closest_pair, const real* distances2, const int32_t* found, int64_t n,
             const real* coord, const int32_t* type, const int32_t* center, const int32_t* neighbor,
             const real* shift, real* out) {
  SHARED real distances[256];
  SHARED int32_t places[256];
  Closest mine = {0, -1};
  EACH(k, n) mine = closer(mine, Closest{distances2[k], found[k]});
  mine = closest_of_block(mine, distances, places);
  if (threadIdx.x != 0 || blockIdx.x != 0) return;
  out[0] = mine.p >= 0;
  if (mine.p < 0) return;
  const int64_t p = mine.p, from = center[p], to = neighbor[p];
  out[1] = mine.distance2;
  out[2] = real(type[from]);
  out[6] = real(type[to]);
  for (int d = 0; d < 3; ++d) {
    out[3 + d] = coord[3 * from + d];
    out[7 + d] = coord[3 * to + d] + shift[3 * p + d];
  }
}
