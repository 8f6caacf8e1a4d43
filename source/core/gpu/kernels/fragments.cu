// SPDX-License-Identifier: BSD-3-Clause
// Frames cut into fragments; include/fragments.h has the rules. Atoms of a frame are compared with
// all others, which costs less than sorting for the numbers of atoms that there are.
#include "kernel.h"

#include "fragment_report.h"
#include "same_place.h"

constexpr int32_t kNone = 0x7fffffff;

// Whole numbers of groups, -1 for virtual atoms.
KERNEL(group_numbers, const real* group, const int32_t* type, int64_t n, int32_t* number,
       int32_t* report) {
  EACH(i, n) {
    const real value = group[i], most = real(1 << 30);
    const bool usable = value < most && -value < most && real(int32_t(value)) == value;
    if (!usable) report[kFragmentsWrong] = 1;
    number[i] = !usable || type[i] < 0 ? -1 : int32_t(value);
  }
}

// Of each frame the smallest group, and the distance below which atoms are in one place. A block
// for each frame.
BLOCK_KERNEL(measure_groups, const int32_t* number, const real* coord, int64_t n_frames,
             int64_t n_all, int32_t* region, real* same, int32_t* report) {
  SHARED real largest[kWarp];
  SHARED int32_t smallest[kWarp];
  EACH_BLOCK(f, n_frames) {
    int32_t first = kNone;
    real most = 0;
    for (int64_t i = f * n_all + threadIdx.x; i < (f + 1) * n_all; i += blockDim.x) {
      if (number[i] < 0) continue;
      const real here = deepmd::same_place(coord + 3 * i);
      if (!(here - here == 0)) report[kFragmentsWrong] = 1;
      most = here > most ? here : most;
      first = number[i] < first ? number[i] : first;
    }
    for (int step = kWarp / 2; step > 0; step /= 2) {
      const real other = __shfl_xor_sync(kAllLanes, most, step);
      const int32_t number_of_other = __shfl_xor_sync(kAllLanes, first, step);
      most = other > most ? other : most;
      first = number_of_other < first ? number_of_other : first;
    }
    if (threadIdx.x % kWarp == 0) {
      largest[threadIdx.x / kWarp] = most;
      smallest[threadIdx.x / kWarp] = first;
    }
    block_sync();
    if (threadIdx.x == 0) {
      for (int w = 1; w < int(blockDim.x) / kWarp; ++w) {
        most = largest[w] > most ? largest[w] : most;
        first = smallest[w] < first ? smallest[w] : first;
      }
      region[f] = first;
      same[f] = most;
    }
    block_sync();
  }
}

// Atoms that may be in one place; the processor looks closer.
KERNEL(meet, const int32_t* number, const real* coord, const int32_t* region, const real* same,
       int64_t n_frames, int64_t n_all, int32_t* report) {
  EACH(i, n_frames * n_all) {
    if (number[i] < 0) continue;
    const int64_t f = i / n_all;
    const real near = same[f] * real(1.001);
    for (int64_t j = i + 1; j < (f + 1) * n_all; ++j) {
      const real x = coord[3 * j] - coord[3 * i], y = coord[3 * j + 1] - coord[3 * i + 1],
                 z = coord[3 * j + 2] - coord[3 * i + 2];
      if (number[j] < 0 || !(x * x + y * y + z * z <= near * near)) continue;
      if (number[i] == number[j] || number[i] == region[f] || number[j] == region[f])
        report[kFragmentsWrong] = 1;
    }
  }
}

// first: the number of a group for the first atom of it in a frame, kNone for others. before: how
// many local atoms of a group, or ghosts, are before a local atom of it, or a ghost.
KERNEL(first_atoms, const int32_t* number, int64_t n_frames, int64_t n_local, int64_t n_all,
       int32_t* first, int32_t* before, int32_t* report) {
  EACH(i, n_frames * n_all) {
    const int64_t frame = i / n_all * n_all;
    const int32_t mine = number[i];
    if (mine < -1) report[kFragmentsWrong] = 1;
    int32_t n_before = 0;
    bool is_first = mine >= 0;
    for (int64_t j = frame; j < i; ++j) {
      if (number[j] != mine) continue;
      is_first = false;
      n_before += (j - frame < n_local) == (i - frame < n_local);
    }
    first[i] = is_first ? mine : kNone;
    before[i] = n_before;
  }
}

