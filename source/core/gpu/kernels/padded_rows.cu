// SPDX-License-Identifier: BSD-3-Clause
// Environment rows in slots; include/padded.h has the layout, env_matrix.h the formulas.
#include "kernel.h"

#include "env_matrix.h"

// Rows of K components, a thread for each slot. sections [n_types]: first slot of each neighbour
// type; slot_type [n_slots].
template <int K>
DEVICE void env_slot(const real* coord, const int32_t* type, const int32_t* splits,
                     const int32_t* neighbor, const real* shift, const int32_t* sections,
                     const int32_t* slot_type, const real* avg, const real* std,
                     const deepmd::Cutoff<real>& cutoff, int64_t n_types, int64_t n_slots,
                     int64_t n_local, int64_t n_all, int64_t slot, real* rows, real* derivative,
                     real* x, int32_t* nlist) {
  const int64_t c = slot / n_slots, k = slot % n_slots, t = slot_type[k];
  const int64_t frame_row = c / n_local * n_all, center = frame_row + c % n_local;
  real at[3] = {0, 0, 0}, row[K] = {}, slope[3 * K] = {};
  int32_t atom = -1;
  if (type[center] >= 0) {
    const real* mean = avg + (type[center] * n_slots + k) * K;
    const real* width = std + (type[center] * n_slots + k) * K;
    const int64_t p = splits[c * n_types + t] + k - sections[t];
    if (p < splits[c * n_types + t + 1]) {
      for (int d = 0; d < 3; ++d)
        at[d] = coord[3 * int64_t(neighbor[p]) + d] - coord[3 * center + d] + shift[3 * p + d];
      atom = int32_t(neighbor[p] - frame_row);
      real full[4];
      deepmd::env_row(at, cutoff, full);
      for (int j = 0; j < K; ++j) row[j] = full[j];
      for (int d = 0; d < 3; ++d) {
        const real along[3] = {real(d == 0), real(d == 1), real(d == 2)};
        real column[4];
        deepmd::env_row_jvp(at, along, cutoff, column);
        for (int j = 0; j < K; ++j) slope[3 * j + d] = -column[j] / width[j];
      }
    }
    for (int j = 0; j < K; ++j) row[j] = (row[j] - mean[j]) / width[j];
  }
  for (int j = 0; j < K; ++j) rows[slot * K + j] = row[j];
  for (int j = 0; j < 3 * K; ++j) derivative[slot * 3 * K + j] = slope[j];
  for (int d = 0; d < 3; ++d) x[3 * slot + d] = at[d];
  nlist[slot] = atom;
}

#define ENV_ROWS(name, K)                                                                       \
  KERNEL(name, const real* coord, const int32_t* type, const int32_t* splits,                   \
         const int32_t* neighbor, const real* shift, const int32_t* sections,                   \
         const int32_t* slot_type, const real* avg, const real* std, real rcut, real rcut_smth, \
         int64_t n_types, int64_t n_slots, int64_t n_local, int64_t n_all, int64_t n_centers,   \
         real* rows, real* derivative, real* x, int32_t* nlist) {                               \
    const deepmd::Cutoff<real> cutoff = deepmd::make_cutoff(rcut, rcut_smth);                   \
    EACH(slot, n_centers * n_slots) {                                                           \
      env_slot<K>(coord, type, splits, neighbor, shift, sections, slot_type, avg, std, cutoff,  \
                  n_types, n_slots, n_local, n_all, slot, rows, derivative, x, nlist);          \
    }                                                                                           \
  }

ENV_ROWS(padded_env_rows, 4)
ENV_ROWS(padded_env_rows_radial, 1)

// One type for all atoms, of those that are there: 0, or 1 where the type is none of n_types.
KERNEL(merge_types, const int32_t* type, int64_t n, int64_t n_types, int32_t* merged) {
  EACH(i, n) merged[i] = type[i] < 0 ? -1 : type[i] < n_types ? 0 : 1;
}

// Types of the neighbours in slots [n_frames * width], n_types in empty ones.
KERNEL(slot_types, const int32_t* nlist, const int32_t* type, int64_t n_frames, int64_t width,
       int64_t n_all, int64_t n_types, int32_t* found, bool* filled) {
  EACH(k, n_frames * width) {
    const int64_t j = nlist[k];
    filled[k] = j >= 0;
    found[k] = j >= 0 ? type[k / width * n_all + j] : int32_t(n_types);
  }
}
