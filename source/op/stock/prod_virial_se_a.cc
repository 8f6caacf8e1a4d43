// SPDX-License-Identifier: BSD-3-Clause
#include "padded_pairs.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct ProdVirialSeAIn {
  enum { kNetDeriv, kInDeriv, kRij, kNlist, kNatoms };
};

#define VIRIAL_SIGNATURE                                                                \
  .Attr("T: {float32, float64} = DT_DOUBLE")                                            \
      .Input("net_deriv: T")                                                            \
      .Input("in_deriv: T")                                                             \
      .Input("rij: T")                                                                  \
      .Input("nlist: int32")                                                            \
      .Input("natoms: int32")                                                           \
      .Output("virial: T")                                                              \
      .Output("atom_virial: T")                                                         \
      .SetShapeFn([](InferenceContext* c) {                                             \
        ShapeHandle net;                                                                \
        TF_RETURN_IF_ERROR(c->WithRank(c->input(ProdVirialSeAIn::kNetDeriv), 2, &net)); \
        c->set_output(0, c->Matrix(c->Dim(net, 0), 9));                                 \
        c->set_output(1, c->Matrix(c->Dim(net, 0), InferenceContext::kUnknownDim));     \
        return absl::OkStatus();                                                        \
      })

#define ANGULAR_ATTRIBUTES .Attr("n_a_sel: int").Attr("n_r_sel: int")

REGISTER_OP("ProdVirialSeA")
VIRIAL_SIGNATURE ANGULAR_ATTRIBUTES.Doc(R"doc(
Virial from dE/d(environment matrix) in the padded layout of DeePMD-kit, in all and per atom.

With f = sum_j net_deriv[j] in_deriv[j] of a slot, its neighbour gets W[3a+b] = f[a] rij[b].

n_a_sel: number of slots.
n_r_sel: 0.
net_deriv: [n_frames, n_local*n_slots*4].
in_deriv: [n_frames, n_local*n_slots*4*3], by the position of the centre.
rij: [n_frames, n_local*n_slots*3], from the centre to the neighbour.
nlist: [n_frames, n_local*n_slots], neighbour in its frame, or -1.
natoms: [2 + n_types]: number of local atoms, of all atoms, of local atoms of each type.
virial: [n_frames, 9], sum of atom_virial.
atom_virial: [n_frames, n_all*9].
)doc");

REGISTER_OP("ProdVirialNorot")
VIRIAL_SIGNATURE ANGULAR_ATTRIBUTES.Doc("Older name of ProdVirialSeA.");

REGISTER_OP("ProdVirialSeR")
VIRIAL_SIGNATURE.Doc(R"doc(
As ProdVirialSeA, of the output of ProdEnvMatR.

net_deriv: [n_frames, n_local*n_slots].
in_deriv: [n_frames, n_local*n_slots*3], by the position of the centre.
rij: as in ProdVirialSeA, as are nlist, natoms, virial and atom_virial.
)doc");

template <typename Device, typename T, int kComponents>
class ProdVirialOp : public OpKernel {
 public:
  explicit ProdVirialOp(OpKernelConstruction* context)
      : OpKernel(context), n_slots_(kComponents == 4 ? deepmd::read_slots(context) : -1) {}

  void Compute(OpKernelContext* context) override {
    const Tensor& rij = context->input(ProdVirialSeAIn::kRij);
    deepmd::PaddedPairs<Device, T> pairs;
    OP_REQUIRES_OK(context,
                   pairs.read(context, context->input(ProdVirialSeAIn::kNetDeriv),
                              context->input(ProdVirialSeAIn::kInDeriv),
                              context->input(ProdVirialSeAIn::kNlist),
                              context->input(ProdVirialSeAIn::kNatoms), kComponents, n_slots_));
    const int64_t frames = pairs.n_frames, n_all = pairs.n_all;
    DEEPMD_SHAPE(context, "rij", rij,
                 {frames, context->input(ProdVirialSeAIn::kNlist).dim_size(1) * 3});
    Tensor *virial = nullptr, *atom_virial = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {frames, 9}, &virial));
    OP_REQUIRES_OK(context, context->allocate_output(1, {frames, n_all * 9}, &atom_virial));
    pairs.virials(context, rij.flat<T>().data(), atom_virial->flat<T>().data(),
                  virial->flat<T>().data());
  }

 private:
  int64_t n_slots_;
};

template <typename Device, typename T>
using ProdVirialSeAOp = ProdVirialOp<Device, T, 4>;
template <typename Device, typename T>
using ProdVirialSeROp = ProdVirialOp<Device, T, 1>;

DEEPMD_REGISTER("ProdVirialSeA", ProdVirialSeAOp, .HostMemory("natoms"));
DEEPMD_REGISTER("ProdVirialSeR", ProdVirialSeROp, .HostMemory("natoms"));
DEEPMD_REGISTER("ProdVirialNorot", ProdVirialSeAOp, .HostMemory("natoms"));

}  // namespace
