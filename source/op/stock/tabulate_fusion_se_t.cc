// SPDX-License-Identifier: BSD-3-Clause
#include "tabulated.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;

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
      return deepmd::descriptor_shape(c, TabulateFusionSeTIn::kEm, 3, 1, /*with_rows=*/false);
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
    .SetShapeFn(deepmd::gradient_shapes)
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
  constexpr int em_x = TabulateFusionSeTIn::kEmX;
  const Tensor& em = context->input(TabulateFusionSeTIn::kEm);
  TF_RETURN_IF_ERROR(
      deepmd::read_points(context, n_columns, em_x, /*symmetric=*/true, &sum->points));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em", em, {-1, -1, -1}));
  TF_RETURN_IF_ERROR(deepmd::check_shape("em_x", context->input(em_x), {em.NumElements(), 1}));
  sum->n_per_center = em.dim_size(1) * em.dim_size(2);
  sum->factor = em.flat<T>().data();
  return absl::OkStatus();
}

template <typename Device, typename T>
class TabulatePairsOp : public deepmd::WithColumns {
 public:
  using WithColumns::WithColumns;

  void Compute(OpKernelContext* context) override {
    deepmd::TabulateSum<T> sum;
    OP_REQUIRES_OK(context, read_sum(context, n_columns_, &sum));
    const int64_t n_centers = context->input(TabulateFusionSeTIn::kEm).dim_size(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, allocate(context, {n_centers, n_columns_}, &out));
    T* const sums = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_sum(deepmd::OpStream(context), sum, n_centers, sums);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_sum<T>);
    const int64_t cost = (1 + sum.n_per_center) * 8 * n_columns_;
    deepmd::workers(context)(n_centers, cost,
                             [&](int64_t begin, int64_t end) { kernel(sum, begin, end, sums); });
  }
};

template <typename Device, typename T>
class TabulatePairsGradOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  using In = TabulateFusionSeTGradIn;

  void Compute(OpKernelContext* context) override {
    const Tensor& em = context->input(In::kEm);
    const Tensor& dy = context->input(In::kDy);
    DEEPMD_SHAPE(context, "dy", dy, {-1, -1});
    const int64_t n_columns = dy.dim_size(1);
    OP_REQUIRES_OK(context, deepmd::check_columns(n_columns));
    deepmd::TabulateSum<T> sum;
    OP_REQUIRES_OK(context, read_sum(context, n_columns, &sum));
    OP_REQUIRES_OK(context, deepmd::check_adjoint(context, In::kDy, {em.dim_size(0), n_columns}));
    T *ds = nullptr, *dem = nullptr;
    OP_REQUIRES_OK(context, deepmd::allocate_gradients(context, {&ds, &dem}));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::tabulate_sum_grad(deepmd::OpStream(context), sum, dy.flat<T>().data(),
                                     em.dim_size(0), ds, dem);
      return;
    }
    const auto kernel = DEEPMD_PICK(tabulate_sum_grad<T>);
    deepmd::workers(context)(em.NumElements(), 8 * n_columns, [&](int64_t begin, int64_t end) {
      kernel(sum, dy.flat<T>().data(), begin, end, ds, dem);
    });
  }
};

DEEPMD_REGISTER_TABULATE("TabulateFusionSeT", TabulatePairsOp);
DEEPMD_REGISTER_TABULATE("TabulateFusionSeTGrad", TabulatePairsGradOp);

}  // namespace
