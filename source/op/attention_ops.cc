// SPDX-License-Identifier: BSD-3-Clause
// neighbor_attention, neighbor_attention_vjp, neighbor_attention_hvp: attention among the
// neighbours of each centre, and its derivatives.
#include <algorithm>
#include <memory>

#include "attention.h"
#include "checks.h"
#include "device.h"
#include "gpu_attention.h"
#include "register.h"
#include "sections.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

// Shape of qkv, and of what else has a row for each pair.
absl::Status infer_pairs(InferenceContext* c, const char* qkv, const char* weights,
                         const char* rows, ShapeHandle* shape) {
  std::vector<ShapeHandle> in;
  DimensionHandle n, size;
  TF_RETURN_IF_ERROR(c->input(qkv, &in));
  TF_RETURN_IF_ERROR(c->WithRank(in[0], 2, shape));
  TF_RETURN_IF_ERROR(c->Divide(c->Dim(*shape, 1), 3, /*evenly_divisible=*/true, &size));
  TF_RETURN_IF_ERROR(c->input(weights, &in));
  TF_RETURN_IF_ERROR(c->Merge(in[0], c->Vector(c->Dim(*shape, 0)), &in[0]));
  TF_RETURN_IF_ERROR(c->input(rows, &in));
  for (auto& one : in) TF_RETURN_IF_ERROR(c->Merge(one, c->Matrix(c->Dim(*shape, 0), 4), &one));
  return absl::OkStatus();
}

// Shape of the result and its adjoint, [n_pairs, width].
absl::Status infer_result(InferenceContext* c, ShapeHandle qkv, ShapeHandle* result) {
  DimensionHandle width;
  TF_RETURN_IF_ERROR(c->Divide(c->Dim(qkv, 1), 3, /*evenly_divisible=*/true, &width));
  *result = c->Matrix(c->Dim(qkv, 0), width);
  return absl::OkStatus();
}

absl::Status infer_splits(InferenceContext* c) {
  std::vector<ShapeHandle> in;
  ShapeHandle shape;
  TF_RETURN_IF_ERROR(c->input("splits", &in));
  return c->WithRank(in[0], 1, &shape);
}

// Outputs that are derivatives by the inputs.
absl::Status set_gradients(InferenceContext* c, ShapeHandle qkv) {
  const DimensionHandle n = c->Dim(qkv, 0);
  int64_t row_lists;
  TF_RETURN_IF_ERROR(c->GetAttr("row_lists", &row_lists));
  TF_RETURN_IF_ERROR(c->set_output("qkv_gradient", {qkv}));
  TF_RETURN_IF_ERROR(c->set_output("weights_gradient", {c->Vector(n)}));
  return c->set_output("rows_gradient", std::vector<ShapeHandle>(row_lists, c->Matrix(n, 4)));
}

REGISTER_OP("DpNeighborAttention")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("smooth: bool")
    .Attr("diagonal: bool")
    .Attr("slots: int >= 0")
    .Attr("row_lists: int >= 0 = 0")
    .Input("qkv: T")
    .Input("weights: T")
    .Input("splits: int32")
    .Input("rows: row_lists * T")
    .Output("attention: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle qkv, result;
      TF_RETURN_IF_ERROR(infer_pairs(c, "qkv", "weights", "rows", &qkv));
      TF_RETURN_IF_ERROR(infer_splits(c));
      TF_RETURN_IF_ERROR(infer_result(c, qkv, &result));
      c->set_output(0, result);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Attention among the neighbours of each centre: attention[i] = sum_j P_ij w_i w_j (r_i . r_j) v_j;
the formula is in deepmd_tf/ops/attention.py.

qkv: [n_pairs, 3 width], query, key and value of each pair, of any length.
weights: [n_pairs].
splits: [n_centers * ntypes + 1], section (centre, type of the neighbour) has pairs splits[i] ...
  splits[i+1]-1.
rows: one [n_pairs, 4], whose last three columns have the direction of r, or none.
attention: [n_pairs, width].
ntypes: sections per centre.
smooth: which form of P.
diagonal: whether j = i is in the sum.
slots: places for neighbours of a centre, of the smooth form.
)doc");

struct AttentionVjpIn {
  enum { kQkv, kWeights, kAdjoint, kSplits, kRows };
};