// rank: of the group of an atom among those of its frame, -1: it has none. sizes [n_frames, n_all,
// 2] begin with zeros: numbers of local atoms and ghosts by rank.
KERNEL(rank_groups, const int32_t* number, const int32_t* first, int64_t n_frames, int64_t n_local,
       int64_t n_all, int32_t* rank, int32_t* sizes) {
  EACH(i, n_frames * n_all) {
    const int64_t frame = i / n_all * n_all;
    int32_t smaller = 0;
    for (int64_t j = frame; j < frame + n_all; ++j) smaller += first[j] < number[i];
    rank[i] = number[i] < 0 ? -1 : smaller;
    if (number[i] >= 0) atomicAdd(sizes + 2 * (frame + smaller) + (i - frame >= n_local), 1);
  }
}

// members [n_frames]: numbers of sub-frames. A thread for each frame.
KERNEL(count_members, const int32_t* sizes, int64_t n_frames, int64_t n_all, int32_t* members,
       int32_t* report) {
  EACH(f, n_frames) {
    int64_t n = 0;
    while (n < n_all && sizes[2 * (f * n_all + n)] + sizes[2 * (f * n_all + n) + 1] > 0) ++n;
    if (n == 0) report[kFragmentsWrong] = 1;
    members[f] = n == 0 ? 0 : int32_t(n - 1);
  }
}

// The largest quantum regions and sub-frames, and the number of these, the last of base.
KERNEL(largest_members, const int32_t* sizes, const int32_t* base, int64_t n_frames, int64_t n_all,
       int32_t* report) {
  EACH(k, n_frames * n_all) {
    const int64_t f = k / n_all, g = k - f * n_all;
    if (k == 0) report[kSubFrames] = base[n_frames];
    if (g > base[f + 1] - base[f]) continue;
    for (int part = 0; part < 2; ++part) {
      const int32_t region = sizes[2 * f * n_all + part];
      const int32_t both = g == 0 ? region : region + sizes[2 * k + part];
      if (both > report[kSubLocal + part]) atomicMax(report + kSubLocal + part, both);
      if (g == 0) atomicMax(report + kRegionLocal + part, region);
    }
  }
}

KERNEL(fill_places, int32_t* forward, int64_t n) { EACH(k, n) forward[k] = -1; }

// Quantum regions of n_places, of which room_local are for local atoms.
KERNEL(map_regions, const int32_t* rank, const int32_t* before, int64_t n_frames, int64_t n_local,
       int64_t n_all, int64_t room_local, int64_t n_places, int32_t* forward, int32_t* backward) {
  EACH(k, n_frames * n_all) {
    const int64_t f = k / n_all, i = k - f * n_all;
    const int64_t place = before[k] + (i < n_local ? 0 : room_local);
    backward[k] = rank[k] == 0 ? int32_t(place) : -1;
    if (rank[k] == 0) forward[f * n_places + place] = int32_t(i);
  }
}

// Frame of each sub-frame.
KERNEL(frames_of_members, const int32_t* base, int64_t n_frames, int32_t* frame) {
  EACH(f, n_frames) {
    for (int32_t s = base[f]; s < base[f + 1]; ++s) frame[s] = int32_t(f);
  }
}

// Sub-frames: the quantum region, and behind it the atoms of another group.
KERNEL(map_members, const int32_t* rank, const int32_t* before, const int32_t* sizes,
       const int32_t* base, const int32_t* frame, int64_t n_sub, int64_t n_local, int64_t n_all,
       int64_t room_local, int64_t n_places, int32_t* forward, int32_t* backward) {
  EACH(k, n_sub * n_all) {
    const int64_t s = k / n_all, i = k - s * n_all, f = frame[s], atom = f * n_all + i;
    const int32_t group = int32_t(s) - base[f] + 1;
    backward[k] = -1;
    if (rank[atom] != 0 && rank[atom] != group) continue;
    const int ghost = i < n_local ? 0 : 1;
    const int64_t place = before[atom] + (rank[atom] == 0 ? 0 : sizes[2 * f * n_all + ghost]) +
                          (ghost ? room_local : 0);
    backward[k] = int32_t(place);
    forward[s * n_places + place] = int32_t(i);
  }
}
