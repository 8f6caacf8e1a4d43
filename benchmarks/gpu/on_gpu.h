// SPDX-License-Identifier: BSD-3-Clause
// The functions of deepmd::gpu on one card, with the names and arguments that on_cpu.h has too.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "card.h"
#include "gpu_adam.h"
#include "gpu_angles.h"
#include "gpu_attention.h"
#include "gpu_contract.h"
#include "gpu_dense.h"
#include "gpu_descriptor.h"
#include "gpu_embedding_jets.h"
#include "gpu_env_matrix.h"
#include "gpu_fragments.h"
#include "gpu_gelu.h"
#include "gpu_layer_norm.h"
#include "gpu_mask_rows.h"
#include "gpu_moment.h"
#include "gpu_neighbors.h"
#include "gpu_padded_rows.h"
#include "gpu_pair_spline.h"
#include "gpu_pairs.h"
#include "gpu_slot_pairs.h"
#include "gpu_tabulate.h"
#include "stages.h"

namespace bench {

namespace gpu = deepmd::gpu;

// n numbers of the card.
template <typename T>
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(Memory* memory, std::int64_t n)
      : memory_(memory), data_(static_cast<T*>(memory->take(n * sizeof(T)))), n_(n) {}
  DeviceArray(DeviceArray&& other) noexcept { *this = std::move(other); }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(data_, other.data_);
    std::swap(n_, other.n_);
    return *this;
  }
  ~DeviceArray() { drop(); }

  T* data() const { return data_; }
  std::int64_t size() const { return n_; }
  void drop() {
    if (memory_ != nullptr) memory_->give(data_);
    memory_ = nullptr;
    data_ = nullptr;
    n_ = 0;
  }

 private:
  Memory* memory_ = nullptr;
  T* data_ = nullptr;
  std::int64_t n_ = 0;
};

class OnGpu {
 public:
  template <typename T>
  using Array = DeviceArray<T>;

  OnGpu(Card* card, Memory* memory, gpu::Runtime* runtime)
      : card_(card), memory_(memory), runtime_(runtime) {}

  // A stream with scratch memory that lasts as long as this.
  class Call : public gpu::Stream {
   public:
    explicit Call(const OnGpu& on)
        : gpu::Stream(on.runtime_, on.card_->stream(), this, &allocate), memory_(on.memory_) {}
    ~Call() {
      for (void* memory : taken_) memory_->give(memory);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    static void* allocate(void* self, std::int64_t bytes) {
      auto* const call = static_cast<Call*>(self);
      call->taken_.push_back(call->memory_->take(bytes));
      return call->taken_.back();
    }

    Memory* memory_;
    std::vector<void*> taken_;
  };

  template <typename T>
  Array<T> make(std::int64_t n) {
    return Array<T>(memory_, n);
  }
  template <typename T>
  Array<T> zeros(std::int64_t n) {
    Array<T> array = make<T>(n);
    Call(*this).zero(array.data(), n);
    return array;
  }
  template <typename T>
  Array<T> put(const std::vector<T>& host) {
    Array<T> array = make<T>(host.size());
    Call(*this).write(host.data(), host.size(), array.data());
    return array;
  }
  template <typename T>
  std::vector<T> get(const Array<T>& array) {
    std::vector<T> host(array.size());
    Call(*this).read(array.data(), array.size(), host.data());
    return host;
  }

  // What comes next, with the least that it has to move and compute.
  void stage(const char* name, double bytes, double flops) {
    if (stages != nullptr) stages->begin(card_, name, bytes, flops);
  }
  Stages* stages = nullptr;

  // to += from
  template <typename T>
  void add(const T* from, std::int64_t n, T* to) {
    const Array<T> one = put(std::vector<T>{T(1)});
    Call(*this).multiply<T>(n, 1, 1, false, false, from, one.data(), true, to);
  }

