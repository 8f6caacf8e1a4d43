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

struct TabulateFusionSeTIn {
  enum { kTable, kTableInfo, kEmX, kEm };
};

REGISTER_OP("TabulateFusionSeT")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table: T")
    .Input("table_info: T")
    .Input("em_x: T")
    .Input("em: T")
    .Attr("last_layer_size: int")
    .Output("descriptor: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle em;
      int64_t width;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(TabulateFusionSeTIn::kEm), 3, &em));
      TF_RETURN_IF_ERROR(c->GetAttr("last_layer_size", &width));
      const DimensionHandle columns = width < 0 ? c->UnknownDim() : c->MakeDim(width);
      c->set_output(0, c->Matrix(c->Dim(em, 0), columns));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Sum over pairs of slots of em G(em_x), G being tabulated as in TabulateFusionSeA. There are rows of
the wide stride below the fine ones as well, down to minus the largest argument.

last_layer_size: M, number of functions.
table: [n_rows, 6*M].
table_info: [6]; lower, upper, max, stride0, stride1, and a number that is not used.
em_x: [n_centers*n_slots*n_others, 1], the numbers of em.
em: [n_centers, n_slots, n_others], scalar products of the vectors of slots of two types.
descriptor: [n_centers, M].
)doc");

struct TabulateFusionSeTGradIn {
  enum { kTable, kTableInfo, kEmX, kEm, kDy, kDescriptor };
};

REGISTER_OP("TabulateFusionSeTGrad")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table: T")
    .Input("table_info: T")
    .Input("em_x: T")
    .Input("em: T")
    .Input("dy: T")
    .Input("descriptor: T")
    .Output("dy_dem_x: T")
    .Output("dy_dem: T")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(TabulateFusionSeTGradIn::kEmX));
      c->set_output(1, c->input(TabulateFusionSeTGradIn::kEm));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivatives of the sum of dy times the output of TabulateFusionSeT.

table: as in TabulateFusionSeT, as are table_info, em_x and em.
dy: [n_centers, M].
descriptor: [n_centers, M], not used.
dy_dem_x: [n_centers*n_slots*n_others, 1].
dy_dem: [n_centers, n_slots, n_others].
)doc");

template <typename T>
absl::Status read_sum(OpKernelContext* context, int64_t n_columns, deepmd::TabulateSum<T>* sum) {
  const Tensor& table = context->input(TabulateFusionSeTIn::kTable);
  const Tensor& info = context->input(TabulateFusionSeTIn::kTableInfo);
  const Tensor& s = context->input(TabulateFusionSeTIn::kEmX);
  const Tensor& em = context->input(TabulateFusionSeTIn::kEm);
  TF_RETURN_IF_ERROR(
      deepmd::read_grid(table, info, n_columns, &sum->points.grid, /*symmetric=*/true));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em", em, {-1, -1, -1}));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em_x", s, {em.NumElements(), 1}));
  sum->points.table = table.flat<T>().data();
  sum->points.n_columns = n_columns;
  sum->points.s = s.flat<T>().data();
  sum->n_per_center = em.dim_size(1) * em.dim_size(2);
  sum->factor = em.flat<T>().data();
  return absl::OkStatus();
}

template <typename T>
class TabulatePairsOp : public OpKernel {
 public:
  explicit TabulatePairsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("last_layer_size", &n_columns_));
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns_));
  }

  void Compute(OpKernelContext* context) override {
    deepmd::TabulateSum<T> sum;
    OP_REQUIRES_OK(context, read_sum(context, n_columns_, &sum));
    const int64_t n_centers = context->input(TabulateFusionSeTIn::kEm).dim_size(0);
    Tensor* out = nullptr;
    // Centres without slots take no memory, so there may be more than the output can hold.
    TensorShape shape;
    OP_REQUIRES_OK(context, TensorShape::BuildTensorShape({n_centers, n_columns_}, &shape));
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    const auto kernel = DEEPMD_PICK(tabulate_sum<T>);
    const int64_t cost = (1 + sum.n_per_center) * 8 * n_columns_;
    deepmd::workers(context)(n_centers, cost, [&](int64_t begin, int64_t end) {
      kernel(sum, begin, end, out->flat<T>().data());
    });
  }

 private:
  int64_t n_columns_;
};

template <typename T>
class TabulatePairsGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& s = context->input(TabulateFusionSeTGradIn::kEmX);
    const Tensor& em = context->input(TabulateFusionSeTGradIn::kEm);
    const Tensor& dy = context->input(TabulateFusionSeTGradIn::kDy);
    DEEPMD_SHAPE(context, "dy", dy, {-1, -1});
    const int64_t n_columns = dy.dim_size(1);
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns));
    deepmd::TabulateSum<T> sum;
    OP_REQUIRES_OK(context, read_sum(context, n_columns, &sum));
    DEEPMD_SHAPE(context, "dy", dy, {em.dim_size(0), n_columns});
    DEEPMD_SHAPE(context, "descriptor", context->input(TabulateFusionSeTGradIn::kDescriptor),
                 {em.dim_size(0), n_columns});
    Tensor *ds = nullptr, *dem = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, s.shape(), &ds));
    OP_REQUIRES_OK(context, context->allocate_output(1, em.shape(), &dem));
    const auto kernel = DEEPMD_PICK(tabulate_sum_grad<T>);
    deepmd::workers(context)(s.NumElements(), 8 * n_columns, [&](int64_t begin, int64_t end) {
      kernel(sum, dy.flat<T>().data(), begin, end, ds->flat<T>().data(), dem->flat<T>().data());
    });
  }
};

DEEPMD_REGISTER_CPU("TabulateFusionSeT", TabulatePairsOp);
DEEPMD_REGISTER_CPU("TabulateFusionSeTGrad", TabulatePairsGradOp);

}  // namespace
