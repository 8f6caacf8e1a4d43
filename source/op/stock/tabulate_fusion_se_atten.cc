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

struct TabulateFusionSeAttenIn {
  enum { kTable, kTableInfo, kEmX, kEm, kTwoEmbed };
};

REGISTER_OP("TabulateFusionSeAtten")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table: T")
    .Input("table_info: T")
    .Input("em_x: T")
    .Input("em: T")
    .Input("two_embed: T")
    .Attr("last_layer_size: int")
    .Attr("is_sorted: bool = true")
    .Output("descriptor: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle em;
      int64_t width;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(TabulateFusionSeAttenIn::kEm), 3, &em));
      TF_RETURN_IF_ERROR(c->GetAttr("last_layer_size", &width));
      const DimensionHandle columns = width < 0 ? c->UnknownDim() : c->MakeDim(width);
      c->set_output(0, c->MakeShape({c->Dim(em, 0), c->MakeDim(4), columns}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Sum over the slots of a centre of its rows times tabulated functions, with a factor of the types:
out = sum_j em_j G(em_x_j) (1 + two_embed_j); the table is that of TabulateFusionSeA.

last_layer_size: M, number of functions.
is_sorted: not used: every slot is computed.
table: [n_rows, 6*M].
table_info: as in TabulateFusionSeA.
em_x: [n_centers*n_slots, 1].
em: [n_centers, n_slots, 4].
two_embed: [n_centers*n_slots, M].
descriptor: [n_centers, 4, M].
)doc");

struct TabulateFusionSeAttenGradIn {
  enum { kTable, kTableInfo, kEmX, kEm, kTwoEmbed, kDy, kDescriptor };
};

REGISTER_OP("TabulateFusionSeAttenGrad")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table: T")
    .Input("table_info: T")
    .Input("em_x: T")
    .Input("em: T")
    .Input("two_embed: T")
    .Input("dy: T")
    .Input("descriptor: T")
    .Output("dy_dem_x: T")
    .Output("dy_dem: T")
    .Output("dy_dtwo: T")
    .Attr("is_sorted: bool = true")
    .SetShapeFn([](InferenceContext* c) {
      c->set_output(0, c->input(TabulateFusionSeAttenGradIn::kEmX));
      c->set_output(1, c->input(TabulateFusionSeAttenGradIn::kEm));
      c->set_output(2, c->input(TabulateFusionSeAttenGradIn::kTwoEmbed));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivatives of the sum of dy times the output of TabulateFusionSeAtten.

table: as in TabulateFusionSeAtten, as are table_info, em_x, em, two_embed and is_sorted.
dy: [n_centers, 4, M].
descriptor: [n_centers, 4, M], not used.
dy_dem_x: [n_centers*n_slots, 1].
dy_dem: [n_centers, n_slots, 4].
dy_dtwo: [n_centers*n_slots, M].
)doc");

// What both operations read from their first five inputs.
template <typename T>
absl::Status read_slots(OpKernelContext* context, int64_t n_columns,
                        deepmd::TabulateQuery<T>* query) {
  const Tensor& table = context->input(TabulateFusionSeAttenIn::kTable);
  const Tensor& info = context->input(TabulateFusionSeAttenIn::kTableInfo);
  const Tensor& s = context->input(TabulateFusionSeAttenIn::kEmX);
  const Tensor& rows = context->input(TabulateFusionSeAttenIn::kEm);
  const Tensor& two = context->input(TabulateFusionSeAttenIn::kTwoEmbed);
  TF_RETURN_IF_ERROR(deepmd::read_grid(table, info, n_columns, &query->grid));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em", rows, {-1, -1, 4}));
  const int64_t n_slots = rows.dim_size(1);
  TF_RETURN_IF_ERROR(deepmd::check_shape("em_x", s, {rows.dim_size(0) * n_slots, 1}));
  TF_RETURN_IF_ERROR(
      deepmd::check_shape("two_embed", two, {rows.dim_size(0) * n_slots, n_columns}));
  query->table = table.flat<T>().data();
  query->n_columns = n_columns;
  query->n_slots = n_slots;
  query->s = s.flat<T>().data();
  query->rows = rows.flat<T>().data();
  return absl::OkStatus();
}

template <typename T>
class TabulateTypesOp : public OpKernel {
 public:
  explicit TabulateTypesOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("last_layer_size", &n_columns_));
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns_));
  }

  void Compute(OpKernelContext* context) override {
    deepmd::TabulateQuery<T> query;
    OP_REQUIRES_OK(context, read_slots(context, n_columns_, &query));
    const int64_t n_centers = context->input(TabulateFusionSeAttenIn::kEm).dim_size(0);
    Tensor* out = nullptr;
    // Centres without slots take no memory, so there may be more than the output can hold.
    TensorShape shape;
    OP_REQUIRES_OK(context, TensorShape::BuildTensorShape({n_centers, 4, n_columns_}, &shape));
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    const T* two = context->input(TabulateFusionSeAttenIn::kTwoEmbed).flat<T>().data();
    const auto kernel = DEEPMD_PICK(tabulate_types<T>);
    deepmd::workers(context)(
        n_centers, (query.n_slots + 1) * 8 * n_columns_,
        [&](int64_t begin, int64_t end) { kernel(query, two, begin, end, out->flat<T>().data()); });
  }

 private:
  int64_t n_columns_;
};

template <typename T>
class TabulateTypesGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  using In = TabulateFusionSeAttenGradIn;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(In::kEm);
    const Tensor& two = context->input(In::kTwoEmbed);
    const Tensor& dy = context->input(In::kDy);
    DEEPMD_SHAPE(context, "dy", dy, {-1, 4, -1});
    const int64_t n_columns = dy.dim_size(2);
    DEEPMD_CHECK(context, n_columns > 0, "dy has shape ", dy.shape().DebugString(),
                 ", expected at least one column");
    deepmd::TabulateQuery<T> query;
    OP_REQUIRES_OK(context, read_slots(context, n_columns, &query));
    const int64_t n_centers = rows.dim_size(0);
    DEEPMD_SHAPE(context, "dy", dy, {n_centers, 4, n_columns});
    DEEPMD_SHAPE(context, "descriptor", context->input(In::kDescriptor), {n_centers, 4, n_columns});
    Tensor *ds = nullptr, *drows = nullptr, *dtwo = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, context->input(In::kEmX).shape(), &ds));
    OP_REQUIRES_OK(context, context->allocate_output(1, rows.shape(), &drows));
    OP_REQUIRES_OK(context, context->allocate_output(2, two.shape(), &dtwo));
    const auto kernel = DEEPMD_PICK(tabulate_types_grad<T>);
    deepmd::workers(context)(
        n_centers, (query.n_slots + 1) * 16 * n_columns, [&](int64_t begin, int64_t end) {
          kernel(query, two.flat<T>().data(), dy.flat<T>().data(), begin, end, ds->flat<T>().data(),
                 drows->flat<T>().data(), dtwo->flat<T>().data());
        });
  }
};

DEEPMD_REGISTER_CPU("TabulateFusionSeAtten", TabulateTypesOp);
DEEPMD_REGISTER_CPU("TabulateFusionSeAttenGrad", TabulateTypesGradOp);

}  // namespace
