// SPDX-License-Identifier: BSD-3-Clause
// Frames cut into the atoms of a quantum region and, for each other fragment, these and its atoms.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace deepmd {

// Atoms of a frame, by their index there, in rising order within each of the two parts.
struct SubFrame {
  std::int64_t frame = 0;
  std::vector<std::int32_t> local, ghost;
};

// Sub-frames with the numbers of atoms of the largest. There is room for one local atom, so that no
// array is empty.
struct SubFrames {
  std::vector<SubFrame> members;
  std::int64_t n_local = 1, n_ghost = 0;

  std::int64_t n_all() const { return n_local + n_ghost; }
};

// Of each frame the atoms of its smallest group, the quantum region (qm); and for every other group
// the quantum region with its atoms (qmmm), in the order of frames and groups.
struct Fragments {
  SubFrames qm, qmmm;
};

// group: [n_frames, n_all], -1 for atoms that take no part; the first n_local atoms are local.
// Returns what is wrong with it, naming the frame, or an empty string.
std::string find_fragments(const std::int32_t* group, std::int64_t n_frames, std::int64_t n_local,
                           std::int64_t n_all, Fragments* result);

// What is wrong with the positions [n_all, 3] of a frame, Angstrom, as searches for neighbours in
// its sub-frames would find it: a number that is not finite, or two atoms of a sub-frame in one
// place.
template <typename T>
std::string check_positions(const std::int32_t* group, const T* coord, std::int64_t n_all);

// [members, n_all()]: the atom at each place; the local atoms of a member, then -1 up to n_local,
// then its ghosts and -1 up to n_all().
void forward_map(const SubFrames& frames, std::int32_t* map);

// [members, n_all]: the place of each atom, -1 where it has none.
void backward_map(const SubFrames& frames, std::int64_t n_all, std::int32_t* map);

}  // namespace deepmd
