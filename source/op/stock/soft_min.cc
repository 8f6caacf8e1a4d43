// SPDX-License-Identifier: BSD-3-Clause
// The switch from a tabulated potential to the model, by the smallest distance of an atom.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "register.h"
#include "slot_distances.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct SoftMinSwitchIn {
  enum { kType, kRij, kNlist, kNatoms };
};

REGISTER_OP("SoftMinSwitch")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("type: int32")
    .Input("rij: T")
    .Input("nlist: int32")
    .Input("natoms: int32")
    .Output("sw_value: T")
    .Output("sw_deriv: T")
    .Attr("sel_a: list(int)")
    .Attr("sel_r: list(int)")
    .Attr("alpha: float")
    .Attr("rmin: float")
    .Attr("rmax: float")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rij;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(SoftMinSwitchIn::kRij), 2, &rij));
      c->set_output(0, c->Matrix(c->Dim(rij, 0), InferenceContext::kUnknownDim));
      c->set_output(1, rij);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Share of the tabulated potential in the energy of each atom, 1 where an atom is close, 0 where none
is, and its derivative by the displacement of each neighbour.

s = sum_j r_j w_j / sum_j w_j with w_j = exp(-r_j/alpha) is a smooth smallest distance; the value is
u^3 (-6u^2 + 15u - 10) + 1 with u = (s - rmin)/(rmax - rmin) between 0 and 1. An atom without
neighbours has 0.

sel_a: slots of each type; sel_r: the same of rows without directions.
alpha: Angstrom; rmin and rmax: Angstrom.
type, rij, nlist, natoms: as in PairTab.
sw_value: [n_frames, n_local].
sw_deriv: [n_frames, n_local*n_slots*3], 1/Angstrom.
)doc");

template <typename Device, typename T>
class SoftMinSwitchOp : public OpKernel {
 public:
  explicit SoftMinSwitchOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, sections_.read(context));
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &alpha_));
    OP_REQUIRES_OK(context, context->GetAttr("rmin", &rmin_));
    OP_REQUIRES_OK(context, context->GetAttr("rmax", &rmax_));
    DEEPMD_CHECK(context, alpha_ > 0 && rmin_ < rmax_, "alpha is ", alpha_, ", rmin ", rmin_,
                 " and rmax ", rmax_, ": expected alpha above 0 and rmin below rmax");
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& rij = context->input(SoftMinSwitchIn::kRij);
    const int64_t n_slots = sections_.n_slots();
    deepmd::SlotPairs<Device, T> pairs;
    OP_REQUIRES_OK(
        context, deepmd::read_distances(context, context->input(SoftMinSwitchIn::kType), rij,
                                        context->input(SoftMinSwitchIn::kNlist),
                                        context->input(SoftMinSwitchIn::kNatoms), n_slots, &pairs));
    Tensor *value = nullptr, *derivative = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {pairs.n_frames, pairs.n_local}, &value));
    OP_REQUIRES_OK(context, context->allocate_output(1, rij.shape(), &derivative));
    const T* x = rij.flat<T>().data();
    T* out = derivative->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::soft_min<T>(deepmd::OpStream(context), pairs.slots(), soft(), x,
                               value->flat<T>().data(), out);
      return;
    }
    pairs.for_centers(context, 40, [&](int64_t c) {
      const int64_t begin = c * n_slots;
      value->flat<T>()(c) = static_cast<T>(
          atom(pairs.neighbor.data() + begin, x + 3 * begin, n_slots, out + 3 * begin));
    });
  }

 private:
  // The switch of an atom with these slots, and its derivative.
  double atom(const int32_t* neighbor, const T* rij, int64_t n_slots, T* derivative) const {
    std::fill(derivative, derivative + 3 * n_slots, static_cast<T>(0));
    double nearest = std::numeric_limits<double>::infinity();
    for (int64_t k = 0; k < n_slots; ++k) {
      if (neighbor[k] >= 0) nearest = std::min(nearest, deepmd::length(rij + 3 * k));
    }
    if (!std::isfinite(nearest)) return 0.0;
    double sum = 0, weights = 0;
    for (int64_t k = 0; k < n_slots; ++k) {
      if (neighbor[k] < 0) continue;
      const double r = deepmd::length(rij + 3 * k);
      const double w = deepmd::soft_min_weight(r, nearest, soft());
      sum += r * w;
      weights += w;
    }
    const double s = sum / weights;
    const deepmd::SoftMinSwitch at = deepmd::soft_min_switch(s, soft());
    for (int64_t k = 0; k < n_slots && !at.constant; ++k) {
      if (neighbor[k] < 0) continue;
      const double r = deepmd::length(rij + 3 * k);
      const double w = deepmd::soft_min_weight(r, nearest, soft());
      const double pull = deepmd::soft_min_pull(at.slope, s, r, w, weights, soft());
      for (int a = 0; a < 3; ++a) {
        derivative[3 * k + a] = static_cast<T>(pull * rij[3 * k + a]);
      }
    }
    return at.value;
  }

  deepmd::SoftMin soft() const { return {alpha_, rmin_, rmax_}; }

  deepmd::SlotSections sections_;
  float alpha_ = 1, rmin_ = 0, rmax_ = 1;
};

struct SoftMinForceIn {
  enum { kDu, kSwDeriv, kNlist, kNatoms };
};

