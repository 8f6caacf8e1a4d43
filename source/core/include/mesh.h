// SPDX-License-Identifier: BSD-3-Clause
// What the integer tensor "mesh" of a deep-potential graph says about the neighbour list.
//
//   length 0       not periodic: search all atoms
//   length 6       periodic: search the images of the box
//   length 16      a molecular-dynamics engine lends its list by host pointers:
//                  [0] steps since the list was made; [1] number of centres; int* centres at
//                  slot 4, int* counts at slot 8, int** neighbours at slot 12 (each pointer
//                  fills two slots)
//   longer         the list is in the tensor: 16 header slots, then centres[nloc], counts[nloc],
//   and
//                  the neighbours of all centres one after the other
//   length 1, 7    forms of 0 and 6 for frames of mixed types
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace deepmd {

enum class Search { open, periodic, given };

// A list from the calling program: for k < centers.size(), centre centers[k] has the neighbours
// rows[k][0 .. counts[k]). Indices are those of the fed atoms, ghosts included.
struct GivenList {
  std::vector<std::int32_t> centers;
  std::vector<std::int32_t> counts;
  std::vector<const std::int32_t*> rows;
};

struct Mesh {
  Search search = Search::open;
  GivenList given;
};

// Reads a mesh tensor of `size` numbers for n_local centres among n_all atoms. Returns what is
// wrong with it, or an empty string. Neighbour indices are left to whoever follows the rows. The
// forms for mixed types are taken where the caller is able to do with them.
std::string read_mesh(const std::int32_t* mesh, std::int64_t size, std::int64_t n_local,
                      std::int64_t n_all, Mesh* result, bool mixed = false);

}  // namespace deepmd
