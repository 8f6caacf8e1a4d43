// SPDX-License-Identifier: BSD-3-Clause
#include "tabulated.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;

struct TabulateFusionSeAIn {
  enum { kTable, kTableInfo, kEmX, kEm };
};

#define VALUE_SIGNATURE                                                                         \
  .Attr("T: {float32, float64} = DT_DOUBLE")                                                    \
      .Input("table: T")                                                                        \
      .Input("table_info: T")                                                                   \
      .Input("em_x: T")                                                                         \
      .Input("em: T")                                                                           \
      .Attr("last_layer_size: int")                                                             \
      .Output("descriptor: T")                                                                  \
      .SetShapeFn([](InferenceContext* c) {                                                     \
        return deepmd::descriptor_shape(c, TabulateFusionSeAIn::kEm, 3, 1, /*with_rows=*/true); \
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

#define GRAD_SIGNATURE                       \
  .Attr("T: {float32, float64} = DT_DOUBLE") \
      .Input("table: T")                     \
      .Input("table_info: T")                \
      .Input("em_x: T")                      \
      .Input("em: T")                        \
      .Input("dy: T")                        \
      .Input("descriptor: T")                \
      .Output("dy_dem_x: T")                 \
      .Output("dy_dem: T")                   \
      .SetShapeFn(deepmd::gradient_shapes)

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

// Processor cycles of one centre, roughly.
template <typename T>
int64_t cost(const deepmd::TabulateQuery<T>& query) {
  return (query.n_slots + 1) * (query.n_columns + 16);
}

template <typename Device, typename T>
class TabulateOp : public deepmd::WithColumns {
 public:
  using WithColumns::WithColumns;

  void Compute(OpKernelContext* context) override {
    deepmd::TabulateQuery<T> query;
    OP_REQUIRES_OK(context, deepmd::read_rows(context, n_columns_, &query));
    const int64_t n_centers = context->input(TabulateFusionSeAIn::kEm).dim_size(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, allocate(context, {n_centers, 4, n_columns_}, &out));
    T* const sums = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate(deepmd::OpStream(context), query, n_centers, sums);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate<T>);
    deepmd::workers(context)(n_centers, cost(query),
                             [&](int64_t begin, int64_t end) { kernel(query, begin, end, sums); });
  }
};

template <typename Device, typename T>
class TabulateGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  using In = TabulateFusionSeAGradIn;

  void Compute(OpKernelContext* context) override {
    int64_t n_columns;
    OP_REQUIRES_OK(context, deepmd::count_columns(context->input(In::kDy), &n_columns));
    deepmd::TabulateQuery<T> query;
    OP_REQUIRES_OK(context, deepmd::read_rows(context, n_columns, &query));
    const int64_t n_centers = context->input(In::kEm).dim_size(0);
    OP_REQUIRES_OK(context, deepmd::check_adjoint(context, In::kDy, {n_centers, 4, n_columns}));
    T *ds = nullptr, *drows = nullptr;
    OP_REQUIRES_OK(context, deepmd::allocate_gradients(context, {&ds, &drows}));
    const T* const dy = context->input(In::kDy).flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_grad(deepmd::OpStream(context), query, dy, n_centers, ds, drows);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_grad<T>);
    deepmd::workers(context)(n_centers, cost(query), [&](int64_t begin, int64_t end) {
      kernel(query, dy, begin, end, ds, drows);
    });
  }
};

DEEPMD_REGISTER_TABULATE("TabulateFusionSeA", TabulateOp);
DEEPMD_REGISTER_TABULATE("TabulateFusion", TabulateOp);
DEEPMD_REGISTER_TABULATE("TabulateFusionSeAGrad", TabulateGradOp);
DEEPMD_REGISTER_TABULATE("TabulateFusionGrad", TabulateGradOp);

}  // namespace
