// SPDX-License-Identifier: BSD-3-Clause
// The functions of on_gpu.h by the processor's kernels, on one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "adam.h"
#include "adam_tables.h"
#include "attention.h"
#include "contract.h"
#include "descriptor.h"
#include "embedding_jets.h"
#include "env_matrix_kernels.h"
#include "fragments.h"
#include "gelu_kernels.h"
#include "gemm.h"
#include "gpu_attention.h"
#include "gpu_contract.h"
#include "gpu_descriptor.h"
#include "gpu_embedding_jets.h"
#include "gpu_env_matrix.h"
#include "layer_norm.h"
#include "moment.h"
#include "neighbors.h"
#include "on_cpu_dense.h"
#include "pairs.h"

namespace bench {

// All on the calling thread.
inline deepmd::ParallelFor serial() {
  return {[](void*, std::int64_t total, std::int64_t, deepmd::ParallelFor::Body body,
             const void* closure) { body(closure, 0, total); },
          nullptr, 1};
}

template <typename T>
class HostArray {
 public:
  HostArray() = default;
  explicit HostArray(std::int64_t n) : numbers_(n) {}
  explicit HostArray(const std::vector<T>& numbers) : numbers_(numbers) {}
  T* data() const { return const_cast<T*>(numbers_.data()); }
  std::int64_t size() const { return static_cast<std::int64_t>(numbers_.size()); }
  void drop() { std::vector<T>().swap(numbers_); }
  const std::vector<T>& get() const { return numbers_; }

 private:
  std::vector<T> numbers_;
};

class CoreOnCpu : public DenseOnCpu {
 public:
  template <typename T>
  using Array = HostArray<T>;
  using int64 = std::int64_t;
  using index = const std::int32_t*;

  template <typename T>
  Array<T> make(int64 n) {
    return Array<T>(n);
  }
  template <typename T>
  Array<T> zeros(int64 n) {
    return Array<T>(n);
  }
  template <typename T>
  Array<T> put(const std::vector<T>& host) {
    return Array<T>(host);
  }
  template <typename T>
  std::vector<T> get(const Array<T>& array) {
    return array.get();
  }
  void stage(const char*, double, double) {}

  template <typename T>
  void add(const T* from, int64 n, T* to) {
    for (int64 i = 0; i < n; ++i) to[i] += from[i];
  }

  template <typename T, typename Pairs>
  void find_pairs(const deepmd::NeighborQuery<T>& query, const deepmd::ParallelFor& parallel_for,
                  std::int32_t* splits, Pairs* pairs) {
    deepmd::NeighborList<T> list;
    const std::string wrong = list.build(query, parallel_for);
    if (!wrong.empty()) throw std::runtime_error(wrong);
    pairs->n = list.n_pairs();
    pairs->center = make<std::int32_t>(pairs->n);
    pairs->neighbor = make<std::int32_t>(pairs->n);
    pairs->shift = make<T>(3 * pairs->n);
    list.write({pairs->center.data(), pairs->neighbor.data(), pairs->shift.data()}, parallel_for);
    std::copy(list.splits().begin(), list.splits().end(), splits);
  }

  template <typename T>
  void gather_pairs(const T* values, index center, index neighbor, const T* shift, int64,
                    int64 width, int64 n_pairs, T* out) {
    DEEPMD_PICK(gather_pairs<T>)(values, center, neighbor, shift, width, 0, n_pairs, out);
  }
  template <typename T>
  void scatter_pairs(const T* pairs, index center, index neighbor, int64 n_pairs, int64 width,
                     int64 n_rows, T* out) {
    DEEPMD_PICK(scatter_pairs<T>)(pairs, center, neighbor, n_pairs, width, 0, n_rows, out);
  }
  template <typename T>
  void pair_virial(const T* g, const T* x, index neighbor, int64 n_pairs, int64 n_rows, T* out) {
    DEEPMD_PICK(pair_virial<T>)(g, x, neighbor, n_pairs, 0, n_rows, out);
  }
  template <typename T>
  void pair_forces(const T* g, const T* x, index center, index neighbor, int64 n_pairs,
                   int64 n_frames, int64 n_all, T* force, T* virial, T* atom_virial) {
    DEEPMD_PICK(pair_forces<T>)(g, x, center, neighbor, n_frames, n_all, 0, n_pairs, force, virial);
    if (atom_virial != nullptr) pair_virial(g, x, neighbor, n_pairs, n_frames * n_all, atom_virial);
  }
  template <typename T>
  void pair_forces_vjp(const T* f, const T* w, const T* atom_w, const T* x, index center,
                       index neighbor, int64 n_pairs, int64, int64 n_all, T* out) {
    DEEPMD_PICK(pair_forces_vjp<T>)(f, w, atom_w, x, center, neighbor, n_all, 0, n_pairs, out);
  }
  template <typename T>
  void pair_virial_vjp(const T* w, const T* v, index neighbor, bool transpose, int64 n_pairs, int64,
                       T* out) {
    DEEPMD_PICK(pair_virial_vjp<T>)(w, v, neighbor, transpose, 0, n_pairs, out);
  }

