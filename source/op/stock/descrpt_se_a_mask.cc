// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <tuple>
#include <vector>

#include "checks.h"
#include "device.h"
#include "gpu_mask_rows.h"
#include "padded_pairs.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct DescrptSeAMaskIn {
  enum { kCoord, kType, kMask, kBox, kNatoms, kMesh };
};

REGISTER_OP("DescrptSeAMask")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("coord: T")
    .Input("type: int32")
    .Input("mask: int32")
    .Input("box: T")
    .Input("natoms: int32")
    .Input("mesh: int32")
    .Output("descrpt: T")
    .Output("descrpt_deriv: T")
    .Output("rij: T")
    .Output("nlist: int32")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle coord;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(DescrptSeAMaskIn::kCoord), 2, &coord));
      for (int i = 0; i < 4; ++i) {
        c->set_output(i, c->Matrix(c->Dim(coord, 0), InferenceContext::kUnknownDim));
      }
      return absl::OkStatus();
    })
    .Doc(R"doc(
Environment of all atoms that a mask leaves in, without cutoff and periodic images.

Each centre has a slot for every atom, in the order of type, distance and index, with
(1, x/r, y/r, z/r)/r. Atoms that are masked and the centre itself come last among those of their type,
with zeros, and a centre that is masked has zeros in all slots.

coord: [n_frames, n_atoms*3], Angstrom.
type: [n_frames, n_atoms].
mask: [n_frames, n_atoms]; an atom takes part where it is not 0, unless its type is negative.
box: not used.
natoms: [2 + n_types]: n_atoms, twice, and the number of atoms of each type.
mesh: not used.
descrpt: [n_frames, n_atoms*n_atoms*4].
descrpt_deriv: [n_frames, n_atoms*n_atoms*4*3], by the position of the centre.
rij: [n_frames, n_atoms*n_atoms*3], from the centre to the neighbour; zero where descrpt is.
nlist: [n_frames, n_atoms*n_atoms], atom in each slot; -1 for a centre that is masked.
)doc");

struct ProdForceSeAMaskIn {
  enum { kNetDeriv, kInDeriv, kMask, kNlist };
};

REGISTER_OP("ProdForceSeAMask")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("total_atom_num: int")
    .Input("net_deriv: T")
    .Input("in_deriv: T")
    .Input("mask: int32")
    .Input("nlist: int32")
    .Output("force: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle net;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ProdForceSeAMaskIn::kNetDeriv), 2, &net));
      c->set_output(0, c->Matrix(c->Dim(net, 0), InferenceContext::kUnknownDim));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Forces from dE/d(descrpt) of DescrptSeAMask.

total_atom_num: n_atoms.
net_deriv: [n_frames, n_atoms*n_atoms*4].
in_deriv: [n_frames, n_atoms*n_atoms*4*3], by the position of the centre.
mask: [n_frames, n_atoms].
nlist: [n_frames, n_atoms*n_atoms], atom in each slot, or -1.
force: [n_frames, n_atoms*3].
)doc");

// The slots of one centre.
template <typename T>
struct Slots {
  const T* coord;
  const std::int32_t *type, *mask;
  std::int64_t n;

  void write(std::int64_t center, T* rows, T* derivative, T* x, std::int32_t* nlist) const {
    std::fill(rows, rows + 4 * n, T(0));
    std::fill(derivative, derivative + 12 * n, T(0));
    std::fill(x, x + 3 * n, T(0));
    if (!takes_part(center)) {
      std::fill(nlist, nlist + n, -1);
      return;
    }
    std::vector<std::tuple<std::int32_t, T, std::int32_t>> order(n);
    for (std::int64_t j = 0; j < n; ++j) {
      T r = std::numeric_limits<T>::infinity();
      if (j != center && takes_part(j)) {
        const std::array<T, 3> d = displacement(center, j);
        r = std::sqrt(d[0] * d[0] + d[1] * d[1] + d[2] * d[2]);
      }
      order[j] = {type[j], r, static_cast<std::int32_t>(j)};
    }
    std::sort(order.begin(), order.end());
    for (std::int64_t slot = 0; slot < n; ++slot) {
      const std::int32_t j = std::get<2>(order[slot]);
      nlist[slot] = j;
      if (j == center || !takes_part(j)) continue;
      const std::array<T, 3> d = displacement(center, j);
      const T s = T(1) / std::get<1>(order[slot]), s2 = s * s;
      rows[4 * slot] = s;
      for (int a = 0; a < 3; ++a) {
        x[3 * slot + a] = d[a];
        rows[4 * slot + 1 + a] = d[a] * s2;
        // by the centre, whose displacement to the neighbour falls as it moves
        derivative[12 * slot + a] = d[a] * s * s2;
        for (int b = 0; b < 3; ++b) {
          const T same = a == b ? s2 : T(0);
          derivative[12 * slot + 3 * (1 + a) + b] = T(2) * d[a] * d[b] * s2 * s2 - same;
        }
      }
    }
  }

  // The first atom that takes part at a position that is not finite, whose distances have no order;
  // -1: there is none.
  std::int64_t lost() const {
    for (std::int64_t i = 0; i < n; ++i) {
      const T* r = coord + 3 * i;
      const bool finite = std::isfinite(r[0]) && std::isfinite(r[1]) && std::isfinite(r[2]);
      if (takes_part(i) && !finite) return i;
    }
    return -1;
  }

