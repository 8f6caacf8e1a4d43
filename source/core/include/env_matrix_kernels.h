// SPDX-License-Identifier: BSD-3-Clause
// Environment rows of many pairs, D = (raw - avg)/std with
// the averages and deviations of the centre's type, and their derivative maps (see env_matrix.h).
// Pairs whose centre has type -1 give zeros.
//
//   x, u, v  [n_pairs][3]       center [n_pairs]   row of the centre in `type`
//   g        [n_pairs][4]       type   [n_rows]    -1 … ntypes-1
//   avg, std [ntypes][4]
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

template <typename T>
struct EnvPairs {
  T rcut, rcut_smth;
  const T* x;
  const std::int32_t* center;
  const std::int32_t* type;
  const T* std;
};

}  // namespace deepmd

// Each handles pairs begin <= p < end.
DEEPMD_EACH_ISA(
// rows [n_pairs][4] = (D(x) - avg)/std
template <typename T>
void env_matrix(const EnvPairs<T>& pairs, const T* avg, std::int64_t begin, std::int64_t end,
                T* rows);

// out [n_pairs][3] = sum_k g_k dD_k/dx / std_k
template <typename T>
void env_matrix_vjp(const EnvPairs<T>& pairs, const T* g, std::int64_t begin, std::int64_t end,
                    T* out);

// out [n_pairs][4] = (dD_k/dx . v) / std_k
template <typename T>
void env_matrix_jvp(const EnvPairs<T>& pairs, const T* v, std::int64_t begin, std::int64_t end,
                    T* out);

// out [n_pairs][3] = sum_k g_k (d2D_k/dx2 v) / std_k
template <typename T>
void env_matrix_hvp(const EnvPairs<T>& pairs, const T* g, const T* v, std::int64_t begin,
                    std::int64_t end, T* out);

// out [n_pairs][4] = (u . d2D_k/dx2 v) / std_k
template <typename T>
void env_matrix_jvp_of_jvp(const EnvPairs<T>& pairs, const T* u, const T* v, std::int64_t begin,
                     std::int64_t end, T* out);
)