  template <typename T>
  void env_matrix(const deepmd::EnvPairs<T>& pairs, const deepmd::gpu::EnvSizes& sizes,
                  const T* avg, T* rows) {
    DEEPMD_PICK(env_matrix<T>)(pairs, avg, 0, sizes.n_pairs, rows);
  }
  template <typename T>
  void env_matrix_vjp(const deepmd::EnvPairs<T>& pairs, const deepmd::gpu::EnvSizes& sizes,
                      const T* g, T* out) {
    DEEPMD_PICK(env_matrix_vjp<T>)(pairs, g, 0, sizes.n_pairs, out);
  }
  template <typename T>
  void env_matrix_jvp(const deepmd::EnvPairs<T>& pairs, const deepmd::gpu::EnvSizes& sizes,
                      const T* v, T* out) {
    DEEPMD_PICK(env_matrix_jvp<T>)(pairs, v, 0, sizes.n_pairs, out);
  }
  template <typename T>
  void env_matrix_hvp(const deepmd::EnvPairs<T>& pairs, const deepmd::gpu::EnvSizes& sizes,
                      const T* g, const T* v, T* out) {
    DEEPMD_PICK(env_matrix_hvp<T>)(pairs, g, v, 0, sizes.n_pairs, out);
  }
  template <typename T>
  void env_matrix_jvp_of_jvp(const deepmd::EnvPairs<T>& pairs, const deepmd::gpu::EnvSizes& sizes,
                             const T* u, const T* v, T* out) {
    DEEPMD_PICK(env_matrix_jvp_of_jvp<T>)(pairs, u, v, 0, sizes.n_pairs, out);
  }

  template <typename T>
  void moment(const deepmd::MomentShape& shape, const deepmd::MomentPairs<T>& pairs, const T* table,
              const T* rows, T* out) {
    const T* const zero = nullptr;
    moment_of_rows(shape, pairs, table, rows, zero, out);
  }
  template <typename T>
  void moment_of_rows(const deepmd::MomentShape& shape, const deepmd::MomentPairs<T>& pairs,
                      const T* table, const T* rows, const T* start, T* out) {
    DEEPMD_PICK(moment<T>)(shape, pairs, table, rows, start, serial(), out);
  }
  template <typename T>
  void moment_rows(const deepmd::MomentShape& shape, const deepmd::MomentPairs<T>& pairs,
                   const T* table, const T* adjoint, T* out) {
    DEEPMD_PICK(moment_rows<T>)(shape, pairs, table, adjoint, serial(), out);
  }
  template <typename T>
  void moment_of_rows_vjp(const deepmd::MomentShape& shape, const deepmd::MomentPairs<T>& pairs,
                          const T* table, const T* rows, const T* adjoint, T* out) {
    DEEPMD_PICK(moment_of_rows_vjp<T>)(shape, pairs, table, rows, adjoint, serial(), out);
  }
  template <typename T>
  void moment_table(const deepmd::MomentShape& shape, const deepmd::MomentPairs<T>& pairs,
                    const T* rows, const T* adjoint, T* out) {
    std::vector<double> scratch(DEEPMD_PICK(moment_table_scratch<T>)(shape) / sizeof(double) + 1);
    DEEPMD_PICK(moment_table<T>)(shape, pairs, rows, adjoint, serial(), scratch.data(), out);
  }
  template <typename T>
  void moment_tangent_rows(const T* rows, const T* tangent, int64 n, T* s, T* tangent_rows) {
    DEEPMD_PICK(moment_tangent_rows<T>)(rows, tangent, 0, n, s, tangent_rows);
  }
  template <typename T>
  void moment_outside(const deepmd::MomentShape& shape, const deepmd::MomentPairs<T>& pairs,
                      int64* count) {
    *count = DEEPMD_PICK(moment_outside<T>)(shape, pairs);
  }

