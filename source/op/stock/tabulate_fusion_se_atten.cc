// SPDX-License-Identifier: BSD-3-Clause
#include "tabulated.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;

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
      return deepmd::descriptor_shape(c, TabulateFusionSeAttenIn::kEm, 3, 1, /*with_rows=*/true);
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
    .SetShapeFn(deepmd::gradient_shapes)
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
                        deepmd::TabulateQuery<T>* query, const T** two) {
  TF_RETURN_IF_ERROR(deepmd::read_rows(context, n_columns, query));
  const Tensor& given = context->input(TabulateFusionSeAttenIn::kTwoEmbed);
  const int64_t n_slots = context->input(TabulateFusionSeAttenIn::kEmX).dim_size(0);
  TF_RETURN_IF_ERROR(deepmd::check_shape("two_embed", given, {n_slots, n_columns}));
  *two = given.flat<T>().data();
  return absl::OkStatus();
}

template <typename Device, typename T>
class TabulateTypesOp : public deepmd::WithColumns {
 public:
  using WithColumns::WithColumns;

  void Compute(OpKernelContext* context) override {
    deepmd::TabulateQuery<T> query;
    const T* two = nullptr;
    OP_REQUIRES_OK(context, read_slots(context, n_columns_, &query, &two));
    const int64_t n_centers = context->input(TabulateFusionSeAttenIn::kEm).dim_size(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, allocate(context, {n_centers, 4, n_columns_}, &out));
    T* const sums = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_types(deepmd::OpStream(context), query, two, n_centers, sums);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_types<T>);
    deepmd::workers(context)(
        n_centers, (query.n_slots + 1) * 8 * n_columns_,
        [&](int64_t begin, int64_t end) { kernel(query, two, begin, end, sums); });
  }
};

template <typename Device, typename T>
class TabulateTypesGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  using In = TabulateFusionSeAttenGradIn;

  void Compute(OpKernelContext* context) override {
    int64_t n_columns;
    OP_REQUIRES_OK(context, deepmd::count_columns(context->input(In::kDy), &n_columns));
    deepmd::TabulateQuery<T> query;
    const T* two = nullptr;
    OP_REQUIRES_OK(context, read_slots(context, n_columns, &query, &two));
    const int64_t n_centers = context->input(In::kEm).dim_size(0);
    OP_REQUIRES_OK(context, deepmd::check_adjoint(context, In::kDy, {n_centers, 4, n_columns}));
    T *ds = nullptr, *drows = nullptr, *dtwo = nullptr;
    OP_REQUIRES_OK(context, deepmd::allocate_gradients(context, {&ds, &drows, &dtwo}));
    const T* const dy = context->input(In::kDy).flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_types_grad(deepmd::OpStream(context), query, two, dy, n_centers, ds,
                                       drows, dtwo);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_types_grad<T>);
    deepmd::workers(context)(
        n_centers, (query.n_slots + 1) * 16 * n_columns,
        [&](int64_t begin, int64_t end) { kernel(query, two, dy, begin, end, ds, drows, dtwo); });
  }
};

DEEPMD_REGISTER_TABULATE("TabulateFusionSeAtten", TabulateTypesOp);
DEEPMD_REGISTER_TABULATE("TabulateFusionSeAttenGrad", TabulateTypesGradOp);

}  // namespace
