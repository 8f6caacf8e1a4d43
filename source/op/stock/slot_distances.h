// SPDX-License-Identifier: BSD-3-Clause
// What operations on the distances of slots read: rij, nlist and the selection.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "slot_pairs.h"
#include "soft_min.h"

namespace deepmd {

// Attributes sel_a and sel_r: slots of each type, those with directions and those without. One of
// the two is all zeros.
struct SlotSections {
  std::vector<std::int32_t> with_directions, without;

  absl::Status read(tensorflow::OpKernelConstruction* context) {
    absl::Status status = context->GetAttr("sel_a", &with_directions);
    if (status.ok()) status = context->GetAttr("sel_r", &without);
    if (!status.ok()) return status;
    for (const auto* counts : {&with_directions, &without}) {
      for (const std::int32_t count : *counts) {
        if (count < 0) return invalid_argument("sel_a and sel_r must not be negative");
      }
    }
    return absl::OkStatus();
  }

  std::int64_t n_slots() const {
    return std::accumulate(with_directions.begin(), with_directions.end(), std::int64_t{0}) +
           std::accumulate(without.begin(), without.end(), std::int64_t{0});
  }

  // Type of the neighbour in each slot.
  std::vector<std::int32_t> types() const {
    std::vector<std::int32_t> found;
    for (const auto* counts : {&with_directions, &without}) {
      for (std::size_t t = 0; t < counts->size(); ++t) {
        found.insert(found.end(), (*counts)[t], static_cast<std::int32_t>(t));
      }
    }
    return found;
  }
};

// Reads the slots of type [n_frames, n_all], rij [n_frames, n_local * n_slots * 3], nlist, natoms.
template <typename Device, typename T>
absl::Status read_distances(tensorflow::OpKernelContext* context, const tensorflow::Tensor& type,
                            const tensorflow::Tensor& rij, const tensorflow::Tensor& nlist,
                            const tensorflow::Tensor& natoms, std::int64_t n_slots,
                            SlotPairs<Device, T>* pairs) {
  absl::Status status = pairs->read_atoms(natoms);
  if (!status.ok()) return status;
  status = check_shape("type", type, {-1, pairs->n_all});
  if (!status.ok()) return status;
  pairs->n_frames = type.dim_size(0);
  pairs->n_slots = n_slots;
  status = check_shape("rij", rij, {pairs->n_frames, pairs->n_local * n_slots * 3});
  return status.ok() ? pairs->read_slots(context, nlist) : status;
}

}  // namespace deepmd
