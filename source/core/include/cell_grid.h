// SPDX-License-Identifier: BSD-3-Clause
// Atoms of one frame, and their periodic images as far as a cutoff reaches, sorted into cells, so
// that the candidates within the cutoff of an atom are found by looking into a few cells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace deepmd {

template <typename T>
struct CellGrid {
  // Prepares the search in one frame; `box` is null for a frame that is not periodic. Atoms of
  // negative type are left out. Returns what is wrong with the frame, or an empty string; throws
  // std::bad_alloc.
  std::string build(std::int64_t n_atoms, const T* coord, const std::int32_t* type, const T* box,
                    double cutoff);

  // Calls visit(first, last) for runs of points that may be closer to atom i than the cutoff.
  template <typename F>
  void near(std::int64_t i, const F& visit) const {
    std::int64_t low[3], high[3];
    for (int d = 0; d < 3; ++d) {
      const std::int64_t cell = cell_of[3 * i + d];
      low[d] = periodic ? cell : cell > reach[d] ? cell - reach[d] : 0;
      high[d] = periodic                     ? cell + 2 * reach[d]
                : cell + reach[d] < cells[d] ? cell + reach[d]
                                             : cells[d] - 1;
    }
    for (std::int64_t cx = low[0]; cx <= high[0]; ++cx) {
      for (std::int64_t cy = low[1]; cy <= high[1]; ++cy) {
        // Neighbouring cells along z hold consecutive points.
        const std::int32_t* row = start.data() + (cx * cells[1] + cy) * cells[2];
        if (row[low[2]] < row[high[2] + 1]) visit(row[low[2]], row[high[2] + 1]);
      }
    }
  }

  // Order of points among equals: atoms of the box by their index, then images cell by cell of a
  // division of the box (the coarser one that DeePMD-kit makes), x outermost.
  bool before(std::int32_t p, std::int32_t q) const;

  bool periodic = false;
  double lattice[9] = {};             // rows are lattice vectors
  std::int64_t reach[3] = {0, 0, 0};  // cells to look at on each side
  std::int64_t cells[3] = {1, 1,
                           1};  // number of cells; if periodic, with `reach` of images on each side
  std::vector<std::int32_t> wrapped;  // [n_atoms, 3]: coord - wrapped · box is inside of the box
  std::vector<std::int32_t> cell_of;  // [n_atoms, 3], among those of the box
  std::vector<std::int32_t> home;     // [n_atoms], the point that is the atom in the box

  // Points, cell by cell, by rising index of their atoms in each.
  std::vector<std::int32_t> start;  // [number of cells + 1], where a cell begins
  std::vector<std::int32_t> atom;   // [n_points]
  std::vector<std::int32_t>
      image;               // [n_points, 3]: the point is that of the atom in the box, + image · box
  std::vector<T> x, y, z;  // [n_points + kWithinPadding]

 private:
  // The atoms while the cells are chosen.
  struct Positions {
    std::vector<T> inside;         // [n_atoms, 3], wrapped into the box; as given without a box
    std::vector<double> fraction;  // [n_atoms, 3], of the box, or of the bounding box
    double extent[3];              // thickness of what the cells divide
  };

  // Wraps positions into the box; or measures them by their bounding box. What is wrong, if any.
  std::string wrap(const std::int32_t* type, const T* box, double cutoff, Positions* at);
  std::string bound(const std::int32_t* type, Positions* at) const;

  // Numbers of cells n, and `reach`. False if an atom would have too many candidates.
  bool choose_cells(const double extent[3], std::int64_t n_real, double cutoff, std::int64_t n[3]);

  // Fills in the points of a box of n cells; `inside` [n_atoms, 3] are the positions in the box.
  // False if there would be too many.
  bool place(const std::int64_t n[3], const std::vector<T>& inside, const std::int32_t* type);

  std::int64_t image_cells_[3] = {1, 1, 1};
  std::vector<std::int32_t> image_cell_of_;  // [n_atoms, 3]
};

}  // namespace deepmd
