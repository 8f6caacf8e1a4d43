// SPDX-License-Identifier: BSD-3-Clause
// The slots of the padded layout as pairs, with a derivative of the energy at each.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "checks.h"
#include "device.h"
#include "gpu_slot_pairs.h"
#include "pairs.h"
#include "row_blocks.h"
#include "workers.h"

namespace deepmd {

// pull[p] = -dE/dx of slot p; on the processor also the rows of its centre and neighbour (-1: the
// slot is empty).
template <typename Device, typename T>
struct SlotPairs {
  std::int64_t n_frames = 0, n_local = 0, n_all = 0, n_slots = 0, n_pairs = 0;
  std::vector<std::int32_t> center, neighbor;
  tensorflow::Tensor pull;

  // Numbers of atoms, from natoms: [2 + ntypes].
  absl::Status read_atoms(const tensorflow::Tensor& natoms) {
    if (natoms.dims() != 1 || natoms.dim_size(0) < 3) {
      return absl::InvalidArgumentError(
          absl::StrCat("natoms has shape ", natoms.shape().DebugString(),
                       ", expected [2 + ntypes] with ntypes of at least 1"));
    }
    n_local = natoms.vec<std::int32_t>()(0);
    n_all = natoms.vec<std::int32_t>()(1);
    if (n_local < 0 || n_all < n_local) {
      return absl::InvalidArgumentError(
          absl::StrCat("natoms starts with ", n_local, ", ", n_all,
                       ": expected the number of local atoms, then that of all atoms"));
    }
    return absl::OkStatus();
  }

  // The slots of nlist, [n_frames, n_local * n_slots]; pull is not yet computed.
  absl::Status read_slots(tensorflow::OpKernelContext* context, const tensorflow::Tensor& nlist) {
    absl::Status status = check_shape("nlist", nlist, {n_frames, n_local * n_slots});
    if constexpr (!on_gpu<Device>) {
      if (status.ok()) status = check_indices("nlist", nlist, -1, n_all);
    }
    n_pairs = n_frames * n_local * n_slots;
    if (status.ok()) {
      status = context->allocate_temp(tensorflow::DataTypeToEnum<T>::value, {n_pairs, 3}, &pull);
    }
    if (!status.ok()) return status;
    slots_ = nlist.flat<std::int32_t>().data();
    if constexpr (on_gpu<Device>) {
      constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
      if (n_pairs <= most && n_frames * n_all <= most) return absl::OkStatus();
      return invalid_argument("nlist has ", n_pairs, " slots for ", n_frames * n_all,
                              " atoms, expected at most ", most, " of each on a GPU");
    }
    center.resize(n_pairs);
    neighbor.resize(n_pairs);
    return absl::OkStatus();
  }

  gpu::Slots slots() const { return {n_frames, n_local, n_all, n_slots, slots_}; }

  // Fills in the slots of a centre, counted over all frames.
  void index_center(std::int64_t c) {
    const std::int64_t first_row = c / n_local * n_all;
    for (std::int64_t p = c * n_slots; p < (c + 1) * n_slots; ++p) {
      center[p] = static_cast<std::int32_t>(first_row + c % n_local);
      neighbor[p] = slots_[p] < 0 ? -1 : static_cast<std::int32_t>(first_row + slots_[p]);
    }
  }

  // Calls body(c) for each centre, whose slots have been filled in.
  template <typename F>
  void for_centers(tensorflow::OpKernelContext* context, std::int64_t cost, const F& body) {
    workers(context)(n_frames * n_local, cost * n_slots, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        index_center(c);
        body(c);
      }
    });
  }

  // Force of the pulls, [n_frames * n_all, 3]: the neighbour gets +pull, the centre -pull.
  void forces(tensorflow::OpKernelContext* context, T* force) const {
    if constexpr (on_gpu<Device>) {
      const OpStream stream(context);
      gpu::slot_forces(stream, slots(), gpu::slot_places(stream, slots()), pull.flat<T>().data(),
                       force);
      return;
    }
    const auto kernel = DEEPMD_PICK(scatter_pairs<T>);
    for_row_blocks(workers(context), n_frames * n_all, n_pairs, 10,
                   [&](std::int64_t begin, std::int64_t end) {
                     kernel(pull.flat<T>().data(), center.data(), neighbor.data(), n_pairs, 3,
                            begin, end, force);
                   });
  }

  // out[9 row + 3a + b] = sum of pull[a] rij[b] over the slots whose `owner` is that row.
  void virials(tensorflow::OpKernelContext* context, const std::vector<std::int32_t>& owner,
               const T* rij, T* out) const {
    const auto kernel = DEEPMD_PICK(pair_virial<T>);
    for_row_blocks(workers(context), n_frames * n_all, n_pairs, 12,
                   [&](std::int64_t begin, std::int64_t end) {
                     kernel(pull.flat<T>().data(), rij, owner.data(), n_pairs, begin, end, out);
                     // The kernel takes dE/dx, which is -pull.
                     for (std::int64_t k = 9 * begin; k < 9 * end; ++k) out[k] = -out[k];
                   });
  }

  // Virials of the neighbours, [n_frames * n_all, 9], and total [n_frames, 9], their sum.
  void virials(tensorflow::OpKernelContext* context, const T* rij, T* per_atom, T* total) const {
    if constexpr (on_gpu<Device>) {
      const OpStream stream(context);
      gpu::slot_virials(stream, slots(), gpu::slot_places(stream, slots()), pull.flat<T>().data(),
                        rij, /*halves=*/false, per_atom);
      gpu::sum_virials<T>(stream, per_atom, n_frames, n_all, total);
      return;
    }
    virials(context, neighbor, rij, per_atom);
    for (std::int64_t f = 0; f < n_frames; ++f) {
      for (int k = 0; k < 9; ++k) total[9 * f + k] = 0;
      for (std::int64_t i = 0; i < n_all; ++i) {
        for (int k = 0; k < 9; ++k) total[9 * f + k] += per_atom[9 * (f * n_all + i) + k];
      }
    }
  }

 private:
  const std::int32_t* slots_ = nullptr;
};

}  // namespace deepmd
