// SPDX-License-Identifier: BSD-3-Clause
// Atoms of frames sorted into cells, for neighbors.cu; what decides where an atom is wrapped to is
// computed as core/cell_grid.cc does, to the bit.
#include "kernel.h"

#include "cell_frame.h"
#include "exact.h"

// As in core/cell_grid.cc.
constexpr double kMaxCandidates = 5e6, kMaxPoints = 1e6, kMaxPointsPerAtom = 64, kMaxWraps = 1e9;
constexpr double kCellsPerCutoff = 2, kCellsPerAtom = 2;
constexpr double kMostImages = 511;  // of a packed image in neighbors.cu
constexpr double kLargest = 1.7976931348623157e308;

template <typename T>
DEVICE T minor(const T* box, int a, int b, int c, int d) {
  return times(box[a], box[b]) - times(box[c], box[d]);
}

template <typename T>
DEVICE void invert(const T* box, T* inverse) {
  const T volume = times(box[0], minor(box, 4, 8, 7, 5)) - times(box[1], minor(box, 3, 8, 6, 5)) +
                   times(box[2], minor(box, 3, 7, 6, 4));
  const T scale = T(1) / volume;
  inverse[0] = times(scale, minor(box, 4, 8, 7, 5));
  inverse[3] = times(-scale, minor(box, 3, 8, 6, 5));
  inverse[6] = times(scale, minor(box, 3, 7, 6, 4));
  inverse[1] = times(-scale, minor(box, 1, 8, 7, 2));
  inverse[4] = times(scale, minor(box, 0, 8, 6, 2));
  inverse[7] = times(-scale, minor(box, 0, 7, 6, 1));
  inverse[2] = times(scale, minor(box, 1, 5, 4, 2));
  inverse[5] = times(-scale, minor(box, 0, 5, 3, 2));
  inverse[8] = times(scale, minor(box, 0, 4, 3, 1));
}

DEVICE void cross(const double* a, const double* b, double* c) {
  c[0] = times(a[1], b[2]) - times(a[2], b[1]);
  c[1] = times(a[2], b[0]) - times(a[0], b[2]);
  c[2] = times(a[0], b[1]) - times(a[1], b[0]);
}

// Lattice and distances of its faces; false if the box has none.
DEVICE bool take_box(const real* box, double cutoff, CellFrame* frame) {
  double* lattice = frame->lattice;
  bool finite = true;
  for (int k = 0; k < 9; ++k) {
    finite = finite && box[k] - box[k] == 0;
    lattice[k] = box[k];
  }
  if (!finite) return false;
  double scale = 1, normal[3];
  for (int d = 0; d < 3; ++d) scale = times(scale, sqrt(dot3(lattice + 3 * d, lattice + 3 * d)));
  cross(lattice, lattice + 3, normal);
  const double volume = fabs(dot3(normal, lattice + 6));
  if (!(volume > 1e-10 * scale)) return false;
  for (int d = 0; d < 3; ++d) {
    cross(lattice + 3 * ((d + 1) % 3), lattice + 3 * ((d + 2) % 3), normal);
    frame->extent[d] = volume / sqrt(dot3(normal, normal));
    const double coarse = frame->extent[d] / cutoff;
    if (!(coarse < 1e9)) return false;
    frame->image_cells[d] = coarse < 1 ? 1 : int64_t(coarse);
  }
  real inverse[9];
  invert(box, inverse);
  for (int k = 0; k < 9; ++k) frame->inverse[k] = inverse[k];
  invert<double>(lattice, frame->exact);
  return true;
}

// Numbers of cells and `reach`. False where an atom would have too many candidates or there would
// be too many images, and where that cannot be told for sure.
DEVICE bool choose_cells(double n_real, double cutoff, bool periodic, CellFrame* frame) {
  double wish[3];
  for (int d = 0; d < 3; ++d) {
    const double n = floor(kCellsPerCutoff * frame->extent[d] / cutoff);
    wish[d] = n < 1 ? 1 : n > 1e6 ? 1e6 : n;
  }
  const double limit = kCellsPerAtom * n_real < 64 ? 64 : kCellsPerAtom * n_real;
  while (wish[0] * wish[1] * wish[2] > limit) {
    const int most = wish[1] > wish[0] ? (wish[2] > wish[1] ? 2 : 1) : (wish[2] > wish[0] ? 2 : 0);
    const double fewer = floor(wish[most] / 1.3);
    wish[most] = fewer < 1 ? 1 : fewer;
  }
  const double room = kMaxPoints + kMaxPointsPerAtom * n_real;
  double looked_at = 1, points = n_real, cells = 1;
  for (int d = 0; d < 3; ++d) {
    // A little more than the cutoff, for atoms that rounding put into the next cell.
    const double steps = 1.00001 * cutoff * wish[d] / frame->extent[d];
    if (periodic) looked_at *= 2 * steps + 1;
    if (!(looked_at <= kMaxCandidates)) return false;
    const double reach = floor(steps < 1e6 ? steps : 1e6) + 1;
    frame->cells[d] = int32_t(wish[d]);
    frame->reach[d] = int32_t(reach);
    if (!periodic) continue;
    const double images = ceil(reach / wish[d]);
    if (images > kMostImages) return false;
    points *= 2 * images + 1;
    cells *= wish[d] + 2 * reach;
  }
  const double in_cell = n_real / (wish[0] * wish[1] * wish[2]);
  return looked_at * (in_cell < 1 ? 1 : in_cell) <= kMaxCandidates && points <= room &&
         cells <= room;
}

