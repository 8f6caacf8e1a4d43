// SPDX-License-Identifier: BSD-3-Clause
// gather_pairs, scatter_pairs: differences between neighbour and centre, and their transpose.
#include "pairs.h"

#include "checks.h"
#include "device.h"
#include "gpu_pairs.h"
#include "pair_rows.h"
#include "register.h"
#include "row_blocks.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct GatherPairsIn {
  enum { kValues, kCenter, kNeighbor, kShift };
};

REGISTER_OP("DpGatherPairs")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("shifts: int >= 0 = 0")
    .Input("values: T")
    .Input("center: int32")
    .Input("neighbor: int32")
    .Input("shift: shifts * T")
    .Output("pairs: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle values, center, neighbor;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(GatherPairsIn::kValues), 2, &values));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(GatherPairsIn::kCenter), 1, &center));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(GatherPairsIn::kNeighbor), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(center, neighbor, &center));
      c->set_output(0, c->Matrix(c->Dim(center, 0), c->Dim(values, 1)));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Difference between neighbour and centre: pairs[p] = values[neighbor[p]] - values[center[p]] + shift[p].

values: [n_rows, k].
center: [n_pairs], row of the centre.
neighbor: [n_pairs], row of the neighbour.
shift: [n_pairs, k], or none for 0.
pairs: [n_pairs, k].
)doc");

struct ScatterPairsIn {
  enum { kPairs, kCenter, kNeighbor, kNRows };
};

REGISTER_OP("DpScatterPairs")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("pairs: T")
    .Input("center: int32")
    .Input("neighbor: int32")
    .Input("n_rows: int32")
    .Output("values: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle pairs, center, neighbor;
      DimensionHandle n_pairs, rows;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ScatterPairsIn::kPairs), 2, &pairs));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ScatterPairsIn::kCenter), 1, &center));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ScatterPairsIn::kNeighbor), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(center, neighbor, &center));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(pairs, 0), c->Dim(center, 0), &n_pairs));
      TF_RETURN_IF_ERROR(deepmd::rows_from_input(c, ScatterPairsIn::kNRows, &rows));
      c->set_output(0, c->Matrix(rows, c->Dim(pairs, 1)));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Transpose of DpGatherPairs: values[neighbor[p]] += pairs[p] and values[center[p]] -= pairs[p], from zero.

Every row is summed in the order of the pairs, whatever the number of threads.

pairs: [n_pairs, k].
center: [n_pairs], row of the centre.
neighbor: [n_pairs], row of the neighbour.
n_rows: number of rows of the result.
values: [n_rows, k].
)doc");

template <typename Device, typename T>
class GatherPairsOp : public OpKernel {
 public:
  explicit GatherPairsOp(OpKernelConstruction* context) : OpKernel(context) {
    int64_t n_shifts;
    OP_REQUIRES_OK(context, context->GetAttr("shifts", &n_shifts));
    DEEPMD_CHECK(context, n_shifts <= 1, "there are ", n_shifts, " shifts, expected one or none");
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& values = context->input(GatherPairsIn::kValues);
    const Tensor& center = context->input(GatherPairsIn::kCenter);
    const Tensor& neighbor = context->input(GatherPairsIn::kNeighbor);
    DEEPMD_SHAPE(context, "values", values, {-1, -1});
    DEEPMD_SHAPE(context, "center", center, {-1});
    const int64_t n_pairs = center.dim_size(0), width = values.dim_size(1);
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    DEEPMD_INDICES_ON(Device, context, "center", center, 0, values.dim_size(0));
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, values.dim_size(0));
    const T* shift = nullptr;
    if (context->num_inputs() > GatherPairsIn::kShift) {
      DEEPMD_SHAPE(context, "shift", context->input(GatherPairsIn::kShift), {n_pairs, width});
      shift = context->input(GatherPairsIn::kShift).flat<T>().data();
    }
    Tensor* pairs = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, width}, &pairs));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::gather_pairs(deepmd::OpStream(context), values.flat<T>().data(),
                                center.flat<int32_t>().data(), neighbor.flat<int32_t>().data(),
                                shift, values.dim_size(0), width, n_pairs, pairs->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(gather_pairs<T>);
    deepmd::workers(context)(n_pairs, 4 + 2 * width, [&](int64_t begin, int64_t end) {
      kernel(values.flat<T>().data(), center.flat<int32_t>().data(),
             neighbor.flat<int32_t>().data(), shift, width, begin, end, pairs->flat<T>().data());
    });
  }
};

template <typename Device, typename T>
class ScatterPairsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& pairs = context->input(ScatterPairsIn::kPairs);
    const Tensor& center = context->input(ScatterPairsIn::kCenter);
    const Tensor& neighbor = context->input(ScatterPairsIn::kNeighbor);
    DEEPMD_SHAPE(context, "pairs", pairs, {-1, -1});
    const int64_t n_pairs = pairs.dim_size(0), width = pairs.dim_size(1);
    DEEPMD_SHAPE(context, "center", center, {n_pairs});
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    const int64_t n_rows = deepmd::read_n_rows(context, context->input(ScatterPairsIn::kNRows));
    if (n_rows < 0) return;
    DEEPMD_INDICES_ON(Device, context, "center", center, 0, n_rows);
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, n_rows);
    Tensor* values = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_rows, width}, &values));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::scatter_pairs(deepmd::OpStream(context), pairs.flat<T>().data(),
                                 center.flat<int32_t>().data(), neighbor.flat<int32_t>().data(),
                                 n_pairs, width, n_rows, values->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(scatter_pairs<T>);
    deepmd::for_row_blocks(deepmd::workers(context), n_rows, n_pairs, 4 + 2 * width,
                           [&](int64_t begin, int64_t end) {
                             kernel(pairs.flat<T>().data(), center.flat<int32_t>().data(),
                                    neighbor.flat<int32_t>().data(), n_pairs, width, begin, end,
                                    values->flat<T>().data());
                           });
  }
};

DEEPMD_REGISTER("DpGatherPairs", GatherPairsOp);
DEEPMD_REGISTER("DpScatterPairs", ScatterPairsOp, .HostMemory("n_rows"));

}  // namespace