  template <typename T>
  void descriptor(const deepmd::DescriptorShape& shape, const deepmd::gpu::PartOfFrames& part,
                  const T* moment, T* out) {
    each_frame(shape, part, [&](int64 all, int64 own, int64 n) {
      DEEPMD_PICK(descriptor<T>)(shape, moment + all, 0, n, out + own);
    });
  }
  template <typename T>
  void descriptor_jvp(const deepmd::DescriptorShape& shape, const deepmd::gpu::PartOfFrames& part,
                      const T* moment, const T* tangent, T* out) {
    each_frame(shape, part, [&](int64 all, int64 own, int64 n) {
      DEEPMD_PICK(descriptor_jvp<T>)(shape, moment + all, tangent + all, 0, n, out + own);
    });
  }
  template <typename T>
  void descriptor_vjp(const deepmd::DescriptorShape& shape, const deepmd::gpu::PartOfFrames& part,
                      const T* adjoint, const T* moment, T* gradient) {
    each_frame(shape, part, [&](int64 all, int64 own, int64 n) {
      DEEPMD_PICK(descriptor_vjp<T>)(shape, adjoint + own, moment + all, 0, n, gradient + all);
    });
  }

  template <typename T>
  void embedding_jets(const deepmd::gpu::JetNets<T>& nets,
                      const std::vector<deepmd::gpu::JetPart<T>>& parts) {
    for (const auto& part : parts) {
      std::vector<T> scratch(DEEPMD_PICK(jet_scratch<T>)(nets.shape, part.n));
      DEEPMD_PICK(embedding_jets<T>)(nets.shape, weights(nets, part.net), part.nodes, part.n,
                                     scratch.data(), part.jets);
    }
  }
  // Of parts that are of different nets.
  template <typename T>
  void embedding_jets_grad(const deepmd::gpu::JetNets<T>& nets,
                           const std::vector<deepmd::gpu::JetPart<T>>& parts, T* const* d_matrix,
                           T* const* d_bias, T* const* d_idt) {
    const int64 n_layers = nets.shape.n_layers, *const width = nets.shape.width;
    int64 size = 0;
    for (int64 l = 0; l < n_layers; ++l) size += (width[l] + 2) * width[l + 1];
    for (const auto& part : parts) {
      std::vector<T> scratch(DEEPMD_PICK(jet_scratch<T>)(nets.shape, part.n)), found(size);
      DEEPMD_PICK(embedding_jets_grad<T>)(nets.shape, weights(nets, part.net), part.nodes,
                                          part.grad, part.n, scratch.data(), part.d_nodes,
                                          found.data());
      const T* next = found.data();
      const auto take = [&](int64 n, T* to) {
        if (to != nullptr) std::copy(next, next + n, to);
        next += n;
      };
      for (int64 at = part.net * n_layers, l = 0; l < n_layers; ++l, ++at) {
        take(width[l] * width[l + 1], d_matrix[at]);
        take(width[l + 1], d_bias[at]);
        take(width[l + 1], nets.idt[at] == nullptr ? nullptr : d_idt[at]);
      }
    }
  }

  template <typename T>
  void contract(const deepmd::gpu::ContractView& v, const T* rows, const T* columns, T* out) {
    DEEPMD_PICK(contract<T>)(shape(v), rows, columns, 0, v.n_centers, out);
  }
  template <typename T>
  void contract_rows(const deepmd::gpu::ContractView& v, const T* columns, const T* adjoint,
                     T* out) {
    DEEPMD_PICK(contract_rows<T>)(shape(v), columns, adjoint, 0, v.n_centers, out);
  }
  template <typename T>
  void contract_columns(const deepmd::gpu::ContractView& v, const T* rows, const T* adjoint,
                        T* out) {
    DEEPMD_PICK(contract_columns<T>)(shape(v), rows, adjoint, 0, v.n_centers, out);
  }

  template <typename T>
  void attention(const deepmd::AttentionShape& shape, const deepmd::gpu::AttentionSizes& sizes,
                 const deepmd::AttentionPairs<const T>& x, T* out) {
    DEEPMD_PICK(attention<T>)(shape, x, 0, sizes.n_centers, scratch<T>(shape, sizes).data(), out);
  }
  template <typename T>
  void attention_vjp(const deepmd::AttentionShape& shape, const deepmd::gpu::AttentionSizes& sizes,
                     const deepmd::AttentionPairs<const T>& x, const T* adjoint,
                     const deepmd::AttentionPairs<T>& gradient) {
    DEEPMD_PICK(attention_vjp<T>)(shape, x, adjoint, 0, sizes.n_centers,
                                  scratch<T>(shape, sizes).data(), gradient);
  }
  template <typename T>
  void attention_hvp(const deepmd::AttentionShape& shape, const deepmd::gpu::AttentionSizes& sizes,
                     const deepmd::AttentionPairs<const T>& x,
                     const deepmd::AttentionPairs<const T>& u, const T* adjoint,
                     const deepmd::AttentionPairs<T>& gradient, T* adjoint_gradient) {
    DEEPMD_PICK(attention_hvp<T>)(shape, x, u, adjoint, 0, sizes.n_centers,
                                  scratch<T>(shape, sizes).data(), gradient, adjoint_gradient);
  }

