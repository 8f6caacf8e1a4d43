// SPDX-License-Identifier: BSD-3-Clause
// Atoms of one frame sorted into cells, so that the candidates within a cutoff of a point are found
// by looking into a few cells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace deepmd {

// Floor division for a positive divisor.
inline std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a >= 0 ? a / b : -((b - 1 - a) / b);
}

template <typename T>
struct CellGrid {
  // Prepares the search in one frame; `box` is null for a frame that is not periodic. Atoms of negative
  // type are left out. Returns what is wrong with the frame, or an empty string.
  std::string build(std::int64_t n_atoms, const T* coord, const std::int32_t* type, const T* box,
                    double cutoff);

  // Calls visit(first, last, image) for runs of `atom` that may be closer to atom i than the cutoff;
  // the position of atom a of a run is (x[a], y[a], z[a]) + image · box.
  template <typename F>
  void near(std::int64_t i, const F& visit) const {
    std::int64_t low[3], high[3], image[3];
    for (int d = 0; d < 3; ++d) {
      low[d] = cell_of[3 * i + d] - reach[d];
      high[d] = cell_of[3 * i + d] + reach[d];
      if (!periodic) {
        low[d] = low[d] > 0 ? low[d] : 0;
        high[d] = high[d] < cells[d] - 1 ? high[d] : cells[d] - 1;
      }
    }
    for (std::int64_t cx = low[0]; cx <= high[0]; ++cx) {
      image[0] = floor_div(cx, cells[0]);
      const std::int64_t row_x = (cx - image[0] * cells[0]) * cells[1];
      for (std::int64_t cy = low[1]; cy <= high[1]; ++cy) {
        image[1] = floor_div(cy, cells[1]);
        const std::int64_t row = (row_x + cy - image[1] * cells[1]) * cells[2];
        for (std::int64_t cz = low[2]; cz <= high[2];) {
          // Neighbouring cells along z hold consecutive atoms as long as the image is the same.
          image[2] = floor_div(cz, cells[2]);
          const std::int64_t end_of_image = (image[2] + 1) * cells[2] - 1;
          const std::int64_t last = high[2] < end_of_image ? high[2] : end_of_image;
          const std::int64_t offset = row - image[2] * cells[2];
          visit(start[offset + cz], start[offset + last + 1], image);
          cz = last + 1;
        }
      }
    }
  }

  // Order of images among equals: cell by cell of a division of the box (the coarser one that
  // DeePMD-kit makes), x outermost. Compares atom a in image p with atom b in image q.
  bool before(std::int64_t a, const std::int32_t* p, std::int64_t b, const std::int32_t* q) const;

  bool periodic = false;
  double lattice[9] = {};               // rows are lattice vectors
  std::int64_t cells[3] = {1, 1, 1};    // number of cells
  std::int64_t reach[3] = {0, 0, 0};    // cells to look at on each side
  std::vector<T> position;              // [n_atoms, 3], wrapped into the box
  std::vector<std::int32_t> wrapped;    // [n_atoms, 3]: position = coord - wrapped · box
  std::vector<std::int32_t> cell_of;    // [n_atoms, 3]
  std::vector<std::int32_t> start;      // [number of cells + 1], into the following
  std::vector<std::int32_t> atom;       // atoms cell by cell, by rising index in each
  std::vector<T> x, y, z;               // their positions
  std::int64_t image_cells[3] = {1, 1, 1};
  std::vector<std::int32_t> image_cell_of;  // [n_atoms, 3]
};

}  // namespace deepmd
