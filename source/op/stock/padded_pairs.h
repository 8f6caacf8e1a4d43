// SPDX-License-Identifier: BSD-3-Clause
// Forces and virials from derivatives by the rows of the padded layout.
#pragma once

#include <cstdint>

#include "checks.h"
#include "padded.h"
#include "slot_pairs.h"
#include "workers.h"

namespace deepmd {

// What the force and virial operations of environment rows have in common.
template <typename Device, typename T>
struct PaddedPairs : SlotPairs<Device, T> {
  // Inputs of the operation: net_deriv, in_deriv, nlist, natoms. A negative number of slots is as
  // many as nlist has.
  absl::Status read(tensorflow::OpKernelContext* context, const tensorflow::Tensor& net,
                    const tensorflow::Tensor& derivative, const tensorflow::Tensor& nlist,
                    const tensorflow::Tensor& natoms, std::int64_t components, std::int64_t slots) {
    absl::Status status = this->read_atoms(natoms);
    if (!status.ok()) return status;
    const std::int64_t n_local = this->n_local;
    if (slots < 0) {
      if (nlist.dims() != 2) return check_shape("nlist", nlist, {-1, -1});
      slots = n_local > 0 ? nlist.dim_size(1) / n_local : 0;
    }
    this->n_slots = slots;
    status = check_shape("net_deriv", net, {-1, n_local * slots * components});
    if (!status.ok()) return status;
    this->n_frames = net.dim_size(0);
    status =
        check_shape("in_deriv", derivative, {this->n_frames, n_local * slots * components * 3});
    if (status.ok()) status = this->read_slots(context, nlist);
    if (!status.ok()) return status;

    if constexpr (on_gpu<Device>) {
      gpu::padded_pull<T>(OpStream(context), net.flat<T>().data(), derivative.flat<T>().data(),
                          components, this->n_pairs, this->pull.template flat<T>().data());
      return absl::OkStatus();
    }
    const auto kernel = DEEPMD_PICK(padded_pull<T>);
    workers(context)(this->n_frames * n_local, 20 * slots,
                     [&](std::int64_t begin, std::int64_t end) {
                       kernel(net.flat<T>().data(), derivative.flat<T>().data(), components, slots,
                              begin, end, this->pull.template flat<T>().data());
                       for (std::int64_t c = begin; c < end; ++c) this->index_center(c);
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
