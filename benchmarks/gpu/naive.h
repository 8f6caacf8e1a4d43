// SPDX-License-Identifier: BSD-3-Clause
// All functions of on_gpu.h on the processor; what core has none for by plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "cubic_spline.h"
#include "gpu_pair_spline.h"
#include "on_cpu_more.h"
#include "padded.h"

namespace bench {

class OnCpu : public MoreOnCpu {
 public:
  template <typename T>
  void padded_env_rows(const deepmd::PaddedQuery<T>& query, int64 n_centers,
                       const deepmd::PaddedRows<T>& out) {
    DEEPMD_PICK(padded_env_rows<T>)(query, 0, n_centers, out);
  }

  template <typename T>
  void merge_types(index type, int64 n, int64 n_types, std::int32_t* merged) {
    for (int64 i = 0; i < n; ++i) merged[i] = type[i] < 0 ? -1 : type[i] < n_types ? 0 : 1;
  }

  template <typename T>
  void slot_types(index nlist, index type, int64 n_frames, int64 width, int64 n_all, int64 n_types,
                  std::int32_t* found, bool* filled) {
    for (int64 k = 0; k < n_frames * width; ++k) {
      filled[k] = nlist[k] >= 0;
      found[k] =
          filled[k] ? type[k / width * n_all + nlist[k]] : static_cast<std::int32_t>(n_types);
    }
  }

  template <typename T>
  void pair_spline(const deepmd::gpu::PairTable& table, std::int32_t order, const T* r,
                   index center, index neighbor, index type, int64 n_pairs, int64, T* out) {
    for (int64 p = 0; p < n_pairs; ++p) {
      const int64 entry = type[center[p]] * table.n_types + type[neighbor[p]];
      out[p] = static_cast<T>(
          deepmd::cubic_derivative(order, double(r[p]), table.start, table.step, table.n_intervals,
                                   table.table + entry * 4 * table.n_intervals));
    }
  }

  // Every centre has a slot for each atom, by type, distance and index; see gpu_mask_rows.h.
  template <typename T>
  void mask_rows(const T* coord, index type, index mask, int64 n_frames, int64 n, T* rows,
                 T* derivative, T* x, std::int32_t* nlist) {
    for (int64 c = 0; c < n_frames * n; ++c) {
      const int64 first = c / n * n;
      const auto taken = [&](int64 i) { return mask[i] != 0 && type[i] >= 0; };
      const auto r2 = [&](int64 j, T d[3]) {
        for (int a = 0; a < 3; ++a) d[a] = coord[3 * j + a] - coord[3 * c + a];
        return d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
      };
      std::vector<std::tuple<std::int32_t, T, int64>> order;
      for (int64 j = first; j < first + n; ++j) {
        T d[3];
        const bool there = j != c && taken(c) && taken(j);
        order.emplace_back(type[j],
                           there ? std::sqrt(r2(j, d)) : std::numeric_limits<T>::infinity(), j);
      }
      std::sort(order.begin(), order.end());
      for (int64 k = 0; k < n; ++k) {
        const int64 slot = c * n + k, j = std::get<2>(order[k]);
        T d[3];
        const T s2 = T(1) / r2(j, d), s = std::sqrt(s2);
        const bool there = j != c && taken(c) && taken(j);
        nlist[slot] = taken(c) ? static_cast<std::int32_t>(j - first) : -1;
        rows[4 * slot] = there ? s : T(0);
        for (int a = 0; a < 3; ++a) {
          x[3 * slot + a] = there ? d[a] : T(0);
          rows[4 * slot + 1 + a] = there ? d[a] * s2 : T(0);
          derivative[12 * slot + a] = there ? d[a] * s2 * s : T(0);
          for (int b = 0; b < 3; ++b)
            derivative[12 * slot + 3 * (1 + a) + b] =
                there ? 2 * d[a] * d[b] * s2 * s2 - (a == b ? s2 : T(0)) : T(0);
        }
      }
    }
  }
};

}  // namespace bench
