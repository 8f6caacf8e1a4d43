// SPDX-License-Identifier: BSD-3-Clause
// Outputs of the operations that cut frames into sub-frames (fragments.h of the core).
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "checks.h"
#include "fragments.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace deepmd {

// Numbers of atoms of frames: [2 + n_types] with the local ones, all, and the local ones again as
// if they were of the first type.
inline void write_counts(std::int64_t n_local, std::int64_t n_all, tensorflow::Tensor* natoms) {
  auto counts = natoms->vec<std::int32_t>();
  counts.setZero();
  counts(0) = static_cast<std::int32_t>(n_local);
  counts(1) = static_cast<std::int32_t>(n_all);
  counts(2) = static_cast<std::int32_t>(n_local);
}

// Checks natoms, [2 + n_types] with local atoms and all.
inline absl::Status check_counts(const tensorflow::Tensor& natoms) {
  if (natoms.dims() != 1 || natoms.dim_size(0) < 3) {
    return invalid_argument("natoms has shape ", natoms.shape().DebugString(),
                            ", expected [2 + ntypes] with ntypes of at least 1");
  }
  const auto n = natoms.vec<std::int32_t>();
  if (n(0) < 0 || n(0) > n(1)) {
    return invalid_argument("natoms starts with ", n(0), ", ", n(1),
                            ": expected the number of local atoms and that of all");
  }
  return absl::OkStatus();
}

// The outputs of an operation with the groups [n_frames, n_all] as whole numbers.
inline void write_fragments(tensorflow::OpKernelContext* context, const std::int32_t* group,
                            std::int64_t n_frames, const tensorflow::Tensor& natoms) {
  using tensorflow::Tensor;
  const auto n = natoms.vec<std::int32_t>();
  Fragments found;
  const std::string wrong = find_fragments(group, n_frames, n(0), n(1), &found);
  DEEPMD_CHECK(context, wrong.empty(), wrong);
  int output = 0;
  for (const SubFrames* frames : {&found.qm, &found.qmmm}) {
    const auto members = static_cast<std::int64_t>(frames->members.size());
    Tensor *forward = nullptr, *backward = nullptr;
    OP_REQUIRES_OK(context,
                   context->allocate_output(output++, {members, frames->n_all()}, &forward));
    OP_REQUIRES_OK(context, context->allocate_output(output++, {members, n(1)}, &backward));
    forward_map(*frames, forward->flat<std::int32_t>().data());
    backward_map(*frames, n(1), backward->flat<std::int32_t>().data());
  }
  for (const SubFrames* frames : {&found.qm, &found.qmmm}) {
    Tensor* counts = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(output++, natoms.shape(), &counts));
    write_counts(frames->n_local, frames->n_all(), counts);
  }
  Tensor* frame = nullptr;
  const std::vector<SubFrame>& members = found.qmmm.members;
  OP_REQUIRES_OK(context, context->allocate_output(
                              output, {static_cast<std::int64_t>(members.size())}, &frame));
  std::transform(members.begin(), members.end(), frame->flat<std::int32_t>().data(),
                 [](const SubFrame& one) { return static_cast<std::int32_t>(one.frame); });
}

// Of groups [n_frames, n_all], which are input `group`, and natoms behind them.
inline absl::Status fragments_shape(tensorflow::shape_inference::InferenceContext* c, int input) {
  using tensorflow::shape_inference::ShapeHandle;
  ShapeHandle group, natoms;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 2, &group));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input + 1), 1, &natoms));
  const auto unknown = tensorflow::shape_inference::InferenceContext::kUnknownDim;
  c->set_output(0, c->Matrix(c->Dim(group, 0), unknown));
  c->set_output(1, group);
  c->set_output(2, c->Matrix(unknown, unknown));
  c->set_output(3, c->Matrix(unknown, c->Dim(group, 1)));
  c->set_output(4, natoms);
  c->set_output(5, natoms);
  c->set_output(6, c->Vector(unknown));
  return absl::OkStatus();
}

}  // namespace deepmd
