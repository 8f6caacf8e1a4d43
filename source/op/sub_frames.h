// SPDX-License-Identifier: BSD-3-Clause
// Outputs of the operations that cut frames into sub-frames (fragments.h of the core).
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "checks.h"
#include "fragments.h"
#include "gpu_fragments.h"
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

// Fills in arrays of outputs on the host.
inline void fill_here(tensorflow::Tensor* out, const std::function<void(std::int32_t*)>& fill) {
  fill(out->flat<std::int32_t>().data());
}

// The same on the device, by way of the host.
inline auto fill_on_gpu(const gpu::Stream& stream) {
  return [&](tensorflow::Tensor* out, const std::function<void(std::int32_t*)>& fill) {
    std::vector<std::int32_t> filled(out->NumElements());
    fill(filled.data());
    stream.write(filled.data(), out->NumElements(), out->flat<std::int32_t>().data());
  };
}

// The outputs of an operation with the groups [n_frames, n_all] as whole numbers, those of places
// and frames by put(tensor, fill): as fill_here() or what fill_on_gpu() gives.
template <typename Put>
void write_fragments(tensorflow::OpKernelContext* context, const std::int32_t* group,
                     std::int64_t n_frames, const tensorflow::Tensor& natoms, const Put& put) {
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
    put(forward, [&](std::int32_t* map) { forward_map(*frames, map); });
    put(backward, [&](std::int32_t* map) { backward_map(*frames, n(1), map); });
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
  put(frame, [&](std::int32_t* numbers) {
    std::transform(members.begin(), members.end(), numbers,
                   [](const SubFrame& one) { return static_cast<std::int32_t>(one.frame); });
  });
}

// The same by kernels of the GPU, of fragments that have been found.
inline void write_fragments(tensorflow::OpKernelContext* context, const gpu::Fragments& found,
                            std::int64_t n_frames, const tensorflow::Tensor& natoms) {
  using tensorflow::Tensor;
  const std::int64_t n_all = natoms.vec<std::int32_t>()(1), n_sub = found.n_sub();
  Tensor* maps[4] = {};
  const std::int64_t shapes[4][2] = {{n_frames, found.region().all},
                                     {n_frames, n_all},
                                     {n_sub, found.sub_frame().all},
                                     {n_sub, n_all}};
  std::int32_t* of[4];
  for (int k = 0; k < 4; ++k) {
    OP_REQUIRES_OK(context, context->allocate_output(k, {shapes[k][0], shapes[k][1]}, &maps[k]));
    of[k] = maps[k]->flat<std::int32_t>().data();
  }
  int output = 4;
  for (const gpu::Fragments::Room& room : {found.region(), found.sub_frame()}) {
    Tensor* counts = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(output++, natoms.shape(), &counts));
    write_counts(room.local, room.all, counts);
  }
  Tensor* frame = nullptr;
  OP_REQUIRES_OK(context, context->allocate_output(output, {n_sub}, &frame));
  found.map_regions(of[0], of[1]);
  found.map_sub_frames(of[2], of[3], frame->flat<std::int32_t>().data());
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
