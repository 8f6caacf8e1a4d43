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

struct TabulateFusionSeAIn {
  enum { kTable, kTableInfo, kEmX, kEm };
};

#define VALUE_SIGNATURE                                                                  \
  .Attr("T: {float32, float64} = DT_DOUBLE")                                             \
      .Input("table: T")                                                                 \
      .Input("table_info: T")                                                            \
      .Input("em_x: T")                                                                  \
      .Input("em: T")                                                                    \
      .Attr("last_layer_size: int")                                                      \
      .Output("descriptor: T")                                                           \
      .SetShapeFn([](InferenceContext* c) {                                              \
        ShapeHandle em;                                                                  \
        int64_t width;                                                                   \
        TF_RETURN_IF_ERROR(c->WithRank(c->input(TabulateFusionSeAIn::kEm), 3, &em));     \
        TF_RETURN_IF_ERROR(c->GetAttr("last_layer_size", &width));                       \
        const DimensionHandle columns = width < 0 ? c->UnknownDim() : c->MakeDim(width); \
        c->set_output(0, c->MakeShape({c->Dim(em, 0), c->MakeDim(4), columns}));         \
        return absl::OkStatus();                                                         \
      })

REGISTER_OP("TabulateFusionSeA")
VALUE_SIGNATURE.Doc(R"doc(
Sum over the slots of a centre of its rows times tabulated functions: out = sum_j em_j G(em_x_j).

G_k is a polynomial of degree five in each row of the table, with the distance d from the beginning of
the row: sum_p table[row, 6 k + p] d^p. Below lower and from max on it is continued as a straight line.

last_layer_size: M, number of functions.
table: [n_rows, 6*M].
table_info: lower, upper, max, stride0 of the rows below upper, stride1 of the others, and one number
  that is not used.
em_x: [n_centers*n_slots, 1].
em: [n_centers, n_slots, 4].
descriptor: [n_centers, 4, M].
)doc");

REGISTER_OP("TabulateFusion") VALUE_SIGNATURE.Doc("Older name of TabulateFusionSeA.");

struct TabulateFusionSeAGradIn {
  enum { kTable, kTableInfo, kEmX, kEm, kDy, kDescriptor };
};

#define GRAD_SIGNATURE                                             \
  .Attr("T: {float32, float64} = DT_DOUBLE")                       \
      .Input("table: T")                                           \
      .Input("table_info: T")                                      \
      .Input("em_x: T")                                            \
      .Input("em: T")                                              \
      .Input("dy: T")                                              \
      .Input("descriptor: T")                                      \
      .Output("dy_dem_x: T")                                       \
      .Output("dy_dem: T")                                         \
      .SetShapeFn([](InferenceContext* c) {                        \
        c->set_output(0, c->input(TabulateFusionSeAGradIn::kEmX)); \
        c->set_output(1, c->input(TabulateFusionSeAGradIn::kEm));  \
        return absl::OkStatus();                                   \
      })

REGISTER_OP("TabulateFusionSeAGrad")
GRAD_SIGNATURE.Doc(R"doc(
Derivatives of the sum of dy times the output of TabulateFusionSeA.

table: as in TabulateFusionSeA, as are table_info, em_x and em.
dy: [n_centers, 4, M].
descriptor: [n_centers, 4, M], not used.
dy_dem_x: [n_centers*n_slots, 1].
dy_dem: [n_centers, n_slots, 4].
)doc");

REGISTER_OP("TabulateFusionGrad") GRAD_SIGNATURE.Doc("Older name of TabulateFusionSeAGrad.");

// What both operations read from their first four inputs.
template <typename T>
absl::Status read_query(OpKernelContext* context, int64_t n_columns,
                        deepmd::TabulateQuery<T>* query) {
  const Tensor& table = context->input(TabulateFusionSeAIn::kTable);
  const Tensor& info = context->input(TabulateFusionSeAIn::kTableInfo);
  const Tensor& s = context->input(TabulateFusionSeAIn::kEmX);
  const Tensor& rows = context->input(TabulateFusionSeAIn::kEm);
  TF_RETURN_IF_ERROR(deepmd::read_grid(table, info, n_columns, &query->grid));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em", rows, {-1, -1, 4}));
  const int64_t n_slots = rows.dim_size(1);
  TF_RETURN_IF_ERROR(deepmd::check_shape("em_x", s, {rows.dim_size(0) * n_slots, 1}));
  query->table = table.flat<T>().data();
  query->n_columns = n_columns;
  query->n_slots = n_slots;
  query->s = s.flat<T>().data();
  query->rows = rows.flat<T>().data();
  return absl::OkStatus();
}

// Processor cycles of one centre, roughly.
template <typename T>
int64_t cost(const deepmd::TabulateQuery<T>& query) {
  return (query.n_slots + 1) * (query.n_columns + 16);
}

template <typename T>
class TabulateOp : public OpKernel {
 public:
  explicit TabulateOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("last_layer_size", &n_columns_));
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns_));
  }

  void Compute(OpKernelContext* context) override {
    deepmd::TabulateQuery<T> query;
    OP_REQUIRES_OK(context, read_query(context, n_columns_, &query));
    const int64_t n_centers = context->input(TabulateFusionSeAIn::kEm).dim_size(0);
    Tensor* out = nullptr;
    // Centres without slots take no memory, so there may be more than the output can hold.
    TensorShape shape;
    OP_REQUIRES_OK(context, TensorShape::BuildTensorShape({n_centers, 4, n_columns_}, &shape));
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &out));
    const auto kernel = DEEPMD_PICK(tabulate<T>);
    deepmd::workers(context)(n_centers, cost(query), [&](int64_t begin, int64_t end) {
      kernel(query, begin, end, out->flat<T>().data());
    });
  }

 private:
  int64_t n_columns_;
};

template <typename T>
class TabulateGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(TabulateFusionSeAGradIn::kEm);
    const Tensor& dy = context->input(TabulateFusionSeAGradIn::kDy);
    DEEPMD_SHAPE(context, "dy", dy, {-1, 4, -1});
    const int64_t n_columns = dy.dim_size(2);
    DEEPMD_CHECK(context, n_columns > 0, "dy has shape ", dy.shape().DebugString(),
                 ", expected at least one column");
    deepmd::TabulateQuery<T> query;
    OP_REQUIRES_OK(context, read_query(context, n_columns, &query));
    const int64_t n_centers = rows.dim_size(0);
    DEEPMD_SHAPE(context, "dy", dy, {n_centers, 4, n_columns});
    DEEPMD_SHAPE(context, "descriptor", context->input(TabulateFusionSeAGradIn::kDescriptor),
                 {n_centers, 4, n_columns});
    Tensor *ds = nullptr, *drows = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, context->input(TabulateFusionSeAGradIn::kEmX).shape(), &ds));
    OP_REQUIRES_OK(context, context->allocate_output(1, rows.shape(), &drows));
    const auto kernel = DEEPMD_PICK(tabulate_grad<T>);
    deepmd::workers(context)(n_centers, cost(query), [&](int64_t begin, int64_t end) {
      kernel(query, dy.flat<T>().data(), begin, end, ds->flat<T>().data(), drows->flat<T>().data());
    });
  }
};

DEEPMD_REGISTER_CPU("TabulateFusionSeA", TabulateOp);
DEEPMD_REGISTER_CPU("TabulateFusion", TabulateOp);
DEEPMD_REGISTER_CPU("TabulateFusionSeAGrad", TabulateGradOp);
DEEPMD_REGISTER_CPU("TabulateFusionGrad", TabulateGradOp);

}  // namespace
