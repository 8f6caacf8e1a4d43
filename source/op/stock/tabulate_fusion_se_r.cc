// SPDX-License-Identifier: BSD-3-Clause
#include "checks.h"
#include "register.h"
#include "table_grid.h"
#include "tabulate.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

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
      ShapeHandle em;
      int64_t width;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(TabulateFusionSeRIn::kEm), 2, &em));
      TF_RETURN_IF_ERROR(c->GetAttr("last_layer_size", &width));
      const DimensionHandle columns = width < 0 ? c->UnknownDim() : c->MakeDim(width);
      c->set_output(0, c->MakeShape({c->Dim(em, 0), c->Dim(em, 1), columns}));
      return absl::OkStatus();
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
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(TabulateFusionSeRGradIn::kEm));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of the sum of dy times the output of TabulateFusionSeR.

table: as in TabulateFusionSeR, as are table_info and em.
dy: [n_centers, n_slots, M].
descriptor: [n_centers, n_slots, M], not used.
dy_dem: [n_centers, n_slots].
)doc");

template <typename T>
absl::Status read_points(OpKernelContext* context, int64_t n_columns,
                         deepmd::TabulatePoints<T>* points) {
  const Tensor& table = context->input(TabulateFusionSeRIn::kTable);
  const Tensor& info = context->input(TabulateFusionSeRIn::kTableInfo);
  const Tensor& s = context->input(TabulateFusionSeRIn::kEm);
  TF_RETURN_IF_ERROR(deepmd::read_grid(table, info, n_columns, &points->grid));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em", s, {-1, -1}));
  points->table = table.flat<T>().data();
  points->n_columns = n_columns;
  points->s = s.flat<T>().data();
  return absl::OkStatus();
}

template <typename T>
class TabulateRadialOp : public OpKernel {
 public:
  explicit TabulateRadialOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("last_layer_size", &n_columns_));
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns_));
  }

  void Compute(OpKernelContext* context) override {
    deepmd::TabulatePoints<T> points;
    OP_REQUIRES_OK(context, read_points(context, n_columns_, &points));
    const Tensor& s = context->input(TabulateFusionSeRIn::kEm);
    Tensor* out = nullptr;
    // Centres without slots take no memory, so there may be more than the output can hold.
    TensorShape shape;
    OP_REQUIRES_OK(
        context, TensorShape::BuildTensorShape({s.dim_size(0), s.dim_size(1), n_columns_}, &shape));
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    const auto kernel = DEEPMD_PICK(tabulate_points<T>);
    deepmd::workers(context)(s.NumElements(), 8 * n_columns_, [&](int64_t begin, int64_t end) {
      kernel(points, begin, end, out->flat<T>().data());
    });
  }

 private:
  int64_t n_columns_;
};

template <typename T>
class TabulateRadialGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& s = context->input(TabulateFusionSeRGradIn::kEm);
    const Tensor& dy = context->input(TabulateFusionSeRGradIn::kDy);
    DEEPMD_SHAPE(context, "dy", dy, {-1, -1, -1});
    const int64_t n_columns = dy.dim_size(2);
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns));
    deepmd::TabulatePoints<T> points;
    OP_REQUIRES_OK(context, read_points(context, n_columns, &points));
    DEEPMD_SHAPE(context, "dy", dy, {s.dim_size(0), s.dim_size(1), n_columns});
    DEEPMD_SHAPE(context, "descriptor", context->input(TabulateFusionSeRGradIn::kDescriptor),
                 {s.dim_size(0), s.dim_size(1), n_columns});
    Tensor* ds = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, s.shape(), &ds));
    const auto kernel = DEEPMD_PICK(tabulate_points_grad<T>);
    deepmd::workers(context)(s.NumElements(), 8 * n_columns, [&](int64_t begin, int64_t end) {
      kernel(points, dy.flat<T>().data(), begin, end, ds->flat<T>().data());
    });
  }
};

DEEPMD_REGISTER_CPU("TabulateFusionSeR", TabulateRadialOp);
DEEPMD_REGISTER_CPU("TabulateFusionSeRGrad", TabulateRadialGradOp);

}  // namespace
