// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "device.h"
#include "gpu_fragments.h"
#include "register.h"
#include "sub_frames.h"
#include "tensorflow/core/framework/op.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;

struct DprcPairwiseIdxIn {
  enum { kIdxs, kNatoms };
};

REGISTER_OP("DprcPairwiseIdx")
    .Input("idxs: int32")
    .Input("natoms: int32")
    .Output("forward_qm_map: int32")
    .Output("backward_qm_map: int32")
    .Output("forward_qmmm_map: int32")
    .Output("backward_qmmm_map: int32")
    .Output("natoms_qm: int32")
    .Output("natoms_qmmm: int32")
    .Output("qmmm_frame_idx: int32")
    .SetShapeFn([](InferenceContext* c) { return deepmd::fragments_shape(c, 0); })
    .Doc(R"doc(
As DpFragments, with whole numbers for the groups.
)doc");

struct ConvertForwardMapIn {
  enum { kSubForwardMap, kSubNatoms, kNatoms };
};

REGISTER_OP("ConvertForwardMap")
    .Input("sub_forward_map: int32")
    .Input("sub_natoms: int32")
    .Input("natoms: int32")
    .Output("forward_map: int32")
    .Output("backward_map: int32")
    .Output("new_natoms: int32")
    .Output("mesh: int32")
    .SetShapeFn([](InferenceContext* c) {
      const auto unknown = InferenceContext::kUnknownDim;
      c->set_output(0, c->Matrix(1, unknown));
      c->set_output(1, c->Matrix(unknown, unknown));
      c->set_output(2, c->input(ConvertForwardMapIn::kNatoms));
      c->set_output(3, c->Vector(unknown));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Put sub-frames together to one frame: the local atoms of one after the other, then their ghosts.

Atoms keep their index in the frame that they come from, so that this is for one frame.

sub_forward_map: [n_sub, sub_natoms[1]], atom at each place of a sub-frame; -1: none.
sub_natoms: [2 + n_types], places of local atoms and all in a sub-frame.
natoms: [2 + n_types], local atoms and all of the frame.
forward_map: [1, new_natoms[1]], atom at each place of the frame that is made; where there is no local
  atom there is one place for it, with -1.
backward_map: [n_sub, natoms[1]], place there of each atom in each sub-frame, or -1.
new_natoms: [2 + n_types], its local atoms and all; the first again, and zeros.
mesh: neighbour list in a tensor: of each local atom all other atoms of its sub-frame.
)doc");

// On the host.
Tensor read(const deepmd::gpu::Stream& stream, const Tensor& device) {
  Tensor host(DT_INT32, device.shape());
  stream.read(device.flat<std::int32_t>().data(), device.NumElements(),
              host.flat<std::int32_t>().data());
  return host;
}

template <typename Device>
class DprcPairwiseIdxOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& idxs = context->input(DprcPairwiseIdxIn::kIdxs);
    const Tensor& natoms = context->input(DprcPairwiseIdxIn::kNatoms);
    OP_REQUIRES_OK(context, deepmd::check_counts(natoms));
    const auto n = natoms.vec<std::int32_t>();
    DEEPMD_SHAPE(context, "idxs", idxs, {-1, n(1)});
    const std::int64_t n_frames = idxs.dim_size(0);
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      deepmd::gpu::Fragments found(stream, n_frames, n(0), n(1));
      found.take_numbers(idxs.flat<std::int32_t>().data());
      if (found.find())
        deepmd::write_fragments(context, found, n_frames, natoms);
      else
        deepmd::write_fragments(context, read(stream, idxs).flat<std::int32_t>().data(), n_frames,
                                natoms, deepmd::fill_on_gpu(stream));
      return;
    }
    deepmd::write_fragments(context, idxs.flat<std::int32_t>().data(), n_frames, natoms,
                            deepmd::fill_here);
  }
};

