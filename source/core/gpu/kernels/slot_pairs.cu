// SPDX-License-Identifier: BSD-3-Clause
// The slots of the padded layout as pairs: include/gpu_slot_pairs.h has the functions. A slot is
// counted over all centres, a centre over all frames; `pull` is -dE/dx of a slot.
#include "lanes.h"

#include "cubic_spline.h"
#include "soft_min.h"

// Of numbers that an int32_t holds, as indices of rows are: a division of others takes long.
DEVICE int64_t quotient(int64_t a, int64_t b) { return int32_t(a) / int32_t(b); }

// Rows of the neighbours in slots, -1 in empty ones.
KERNEL(slot_rows, const int32_t* nlist, int64_t n_pairs, int64_t width, int64_t n_all,
       int32_t* rows) {
  EACH(p, n_pairs) {
    const int64_t j = nlist[p];
    rows[p] = inside(j, n_all) ? int32_t(quotient(p, width) * n_all + j) : -1;
  }
}

// From derivatives by rows of kComponents numbers, a thread for each slot.
template <int kComponents>
DEVICE void pull_of_rows(const real* net, const real* derivative, int64_t p, real* pull) {
  real sum[3] = {0, 0, 0};
  for (int j = 0; j < kComponents; ++j)
    for (int d = 0; d < 3; ++d)
      sum[d] += net[kComponents * p + j] * derivative[3 * (kComponents * p + j) + d];
  for (int d = 0; d < 3; ++d) pull[3 * p + d] = sum[d];
}

KERNEL(padded_pull, const real* net, const real* derivative, int64_t n_pairs, real* pull) {
  EACH(p, n_pairs) pull_of_rows<4>(net, derivative, p, pull);
}

KERNEL(padded_pull_radial, const real* net, const real* derivative, int64_t n_pairs, real* pull) {
  EACH(p, n_pairs) pull_of_rows<1>(net, derivative, p, pull);
}

// From derivatives [n_pairs, 3] of a number of each centre, with a factor du for it.
KERNEL(scaled_pull, const real* du, const real* derivative, const int32_t* nlist, int64_t n_pairs,
       int64_t n_slots, real* pull) {
  EACH(i, n_pairs * 3) {
    const int64_t p = i / 3;
    pull[i] = nlist[p] < 0 ? real(0) : -du[quotient(p, n_slots)] * derivative[i];
  }
}

// Sums of N numbers over the lanes of a warp, the same in each of them.
template <int N>
DEVICE void warp_sums(real (&values)[N]) {
  UNROLLED(i, N) values[i] = warp_sum(values[i]);
}

// Warps of the grid, one after the other, take rows.
#define EACH_OF_WARP(row, n)                                                              \
  for (int64_t row = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; row < (n); \
       row += int64_t(gridDim.x) * blockDim.x / kWarp)

// Slots of the centre that a row is, from `begin` on; none for ghost atoms.
struct OwnSlots {
  int64_t begin, n;
};
DEVICE OwnSlots own_slots(int64_t row, int64_t n_all, int64_t n_local, int64_t n_slots) {
  const int64_t frame = quotient(row, n_all), i = row - frame * n_all;
  return {(frame * n_local + i) * n_slots, i < n_local ? n_slots : 0};
}

// A warp for each atom: +pull of the slots that it is in, less the pulls of its own.
BLOCK_KERNEL(slot_forces, const real* pull, const int32_t* splits, const int32_t* order,
             int64_t n_rows, int64_t n_all, int64_t n_local, int64_t n_slots, real* force) {
  EACH_OF_WARP(row, n_rows) {
    real sum[3] = {0, 0, 0};
    EACH_LANE(k, splits[row + 1] - splits[row]) {
      const int64_t p = order[splits[row] + k];
      for (int a = 0; a < 3; ++a) sum[a] += pull[3 * p + a];
    }
    const OwnSlots own = own_slots(row, n_all, n_local, n_slots);
    EACH_LANE(k, own.n) {
      for (int a = 0; a < 3; ++a) sum[a] -= pull[3 * (own.begin + k) + a];
    }
    warp_sums(sum);
    const int lane = lane_of_warp();
    UNROLLED(a, 3) if (a == lane) force[3 * row + a] = sum[a];
  }
}

DEVICE void add_virial(const real* pull, const real* rij, int64_t p, real* sum) {
  const real f[3] = {pull[3 * p], pull[3 * p + 1], pull[3 * p + 2]};
  const real x[3] = {rij[3 * p], rij[3 * p + 1], rij[3 * p + 2]};
  UNROLLED(a, 3)
  UNROLLED(b, 3) sum[3 * a + b] += f[a] * x[b];
}

// A warp for each atom: pull rij of the slots that it is in; or half of that and of its own slots.
template <bool kHalves>
DEVICE void virials_of_rows(const real* pull, const real* rij, const int32_t* splits,
                            const int32_t* order, int64_t n_rows, int64_t n_all, int64_t n_local,
                            int64_t n_slots, real* virial) {
  EACH_OF_WARP(row, n_rows) {
    real sum[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};
    UNROLL_BY(1)
    EACH_LANE(k, splits[row + 1] - splits[row]) {
      add_virial(pull, rij, order[splits[row] + k], sum);
    }
    if (kHalves) {
      const OwnSlots own = own_slots(row, n_all, n_local, n_slots);
      UNROLL_BY(1)
      EACH_LANE(k, own.n) add_virial(pull, rij, own.begin + k, sum);
    }
    warp_sums(sum);
    const int lane = lane_of_warp();
    UNROLLED(i, 9) if (i == lane) virial[9 * row + i] = kHalves ? real(0.5) * sum[i] : sum[i];
  }
}

