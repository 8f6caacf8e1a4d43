// SPDX-License-Identifier: BSD-3-Clause
// Environment rows of pairs on the GPU, and their derivative maps; env_matrix_kernels.h has the
// arrays. Pairs whose centre or type is outside of the arrays, or whose std is not positive, give
// NaN.
#pragma once

#include <cstdint>

#include "env_matrix_kernels.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// Of center, type and std.
struct EnvSizes {
  std::int64_t n_pairs, n_rows, n_types;
};

template <typename T>
void env_matrix(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes, const T* avg,
                T* rows);

template <typename T>
void env_matrix_vjp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                    const T* g, T* out);

template <typename T>
void env_matrix_jvp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                    const T* v, T* out);

template <typename T>
void env_matrix_hvp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                    const T* g, const T* v, T* out);

template <typename T>
void env_matrix_jvp_of_jvp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                           const T* u, const T* v, T* out);

}  // namespace gpu
}  // namespace deepmd