  template <typename T>
  void gelu(const T* x, int64 n, T* out) {
    DEEPMD_PICK(gelu<T>)(x, 0, n, out);
  }
  template <typename T>
  void gelu_grad(const T* dy, const T* x, int64 n, T* out) {
    DEEPMD_PICK(gelu_grad<T>)(dy, x, 0, n, out);
  }
  template <typename T>
  void layer_norm(const T* x, int64 n, int64 width, T epsilon, T* y) {
    DEEPMD_PICK(layer_norm<T>)(x, width, epsilon, 0, n, y);
  }
  template <typename T>
  void layer_norm_vjp(const T* x, const T* g, int64 n, int64 width, T epsilon, T* out) {
    DEEPMD_PICK(layer_norm_vjp<T>)(x, g, width, epsilon, 0, n, out);
  }
  template <typename T>
  void layer_norm_hvp(const T* x, const T* g, const T* u, int64 n, int64 width, T epsilon, T* out) {
    DEEPMD_PICK(layer_norm_hvp<T>)(x, g, u, width, epsilon, 0, n, out);
  }

  bool adam_step(const deepmd::gpu::AdamSettings& settings, const double*,
                 const std::vector<deepmd::gpu::AdamUpdate<float>>& single,
                 const std::vector<deepmd::gpu::AdamUpdate<double>>& twice, float* power1,
                 float* power2) {
    const auto update = [&](const auto& all, auto rates, const auto& kernel) {
      for (const auto& u : all) kernel(rates, u.a, u.b, u.size, u.x, u.m, u.v);
    };
    const float p1 = *power1, p2 = *power2;
    const auto [rate, beta1, beta2, epsilon] = settings;
    update(single, deepmd::adam_rates<float>(rate, beta1, beta2, epsilon, p1, p2),
           DEEPMD_PICK(adam_step<float>));
    update(twice, deepmd::adam_rates<double>(rate, beta1, beta2, epsilon, p1, p2),
           DEEPMD_PICK(adam_step<double>));
    *power1 *= beta1;
    *power2 *= beta2;
    return true;
  }

  std::vector<std::vector<std::int32_t>> fragments(const std::vector<std::int32_t>& group,
                                                   int64 n_frames, int64 n_local, int64 n_all) {
    deepmd::Fragments found;
    const std::string wrong =
        deepmd::find_fragments(group.data(), n_frames, n_local, n_all, &found);
    if (!wrong.empty()) throw std::runtime_error(wrong);
    std::vector<std::vector<std::int32_t>> maps;
    for (const deepmd::SubFrames* frames : {&found.qm, &found.qmmm}) {
      const auto members = static_cast<int64>(frames->members.size());
      maps.emplace_back(members * frames->n_all());
      deepmd::forward_map(*frames, maps.back().data());
      maps.emplace_back(members * n_all);
      deepmd::backward_map(*frames, n_all, maps.back().data());
    }
    maps.emplace_back();
    for (const auto& member : found.qmmm.members)
      maps.back().push_back(static_cast<std::int32_t>(member.frame));
    return maps;
  }

 private:
  // Calls f(number of the first atom's row among all, and in the array of the part, atoms).
  template <typename F>
  static void each_frame(const deepmd::DescriptorShape& shape,
                         const deepmd::gpu::PartOfFrames& part, const F& f) {
    for (int64 frame = 0; frame < part.n_frames; ++frame)
      f((frame * part.in_frame + part.first) * 4 * shape.n_columns,
        frame * part.count * shape.n_columns * shape.n_axis, part.count);
  }
  template <typename T>
  static deepmd::JetWeights<T> weights(const deepmd::gpu::JetNets<T>& nets, int64 net) {
    const int64 first = net * nets.shape.n_layers;
    return {nets.matrix + first, nets.bias + first, nets.idt + first};
  }
  static deepmd::ContractShape shape(const deepmd::gpu::ContractView& v) {
    return {v.n_columns, v.ntypes, v.splits};
  }
  template <typename T>
  static std::vector<T> scratch(const deepmd::AttentionShape& shape,
                                const deepmd::gpu::AttentionSizes& sizes) {
    int64 most = 0;
    for (int64 c = 0; c < sizes.n_centers; ++c)
      most = std::max<int64>(most,
                             shape.splits[(c + 1) * shape.ntypes] - shape.splits[c * shape.ntypes]);
    return std::vector<T>(deepmd::attention_scratch(shape.width, most));
  }
};

}  // namespace bench