// Chooses the cells of each frame, a block for each; box is null for frames that are not periodic.
BLOCK_KERNEL(measure_frames, const real* coord, const int32_t* type, const real* box,
             int64_t n_frames, int64_t n_all, double cutoff, CellFrame* frames,
             unsigned long long* report) {
  SHARED int32_t counts[kWarp];
  SHARED double parts[6 * kWarp];
  EACH_BLOCK(f, n_frames) {
    // smallest coordinates, and those of the mirrored atoms: largest ones
    double low[6] = {kLargest, kLargest, kLargest, kLargest, kLargest, kLargest};
    int32_t n_real = 0;
    for (int64_t i = f * n_all + threadIdx.x; i < (f + 1) * n_all; i += blockDim.x) {
      if (type[i] < 0) continue;
      ++n_real;
      for (int d = 0; box == nullptr && d < 3; ++d) {
        const double r = coord[3 * i + d];
        low[d] = r < low[d] ? r : low[d];
        low[3 + d] = -r < low[3 + d] ? -r : low[3 + d];
      }
    }
    n_real = block_sum(n_real, counts);
    for (int k = 0; k < 6; ++k) {
      for (int step = kWarp / 2; step > 0; step /= 2) {
        const double other = __shfl_xor_sync(kAllLanes, low[k], step);
        low[k] = other < low[k] ? other : low[k];
      }
      if (threadIdx.x % kWarp == 0) parts[k * kWarp + threadIdx.x / kWarp] = low[k];
    }
    block_sync();
    if (threadIdx.x == 0) {
      CellFrame frame = {};
      bool usable = true;
      for (int d = 0; d < 3; ++d) {
        double least = parts[d * kWarp], most = parts[(3 + d) * kWarp];
        for (int w = 1; w < int(blockDim.x) / kWarp; ++w) {
          const double a = parts[d * kWarp + w], b = parts[(3 + d) * kWarp + w];
          least = a < least ? a : least;
          most = b < most ? b : most;
        }
        frame.low[d] = least;
        frame.extent[d] = -most > least ? -most - least : 1;
        usable = usable && frame.extent[d] - frame.extent[d] == 0;
        frame.image_cells[d] = 1;
      }
      if (box != nullptr) usable = take_box(box + 9 * f, cutoff, &frame);
      usable = usable && choose_cells(n_real, cutoff, box != nullptr, &frame);
      frame.usable = usable;
      if (!usable) report[kWrong] = 1;
      frames[f] = frame;
    }
    block_sync();
  }
}

DEVICE int32_t clamp_cell(double fraction, int64_t cells) {
  const double cell = floor(times(fraction, double(cells)));
  if (!(cell > 0)) return 0;
  return int32_t(cell < double(cells - 1) ? cell : double(cells - 1));
}

// Atoms in the box; how many lattice vectors were taken off; and their cells: cell [rows] among
// those of all frames, or -1, and image_cell [rows, 3] of the coarser division.
KERNEL(wrap_atoms, const CellFrame* frames, const real* coord, const int32_t* type, const real* box,
       int64_t n_frames, int64_t n_all, int64_t most_cells, real* inside, int32_t* wrapped,
       int32_t* cell, int32_t* image_cell, unsigned long long* report) {
  EACH(i, n_frames * n_all) {
    const int64_t f = i / n_all;
    const CellFrame& frame = frames[f];
    real r[3] = {coord[3 * i], coord[3 * i + 1], coord[3 * i + 2]};
    double fraction[3] = {0, 0, 0};
    bool usable = type[i] >= 0 && frame.usable;
    if (usable && box != nullptr) {
      real part[3], scaled[3];
      for (int d = 0; d < 3; ++d) {
        const real inverse[3] = {real(frame.inverse[d]), real(frame.inverse[3 + d]),
                                 real(frame.inverse[6 + d])};
        scaled[d] = dot3(r, inverse);
        usable = usable && scaled[d] < real(kMaxWraps) && -scaled[d] < real(kMaxWraps);
      }
      if (!usable) report[kWrong] = 1;
      for (int d = 0; usable && d < 3; ++d) {
        int32_t whole = int32_t(scaled[d]);
        part[d] = scaled[d] - real(whole);
        if (part[d] < 0) {
          part[d] += real(1);
          --whole;
        }
        wrapped[3 * i + d] = whole;
      }
      for (int d = 0; usable && d < 3; ++d) r[d] = dot3(part, box + 9 * f + d, 3);
      const double at[3] = {double(r[0]), double(r[1]), double(r[2])};
      for (int d = 0; usable && d < 3; ++d) {
        fraction[d] = dot3(at, frame.exact + d, 3);
        image_cell[3 * i + d] = clamp_cell(fraction[d], frame.image_cells[d]);
      }
    } else if (usable) {
      for (int d = 0; d < 3; ++d) fraction[d] = (r[d] - frame.low[d]) / frame.extent[d];
    }
    int64_t mine = 0;
    for (int d = 0; usable && d < 3; ++d)
      mine = mine * frame.cells[d] + clamp_cell(fraction[d], frame.cells[d]);
    cell[i] = usable ? int32_t(f * most_cells + mine) : -1;
    for (int d = 0; d < 3; ++d) inside[3 * i + d] = r[d];
  }
}

// Positions of atoms in the order of their cells, of which there are n_cells.
KERNEL(sort_points, const real* inside, const int32_t* start, const int32_t* order, int64_t n_cells,
       int64_t n, real* at) {
  EACH(k, n) {
    if (k >= start[n_cells]) continue;
    const int64_t i = order[k];
    for (int d = 0; d < 3; ++d) at[3 * k + d] = inside[3 * i + d];
  }
}
