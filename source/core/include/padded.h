// SPDX-License-Identifier: BSD-3-Clause
// The padded layout of DeePMD-kit: every centre has sel[t] slots for each neighbour type t, in type
// order, n_slots in all; slots that no neighbour fills come last in their section.
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

template <typename T>
struct PaddedQuery {
  T rcut, rcut_smth;
  std::int64_t components;  // of a row: 4, or 1 of s alone
  std::int64_t n_types;
  std::int64_t n_slots;          // sum of sel
  const std::int32_t* sel;       // [n_types]
  std::int64_t n_local, n_all;   // centre c is row c / n_local * n_all + c % n_local
  const T* coord;                // [rows, 3]
  const std::int32_t* type;      // [rows]
  const std::int32_t* splits;    // [n_centers * n_types + 1], into the following
  const std::int32_t* neighbor;  // [n_pairs] row
  const T* shift;                // [n_pairs, 3]
  const T* avg;                  // [n_types, components * n_slots]
  const T* std;                  // [n_types, components * n_slots]
};

template <typename T>
struct PaddedRows {
  T* rows;        // [n_centers, n_slots, components]: (raw - avg)/std, also in empty slots
  T* derivative;  // [n_centers, n_slots, components, 3]: of rows, by the position of the centre
  T* x;           // [n_centers, n_slots, 3]: from the centre to the neighbour, or zero
  std::int32_t* nlist;  // [n_centers, n_slots]: atom in its frame, or -1
};

}  // namespace deepmd

// Both handle centres begin <= c < end.
DEEPMD_EACH_ISA(

template <typename T>
void padded_env_rows(const PaddedQuery<T>& query, std::int64_t begin, std::int64_t end,
                     const PaddedRows<T>& out);

// pull[c][k][d] = sum_j net[c][k][j] derivative[c][k][j][d], j < components.
template <typename T>
void padded_pull(const T* net, const T* derivative, std::int64_t components, std::int64_t n_slots,
                 std::int64_t begin, std::int64_t end, T* pull);

)
