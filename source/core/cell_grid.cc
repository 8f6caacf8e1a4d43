// SPDX-License-Identifier: BSD-3-Clause
#include "cell_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>

#include "within.h"

namespace deepmd {
namespace {

// A frame that asks for more than this many candidates around one atom is a mistake in its box.
const double kMaxCandidates = 5e6;
// So is one whose images are more points or cells than this, beside some for each atom.
const std::int64_t kMaxPoints = 1000000;
const std::int64_t kMaxPointsPerAtom = 64;
// Atoms that have drifted further than this many lattice vectors have lost their digits.
const double kMaxWraps = 1e9;
// Cells are at least half a cutoff wide, and there are at most this many times as many as atoms.
const double kCellsPerCutoff = 2;
const double kCellsPerAtom = 2;

double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

void cross(const double* a, const double* b, double* c) {
  c[0] = a[1] * b[2] - a[2] * b[1];
  c[1] = a[2] * b[0] - a[0] * b[2];
  c[2] = a[0] * b[1] - a[1] * b[0];
}

// Columns of `inverse` are the reciprocal vectors: fraction[d] = sum_k r[k] inverse[3k + d]. The
// arithmetic is in T, as is everything that decides where an atom is wrapped to.
template <typename T>
void invert(const T* box, T* inverse) {
  const T volume = box[0] * (box[4] * box[8] - box[7] * box[5]) -
                   box[1] * (box[3] * box[8] - box[6] * box[5]) +
                   box[2] * (box[3] * box[7] - box[6] * box[4]);
  const T scale = T(1) / volume;
  inverse[0] = scale * (box[4] * box[8] - box[7] * box[5]);
  inverse[3] = -scale * (box[3] * box[8] - box[6] * box[5]);
  inverse[6] = scale * (box[3] * box[7] - box[6] * box[4]);
  inverse[1] = -scale * (box[1] * box[8] - box[7] * box[2]);
  inverse[4] = scale * (box[0] * box[8] - box[6] * box[2]);
  inverse[7] = -scale * (box[0] * box[7] - box[6] * box[1]);
  inverse[2] = scale * (box[1] * box[5] - box[4] * box[2]);
  inverse[5] = -scale * (box[0] * box[5] - box[3] * box[2]);
  inverse[8] = scale * (box[0] * box[4] - box[3] * box[1]);
}

// Distance between opposite faces along each lattice vector, or why the box has none.
template <typename T>
std::string face_distances(const T* box, double* lattice, double* face) {
  for (int k = 0; k < 9; ++k) {
    if (!std::isfinite(box[k])) return "has a box that is not finite";
    lattice[k] = box[k];
  }
  double scale = 1;
  for (int d = 0; d < 3; ++d) scale *= std::sqrt(dot(lattice + 3 * d, lattice + 3 * d));
  double normal[3];
  cross(lattice, lattice + 3, normal);
  const double volume = std::fabs(dot(normal, lattice + 6));
  if (!(volume > 1e-10 * scale)) {  // also true when both are zero
    return "has a box of zero volume; a system without periodic boundaries takes an empty mesh";
  }
  for (int d = 0; d < 3; ++d) {
    cross(lattice + 3 * ((d + 1) % 3), lattice + 3 * ((d + 2) % 3), normal);
    face[d] = volume / std::sqrt(dot(normal, normal));
  }
  return "";
}

std::int32_t clamp_cell(double fraction, std::int64_t cells) {
  const double cell = std::floor(fraction * cells);
  return static_cast<std::int32_t>(
      std::min<double>(std::max<double>(cell, 0), static_cast<double>(cells - 1)));
}

}  // namespace

template <typename T>
std::string CellGrid<T>::build(std::int64_t n_atoms, const T* coord, const std::int32_t* type,
                               const T* box, double cutoff) {
  periodic = box != nullptr;
  wrapped.assign(3 * n_atoms, 0);
  cell_of.assign(3 * n_atoms, 0);
  Positions at{{coord, coord + 3 * n_atoms}, std::vector<double>(3 * n_atoms), {1, 1, 1}};
  const std::string wrong = periodic ? wrap(type, box, cutoff, &at) : bound(type, &at);
  if (!wrong.empty()) return wrong;
  const std::int64_t n_real =
      std::count_if(type, type + n_atoms, [](std::int32_t t) { return t >= 0; });
  std::int64_t n[3];
  if (choose_cells(at.extent, n_real, cutoff, n)) {
    for (std::int64_t i = 0; i < n_atoms; ++i) {
      if (type[i] < 0) continue;
      for (int d = 0; d < 3; ++d) cell_of[3 * i + d] = clamp_cell(at.fraction[3 * i + d], n[d]);
    }
    if (place(n, at.inside, type)) return "";
  }
  return "has a box far smaller than the cutoff of " + std::to_string(cutoff) + ": its faces are " +
         std::to_string(at.extent[0]) + ", " + std::to_string(at.extent[1]) + " and " +
         std::to_string(at.extent[2]) + " apart; are its units right?";
}

template <typename T>
std::string CellGrid<T>::wrap(const std::int32_t* type, const T* box, double cutoff,
                              Positions* at) {
  const std::int64_t n_atoms = static_cast<std::int64_t>(at->inside.size()) / 3;
  const std::string wrong = face_distances(box, lattice, at->extent);
  if (!wrong.empty()) return wrong;
  T inverse[9];
  invert(box, inverse);
  double exact[9];
  invert(lattice, exact);
  image_cell_of_.assign(3 * n_atoms, 0);
  for (int d = 0; d < 3; ++d) {
    image_cells_[d] = std::max<std::int64_t>(static_cast<std::int64_t>(at->extent[d] / cutoff), 1);
  }
  for (std::int64_t i = 0; i < n_atoms; ++i) {
    if (type[i] < 0) continue;
    T* r = at->inside.data() + 3 * i;
    T inside[3];
    for (int d = 0; d < 3; ++d) {
      const T all = r[0] * inverse[d] + r[1] * inverse[3 + d] + r[2] * inverse[6 + d];
      if (!(std::fabs(all) < kMaxWraps)) {
        return "has atom " + std::to_string(i) +
               " more than 1e9 lattice vectors away from the origin";
      }
      // As std::fmod would, and faster; the difference is exact.
      std::int32_t whole = static_cast<std::int32_t>(all);
      inside[d] = all - static_cast<T>(whole);
      if (inside[d] < 0) {
        inside[d] += T(1);
        --whole;
      }
      wrapped[3 * i + d] = whole;
    }
    for (int d = 0; d < 3; ++d) {
      r[d] = inside[0] * box[d] + inside[1] * box[3 + d] + inside[2] * box[6 + d];
    }
    for (int d = 0; d < 3; ++d) {
      const double f = r[0] * exact[d] + r[1] * exact[3 + d] + r[2] * exact[6 + d];
      at->fraction[3 * i + d] = f;
      image_cell_of_[3 * i + d] = clamp_cell(f, image_cells_[d]);
    }
  }
  return "";
}

template <typename T>
std::string CellGrid<T>::bound(const std::int32_t* type, Positions* at) const {
  const std::int64_t n_atoms = static_cast<std::int64_t>(at->inside.size()) / 3;
  const T* r = at->inside.data();
  for (int d = 0; d < 3; ++d) {
    double low = INFINITY, high = -INFINITY;
    for (std::int64_t i = 0; i < n_atoms; ++i) {
      if (type[i] < 0) continue;
      low = std::min<double>(low, r[3 * i + d]);
      high = std::max<double>(high, r[3 * i + d]);
    }
    const double extent = at->extent[d] = high > low ? high - low : 1;
    if (!std::isfinite(extent)) return "has atoms whose distance is larger than any number";
    for (std::int64_t i = 0; i < n_atoms; ++i) {
      if (type[i] >= 0) at->fraction[3 * i + d] = (r[3 * i + d] - low) / extent;
    }
  }
  return "";
}

template <typename T>
bool CellGrid<T>::choose_cells(const double extent[3], std::int64_t n_real, double cutoff,
                               std::int64_t n[3]) {
  // Floating point first: a huge box must not overflow the number of cells.
  double wish[3];
  for (int d = 0; d < 3; ++d) {
    wish[d] = std::min(std::max(std::floor(kCellsPerCutoff * extent[d] / cutoff), 1.0), 1e6);
  }
  const double limit = std::max(64.0, kCellsPerAtom * n_real);
  while (wish[0] * wish[1] * wish[2] > limit) {
    double& most = *std::max_element(wish, wish + 3);
    most = std::max(1.0, std::floor(most / 1.3));
  }
  double looked_at = 1;
  for (int d = 0; d < 3; ++d) {
    n[d] = static_cast<std::int64_t>(wish[d]);
    // A little more than the cutoff, for atoms that rounding put into the next cell.
    const double steps = 1.00001 * cutoff * wish[d] / extent[d];
    looked_at *= periodic ? 2 * steps + 1 : 1;
    if (looked_at > kMaxCandidates) return false;
    reach[d] = static_cast<std::int64_t>(std::min(steps, 1e6)) + 1;
  }
  return looked_at * std::max(1.0, n_real / (wish[0] * wish[1] * wish[2])) <= kMaxCandidates;
}

template <typename T>
bool CellGrid<T>::place(const std::int64_t n[3], const std::vector<T>& inside,
                        const std::int32_t* type) {
  const std::int64_t n_atoms = static_cast<std::int64_t>(inside.size()) / 3;
  // Atoms by cell, before there are images.
  const auto cell = [&](std::int64_t i) {
    return (cell_of[3 * i] * n[1] + cell_of[3 * i + 1]) * n[2] + cell_of[3 * i + 2];
  };
  std::vector<std::int32_t> first(n[0] * n[1] * n[2] + 1);
  for (std::int64_t i = 0; i < n_atoms; ++i) {
    if (type[i] >= 0) ++first[cell(i) + 1];
  }
  for (std::size_t c = 1; c < first.size(); ++c) first[c] += first[c - 1];
  std::vector<std::int32_t> members(first.back()), next(first.begin(), first.end() - 1);
  for (std::int64_t i = 0; i < n_atoms; ++i) {
    if (type[i] >= 0) members[next[cell(i)]++] = static_cast<std::int32_t>(i);
  }

  // Each cell along an axis: of which cell of the box it is an image, and in which image of the
  // box; and how often each cell of the box is met.
  std::vector<std::int64_t> source[3], box_of[3], times[3];
  const std::int64_t n_real = first.back(), most = kMaxPoints + kMaxPointsPerAtom * n_real;
  std::int64_t n_cells = 1;
  for (int d = 0; d < 3; ++d) {
    const std::int64_t halo = periodic ? reach[d] : 0;
    cells[d] = n[d] + 2 * halo;
    n_cells *= cells[d];
    if (n_cells > most) return false;
    times[d].assign(n[d], 0);
    for (std::int64_t c = -halo; c < n[d] + halo; ++c) {
      const std::int64_t box = (c + halo * n[d]) / n[d] - halo;  // floor of c / n
      source[d].push_back(c - box * n[d]);
      box_of[d].push_back(box);
      ++times[d][c - box * n[d]];
    }
  }
  std::int64_t n_points = 0;
  for (const std::int64_t i : members) {
    n_points +=
        times[0][cell_of[3 * i]] * times[1][cell_of[3 * i + 1]] * times[2][cell_of[3 * i + 2]];
  }
  if (n_points > most) return false;
  if (n_points > std::numeric_limits<std::int32_t>::max() / 3) throw std::bad_alloc();
  for (auto* values : {&x, &y, &z}) values->resize(n_points + kWithinPadding);
  atom.resize(n_points);
  image.resize(3 * n_points);
  home.assign(n_atoms, -1);
  start.assign(1, 0);
  start.reserve(n_cells + 1);
  std::int32_t point = 0;
  for (std::int64_t cx = 0; cx < cells[0]; ++cx) {
    for (std::int64_t cy = 0; cy < cells[1]; ++cy) {
      const std::int64_t row = (source[0][cx] * n[1] + source[1][cy]) * n[2];
      for (std::int64_t cz = 0; cz < cells[2]; ++cz) {
        const std::int64_t of[3] = {box_of[0][cx], box_of[1][cy], box_of[2][cz]};
        double shift[3];
        for (int d = 0; d < 3; ++d) {
          shift[d] = of[0] * lattice[d] + of[1] * lattice[3 + d] + of[2] * lattice[6 + d];
        }
        const std::int64_t from = row + source[2][cz];
        for (std::int32_t m = first[from]; m < first[from + 1]; ++m, ++point) {
          const std::int64_t i = members[m];
          atom[point] = members[m];
          x[point] = static_cast<T>(inside[3 * i] + shift[0]);
          y[point] = static_cast<T>(inside[3 * i + 1] + shift[1]);
          z[point] = static_cast<T>(inside[3 * i + 2] + shift[2]);
          for (int d = 0; d < 3; ++d) image[3 * point + d] = static_cast<std::int32_t>(of[d]);
          if (of[0] == 0 && of[1] == 0 && of[2] == 0) home[i] = point;
        }
        start.push_back(point);
      }
    }
  }
  return true;
}

template <typename T>
bool CellGrid<T>::before(std::int32_t p, std::int32_t q) const {
  const std::int32_t *of_p = image.data() + 3 * p, *of_q = image.data() + 3 * q;
  const std::int64_t i = atom[p], j = atom[q];
  const bool p_is_image = of_p[0] != 0 || of_p[1] != 0 || of_p[2] != 0;
  const bool q_is_image = of_q[0] != 0 || of_q[1] != 0 || of_q[2] != 0;
  if (p_is_image != q_is_image) return q_is_image;
  if (p_is_image) {
    for (int d = 0; d < 3; ++d) {
      const std::int64_t cell_p = image_cell_of_[3 * i + d] + of_p[d] * image_cells_[d];
      const std::int64_t cell_q = image_cell_of_[3 * j + d] + of_q[d] * image_cells_[d];
      if (cell_p != cell_q) return cell_p < cell_q;
    }
  }
  return i < j;
}

template struct CellGrid<float>;
template struct CellGrid<double>;

}  // namespace deepmd
