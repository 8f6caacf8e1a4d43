// SPDX-License-Identifier: BSD-3-Clause
#include "sub_frames.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "device.h"
#include "gpu_fragments.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)

struct FragmentsIn {
  enum { kCoord, kType, kGroup, kNatoms };
};

REGISTER_OP("DpFragments")
    .Attr("T: {float32, float64}")
    .Input("coord: T")
    .Input("type: int32")
    .Input("group: T")
    .Input("natoms: int32")
    .Output("forward_qm: int32")
    .Output("backward_qm: int32")
    .Output("forward_qmmm: int32")
    .Output("backward_qmmm: int32")
    .Output("natoms_qm: int32")
    .Output("natoms_qmmm: int32")
    .Output("frame: int32")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      return deepmd::fragments_shape(c, FragmentsIn::kGroup);
    })
    .Doc(R"doc(
Cut frames into their quantum regions and, for each other fragment of a frame, a sub-frame of the
quantum region and the fragment.

The smallest group of a frame is its quantum region. Sub-frames are in the order of frames and groups;
they have the local atoms by rising index, those of the quantum region first, then likewise the
ghosts. Missing atoms are -1.

coord: [n_frames, n_all*3], Angstrom, which is looked at for atoms in the same place.
type: [n_frames, n_all]; atoms of negative type take no part.
group: [n_frames, n_all], whole numbers; atoms of -1 take no part.
natoms: [2 + n_types]: local atoms, all atoms, and further numbers, which are not used.
forward_qm: [n_frames, natoms_qm[1]], atom of the frame at each place.
backward_qm: [n_frames, n_all], place of each atom.
forward_qmmm: [n_sub, natoms_qmmm[1]], atom of the frame at each place of a sub-frame.
backward_qmmm: [n_sub, n_all], place of each atom of the frame.
natoms_qm: [2 + n_types]: places of local atoms and all; the first again, and zeros.
natoms_qmmm: the same of sub-frames.
frame: [n_sub], frame of each sub-frame.
)doc");

template <typename Device, typename T>
class FragmentsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& coord = context->input(FragmentsIn::kCoord);
    const Tensor& type = context->input(FragmentsIn::kType);
    const Tensor& given = context->input(FragmentsIn::kGroup);
    const Tensor& natoms = context->input(FragmentsIn::kNatoms);
    OP_REQUIRES_OK(context, deepmd::check_counts(natoms));
    const std::int64_t n_all = natoms.vec<std::int32_t>()(1);
    DEEPMD_SHAPE(context, "group", given, {-1, n_all});
    const std::int64_t n_frames = given.dim_size(0);
    DEEPMD_SHAPE(context, "coord", coord, {n_frames, 3 * n_all});
    DEEPMD_SHAPE(context, "type", type, {n_frames, n_all});

    const T* const groups = given.flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      deepmd::gpu::Fragments found(stream, n_frames, natoms.vec<std::int32_t>()(0), n_all);
      found.take_groups(groups, type.flat<std::int32_t>().data());
      found.check_positions(coord.flat<T>().data());
      if (found.find()) {
        deepmd::write_fragments(context, found, n_frames, natoms);
        return;
      }
      const std::vector<T> at = read<T>(stream, coord), numbers = read<T>(stream, given);
      const std::vector<std::int32_t> types = read<std::int32_t>(stream, type);
      write(context, numbers.data(), types.data(), at.data(), n_frames, natoms,
            deepmd::fill_on_gpu(stream));
      return;
    }
    write(context, groups, type.flat<std::int32_t>().data(), coord.flat<T>().data(), n_frames,
          natoms, deepmd::fill_here);
  }

 private:
  // Of arrays on the host.
  template <typename Put>
  static void write(OpKernelContext* context, const T* groups, const std::int32_t* type,
                    const T* coord, std::int64_t n_frames, const Tensor& natoms, const Put& put) {
    const std::int64_t n_all = natoms.vec<std::int32_t>()(1);
    std::vector<std::int32_t> group(n_frames * n_all);
    for (std::size_t i = 0; i < group.size(); ++i) {
      const T value = groups[i], number = std::nearbyint(value);
      // a NaN is different from itself
      DEEPMD_CHECK(context, number == value && std::abs(number) < T(1 << 30), "frame ", i / n_all,
                   " has atom ", i % n_all, " in the group ", value,
                   ", expected a whole number, the same for all atoms of a fragment");
      group[i] = type[i] < 0 ? -1 : static_cast<std::int32_t>(number);
    }
    for (std::int64_t f = 0; f < n_frames; ++f) {
      const std::string wrong =
          deepmd::check_positions(group.data() + n_all * f, coord + 3 * n_all * f, n_all);
      DEEPMD_CHECK(context, wrong.empty(), "frame ", f, " ", wrong);
    }
    deepmd::write_fragments(context, group.data(), n_frames, natoms, put);
  }

  template <typename V>
  static std::vector<V> read(const deepmd::OpStream& stream, const Tensor& device) {
    std::vector<V> host(device.NumElements());
    stream.read(device.flat<V>().data(), device.NumElements(), host.data());
    return host;
  }
};

DEEPMD_REGISTER("DpFragments", FragmentsOp,
                .HostMemory("natoms").HostMemory("natoms_qm").HostMemory("natoms_qmmm"));

}  // namespace
