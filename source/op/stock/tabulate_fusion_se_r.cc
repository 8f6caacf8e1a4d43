// SPDX-License-Identifier: BSD-3-Clause
#include "tabulated.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;

struct TabulateFusionSeRIn {
  enum { kTable, kTableInfo, kEm };
};

REGISTER_OP("TabulateFusionSeR")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table: T")
    .Input("table_info: T")
    .Input("em: T")
    .Attr("last_layer_size: int")
    .Output("descriptor: T")
    .SetShapeFn([](InferenceContext* c) {
      return deepmd::descriptor_shape(c, TabulateFusionSeRIn::kEm, 2, 2, /*with_rows=*/false);
    })
    .Doc(R"doc(
Tabulated functions of every slot: out = G(em); the table is that of TabulateFusionSeA.

last_layer_size: M, number of functions.
table: [n_rows, 6*M].
table_info: as in TabulateFusionSeA.
em: [n_centers, n_slots].
descriptor: [n_centers, n_slots, M].
)doc");

struct TabulateFusionSeRGradIn {
  enum { kTable, kTableInfo, kEm, kDy, kDescriptor };
};

REGISTER_OP("TabulateFusionSeRGrad")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table: T")
    .Input("table_info: T")
    .Input("em: T")
    .Input("dy: T")
    .Input("descriptor: T")
    .Output("dy_dem: T")
    .SetShapeFn(deepmd::gradient_shapes)
    .Doc(R"doc(
Derivative of the sum of dy times the output of TabulateFusionSeR.

table: as in TabulateFusionSeR, as are table_info and em.
dy: [n_centers, n_slots, M].
descriptor: [n_centers, n_slots, M], not used.
dy_dem: [n_centers, n_slots].
)doc");

template <typename T>
absl::Status read_slots(OpKernelContext* context, int64_t n_columns,
                        deepmd::TabulatePoints<T>* points) {
  constexpr int em = TabulateFusionSeRIn::kEm;
  TF_RETURN_IF_ERROR(deepmd::read_points(context, n_columns, em, /*symmetric=*/false, points));
  return deepmd::check_shape("em", context->input(em), {-1, -1});
}

template <typename Device, typename T>
class TabulateRadialOp : public deepmd::WithColumns {
 public:
  using WithColumns::WithColumns;

  void Compute(OpKernelContext* context) override {
    deepmd::TabulatePoints<T> points;
    OP_REQUIRES_OK(context, read_slots(context, n_columns_, &points));
    const Tensor& s = context->input(TabulateFusionSeRIn::kEm);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, allocate(context, {s.dim_size(0), s.dim_size(1), n_columns_}, &out));
    T* const values = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_points(deepmd::OpStream(context), points, s.NumElements(), values);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_points<T>);
    deepmd::workers(context)(s.NumElements(), 8 * n_columns_, [&](int64_t begin, int64_t end) {
      kernel(points, begin, end, values);
    });
  }
};

template <typename Device, typename T>
class TabulateRadialGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  using In = TabulateFusionSeRGradIn;

  void Compute(OpKernelContext* context) override {
    const Tensor& s = context->input(In::kEm);
    const Tensor& dy = context->input(In::kDy);
    DEEPMD_SHAPE(context, "dy", dy, {-1, -1, -1});
    const int64_t n_columns = dy.dim_size(2);
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns));
    deepmd::TabulatePoints<T> points;
    OP_REQUIRES_OK(context, read_slots(context, n_columns, &points));
    OP_REQUIRES_OK(context, deepmd::check_adjoint(context, In::kDy,
                                                  {s.dim_size(0), s.dim_size(1), n_columns}));
    T* ds = nullptr;
    OP_REQUIRES_OK(context, deepmd::allocate_gradients(context, {&ds}));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_points_grad(deepmd::OpStream(context), points, dy.flat<T>().data(),
                                        s.NumElements(), ds);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_points_grad<T>);
    deepmd::workers(context)(s.NumElements(), 8 * n_columns, [&](int64_t begin, int64_t end) {
      kernel(points, dy.flat<T>().data(), begin, end, ds);
    });
  }
};

DEEPMD_REGISTER_TABULATE("TabulateFusionSeR", TabulateRadialOp);
DEEPMD_REGISTER_TABULATE("TabulateFusionSeRGrad", TabulateRadialGradOp);

}  // namespace