REGISTER_OP("DpNeighborAttentionVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("smooth: bool")
    .Attr("diagonal: bool")
    .Attr("slots: int >= 0")
    .Attr("row_lists: int >= 0 = 0")
    .Input("qkv: T")
    .Input("weights: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Input("rows: row_lists * T")
    .Output("qkv_gradient: T")
    .Output("weights_gradient: T")
    .Output("rows_gradient: row_lists * T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle qkv, result;
      TF_RETURN_IF_ERROR(infer_pairs(c, "qkv", "weights", "rows", &qkv));
      TF_RETURN_IF_ERROR(infer_splits(c));
      TF_RETURN_IF_ERROR(infer_result(c, qkv, &result));
      TF_RETURN_IF_ERROR(c->Merge(c->input(AttentionVjpIn::kAdjoint), result, &result));
      return set_gradients(c, qkv);
    })
    .Doc(R"doc(
Derivatives of <adjoint, DpNeighborAttention> by qkv, weights and rows.

qkv: [n_pairs, 3 width].
weights: [n_pairs].
adjoint: [n_pairs, width].
splits: [n_centers * ntypes + 1].
rows: one [n_pairs, 4], or none.
qkv_gradient: [n_pairs, 3 width].
weights_gradient: [n_pairs]; zero unless smooth.
rows_gradient: [n_pairs, 4], its first column zero.
)doc");

struct AttentionHvpIn {
  enum { kQkv, kWeights, kQkvTangent, kWeightsTangent, kAdjoint, kSplits, kRows };
};

struct AttentionHvpOut {
  enum { kQkvGradient, kWeightsGradient, kAdjointGradient, kRowsGradient };
};

REGISTER_OP("DpNeighborAttentionHvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("smooth: bool")
    .Attr("diagonal: bool")
    .Attr("slots: int >= 0")
    .Attr("row_lists: int >= 0 = 0")
    .Input("qkv: T")
    .Input("weights: T")
    .Input("qkv_tangent: T")
    .Input("weights_tangent: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Input("rows: row_lists * T")
    .Input("rows_tangent: row_lists * T")
    .Output("qkv_gradient: T")
    .Output("weights_gradient: T")
    .Output("adjoint_gradient: T")
    .Output("rows_gradient: row_lists * T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle qkv, tangent, result;
      TF_RETURN_IF_ERROR(infer_pairs(c, "qkv", "weights", "rows", &qkv));
      TF_RETURN_IF_ERROR(
          infer_pairs(c, "qkv_tangent", "weights_tangent", "rows_tangent", &tangent));
      TF_RETURN_IF_ERROR(c->Merge(qkv, tangent, &qkv));
      TF_RETURN_IF_ERROR(infer_splits(c));
      TF_RETURN_IF_ERROR(infer_result(c, qkv, &result));
      TF_RETURN_IF_ERROR(c->Merge(c->input(AttentionHvpIn::kAdjoint), result, &result));
      TF_RETURN_IF_ERROR(c->set_output("adjoint_gradient", {result}));
      return set_gradients(c, qkv);
    })
    .Doc(R"doc(
Derivatives of <tangents, DpNeighborAttentionVjp> by qkv, weights, rows and the adjoint. That by the
adjoint is the derivative of DpNeighborAttention along the tangents.

qkv: [n_pairs, 3 width].
weights: [n_pairs].
qkv_tangent: [n_pairs, 3 width].
weights_tangent: [n_pairs]; without effect unless smooth.
adjoint: [n_pairs, width].
splits: [n_centers * ntypes + 1].
rows: one [n_pairs, 4], or none.
rows_tangent: one [n_pairs, 4], or none.
qkv_gradient: [n_pairs, 3 width].
weights_gradient: [n_pairs]; zero unless smooth.
adjoint_gradient: [n_pairs, width].
rows_gradient: [n_pairs, 4], its first column zero.
)doc");

// What the ops share.
template <typename Device, typename T>
class AttentionBase : public OpKernel {
 public:
  explicit AttentionBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("ntypes", &ntypes_));
    OP_REQUIRES_OK(context, context->GetAttr("smooth", &smooth_));
    OP_REQUIRES_OK(context, context->GetAttr("diagonal", &diagonal_));
    OP_REQUIRES_OK(context, context->GetAttr("slots", &slots_));
    int64_t row_lists;
    OP_REQUIRES_OK(context, context->GetAttr("row_lists", &row_lists));
    DEEPMD_CHECK(context, row_lists <= 1, "there are ", row_lists, " rows, expected one or none");
  }

 protected:
  using Pairs = deepmd::AttentionPairs<const T>;

  // Inputs; what an operation does not have is null.
  struct Inputs {
    deepmd::AttentionShape shape;
    int64_t n_pairs = -1, n_centers = 0, width = -1;
    Pairs x = {}, tangent = {};
    const T* adjoint = nullptr;

    deepmd::gpu::AttentionSizes sizes() const { return {n_pairs, n_centers}; }
  };

  // Checks and reads them, the tangents and the adjoint if there are such inputs.
  absl::Status read(OpKernelContext* context, bool tangents, bool adjoint, Inputs* in) const {
    TF_RETURN_IF_ERROR(read_pairs(context, "", &in->n_pairs, &in->width, &in->x));
    if (tangents)
      TF_RETURN_IF_ERROR(read_pairs(context, "_tangent", &in->n_pairs, &in->width, &in->tangent));
    const Tensor* tensor;
    if (adjoint) {
      TF_RETURN_IF_ERROR(context->input("adjoint", &tensor));
      TF_RETURN_IF_ERROR(deepmd::check_shape("adjoint", *tensor, {in->n_pairs, in->width}));
      in->adjoint = tensor->flat<T>().data();
    }
    TF_RETURN_IF_ERROR(context->input("splits", &tensor));
    TF_RETURN_IF_ERROR(deepmd::check_splits_on<Device>(*tensor, ntypes_, in->n_pairs));
    in->n_centers = (tensor->NumElements() - 1) / ntypes_;
    in->shape = {in->width, smooth_, diagonal_, slots_, ntypes_, tensor->flat<int32_t>().data()};
    return absl::OkStatus();
  }

  // Outputs that are derivatives by the inputs of all pairs.
  absl::Status allocate(OpKernelContext* context, const Inputs& in,
                        deepmd::AttentionPairs<T>* gradient) const {
    OpOutputList qkv, weights, rows;
    TF_RETURN_IF_ERROR(context->output_list("qkv_gradient", &qkv));
    TF_RETURN_IF_ERROR(context->output_list("weights_gradient", &weights));
    TF_RETURN_IF_ERROR(context->output_list("rows_gradient", &rows));
    TF_RETURN_IF_ERROR(allocate_first(&qkv, {in.n_pairs, 3 * in.width}, &gradient->qkv));
    TF_RETURN_IF_ERROR(allocate_first(&weights, {in.n_pairs}, &gradient->weights));
    gradient->rows = nullptr;
    if (rows.size() == 0) return absl::OkStatus();
    return allocate_first(&rows, {in.n_pairs, 4}, &gradient->rows);
  }

  absl::Status allocate_result(OpKernelContext* context, const Inputs& in, int output,
                               T** values) const {
    Tensor* out = nullptr;
    TF_RETURN_IF_ERROR(context->allocate_output(output, {in.n_pairs, in.width}, &out));
    *values = out->flat<T>().data();
    return absl::OkStatus();
  }

  // Calls kernel(begin, end, scratch) for all centres; `products` of matrices for each.
  template <typename Kernel>
  void run(OpKernelContext* context, const Inputs& in, int64_t products,
           const Kernel& kernel) const {
    const deepmd::AttentionShape& shape = in.shape;
    const int64_t mean = 1 + in.n_pairs / (in.n_centers + 1);
    const int64_t cost = 1000 + mean * (mean + 4) * shape.width * products / kPerCycle;
    deepmd::workers(context)(in.n_centers, cost, [&](int64_t begin, int64_t end) {
      int64_t most = 0;
      for (int64_t c = begin; c < end; ++c) {
        most = std::max<int64_t>(most, shape.splits[(c + 1) * ntypes_] - shape.splits[c * ntypes_]);
      }
      const std::unique_ptr<T[]> scratch(new T[deepmd::attention_scratch(shape.width, most)]);
      kernel(begin, end, scratch.get());
    });
  }

 private:
  // The tensors of all pairs, whose names end with `suffix`; sizes -1 for any.
  static absl::Status read_pairs(OpKernelContext* context, const std::string& suffix,
                                 int64_t* n_pairs, int64_t* width, Pairs* pairs) {
    const Tensor *qkv, *weights;
    OpInputList rows;
    TF_RETURN_IF_ERROR(context->input("qkv" + suffix, &qkv));
    TF_RETURN_IF_ERROR(context->input("weights" + suffix, &weights));
    TF_RETURN_IF_ERROR(context->input_list("rows" + suffix, &rows));
    const int64_t columns = *width < 0 ? -1 : 3 * *width;
    TF_RETURN_IF_ERROR(deepmd::check_shape(("qkv" + suffix).c_str(), *qkv, {*n_pairs, columns}));
    *n_pairs = qkv->dim_size(0);
    *width = qkv->dim_size(1) / 3;
    if (*width == 0 || qkv->dim_size(1) % 3 != 0) {
      return deepmd::invalid_argument("qkv", suffix, " has ", qkv->dim_size(1),
                                      " columns, expected three times the width of a query");
    }
    TF_RETURN_IF_ERROR(deepmd::check_shape(("weights" + suffix).c_str(), *weights, {*n_pairs}));
    *pairs = {qkv->flat<T>().data(), weights->flat<T>().data(), nullptr};
    if (rows.size() == 0) return absl::OkStatus();
    pairs->rows = rows[0].flat<T>().data();
    return deepmd::check_shape(("rows" + suffix).c_str(), rows[0], {*n_pairs, 4});
  }

  static absl::Status allocate_first(OpOutputList* list, const TensorShape& shape, T** values) {
    Tensor* out = nullptr;
    TF_RETURN_IF_ERROR(list->allocate(0, shape, &out));
    *values = out->flat<T>().data();
    return absl::OkStatus();
  }

  static constexpr int64_t kPerCycle = 64 / sizeof(T);
  int64_t ntypes_, slots_;
  bool smooth_, diagonal_;
};

