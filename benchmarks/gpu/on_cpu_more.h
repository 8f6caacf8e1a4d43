// SPDX-License-Identifier: BSD-3-Clause
// What on_cpu.h goes on with: tabulated functions, angles, and the slots of the padded layout, for
// which core has formulas only.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "angles.h"
#include "cubic_spline.h"
#include "gpu_slot_pairs.h"
#include "on_cpu.h"
#include "padded.h"
#include "soft_min.h"
#include "tabulate_kernels.h"

namespace bench {

class MoreOnCpu : public CoreOnCpu {
 public:
  using Slots = deepmd::gpu::Slots;

#define TABULATE(name)                                   \
  template <typename Query, typename T, typename... A>   \
  void name(const Query& query, T* first, A... rest) {   \
    using Real = std::remove_const_t<T>;                 \
    run(DEEPMD_PICK(name<Real>), query, first, rest...); \
  }
  TABULATE(tabulate_grad)
  TABULATE(tabulate_types)
  TABULATE(tabulate_types_grad)
  TABULATE(tabulate_points_grad)
#undef TABULATE
  template <typename T>
  void tabulate(const deepmd::TabulateQuery<T>& query, int64 n, T* out) {
    DEEPMD_PICK(tabulate<T>)(query, 0, n, out);
  }
  template <typename T>
  void tabulate_points(const deepmd::TabulatePoints<T>& points, int64 n, T* out) {
    DEEPMD_PICK(tabulate_points<T>)(points, 0, n, out);
  }
  template <typename T>
  void tabulate_sum(const deepmd::TabulateSum<T>& sum, int64 n, T* out) {
    DEEPMD_PICK(tabulate_sum<T>)(sum, 0, n, out);
  }

  // n centres, where the kernel takes points.
  template <typename T>
  void tabulate_sum_grad(const deepmd::TabulateSum<T>& sum, const T* adjoint, int64 n, T* ds,
                         T* d_factor) {
    DEEPMD_PICK(tabulate_sum_grad<T>)(sum, adjoint, 0, n * sum.n_per_center, ds, d_factor);
  }

  template <typename T>
  void angle_sums(const deepmd::AngleShape& shape, const deepmd::AnglePairs<T>& pairs,
                  const T* table, T* out) {
    DEEPMD_PICK(angle_sums<T>)(shape, pairs, columns(shape, table).data(), 0, shape.n_centers,
                               memory<T>(shape), out);
  }
  template <typename T>
  void angle_rows(const deepmd::AngleShape& shape, const deepmd::AnglePairs<T>& pairs,
                  const T* table, const T* adjoint, T* out) {
    DEEPMD_PICK(angle_rows<T>)(shape, pairs, columns(shape, table).data(), adjoint, 0,
                               shape.n_centers, memory<T>(shape), out);
  }
  template <typename T>
  void angle_table(const deepmd::AngleShape& shape, const deepmd::AnglePairs<T>& pairs,
                   const T* adjoint, T* out) {
    const int64 stride = deepmd::angle_stride(shape), size = shape.n_tables * stride;
    const int64 width = shape.n_columns, n = shape.n_centers;
    std::vector<T> weights(n * size), sum(width * size);
    DEEPMD_PICK(angle_weights<T>)(shape, pairs, 0, n, 0, memory<T>(shape), weights.data());
    for (int64 m = 0; m < width; ++m)
      DEEPMD_PICK(angle_add<T>)(weights.data(), size, adjoint + m, width, n, size,
                                sum.data() + m * size);
    for (int64 k = 0; k < shape.n_tables; ++k)
      for (int64 q = 0; q < 3 * deepmd::angle_nodes(shape); ++q)
        for (int64 m = 0; m < width; ++m) *out++ = sum[m * size + k * stride + q];
  }

