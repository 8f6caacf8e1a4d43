// SPDX-License-Identifier: BSD-3-Clause
// The slots of the padded layout as pairs, for the kernels that go over pairs.
#pragma once

#include <cstdint>
#include <vector>

#include "checks.h"
#include "padded.h"
#include "workers.h"

namespace deepmd {

// What the force and virial operations have in common: pull[p] = -dE/dx of slot p, and the rows of
// its centre and neighbour (-1: the slot is empty).
template <typename T>
struct PaddedPairs {
  std::int64_t n_frames = 0, n_all = 0, n_pairs = 0;
  std::vector<std::int32_t> center, neighbor;
  tensorflow::Tensor pull;

  // Inputs of the operation: net_deriv, in_deriv, nlist, natoms. A negative n_slots is as many as
  // nlist has.
  absl::Status read(tensorflow::OpKernelContext* context, const tensorflow::Tensor& net,
                    const tensorflow::Tensor& derivative, const tensorflow::Tensor& nlist,
                    const tensorflow::Tensor& natoms, std::int64_t components,
                    std::int64_t n_slots) {
    if (natoms.dims() != 1 || natoms.dim_size(0) < 3) {
      return absl::InvalidArgumentError(
          absl::StrCat("natoms has shape ", natoms.shape().DebugString(),
                       ", expected [2 + ntypes] with ntypes of at least 1"));
    }
    const std::int64_t n_local = natoms.vec<std::int32_t>()(0);
    n_all = natoms.vec<std::int32_t>()(1);
    if (n_local < 0 || n_all < n_local) {
      return absl::InvalidArgumentError(
          absl::StrCat("natoms starts with ", n_local, ", ", n_all,
                       ": expected the number of local atoms, then that of all atoms"));
    }
    if (n_slots < 0) {
      if (nlist.dims() != 2) return check_shape("nlist", nlist, {-1, -1});
      n_slots = n_local > 0 ? nlist.dim_size(1) / n_local : 0;
    }
    absl::Status status = check_shape("net_deriv", net, {-1, n_local * n_slots * components});
    if (!status.ok()) return status;
    n_frames = net.dim_size(0);
    status = check_shape("in_deriv", derivative, {n_frames, n_local * n_slots * components * 3});
    if (status.ok()) status = check_shape("nlist", nlist, {n_frames, n_local * n_slots});
    if (status.ok()) status = check_indices("nlist", nlist, -1, n_all);
    n_pairs = n_frames * n_local * n_slots;
    if (status.ok()) {
      status = context->allocate_temp(tensorflow::DataTypeToEnum<T>::value, {n_pairs, 3}, &pull);
    }
    if (!status.ok()) return status;

    center.resize(n_pairs);
    neighbor.resize(n_pairs);
    const std::int32_t* slots = nlist.flat<std::int32_t>().data();
    const auto kernel = DEEPMD_PICK(padded_pull<T>);
    workers(context)(n_frames * n_local, 20 * n_slots, [&](std::int64_t begin, std::int64_t end) {
      kernel(net.flat<T>().data(), derivative.flat<T>().data(), components, n_slots, begin, end,
             pull.flat<T>().data());
      for (std::int64_t c = begin; c < end; ++c) {
        const std::int64_t first_row = c / n_local * n_all;
        for (std::int64_t p = c * n_slots; p < (c + 1) * n_slots; ++p) {
          center[p] = static_cast<std::int32_t>(first_row + c % n_local);
          neighbor[p] = slots[p] < 0 ? -1 : static_cast<std::int32_t>(first_row + slots[p]);
        }
      }
    });
    return absl::OkStatus();
  }
};

// Attributes n_a_sel, n_r_sel: the number of slots, all of them with four components.
inline std::int64_t read_slots(tensorflow::OpKernelConstruction* context) {
  std::int32_t n_a_sel = 0, n_r_sel = 0;
  absl::Status status = context->GetAttr("n_a_sel", &n_a_sel);
  if (status.ok()) status = context->GetAttr("n_r_sel", &n_r_sel);
  if (status.ok() && (n_a_sel < 0 || n_r_sel != 0)) {
    status = absl::InvalidArgumentError(
        absl::StrCat("n_a_sel is ", n_a_sel, " and n_r_sel is ", n_r_sel,
                     ": expected 0 or more, and 0 (radial-only slots are not supported)"));
  }
  if (!status.ok()) context->CtxFailure(status);
  return n_a_sel;
}

}  // namespace deepmd