template <typename Device, typename T>
class AttentionOp : public AttentionBase<Device, T> {
 public:
  using AttentionBase<Device, T>::AttentionBase;

  void Compute(OpKernelContext* context) override {
    typename AttentionBase<Device, T>::Inputs in;
    T* out = nullptr;
    OP_REQUIRES_OK(context, this->read(context, /*tangents=*/false, /*adjoint=*/false, &in));
    OP_REQUIRES_OK(context, this->allocate_result(context, in, 0, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::attention(deepmd::OpStream(context), in.shape, in.sizes(), in.x, out);
      return;
    }
    const auto kernel = DEEPMD_PICK(attention<T>);
    this->run(context, in, 2, [&](int64_t begin, int64_t end, T* scratch) {
      kernel(in.shape, in.x, begin, end, scratch, out);
    });
  }
};

template <typename Device, typename T>
class AttentionVjpOp : public AttentionBase<Device, T> {
 public:
  using AttentionBase<Device, T>::AttentionBase;

  void Compute(OpKernelContext* context) override {
    typename AttentionBase<Device, T>::Inputs in;
    deepmd::AttentionPairs<T> gradient;
    OP_REQUIRES_OK(context, this->read(context, /*tangents=*/false, /*adjoint=*/true, &in));
    OP_REQUIRES_OK(context, this->allocate(context, in, &gradient));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::attention_vjp(deepmd::OpStream(context), in.shape, in.sizes(), in.x, in.adjoint,
                                 gradient);
      return;
    }
    const auto kernel = DEEPMD_PICK(attention_vjp<T>);
    this->run(context, in, 5, [&](int64_t begin, int64_t end, T* scratch) {
      kernel(in.shape, in.x, in.adjoint, begin, end, scratch, gradient);
    });
  }
};