  // Fills in splits and returns the pairs.
  template <typename T, typename Pairs>
  void find_pairs(const deepmd::NeighborQuery<T>& query, const deepmd::ParallelFor& parallel_for,
                  std::int32_t* splits, Pairs* pairs) {
    const Call call(*this);
    gpu::NeighborList<T> list(call);
    const std::string wrong = list.build(query, gpu::GivenRows{}, parallel_for, splits);
    if (!wrong.empty()) throw gpu::Error(wrong);
    pairs->n = list.n_pairs();
    pairs->center = make<std::int32_t>(pairs->n);
    pairs->neighbor = make<std::int32_t>(pairs->n);
    pairs->shift = make<T>(3 * pairs->n);
    list.write({pairs->center.data(), pairs->neighbor.data(), pairs->shift.data()}, parallel_for);
  }

#define FORWARD(name)                                      \
  template <typename... A>                                 \
  auto name(A&&... arguments) {                            \
    const Call call(*this);                                \
    return gpu::name(call, std::forward<A>(arguments)...); \
  }
  FORWARD(adam_step)
  FORWARD(attention)
  FORWARD(attention_vjp)
  FORWARD(attention_hvp)
  FORWARD(contract)
  FORWARD(contract_rows)
  FORWARD(contract_columns)
  FORWARD(dense_nets)
  FORWARD(dense_nets_vjp)
  FORWARD(dense_nets_jvp)
  FORWARD(dense_nets_weights)
  FORWARD(descriptor)
  FORWARD(descriptor_jvp)
  FORWARD(descriptor_vjp)
  FORWARD(embedding_jets)
  FORWARD(embedding_jets_grad)
  FORWARD(env_matrix)
  FORWARD(env_matrix_vjp)
  FORWARD(env_matrix_jvp)
  FORWARD(env_matrix_hvp)
  FORWARD(env_matrix_jvp_of_jvp)
  FORWARD(gelu)
  FORWARD(gelu_grad)
  FORWARD(layer_norm)
  FORWARD(layer_norm_vjp)
  FORWARD(layer_norm_hvp)
  FORWARD(mask_rows)
  FORWARD(moment)
  FORWARD(moment_rows)
  FORWARD(moment_of_rows)
  FORWARD(moment_of_rows_vjp)
  FORWARD(moment_table)
  FORWARD(moment_tangent_rows)
  FORWARD(moment_outside)
  FORWARD(padded_env_rows)
  FORWARD(pair_spline)
  FORWARD(gather_pairs)
  FORWARD(scatter_pairs)
  FORWARD(pair_virial)
  FORWARD(pair_forces)
  FORWARD(pair_forces_vjp)
  FORWARD(pair_virial_vjp)
  FORWARD(tabulate)
  FORWARD(tabulate_grad)
  FORWARD(tabulate_types)
  FORWARD(tabulate_types_grad)
  FORWARD(tabulate_points)
  FORWARD(tabulate_points_grad)
  FORWARD(tabulate_sum)
  FORWARD(tabulate_sum_grad)
  FORWARD(angle_sums)
  FORWARD(angle_rows)
  FORWARD(angle_table)
  FORWARD(padded_pull)
  FORWARD(scaled_pull)
  FORWARD(sum_virials)
  FORWARD(pair_tab)
  FORWARD(soft_min)
#undef FORWARD

  template <typename T>
  void slot_forces(const gpu::Slots& slots, const T* pull, T* force) {
    const Call call(*this);
    gpu::slot_forces(call, slots, gpu::slot_places(call, slots), pull, force);
  }
  template <typename T>
  void slot_virials(const gpu::Slots& slots, const T* pull, const T* rij, bool halves, T* virial) {
    const Call call(*this);
    gpu::slot_virials(call, slots, gpu::slot_places(call, slots), pull, rij, halves, virial);
  }
  template <typename T>
  void merge_types(const std::int32_t* type, std::int64_t n, std::int64_t n_types,
                   std::int32_t* merged) {
    gpu::merge_types<T>(Call(*this), type, n, n_types, merged);
  }
  template <typename T>
  void slot_types(const std::int32_t* nlist, const std::int32_t* type, std::int64_t n_frames,
                  std::int64_t width, std::int64_t n_all, std::int64_t n_types, std::int32_t* found,
                  bool* filled) {
    gpu::slot_types<T>(Call(*this), nlist, type, n_frames, width, n_all, n_types, found, filled);
  }

  // Maps of frames cut into fragments by whole numbers.
  std::vector<std::vector<std::int32_t>> fragments(const std::vector<std::int32_t>& group,
                                                   std::int64_t n_frames, std::int64_t n_local,
                                                   std::int64_t n_all) {
    const Call call(*this);
    const Array<std::int32_t> numbers = put(group);
    gpu::Fragments found(call, n_frames, n_local, n_all);
    found.take_numbers(numbers.data());
    if (!found.find()) throw gpu::Error("fragments were not found");
    const auto forward = make<std::int32_t>(n_frames * found.region().all);
    const auto backward = make<std::int32_t>(n_frames * n_all);
    const auto sub_forward = make<std::int32_t>(found.n_sub() * found.sub_frame().all);
    const auto sub_backward = make<std::int32_t>(found.n_sub() * n_all);
    const auto frame = make<std::int32_t>(found.n_sub());
    found.map_regions(forward.data(), backward.data());
    found.map_sub_frames(sub_forward.data(), sub_backward.data(), frame.data());
    return {get(forward), get(backward), get(sub_forward), get(sub_backward), get(frame)};
  }

 private:
  Card* card_;
  Memory* memory_;
  gpu::Runtime* runtime_;
};

}  // namespace bench
