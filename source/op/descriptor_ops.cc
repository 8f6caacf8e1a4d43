// SPDX-License-Identifier: BSD-3-Clause
// descriptor, descriptor_jvp, descriptor_vjp: a quadratic form of the moments and its derivatives.
#include "descriptor.h"

#include "checks.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

// Shape of a moment, [n, 4, n_columns], at this input.
absl::Status infer_moment(InferenceContext* c, int input, ShapeHandle* moment) {
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 3, moment));
  return c->WithValue(c->Dim(*moment, 1), 4, &four);
}

// Shape of its descriptor, [n, n_columns * n_axis].
absl::Status infer_descriptor(InferenceContext* c, ShapeHandle moment, ShapeHandle* descriptor) {
  int64_t n_axis;
  DimensionHandle size;
  TF_RETURN_IF_ERROR(c->GetAttr("n_axis", &n_axis));
  TF_RETURN_IF_ERROR(c->Multiply(c->Dim(moment, 2), n_axis, &size));
  *descriptor = c->Matrix(c->Dim(moment, 0), size);
  return absl::OkStatus();
}

REGISTER_OP("DpDescriptor")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("n_axis: int >= 1")
    .Input("moment: T")
    .Output("descriptor: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle moment, descriptor;
      TF_RETURN_IF_ERROR(infer_moment(c, 0, &moment));
      TF_RETURN_IF_ERROR(infer_descriptor(c, moment, &descriptor));
      c->set_output(0, descriptor);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Products of the columns of each moment: descriptor[i][m1][m2] = sum_a moment[i][a][m1]
moment[i][a][m2], m2 < n_axis.

moment: [n, 4, n_columns].
descriptor: [n, n_columns * n_axis].
n_axis: at most n_columns.
)doc");

REGISTER_OP("DpDescriptorJvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("n_axis: int >= 1")
    .Input("moment: T")
    .Input("tangent: T")
    .Output("descriptor: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle moment, tangent, descriptor;
      TF_RETURN_IF_ERROR(infer_moment(c, 0, &moment));
      TF_RETURN_IF_ERROR(infer_moment(c, 1, &tangent));
      TF_RETURN_IF_ERROR(c->Merge(moment, tangent, &moment));
      TF_RETURN_IF_ERROR(infer_descriptor(c, moment, &descriptor));
      c->set_output(0, descriptor);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of DpDescriptor along a tangent, symmetric in both: descriptor[i][m1][m2] = sum_a
moment[i][a][m1] tangent[i][a][m2] + tangent[i][a][m1] moment[i][a][m2].

moment: [n, 4, n_columns].
tangent: [n, 4, n_columns].
descriptor: [n, n_columns * n_axis].
n_axis: at most n_columns.
)doc");

REGISTER_OP("DpDescriptorVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("n_axis: int >= 1")
    .Input("adjoint: T")
    .Input("moment: T")
    .Output("gradient: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle moment, descriptor, adjoint;
      TF_RETURN_IF_ERROR(infer_moment(c, 1, &moment));
      TF_RETURN_IF_ERROR(infer_descriptor(c, moment, &descriptor));
      TF_RETURN_IF_ERROR(c->Merge(c->input(0), descriptor, &adjoint));
      c->set_output(0, moment);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpDescriptor> with respect to moment: gradient[i][a][m] = sum_m2
moment[i][a][m2] adjoint[i][m][m2], and for m < n_axis also + sum_m1 moment[i][a][m1]
adjoint[i][m1][m].

adjoint: [n, n_columns * n_axis].
moment: [n, 4, n_columns].
gradient: [n, 4, n_columns].
n_axis: at most n_columns.
)doc");

class AxisOp : public OpKernel {
 public:
  explicit AxisOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("n_axis", &n_axis_));
  }

 protected:
  absl::Status check_moment(const Tensor& moment) const {
    TF_RETURN_IF_ERROR(deepmd::check_shape("moment", moment, {-1, 4, -1}));
    if (moment.dim_size(2) >= n_axis_) return absl::OkStatus();
    return deepmd::invalid_argument("moment has ", moment.dim_size(2),
                                    " columns, expected at least n_axis = ", n_axis_);
  }

  // Runs kernel(shape, begin, end) over all atoms.
  template <typename Kernel>
  void run(OpKernelContext* context, const Tensor& moment, const Kernel& kernel) const {
    const deepmd::DescriptorShape shape{moment.dim_size(2), n_axis_};
    const int64_t cost = 100 + 2 * shape.n_columns * shape.n_axis;
    deepmd::workers(context)(moment.dim_size(0), cost, [&](int64_t begin, int64_t end) {
      kernel(shape, begin, end);
    });
  }

  int64_t n_axis_;
};

template <typename T>
class DescriptorOp : public AxisOp {
 public:
  using AxisOp::AxisOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& moment = context->input(0);
    OP_REQUIRES_OK(context, check_moment(moment));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {moment.dim_size(0), moment.dim_size(2) * n_axis_}, &out));
    const auto kernel = DEEPMD_PICK(descriptor<T>);
    run(context, moment, [&](const deepmd::DescriptorShape& shape, int64_t begin, int64_t end) {
      kernel(shape, moment.flat<T>().data(), begin, end, out->flat<T>().data());
    });
  }
};

template <typename T>
class DescriptorJvpOp : public AxisOp {
 public:
  using AxisOp::AxisOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& moment = context->input(0);
    const Tensor& tangent = context->input(1);
    OP_REQUIRES_OK(context, check_moment(moment));
    DEEPMD_SHAPE(context, "tangent", tangent, {moment.dim_size(0), 4, moment.dim_size(2)});
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {moment.dim_size(0), moment.dim_size(2) * n_axis_}, &out));
    const auto kernel = DEEPMD_PICK(descriptor_jvp<T>);
    run(context, moment, [&](const deepmd::DescriptorShape& shape, int64_t begin, int64_t end) {
      kernel(shape, moment.flat<T>().data(), tangent.flat<T>().data(), begin, end,
             out->flat<T>().data());
    });
  }
};

template <typename T>
class DescriptorVjpOp : public AxisOp {
 public:
  using AxisOp::AxisOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& adjoint = context->input(0);
    const Tensor& moment = context->input(1);
    OP_REQUIRES_OK(context, check_moment(moment));
    DEEPMD_SHAPE(context, "adjoint", adjoint,
                 {moment.dim_size(0), moment.dim_size(2) * n_axis_});
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, moment.shape(), &out));
    const auto kernel = DEEPMD_PICK(descriptor_vjp<T>);
    run(context, moment, [&](const deepmd::DescriptorShape& shape, int64_t begin, int64_t end) {
      kernel(shape, adjoint.flat<T>().data(), moment.flat<T>().data(), begin, end,
             out->flat<T>().data());
    });
  }
};

DEEPMD_REGISTER_CPU("DpDescriptor", DescriptorOp);
DEEPMD_REGISTER_CPU("DpDescriptorJvp", DescriptorJvpOp);
DEEPMD_REGISTER_CPU("DpDescriptorVjp", DescriptorVjpOp);

}  // namespace