template <typename Device, typename T>
class AttentionHvpOp : public AttentionBase<Device, T> {
 public:
  using AttentionBase<Device, T>::AttentionBase;

  void Compute(OpKernelContext* context) override {
    typename AttentionBase<Device, T>::Inputs in;
    deepmd::AttentionPairs<T> gradient;
    T* along = nullptr;
    OP_REQUIRES_OK(context, this->read(context, /*tangents=*/true, /*adjoint=*/true, &in));
    OP_REQUIRES_OK(context, this->allocate(context, in, &gradient));
    OP_REQUIRES_OK(context,
                   this->allocate_result(context, in, AttentionHvpOut::kAdjointGradient, &along));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::attention_hvp(deepmd::OpStream(context), in.shape, in.sizes(), in.x, in.tangent,
                                 in.adjoint, gradient, along);
      return;
    }
    const auto kernel = DEEPMD_PICK(attention_hvp<T>);
    this->run(context, in, 15, [&](int64_t begin, int64_t end, T* scratch) {
      kernel(in.shape, in.x, in.tangent, in.adjoint, begin, end, scratch, gradient, along);
    });
  }
};

DEEPMD_REGISTER("DpNeighborAttention", AttentionOp);
DEEPMD_REGISTER("DpNeighborAttentionVjp", AttentionVjpOp);
DEEPMD_REGISTER("DpNeighborAttentionHvp", AttentionHvpOp);

}  // namespace