  template <typename T>
  void padded_pull(const T* net, const T* derivative, int64 components, int64 n_pairs, T* pull) {
    DEEPMD_PICK(padded_pull<T>)(net, derivative, components, 1, 0, n_pairs, pull);
  }
  template <typename T>
  void scaled_pull(const Slots& slots, const T* du, const T* derivative, T* pull) {
    for (int64 p = 0; p < slots.n_pairs(); ++p)
      for (int a = 0; a < 3; ++a)
        pull[3 * p + a] =
            slots.nlist[p] < 0 ? T(0) : -du[p / slots.n_slots] * derivative[3 * p + a];
  }
  template <typename T>
  void slot_forces(const Slots& slots, const T* pull, T* force) {
    std::fill(force, force + 3 * slots.n_rows(), T(0));
    // centres get the pulls of empty slots, too, which usually are none
    each(slots, [&](int64 p, int64 center, int64 neighbor) {
      for (int a = 0; a < 3; ++a) {
        if (neighbor >= 0) force[3 * neighbor + a] += pull[3 * p + a];
        force[3 * center + a] -= pull[3 * p + a];
      }
    });
  }
  template <typename T>
  void slot_virials(const Slots& slots, const T* pull, const T* rij, bool halves, T* virial) {
    std::fill(virial, virial + 9 * slots.n_rows(), T(0));
    each(slots, [&](int64 p, int64 center, int64 neighbor) {
      for (int k = 0; k < 9; ++k) {
        const T part = pull[3 * p + k / 3] * rij[3 * p + k % 3];
        if (neighbor >= 0) virial[9 * neighbor + k] += halves ? part / 2 : part;
        if (halves) virial[9 * center + k] += part / 2;
      }
    });
  }
  template <typename T>
  void sum_virials(const T* virial, int64 n_frames, int64 n_rows, T* total) {
    std::fill(total, total + 9 * n_frames, T(0));
    for (int64 i = 0; i < n_frames * n_rows * 9; ++i)
      total[i / (n_rows * 9) * 9 + i % 9] += virial[i];
  }
  template <typename T>
  void pair_tab(const deepmd::gpu::PairTable& table, const Slots& slots, index slot_type,
                index type, const T* rij, const T* scale, T* energy, T* pull) {
    std::fill(energy, energy + slots.n_centers(), T(0));
    std::fill(pull, pull + 3 * slots.n_pairs(), T(0));
    each(slots, [&](int64 p, int64 center, int64 neighbor) {
      if (neighbor < 0) return;
      const int64 c = p / slots.n_slots;
      const int64 entry = type[center] * table.n_types + slot_type[p % slots.n_slots];
      const double r = deepmd::length(rij + 3 * p);
      const auto at = [&](int order) {
        return deepmd::cubic_derivative(order, r, table.start, table.step, table.n_intervals,
                                        table.table + entry * 4 * table.n_intervals);
      };
      energy[c] += T(0.5 * at(0));
      for (int a = 0; a < 3; ++a) pull[3 * p + a] = T(-0.5 * scale[c] * at(1) / r * rij[3 * p + a]);
    });
  }
  template <typename T>
  void soft_min(const Slots& slots, const deepmd::SoftMin& soft, const T* rij, T* value,
                T* derivative) {
    std::fill(derivative, derivative + 3 * slots.n_pairs(), T(0));
    for (int64 c = 0; c < slots.n_centers(); ++c) {
      double nearest = std::numeric_limits<double>::infinity(), sum = 0, weights = 0;
      const auto over = [&](const auto& body) {
        for (int64 p = c * slots.n_slots; p < (c + 1) * slots.n_slots; ++p)
          if (slots.nlist[p] >= 0) body(p, deepmd::length(rij + 3 * p));
      };
      over([&](int64, double r) { nearest = std::min(nearest, r); });
      over([&](int64, double r) {
        const double w = deepmd::soft_min_weight(r, nearest, soft);
        sum += r * w;
        weights += w;
      });
      const double s = sum / weights;
      const auto at = deepmd::soft_min_switch(s, soft);
      value[c] = T(at.value);
      if (at.constant) continue;
      over([&](int64 p, double r) {
        const double w = deepmd::soft_min_weight(r, nearest, soft);
        const double pull = deepmd::soft_min_pull(at.slope, s, r, w, weights, soft);
        for (int a = 0; a < 3; ++a) derivative[3 * p + a] = T(pull * rij[3 * p + a]);
      });
    }
  }

 private:
  // A kernel that takes a range where that of the GPU takes the number of centres or points, which
  // is the first number among the arguments.
  template <typename Kernel, typename Query, typename T, typename... A>
  static void run(const Kernel& kernel, const Query& query, const T* input, int64 n, A... out) {
    kernel(query, input, 0, n, out...);
  }
  template <typename Kernel, typename Query, typename T, typename... A>
  static void run(const Kernel& kernel, const Query& query, const T* input, const T* adjoint,
                  int64 n, A... out) {
    kernel(query, input, adjoint, 0, n, out...);
  }

  // The columns of a table side by side.
  template <typename T>
  static std::vector<T> columns(const deepmd::AngleShape& shape, const T* table) {
    const int64 numbers = 3 * deepmd::angle_nodes(shape), stride = deepmd::angle_stride(shape);
    const int64 width = shape.n_columns;
    std::vector<T> found(shape.n_tables * width * stride, T(0));
    for (int64 i = 0; i < shape.n_tables * width; ++i)
      for (int64 q = 0; q < numbers; ++q)
        found[i * stride + q] = table[(i / width * numbers + q) * width + i % width];
    return found;
  }
  template <typename T>
  void* memory(const deepmd::AngleShape& shape) {
    memory_.resize(DEEPMD_PICK(angle_scratch<T>)(shape) + 64);
    const auto at = reinterpret_cast<std::uintptr_t>(memory_.data());
    return reinterpret_cast<void*>((at + 63) / 64 * 64);
  }
  // Slots with the rows of their atoms, -1 for none.
  template <typename F>
  static void each(const Slots& slots, const F& f) {
    for (int64 p = 0; p < slots.n_pairs(); ++p) {
      const int64 c = p / slots.n_slots, first = c / slots.n_local * slots.n_all;
      f(p, first + c % slots.n_local, slots.nlist[p] < 0 ? -1 : first + slots.nlist[p]);
    }
  }

  std::vector<char> memory_;
};

}  // namespace bench