BLOCK_KERNEL(slot_virials, const real* pull, const real* rij, const int32_t* splits,
             const int32_t* order, int64_t n_rows, int64_t n_all, int64_t n_local, int64_t n_slots,
             real* virial) {
  virials_of_rows<false>(pull, rij, splits, order, n_rows, n_all, n_local, n_slots, virial);
}

BLOCK_KERNEL(slot_half_virials, const real* pull, const real* rij, const int32_t* splits,
             const int32_t* order, int64_t n_rows, int64_t n_all, int64_t n_local, int64_t n_slots,
             real* virial) {
  virials_of_rows<true>(pull, rij, splits, order, n_rows, n_all, n_local, n_slots, virial);
}

// Sums of nine numbers over chunks of the n_rows rows of each frame, a block for each chunk.
constexpr int kSumRows = 28;  // that a block of 256 reads at once

BLOCK_KERNEL(sum_nine, const real* rows, int64_t n_frames, int64_t n_rows, int64_t chunk,
             int64_t n_chunks, real* sums) {
  SHARED real parts[9 * kSumRows];
  const int i = int(threadIdx.x);
  EACH_BLOCK(block, n_frames * n_chunks) {
    const int64_t frame = quotient(block, n_chunks);
    const int64_t begin = (block - frame * n_chunks) * chunk;
    const int64_t end = begin + chunk < n_rows ? begin + chunk : n_rows;
    real sum = 0;
    if (i < 9 * kSumRows)
      for (int64_t row = begin + i / 9; row < end; row += kSumRows)
        sum += rows[(frame * n_rows + row) * 9 + i % 9];
    block_sync();
    if (i < 9 * kSumRows) parts[i] = sum;
    block_sync();
    if (i < 9) {
      real total = 0;
      for (int k = 0; k < kSumRows; ++k) total += parts[9 * k + i];
      sums[block * 9 + i] = total;
    }
  }
}

// Energies of atoms by a table, a warp for each, and the pulls of their slots with their factors.
BLOCK_KERNEL(pair_tab, const double* table, double start, double step, int32_t n_intervals,
             int64_t n_types, const int32_t* slot_type, const int32_t* type, const real* rij,
             const int32_t* nlist, const real* scale, int64_t n_centers, int64_t n_all,
             int64_t n_local, int64_t n_slots, real* energy, real* pull) {
  EACH_OF_WARP(c, n_centers) {
    const int64_t frame = quotient(c, n_local);
    const int64_t type_i = type[c + frame * (n_all - n_local)];
    double sum = 0;
    UNROLL_BY(1)
    EACH_LANE(k, n_slots) {
      const int64_t p = c * n_slots + k;
      const bool taken = nlist[p] >= 0 && type_i != -1;
      const double r = deepmd::length(rij + 3 * p);
      double slope = 0;
      if (taken && inside(type_i, n_types) && r >= start) {
        const double* const a = table + (type_i * n_types + slot_type[k]) * n_intervals * 4;
        sum += 0.5 * deepmd::cubic_derivative(0, r, start, step, n_intervals, a);
        slope = deepmd::cubic_derivative(1, r, start, step, n_intervals, a);
        slope *= -0.5 * double(scale[c]) / r;
      } else if (taken) {  // closer than the table begins, or of no type
        slope = not_a_number();
        sum = slope;
      }
      for (int a = 0; a < 3; ++a) pull[3 * p + a] = taken ? real(slope * rij[3 * p + a]) : real(0);
    }
    sum = warp_sum(sum);
    if (lane_of_warp() == 0) energy[c] = real(sum);
  }
}

DEVICE double warp_least(double value) {
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const double other = __shfl_xor_sync(kAllLanes, value, step);
    value = other < value ? other : value;
  }
  return value;
}

// Switches of atoms, a warp for each.
BLOCK_KERNEL(soft_min, const real* rij, const int32_t* nlist, double alpha, double low, double high,
             int64_t n_centers, int64_t n_slots, real* value, real* derivative) {
  const deepmd::SoftMin soft = {alpha, low, high};
  const double none = 1.7976931348623157e308;
  EACH_OF_WARP(c, n_centers) {
    double nearest = none;
    UNROLL_BY(1)
    EACH_LANE(k, n_slots) {
      const double r = deepmd::length(rij + 3 * (c * n_slots + k));
      if (nlist[c * n_slots + k] >= 0 && r < nearest) nearest = r;
    }
    nearest = warp_least(nearest);
    double sum = 0, weights = 0;
    UNROLL_BY(1)
    EACH_LANE(k, n_slots) {
      if (nlist[c * n_slots + k] < 0) continue;
      const double r = deepmd::length(rij + 3 * (c * n_slots + k));
      const double w = deepmd::soft_min_weight(r, nearest, soft);
      sum += r * w;
      weights += w;
    }
    sum = warp_sum(sum);
    weights = warp_sum(weights);
    const double s = sum / weights;
    deepmd::SoftMinSwitch at = {0, 0, true};
    if (nearest < none) at = deepmd::soft_min_switch(s, soft);
    if (lane_of_warp() == 0) value[c] = real(at.value);
    UNROLL_BY(1)
    EACH_LANE(k, n_slots) {
      const int64_t p = c * n_slots + k;
      double pull = 0;
      const bool moves = !at.constant && nlist[p] >= 0;
      if (moves) {
        const double r = deepmd::length(rij + 3 * p);
        const double w = deepmd::soft_min_weight(r, nearest, soft);
        pull = deepmd::soft_min_pull(at.slope, s, r, w, weights, soft);
      }
      for (int a = 0; a < 3; ++a)
        derivative[3 * p + a] = moves ? real(pull * rij[3 * p + a]) : real(0);
    }
  }
}
