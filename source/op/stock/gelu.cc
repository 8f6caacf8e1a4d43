// SPDX-License-Identifier: BSD-3-Clause
#include "checks.h"
#include "gelu_kernels.h"
#include "gpu_gelu.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;

constexpr int kCost = 40;  // processor cycles of one tanh, roughly

struct GeluCustomIn {
  enum { kX };
};

#define VALUE_SIGNATURE                               \
  .Attr("T: {float32, float64} = DT_DOUBLE")          \
      .Input("x: T")                                  \
      .Output("output: T")                            \
      .SetShapeFn([](InferenceContext* c) {           \
        c->set_output(0, c->input(GeluCustomIn::kX)); \
        return absl::OkStatus();                      \
      })

REGISTER_OP("GeluCustom")
VALUE_SIGNATURE.Doc(R"doc(
Activation function x (1 + tanh u) / 2, u = sqrt(2/pi) (x + 0.044715 x^3).

x: any shape.
output: shape of x.
)doc");

REGISTER_OP("Gelu") VALUE_SIGNATURE.Doc("Older name of GeluCustom.");

struct GeluGradCustomIn {
  enum { kDy, kX };
};

#define GRAD_SIGNATURE                                    \
  .Attr("T: {float32, float64} = DT_DOUBLE")              \
      .Input("dy: T")                                     \
      .Input("x: T")                                      \
      .Output("output: T")                                \
      .SetShapeFn([](InferenceContext* c) {               \
        c->set_output(0, c->input(GeluGradCustomIn::kX)); \
        return absl::OkStatus();                          \
      })

REGISTER_OP("GeluGradCustom")
GRAD_SIGNATURE.Doc(R"doc(
Derivative of GeluCustom at x times dy.

dy: shape of x.
x: any shape.
output: shape of x.
)doc");

REGISTER_OP("GeluGrad") GRAD_SIGNATURE.Doc("Older name of GeluGradCustom.");

template <typename Device, typename T>
class GeluOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(GeluCustomIn::kX);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::gelu(deepmd::OpStream(context), x.flat<T>().data(), x.NumElements(),
                        out->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(gelu<T>);
    deepmd::workers(context)(x.NumElements(), kCost, [&](int64_t begin, int64_t end) {
      kernel(x.flat<T>().data(), begin, end, out->flat<T>().data());
    });
  }
};

template <typename Device, typename T>
class GeluGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& dy = context->input(GeluGradCustomIn::kDy);
    const Tensor& x = context->input(GeluGradCustomIn::kX);
    DEEPMD_CHECK(context, dy.shape() == x.shape(), "dy has shape ", dy.shape().DebugString(),
                 ", expected ", x.shape().DebugString(), " as x");
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::gelu_grad(deepmd::OpStream(context), dy.flat<T>().data(), x.flat<T>().data(),
                             x.NumElements(), out->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(gelu_grad<T>);
    deepmd::workers(context)(x.NumElements(), kCost, [&](int64_t begin, int64_t end) {
      kernel(dy.flat<T>().data(), x.flat<T>().data(), begin, end, out->flat<T>().data());
    });
  }
};

DEEPMD_REGISTER("GeluCustom", GeluOp);
DEEPMD_REGISTER("Gelu", GeluOp);
DEEPMD_REGISTER("GeluGradCustom", GeluGradOp);
DEEPMD_REGISTER("GeluGrad", GeluGradOp);

}  // namespace
