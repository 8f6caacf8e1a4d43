// SPDX-License-Identifier: BSD-3-Clause
#include "padded.h"

#include "env_matrix.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

// A centre that is a virtual atom has zeros and empty slots throughout.
template <int K, typename T>
void clear(std::int64_t n_slots, T* row, T* derivative, T* x, std::int32_t* nlist) {
  for (std::int64_t k = 0; k < K * n_slots; ++k) row[k] = 0;
  for (std::int64_t k = 0; k < 3 * K * n_slots; ++k) derivative[k] = 0;
  for (std::int64_t k = 0; k < 3 * n_slots; ++k) x[k] = 0;
  for (std::int64_t k = 0; k < n_slots; ++k) nlist[k] = -1;
}

// K is the number of components.
template <int K, typename T>
void env_rows(const PaddedQuery<T>& query, std::int64_t begin, std::int64_t end,
              const PaddedRows<T>& out) {
  const Cutoff<T> cutoff = make_cutoff(query.rcut, query.rcut_smth);
  for (std::int64_t c = begin; c < end; ++c) {
    const std::int64_t first = c * query.n_slots;
    T* row = out.rows + K * first;
    T* derivative = out.derivative + 3 * K * first;
    T* x = out.x + 3 * first;
    std::int32_t* nlist = out.nlist + first;
    const std::int64_t frame_row = c / query.n_local * query.n_all;
    const std::int64_t center = frame_row + c % query.n_local;
    clear<K>(query.n_slots, row, derivative, x, nlist);
    if (query.type[center] < 0) continue;
    const T* from = query.coord + 3 * center;
    const T* avg = query.avg + query.type[center] * K * query.n_slots;
    const T* std = query.std + query.type[center] * K * query.n_slots;
    std::int64_t section = 0;
    for (std::int64_t t = 0; t < query.n_types; ++t) {
      std::int64_t k = section;
      const std::int64_t last = query.splits[c * query.n_types + t + 1];
      for (std::int64_t p = query.splits[c * query.n_types + t]; p < last; ++p, ++k) {
        const T* to = query.coord + 3 * static_cast<std::int64_t>(query.neighbor[p]);
        for (int d = 0; d < 3; ++d) x[3 * k + d] = to[d] - from[d] + query.shift[3 * p + d];
        nlist[k] = static_cast<std::int32_t>(query.neighbor[p] - frame_row);
        T full[4];
        env_row(x + 3 * k, cutoff, full);
        for (int j = 0; j < K; ++j) row[K * k + j] = full[j];
        for (int d = 0; d < 3; ++d) {
          const T along[3] = {T(d == 0), T(d == 1), T(d == 2)};
          T column[4];
          env_row_jvp(x + 3 * k, along, cutoff, column);
          for (int j = 0; j < K; ++j) derivative[3 * (K * k + j) + d] = -column[j] / std[K * k + j];
        }
      }
      section += query.sel[t];
    }
    for (std::int64_t j = 0; j < K * query.n_slots; ++j) row[j] = (row[j] - avg[j]) / std[j];
  }
}

template <int K, typename T>
void pull_slots(const T* net, const T* derivative, std::int64_t begin, std::int64_t end, T* pull) {
  for (std::int64_t slot = begin; slot < end; ++slot) {
    for (int d = 0; d < 3; ++d) {
      T sum = 0;
      for (int j = 0; j < K; ++j) sum += net[K * slot + j] * derivative[3 * (K * slot + j) + d];
      pull[3 * slot + d] = sum;
    }
  }
}

}  // namespace

template <typename T>
void padded_env_rows(const PaddedQuery<T>& query, std::int64_t begin, std::int64_t end,
                     const PaddedRows<T>& out) {
  if (query.components == 1)
    env_rows<1>(query, begin, end, out);
  else
    env_rows<4>(query, begin, end, out);
}

template <typename T>
void padded_pull(const T* net, const T* derivative, std::int64_t components, std::int64_t n_slots,
                 std::int64_t begin, std::int64_t end, T* pull) {
  if (components == 1)
    pull_slots<1>(net, derivative, begin * n_slots, end * n_slots, pull);
  else
    pull_slots<4>(net, derivative, begin * n_slots, end * n_slots, pull);
}

#define INSTANTIATE(T)                                                                       \
  template void padded_env_rows<T>(const PaddedQuery<T>&, std::int64_t, std::int64_t,        \
                                   const PaddedRows<T>&);                                    \
  template void padded_pull<T>(const T*, const T*, std::int64_t, std::int64_t, std::int64_t, \
                               std::int64_t, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
