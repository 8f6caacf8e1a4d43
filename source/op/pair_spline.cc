// SPDX-License-Identifier: BSD-3-Clause
#include "pair_spline.h"

#include <algorithm>
#include <atomic>

#include "checks.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct PairSplineIn {
  enum { kR, kCenter, kNeighbor, kType, kTableInfo, kTableData };
};

REGISTER_OP("DpPairSpline")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Input("r: T")
    .Input("center: int32")
    .Input("neighbor: int32")
    .Input("type: int32")
    .Input("table_info: double")
    .Input("table_data: double")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle r, type;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairSplineIn::kR), 1, &r));
      for (const int input : {PairSplineIn::kCenter, PairSplineIn::kNeighbor})
        TF_RETURN_IF_ERROR(c->Merge(r, c->input(input), &r));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairSplineIn::kType), 2, &type));
      c->set_output(0, r);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of a tabulated pair potential at the distances of pairs of atoms.

out[p] = d^order phi_ij / dr^order at r[p], with i and j the types of the two atoms of the pair; 0
beyond the last interval of the table. Where r[p] is below its first distance an error, on a GPU NaN.

order: which derivative; 0 is the value.
r: [n_pairs], Angstrom.
center: [n_pairs], row of an atom.
neighbor: [n_pairs], row of the other.
type: [n_frames, n_all]; a row is frame * n_all + atom.
table_info: [4]: first distance and step in Angstrom, numbers of intervals and of types.
table_data: [n_types * n_types * n_intervals * 4]: for each ordered pair of types and each interval
  the coefficients of u^3, u^2, u and 1 with u from 0 to 1, eV.
out: [n_pairs], eV / Angstrom^order.
)doc");

template <typename Device, typename T>
class PairSplineOp : public OpKernel {
 public:
  explicit PairSplineOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("order", &order_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& r = context->input(PairSplineIn::kR);
    const Tensor& center = context->input(PairSplineIn::kCenter);
    const Tensor& neighbor = context->input(PairSplineIn::kNeighbor);
    const Tensor& type = context->input(PairSplineIn::kType);
    deepmd::PairSpline table;
    OP_REQUIRES_OK(context, table.read(context->input(PairSplineIn::kTableInfo),
                                       context->input(PairSplineIn::kTableData)));
    DEEPMD_SHAPE(context, "r", r, {-1});
    const int64_t n_pairs = r.dim_size(0);
    DEEPMD_SHAPE(context, "center", center, {n_pairs});
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    DEEPMD_SHAPE(context, "type", type, {-1, -1});
    DEEPMD_INDICES_ON(Device, context, "center", center, 0, type.NumElements());
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, type.NumElements());
    DEEPMD_INDICES_ON(Device, context, "type", type, -1, table.n_types());
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs}, &out));

    const T* distance = r.flat<T>().data();
    const int32_t *i = center.flat<int32_t>().data(), *j = neighbor.flat<int32_t>().data();
    const int32_t* types = type.flat<int32_t>().data();
    T* values = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::pair_spline(deepmd::OpStream(context), table.on_gpu(),
                               static_cast<int32_t>(std::min<int64_t>(order_, 4)), distance, i, j,
                               types, n_pairs, type.NumElements(), values);
      return;
    }
    std::atomic<int64_t> first{n_pairs};  // of the pairs that are too close
    deepmd::workers(context)(n_pairs, 20, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        const int32_t type_i = types[i[p]], type_j = types[j[p]];
        values[p] = 0;
        if (type_i < 0 || type_j < 0) continue;
        const double at = distance[p];
        if (table.reaches(at)) {
          values[p] = static_cast<T>(table.derivative(order_, at, type_i, type_j));
          continue;
        }
        int64_t known = first.load();
        while (p < known && !first.compare_exchange_weak(known, p)) {
        }
      }
    });
    if (const int64_t p = first.load(); p < n_pairs) {
      const int64_t n_all = std::max<int64_t>(1, type.dim_size(1));
      context->CtxFailure(table.too_close(i[p] / n_all, i[p] % n_all, j[p] % n_all, distance[p]));
    }
  }

 private:
  int64_t order_ = 0;
};

DEEPMD_REGISTER("DpPairSpline", PairSplineOp, .HostMemory("table_info"));

}  // namespace
