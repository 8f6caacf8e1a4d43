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

struct ProdForceSeAIn {
  enum { kNetDeriv, kInDeriv, kNlist, kNatoms };
};

#define FORCE_SIGNATURE                                                                \
  .Attr("T: {float32, float64} = DT_DOUBLE")                                           \
      .Input("net_deriv: T")                                                           \
      .Input("in_deriv: T")                                                            \
      .Input("nlist: int32")                                                           \
      .Input("natoms: int32")                                                          \
      .Output("force: T")                                                              \
      .SetShapeFn([](InferenceContext* c) {                                            \
        ShapeHandle net;                                                               \
        TF_RETURN_IF_ERROR(c->WithRank(c->input(ProdForceSeAIn::kNetDeriv), 2, &net)); \
        c->set_output(0, c->Matrix(c->Dim(net, 0), InferenceContext::kUnknownDim));    \
        return absl::OkStatus();                                                       \
      })

#define ANGULAR_ATTRIBUTES .Attr("n_a_sel: int").Attr("n_r_sel: int")

REGISTER_OP("ProdForceSeA")
FORCE_SIGNATURE ANGULAR_ATTRIBUTES.Doc(R"doc(
Forces on local and ghost atoms from dE/d(environment matrix) in the padded layout of DeePMD-kit.

With f = sum_j net_deriv[j] in_deriv[j] of a slot, the centre gets -f and the neighbour +f.

n_a_sel: number of slots.
n_r_sel: 0.
net_deriv: [n_frames, n_local*n_slots*4].
in_deriv: [n_frames, n_local*n_slots*4*3], by the position of the centre.
nlist: [n_frames, n_local*n_slots], neighbour in its frame, or -1.
natoms: [2 + n_types]: number of local atoms, of all atoms, of local atoms of each type.
force: [n_frames, n_all*3].
)doc");

REGISTER_OP("ProdForceNorot") FORCE_SIGNATURE ANGULAR_ATTRIBUTES.Doc("Older name of ProdForceSeA.");

REGISTER_OP("ProdForceSeR")
FORCE_SIGNATURE.Doc(R"doc(
As ProdForceSeA, of the output of ProdEnvMatR.

net_deriv: [n_frames, n_local*n_slots].
in_deriv: [n_frames, n_local*n_slots*3], by the position of the centre.
nlist: as in ProdForceSeA, as are natoms and force.
)doc");

template <typename Device, typename T, int kComponents>
class ProdForceOp : public OpKernel {
 public:
  explicit ProdForceOp(OpKernelConstruction* context)
      : OpKernel(context), n_slots_(kComponents == 4 ? deepmd::read_slots(context) : -1) {}

  void Compute(OpKernelContext* context) override {
    deepmd::PaddedPairs<Device, T> pairs;
    OP_REQUIRES_OK(
        context,
        pairs.read(context, context->input(ProdForceSeAIn::kNetDeriv),
                   context->input(ProdForceSeAIn::kInDeriv), context->input(ProdForceSeAIn::kNlist),
                   context->input(ProdForceSeAIn::kNatoms), kComponents, n_slots_));
    Tensor* force = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {pairs.n_frames, pairs.n_all * 3}, &force));
    pairs.forces(context, force->flat<T>().data());
  }

 private:
  int64_t n_slots_;
};

template <typename Device, typename T>
using ProdForceSeAOp = ProdForceOp<Device, T, 4>;
template <typename Device, typename T>
using ProdForceSeROp = ProdForceOp<Device, T, 1>;

DEEPMD_REGISTER("ProdForceSeA", ProdForceSeAOp, .HostMemory("natoms"));
DEEPMD_REGISTER("ProdForceSeR", ProdForceSeROp, .HostMemory("natoms"));
DEEPMD_REGISTER("ProdForceNorot", ProdForceSeAOp, .HostMemory("natoms"));

}  // namespace