// The mesh is for the host, and with it all numbers go there; maps come from there.
template <typename Device>
class ConvertForwardMapOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      const Tensor& sub_map = context->input(ConvertForwardMapIn::kSubForwardMap);
      convert(context, read(stream, sub_map), deepmd::fill_on_gpu(stream));
      return;
    }
    convert(context, context->input(ConvertForwardMapIn::kSubForwardMap), deepmd::fill_here);
  }

 private:
  template <typename Put>
  static void convert(OpKernelContext* context, const Tensor& sub_map, const Put& put) {
    const Tensor& sub_natoms = context->input(ConvertForwardMapIn::kSubNatoms);
    const Tensor& natoms = context->input(ConvertForwardMapIn::kNatoms);
    OP_REQUIRES_OK(context, deepmd::check_counts(sub_natoms));
    OP_REQUIRES_OK(context, deepmd::check_counts(natoms));
    const std::int64_t n_local = sub_natoms.vec<std::int32_t>()(0);
    const std::int64_t n_places = sub_natoms.vec<std::int32_t>()(1);
    const std::int64_t n_all = natoms.vec<std::int32_t>()(1);
    DEEPMD_SHAPE(context, "sub_forward_map", sub_map, {-1, n_places});
    DEEPMD_INDICES(context, "sub_forward_map", sub_map, -1, n_all);

    const std::int64_t n_sub = sub_map.dim_size(0);
    const auto atom = sub_map.matrix<std::int32_t>();
    // local atoms of all sub-frames come before the ghosts
    std::vector<std::vector<std::int32_t>> places(n_sub);
    std::vector<std::int32_t> atoms, locals(n_sub, 0);
    std::int64_t n_new_local = 0;
    for (const auto& [begin, end] :
         {std::make_pair(std::int64_t(0), n_local), std::make_pair(n_local, n_places)}) {
      for (std::int64_t s = 0; s < n_sub; ++s) {
        for (std::int64_t k = begin; k < end; ++k) {
          if (atom(s, k) < 0) continue;
          places[s].push_back(static_cast<std::int32_t>(atoms.size()));
          atoms.push_back(atom(s, k));
        }
        if (begin == 0) locals[s] = static_cast<std::int32_t>(places[s].size());
      }
      if (begin > 0) break;
      if (atoms.empty()) atoms.push_back(-1);
      n_new_local = static_cast<std::int64_t>(atoms.size());
    }

    Tensor *forward = nullptr, *backward = nullptr, *counts = nullptr;
    const auto n_new = static_cast<std::int64_t>(atoms.size());
    OP_REQUIRES_OK(context, context->allocate_output(0, {1, n_new}, &forward));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n_sub, n_all}, &backward));
    OP_REQUIRES_OK(context, context->allocate_output(2, natoms.shape(), &counts));
    put(forward, [&](std::int32_t* map) { std::copy(atoms.begin(), atoms.end(), map); });
    put(backward, [&](std::int32_t* map) {
      std::fill(map, map + n_sub * n_all, -1);
      for (std::int64_t s = 0; s < n_sub; ++s) {
        for (const std::int32_t place : places[s]) map[s * n_all + atoms[place]] = place;
      }
    });
    deepmd::write_counts(n_new_local, n_new, counts);
    write_mesh(context, places, locals, n_new_local);
  }

  static void write_mesh(OpKernelContext* context,
                         const std::vector<std::vector<std::int32_t>>& places,
                         const std::vector<std::int32_t>& locals, std::int64_t n_local) {
    std::vector<std::int32_t> header(kHeader, 0), centers, counts, neighbors;
    header[0] = static_cast<std::int32_t>(n_local);
    for (std::size_t s = 0; s < places.size(); ++s) {
      for (std::int32_t i = 0; i < locals[s]; ++i) {
        centers.push_back(places[s][i]);
        counts.push_back(static_cast<std::int32_t>(places[s].size()) - 1);
        for (const std::int32_t other : places[s]) {
          if (other != places[s][i]) neighbors.push_back(other);
        }
      }
    }
    if (centers.empty()) {  // the place without an atom
      centers.push_back(0);
      counts.push_back(0);
    }
    Tensor* mesh = nullptr;
    const std::size_t size = header.size() + centers.size() + counts.size() + neighbors.size();
    OP_REQUIRES_OK(context, context->allocate_output(3, {static_cast<std::int64_t>(size)}, &mesh));
    std::int32_t* next = mesh->flat<std::int32_t>().data();
    for (const auto* part : {&header, &centers, &counts, &neighbors}) {
      next = std::copy(part->begin(), part->end(), next);
    }
  }

  static constexpr int kHeader = 16;
};

// As DEEPMD_REGISTER, of operations on integers alone.
#define REGISTER_ON_BOTH(name, Class, ...)                                                     \
  REGISTER_KERNEL_BUILDER(Name(name).Device(DEVICE_CPU), deepmd::Guarded<Class<deepmd::Cpu>>); \
  [[maybe_unused]] const bool gpu_##Class = deepmd::register_gpu<Class<deepmd::Gpu>>(          \
      register_kernel::Name(name).Device(DEVICE_GPU) __VA_ARGS__.Build(), #Class)

REGISTER_ON_BOTH("DprcPairwiseIdx", DprcPairwiseIdxOp,
                 .HostMemory("natoms").HostMemory("natoms_qm").HostMemory("natoms_qmmm"));
REGISTER_ON_BOTH(
    "ConvertForwardMap", ConvertForwardMapOp,
    .HostMemory("sub_natoms").HostMemory("natoms").HostMemory("new_natoms").HostMemory("mesh"));

}  // namespace
