// SPDX-License-Identifier: BSD-3-Clause
// Frames of a search for neighbours, as its kernels and what launches them see them.
#pragma once

// What near_atoms needs to know of a frame; see cell_grid.h of the core, whose cells these are but
// that there are no images among them: cells beyond the box are met as shifted cells of the box.
struct CellFrame {
  double lattice[9];         // rows are lattice vectors; zeros without a box
  double inverse[9];         // in the precision of the coordinates
  double exact[9];           // in double precision
  double low[3];             // of the bounding box, without a box
  double extent[3];          // thickness of what the cells divide
  long long image_cells[3];  // of the coarser division, by which images are ordered
  int cells[3], reach[3];
  int usable;  // 0: something is wrong with it, and it has no neighbours
};

// What a search counts, all together: totals, then dropped [n_types] and max_found [n_types].
enum SearchReport {
  kFound,  // neighbours within the cutoff
  kKept,   // those that stay
  kWrong,  // not 0: something is wrong, or too unusual for the kernels; the processor finds out
  kTotals
};