 private:
  bool takes_part(std::int64_t i) const { return mask[i] != 0 && type[i] >= 0; }

  std::array<T, 3> displacement(std::int64_t i, std::int64_t j) const {
    return {coord[3 * j] - coord[3 * i], coord[3 * j + 1] - coord[3 * i + 1],
            coord[3 * j + 2] - coord[3 * i + 2]};
  }
};

template <typename Device, typename T>
class DescrptSeAMaskOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& coord = context->input(DescrptSeAMaskIn::kCoord);
    const Tensor& type = context->input(DescrptSeAMaskIn::kType);
    const Tensor& mask = context->input(DescrptSeAMaskIn::kMask);
    const Tensor& natoms = context->input(DescrptSeAMaskIn::kNatoms);
    DEEPMD_CHECK(context, natoms.dims() == 1 && natoms.dim_size(0) >= 3, "natoms has shape ",
                 natoms.shape().DebugString(), ", expected [2 + ntypes] with ntypes of at least 1");
    const std::int64_t n = natoms.vec<std::int32_t>()(0), n_all = natoms.vec<std::int32_t>()(1);
    DEEPMD_CHECK(context, n >= 0 && n == n_all, "natoms starts with ", n, ", ", n_all,
                 ": expected the number of atoms twice, as there are no ghost atoms");
    DEEPMD_SHAPE(context, "coord", coord, {-1, 3 * n});
    const std::int64_t n_frames = coord.dim_size(0);
    DEEPMD_SHAPE(context, "type", type, {n_frames, n});
    DEEPMD_SHAPE(context, "mask", mask, {n_frames, n});
    DEEPMD_SHAPE(context, "box", context->input(DescrptSeAMaskIn::kBox), {n_frames, 9});
    DEEPMD_SHAPE(context, "mesh", context->input(DescrptSeAMaskIn::kMesh), {-1});

    const auto slots_of = [&](std::int64_t frame) {
      return Slots<T>{coord.flat<T>().data() + 3 * n * frame,
                      type.flat<std::int32_t>().data() + n * frame,
                      mask.flat<std::int32_t>().data() + n * frame, n};
    };
    // On a GPU nobody looks: the rows of a lost atom are no numbers there.
    for (std::int64_t frame = 0; !deepmd::on_gpu<Device> && frame < n_frames; ++frame) {
      const std::int64_t lost = slots_of(frame).lost();
      DEEPMD_CHECK(context, lost < 0, "frame ", frame, " has atom ", lost,
                   " at a position that is not finite");
    }

    Tensor *rows = nullptr, *derivative = nullptr, *x = nullptr, *nlist = nullptr;
    const std::int64_t width = n * n;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_frames, 4 * width}, &rows));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n_frames, 12 * width}, &derivative));
    OP_REQUIRES_OK(context, context->allocate_output(2, {n_frames, 3 * width}, &x));
    OP_REQUIRES_OK(context, context->allocate_output(3, {n_frames, width}, &nlist));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::mask_rows(deepmd::OpStream(context), coord.flat<T>().data(),
                             type.flat<std::int32_t>().data(), mask.flat<std::int32_t>().data(),
                             n_frames, n, rows->flat<T>().data(), derivative->flat<T>().data(),
                             x->flat<T>().data(), nlist->flat<std::int32_t>().data());
      return;
    }
    deepmd::workers(context)(n_frames * n, 100 * n, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t c = begin; c < end; ++c) {
        slots_of(c / n).write(
            c % n, rows->flat<T>().data() + 4 * n * c, derivative->flat<T>().data() + 12 * n * c,
            x->flat<T>().data() + 3 * n * c, nlist->flat<std::int32_t>().data() + n * c);
      }
    });
  }
};

template <typename Device, typename T>
class ProdForceSeAMaskOp : public OpKernel {
 public:
  explicit ProdForceSeAMaskOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("total_atom_num", &n_atoms_));
    DEEPMD_CHECK(context, n_atoms_ >= 0, "total_atom_num is ", n_atoms_, ", expected 0 or more");
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& net = context->input(ProdForceSeAMaskIn::kNetDeriv);
    const std::int64_t n_frames = net.dims() > 0 ? net.dim_size(0) : 0;
    DEEPMD_SHAPE(context, "mask", context->input(ProdForceSeAMaskIn::kMask), {n_frames, n_atoms_});
    Tensor natoms(DT_INT32, {3});
    for (int i = 0; i < 3; ++i) natoms.vec<std::int32_t>()(i) = n_atoms_;
    deepmd::PaddedPairs<Device, T> pairs;
    OP_REQUIRES_OK(context,
                   pairs.read(context, net, context->input(ProdForceSeAMaskIn::kInDeriv),
                              context->input(ProdForceSeAMaskIn::kNlist), natoms, 4, n_atoms_));
    Tensor* force = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_frames, n_atoms_ * 3}, &force));
    pairs.forces(context, force->flat<T>().data());
  }

 private:
  std::int32_t n_atoms_ = 0;
};

DEEPMD_REGISTER("DescrptSeAMask", DescrptSeAMaskOp, .HostMemory("natoms"));
DEEPMD_REGISTER("ProdForceSeAMask", ProdForceSeAMaskOp);

}  // namespace
