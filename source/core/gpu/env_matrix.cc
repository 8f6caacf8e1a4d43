// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_env_matrix.h"

namespace deepmd {
namespace gpu {
namespace {

// A kernel of env_matrix.cu with what all of them begin with, and then its own arrays.
template <typename T, typename... A>
void for_each_pair(const Stream& stream, const char* name, const EnvPairs<T>& pairs,
                   const EnvSizes& sizes, A... arrays) {
  stream.for_each({"env_matrix", name, real_of<T>()}, sizes.n_pairs, pairs.rcut, pairs.rcut_smth,
                  pairs.x, pairs.center, pairs.type, pairs.std, sizes.n_pairs, sizes.n_rows,
                  sizes.n_types, arrays...);
}

}  // namespace

template <typename T>
void env_matrix(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes, const T* avg,
                T* rows) {
  for_each_pair(stream, "env_matrix", pairs, sizes, avg, rows);
}

template <typename T>
void env_matrix_vjp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                    const T* g, T* out) {
  for_each_pair(stream, "env_matrix_vjp", pairs, sizes, g, out);
}

template <typename T>
void env_matrix_jvp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                    const T* v, T* out) {
  for_each_pair(stream, "env_matrix_jvp", pairs, sizes, v, out);
}

template <typename T>
void env_matrix_hvp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                    const T* g, const T* v, T* out) {
  for_each_pair(stream, "env_matrix_hvp", pairs, sizes, g, v, out);
}

template <typename T>
void env_matrix_jvp_of_jvp(const Stream& stream, const EnvPairs<T>& pairs, const EnvSizes& sizes,
                           const T* u, const T* v, T* out) {
  for_each_pair(stream, "env_matrix_jvp_of_jvp", pairs, sizes, u, v, out);
}

#define INSTANTIATE(T)                                                                           \
  template void env_matrix<T>(const Stream&, const EnvPairs<T>&, const EnvSizes&, const T*, T*); \
  template void env_matrix_vjp<T>(const Stream&, const EnvPairs<T>&, const EnvSizes&, const T*,  \
                                  T*);                                                           \
  template void env_matrix_jvp<T>(const Stream&, const EnvPairs<T>&, const EnvSizes&, const T*,  \
                                  T*);                                                           \
  template void env_matrix_hvp<T>(const Stream&, const EnvPairs<T>&, const EnvSizes&, const T*,  \
                                  const T*, T*);                                                 \
  template void env_matrix_jvp_of_jvp<T>(const Stream&, const EnvPairs<T>&, const EnvSizes&,     \
                                         const T*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
