// SPDX-License-Identifier: BSD-3-Clause
// layer_norm, layer_norm_vjp, layer_norm_hvp: rows with mean 0 and variance 1.
#include "layer_norm.h"

#include "checks.h"
#include "gpu_layer_norm.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

// All inputs but the last have the shape of the output, [n, width].
absl::Status infer_layer_norm(InferenceContext* c) {
  ShapeHandle shape = c->UnknownShapeOfRank(2);
  for (int i = 0; i + 1 < c->num_inputs(); ++i)
    TF_RETURN_IF_ERROR(c->Merge(shape, c->input(i), &shape));
  ShapeHandle scalar;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(c->num_inputs() - 1), 0, &scalar));
  c->set_output(0, shape);
  return absl::OkStatus();
}

struct LayerNormIn {
  enum { kX, kEpsilon };
};

REGISTER_OP("DpLayerNorm")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("x: T")
    .Input("epsilon: double")
    .Output("y: T")
    .SetShapeFn([](InferenceContext* c) { return infer_layer_norm(c); })
    .Doc(R"doc(
Rows with mean 0 and variance 1: y = (x - mean x) / sqrt(variance + epsilon).

x: [n, width].
epsilon: scalar, at least 0.
y: [n, width].
)doc");

struct LayerNormVjpIn {
  enum { kX, kG, kEpsilon };
};

REGISTER_OP("DpLayerNormVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("x: T")
    .Input("g: T")
    .Input("epsilon: double")
    .Output("gradient: T")
    .SetShapeFn([](InferenceContext* c) { return infer_layer_norm(c); })
    .Doc(R"doc(
Derivative of <g, DpLayerNorm> by x, which is also the derivative along g.

x: [n, width].
g: [n, width].
epsilon: scalar.
gradient: [n, width].
)doc");

struct LayerNormHvpIn {
  enum { kX, kG, kU, kEpsilon };
};

REGISTER_OP("DpLayerNormHvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("x: T")
    .Input("g: T")
    .Input("u: T")
    .Input("epsilon: double")
    .Output("gradient: T")
    .SetShapeFn([](InferenceContext* c) { return infer_layer_norm(c); })
    .Doc(R"doc(
Derivative of <u, DpLayerNormVjp> by x.

x: [n, width].
g: [n, width].
u: [n, width].
epsilon: scalar.
gradient: [n, width].
)doc");

// Calls on_gpu(stream, epsilon, out) there, and elsewhere kernel(epsilon, begin, end, out) for all
// rows.
template <typename Device, typename T, typename OnGpu, typename Kernel>
void run(OpKernelContext* context, const Tensor& x, const Tensor& epsilon, const OnGpu& on_gpu,
         const Kernel& kernel) {
  DEEPMD_SHAPE(context, "epsilon", epsilon, {});
  const double value = epsilon.scalar<double>()();
  DEEPMD_CHECK(context, value >= 0, "epsilon is ", value, ", expected at least 0");
  Tensor* out = nullptr;
  OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &out));
  T* values = out->flat<T>().data();
  if constexpr (deepmd::on_gpu<Device>) {
    on_gpu(deepmd::OpStream(context), static_cast<T>(value), values);
    return;
  }
  deepmd::workers(context)(x.dim_size(0), 40 + x.dim_size(1), [&](int64_t begin, int64_t end) {
    kernel(static_cast<T>(value), begin, end, values);
  });
}

template <typename Device, typename T>
class LayerNormOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(LayerNormIn::kX);
    DEEPMD_SHAPE(context, "x", x, {-1, -1});
    const auto kernel = DEEPMD_PICK(layer_norm<T>);
    run<Device, T>(
        context, x, context->input(LayerNormIn::kEpsilon),
        [&](const deepmd::OpStream& stream, T epsilon, T* out) {
          deepmd::gpu::layer_norm(stream, x.flat<T>().data(), x.dim_size(0), x.dim_size(1), epsilon,
                                  out);
        },
        [&](T epsilon, int64_t begin, int64_t end, T* out) {
          kernel(x.flat<T>().data(), x.dim_size(1), epsilon, begin, end, out);
        });
  }
};

template <typename Device, typename T>
class LayerNormVjpOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(LayerNormVjpIn::kX);
    const Tensor& g = context->input(LayerNormVjpIn::kG);
    DEEPMD_SHAPE(context, "x", x, {-1, -1});
    DEEPMD_SHAPE(context, "g", g, {x.dim_size(0), x.dim_size(1)});
    const auto kernel = DEEPMD_PICK(layer_norm_vjp<T>);
    run<Device, T>(
        context, x, context->input(LayerNormVjpIn::kEpsilon),
        [&](const deepmd::OpStream& stream, T epsilon, T* out) {
          deepmd::gpu::layer_norm_vjp(stream, x.flat<T>().data(), g.flat<T>().data(), x.dim_size(0),
                                      x.dim_size(1), epsilon, out);
        },
        [&](T epsilon, int64_t begin, int64_t end, T* out) {
          kernel(x.flat<T>().data(), g.flat<T>().data(), x.dim_size(1), epsilon, begin, end, out);
        });
  }
};

template <typename Device, typename T>
class LayerNormHvpOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(LayerNormHvpIn::kX);
    const Tensor& g = context->input(LayerNormHvpIn::kG);
    const Tensor& u = context->input(LayerNormHvpIn::kU);
    DEEPMD_SHAPE(context, "x", x, {-1, -1});
    DEEPMD_SHAPE(context, "g", g, {x.dim_size(0), x.dim_size(1)});
    DEEPMD_SHAPE(context, "u", u, {x.dim_size(0), x.dim_size(1)});
    const auto kernel = DEEPMD_PICK(layer_norm_hvp<T>);
    run<Device, T>(
        context, x, context->input(LayerNormHvpIn::kEpsilon),
        [&](const deepmd::OpStream& stream, T epsilon, T* out) {
          deepmd::gpu::layer_norm_hvp(stream, x.flat<T>().data(), g.flat<T>().data(),
                                      u.flat<T>().data(), x.dim_size(0), x.dim_size(1), epsilon,
                                      out);
        },
        [&](T epsilon, int64_t begin, int64_t end, T* out) {
          kernel(x.flat<T>().data(), g.flat<T>().data(), u.flat<T>().data(), x.dim_size(1), epsilon,
                 begin, end, out);
        });
  }
};

DEEPMD_REGISTER("DpLayerNorm", LayerNormOp, .HostMemory("epsilon"));
DEEPMD_REGISTER("DpLayerNormVjp", LayerNormVjpOp, .HostMemory("epsilon"));
DEEPMD_REGISTER("DpLayerNormHvp", LayerNormHvpOp, .HostMemory("epsilon"));

}  // namespace
