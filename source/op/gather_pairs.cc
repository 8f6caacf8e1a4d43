// SPDX-License-Identifier: BSD-3-Clause
#include "checks.h"
#include "pairs.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)

REGISTER_OP("DpGatherPairs")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("values: T")
    .Input("center: int32")
    .Input("neighbor: int32")
    .Output("pairs: T")
    .SetShapeFn([](shape_inference::InferenceContext* c) {
      shape_inference::ShapeHandle values, center, neighbor;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &values));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 1, &center));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(2), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(center, neighbor, &center));
      c->set_output(0, c->Matrix(c->Dim(center, 0), c->Dim(values, 1)));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Differences between neighbour and centre: pairs[p] = values[neighbor[p]] - values[center[p]].

values: [n_rows, k].
center: [n_pairs], row of the centre atom.
neighbor: [n_pairs], row of the neighbour.
pairs: [n_pairs, k].
)doc");

template <typename T>
class GatherPairsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& values = context->input(0);
    const Tensor& center = context->input(1);
    const Tensor& neighbor = context->input(2);
    DEEPMD_SHAPE(context, "values", values, {-1, -1});
    DEEPMD_SHAPE(context, "center", center, {-1});
    const int64_t n_pairs = center.dim_size(0), width = values.dim_size(1);
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    DEEPMD_INDICES(context, "center", center, 0, values.dim_size(0));
    DEEPMD_INDICES(context, "neighbor", neighbor, 0, values.dim_size(0));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, width}, &out));
    const auto kernel = DEEPMD_PICK(gather_pairs<T>);
    deepmd::workers(context)(n_pairs, 4 + 4 * width, [&](int64_t begin, int64_t end) {
      kernel(values.flat<T>().data(), center.flat<int32_t>().data(), neighbor.flat<int32_t>().data(),
             width, begin, end, out->flat<T>().data());
    });
  }
};

REGISTER_KERNEL_BUILDER(Name("DpGatherPairs").Device(DEVICE_CPU).TypeConstraint<float>("T"),
                        GatherPairsOp<float>);
REGISTER_KERNEL_BUILDER(Name("DpGatherPairs").Device(DEVICE_CPU).TypeConstraint<double>("T"),
                        GatherPairsOp<double>);

}  // namespace