REGISTER_OP("SoftMinForce")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("du: T")
    .Input("sw_deriv: T")
    .Input("nlist: int32")
    .Input("natoms: int32")
    .Output("force: T")
    .Attr("n_a_sel: int")
    .Attr("n_r_sel: int")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle du;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(SoftMinForceIn::kDu), 2, &du));
      c->set_output(0, c->Matrix(c->Dim(du, 0), InferenceContext::kUnknownDim));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Force of sum_i du[i] sw_value[i] at fixed du.

n_a_sel, n_r_sel: numbers of slots with and without directions.
du: [n_frames, n_local].
sw_deriv: of SoftMinSwitch.
nlist, natoms: as in PairTab.
force: [n_frames, n_all*3].
)doc");

struct SoftMinVirialIn {
  enum { kDu, kSwDeriv, kRij, kNlist, kNatoms };
};

REGISTER_OP("SoftMinVirial")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("du: T")
    .Input("sw_deriv: T")
    .Input("rij: T")
    .Input("nlist: int32")
    .Input("natoms: int32")
    .Output("virial: T")
    .Output("atom_virial: T")
    .Attr("n_a_sel: int")
    .Attr("n_r_sel: int")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle du;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(SoftMinVirialIn::kDu), 2, &du));
      c->set_output(0, c->Matrix(c->Dim(du, 0), 9));
      c->set_output(1, c->Matrix(c->Dim(du, 0), InferenceContext::kUnknownDim));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Virial of sum_i du[i] sw_value[i] at fixed du.

n_a_sel, n_r_sel, du, sw_deriv, nlist, natoms: as in SoftMinForce.
rij: [n_frames, n_local*n_slots*3], from the centre to the neighbour.
virial: [n_frames, 9], sum of atom_virial.
atom_virial: [n_frames, n_all*9], on the neighbour of each pair.
)doc");

template <typename Device, typename T, typename In>
class SoftMinOp : public OpKernel {
 public:
  explicit SoftMinOp(OpKernelConstruction* context) : OpKernel(context) {
    int32_t with_directions = 0, without = 0;
    OP_REQUIRES_OK(context, context->GetAttr("n_a_sel", &with_directions));
    OP_REQUIRES_OK(context, context->GetAttr("n_r_sel", &without));
    DEEPMD_CHECK(context, with_directions >= 0 && without >= 0, "n_a_sel is ", with_directions,
                 " and n_r_sel is ", without, ": expected 0 or more");
    n_slots_ = int64_t{with_directions} + without;
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& du = context->input(In::kDu);
    const Tensor& derivative = context->input(In::kSwDeriv);
    deepmd::SlotPairs<Device, T> pairs;
    OP_REQUIRES_OK(context, pairs.read_atoms(context->input(In::kNatoms)));
    DEEPMD_SHAPE(context, "du", du, {-1, pairs.n_local});
    pairs.n_frames = du.dim_size(0);
    pairs.n_slots = n_slots_;
    const int64_t numbers = pairs.n_local * n_slots_ * 3;
    DEEPMD_SHAPE(context, "sw_deriv", derivative, {pairs.n_frames, numbers});
    OP_REQUIRES_OK(context, pairs.read_slots(context, context->input(In::kNlist)));
    const T* slope = derivative.flat<T>().data();
    T* pull = pairs.pull.template flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::scaled_pull<T>(deepmd::OpStream(context), pairs.slots(), du.flat<T>().data(),
                                  slope, pull);
    } else {
      pairs.for_centers(context, 4, [&](int64_t c) {
        const T factor = -du.flat<T>()(c);
        for (int64_t k = 3 * c * n_slots_; k < 3 * (c + 1) * n_slots_; ++k) {
          pull[k] = pairs.neighbor[k / 3] < 0 ? static_cast<T>(0) : factor * slope[k];
        }
      });
    }
    if constexpr (std::is_same_v<In, SoftMinForceIn>) {
      Tensor* force = nullptr;
      OP_REQUIRES_OK(context,
                     context->allocate_output(0, {pairs.n_frames, pairs.n_all * 3}, &force));
      pairs.forces(context, force->flat<T>().data());
    } else {
      const Tensor& rij = context->input(In::kRij);
      DEEPMD_SHAPE(context, "rij", rij, {pairs.n_frames, numbers});
      Tensor *virial = nullptr, *per_atom = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(0, {pairs.n_frames, 9}, &virial));
      OP_REQUIRES_OK(context,
                     context->allocate_output(1, {pairs.n_frames, pairs.n_all * 9}, &per_atom));
      pairs.virials(context, rij.flat<T>().data(), per_atom->flat<T>().data(),
                    virial->flat<T>().data());
    }
  }

 private:
  int64_t n_slots_ = 0;
};

template <typename Device, typename T>
using SoftMinForceOp = SoftMinOp<Device, T, SoftMinForceIn>;
template <typename Device, typename T>
using SoftMinVirialOp = SoftMinOp<Device, T, SoftMinVirialIn>;

DEEPMD_REGISTER("SoftMinSwitch", SoftMinSwitchOp, .HostMemory("natoms"));
DEEPMD_REGISTER("SoftMinForce", SoftMinForceOp, .HostMemory("natoms"));
DEEPMD_REGISTER("SoftMinVirial", SoftMinVirialOp, .HostMemory("natoms"));

}  // namespace
