// SPDX-License-Identifier: BSD-3-Clause
// The moment of an embedding matrix that is known for every
// pair, and its two transposes: one trilinear form
//
//   Psi(R, G, Y) = sum_p < Y[c(p)], R[p] (x) G[p] >
//
// in the rows R, the columns G and the adjoint Y, where c(p) is the centre of pair p. The three
// kernels are its partial derivatives.
//
//   rows    [n_pairs][4]
//   columns [n_pairs][n_columns]
//   adjoint [n_centers][4][n_columns]
//   splits  [n_centers * ntypes + 1]   a centre has pairs splits[i ntypes] … splits[(i+1) ntypes]-1
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

struct ContractShape {
  std::int64_t n_columns;
  std::int64_t ntypes;
  const std::int32_t* splits;
};

}  // namespace deepmd

// Each handles the centres begin <= c < end.
DEEPMD_EACH_ISA(
// out [n_centers][4][n_columns] = sum_{p of centre} rows[p] (x) columns[p]
template <typename T>
void contract(const ContractShape& shape, const T* rows, const T* columns, std::int64_t begin,
              std::int64_t end, T* out);

// out [n_pairs][4] = adjoint[c(p)] . columns[p]
template <typename T>
void contract_rows(const ContractShape& shape, const T* columns, const T* adjoint,
                   std::int64_t begin, std::int64_t end, T* out);

// out [n_pairs][n_columns] = rows[p] . adjoint[c(p)]
template <typename T>
void contract_columns(const ContractShape& shape, const T* rows, const T* adjoint,
                      std::int64_t begin, std::int64_t end, T* out);
)
