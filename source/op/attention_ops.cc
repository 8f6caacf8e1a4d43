// SPDX-License-Identifier: BSD-3-Clause
// neighbor_attention, neighbor_attention_vjp, neighbor_attention_hvp: attention among the
// neighbours of each centre, and its derivatives.
#include <algorithm>
#include <memory>

#include "attention.h"
#include "checks.h"
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

struct AttentionIn {
  enum { kQkv, kWeights, kSplits, kRows };
};

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

struct AttentionVjpOut {
  enum { kQkvGradient, kWeightsGradient, kRowsGradient };
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

template <typename T>
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

  // The tensors of all pairs, whose names end with `suffix`; n_pairs -1 for any.
  absl::Status read(OpKernelContext* context, const std::string& suffix, Pairs* pairs,
                    int64_t* n_pairs, int64_t* width) const {
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

  absl::Status read_shape(const Tensor& splits, int64_t n_pairs, int64_t width,
                          deepmd::AttentionShape* shape) const {
    *shape = {width, smooth_, diagonal_, slots_, ntypes_, splits.flat<int32_t>().data()};
    return deepmd::check_splits(splits, ntypes_, n_pairs);
  }

  // Outputs that are derivatives by the inputs of all pairs.
  absl::Status allocate(OpKernelContext* context, int qkv_output, int weights_output,
                        int64_t n_pairs, int64_t width, deepmd::AttentionPairs<T>* gradient) const {
    Tensor *qkv = nullptr, *weights = nullptr, *rows = nullptr;
    OpOutputList list;
    TF_RETURN_IF_ERROR(context->allocate_output(qkv_output, {n_pairs, 3 * width}, &qkv));
    TF_RETURN_IF_ERROR(context->allocate_output(weights_output, {n_pairs}, &weights));
    TF_RETURN_IF_ERROR(context->output_list("rows_gradient", &list));
    *gradient = {qkv->flat<T>().data(), weights->flat<T>().data(), nullptr};
    if (list.size() == 0) return absl::OkStatus();
    TF_RETURN_IF_ERROR(list.allocate(0, {n_pairs, 4}, &rows));
    gradient->rows = rows->flat<T>().data();
    return absl::OkStatus();
  }

  // Calls kernel(begin, end, scratch) for all centres; `products` of matrices for each.
  template <typename Kernel>
  void run(OpKernelContext* context, const Tensor& splits, const deepmd::AttentionShape& shape,
           int64_t n_pairs, int64_t products, const Kernel& kernel) const {
    const int64_t centers = (splits.NumElements() - 1) / ntypes_;
    const int64_t mean = 1 + n_pairs / (centers + 1);
    const int64_t cost = 1000 + mean * (mean + 4) * shape.width * products / kPerCycle;
    deepmd::workers(context)(centers, cost, [&](int64_t begin, int64_t end) {
      int64_t most = 0;
      for (int64_t c = begin; c < end; ++c) {
        most = std::max<int64_t>(most, shape.splits[(c + 1) * ntypes_] - shape.splits[c * ntypes_]);
      }
      const std::unique_ptr<T[]> scratch(new T[deepmd::attention_scratch(shape.width, most)]);
      kernel(begin, end, scratch.get());
    });
  }

 private:
  static constexpr int64_t kPerCycle = 64 / sizeof(T);
  int64_t ntypes_, slots_;
  bool smooth_, diagonal_;
};

template <typename T>
class AttentionOp : public AttentionBase<T> {
 public:
  using AttentionBase<T>::AttentionBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& splits = context->input(AttentionIn::kSplits);
    typename AttentionBase<T>::Pairs x;
    deepmd::AttentionShape shape;
    int64_t n_pairs = -1, width = -1;
    OP_REQUIRES_OK(context, this->read(context, "", &x, &n_pairs, &width));
    OP_REQUIRES_OK(context, this->read_shape(splits, n_pairs, width, &shape));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, width}, &out));
    T* values = out->flat<T>().data();
    const auto kernel = DEEPMD_PICK(attention<T>);
    this->run(context, splits, shape, n_pairs, 2, [&](int64_t begin, int64_t end, T* scratch) {
      kernel(shape, x, begin, end, scratch, values);
    });
  }
};

template <typename T>
class AttentionVjpOp : public AttentionBase<T> {
 public:
  using AttentionBase<T>::AttentionBase;

  void Compute(OpKernelContext* context) override {
    using In = AttentionVjpIn;
    using Out = AttentionVjpOut;
    const Tensor& splits = context->input(In::kSplits);
    const Tensor& adjoint = context->input(In::kAdjoint);
    typename AttentionBase<T>::Pairs x;
    deepmd::AttentionPairs<T> gradient;
    deepmd::AttentionShape shape;
    int64_t n_pairs = -1, width = -1;
    OP_REQUIRES_OK(context, this->read(context, "", &x, &n_pairs, &width));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {n_pairs, width});
    OP_REQUIRES_OK(context, this->read_shape(splits, n_pairs, width, &shape));
    OP_REQUIRES_OK(context, this->allocate(context, Out::kQkvGradient, Out::kWeightsGradient,
                                           n_pairs, width, &gradient));
    const T* y = adjoint.flat<T>().data();
    const auto kernel = DEEPMD_PICK(attention_vjp<T>);
    this->run(context, splits, shape, n_pairs, 5, [&](int64_t begin, int64_t end, T* scratch) {
      kernel(shape, x, y, begin, end, scratch, gradient);
    });
  }
};

template <typename T>
class AttentionHvpOp : public AttentionBase<T> {
 public:
  using AttentionBase<T>::AttentionBase;

  void Compute(OpKernelContext* context) override {
    using In = AttentionHvpIn;
    using Out = AttentionHvpOut;
    const Tensor& splits = context->input(In::kSplits);
    const Tensor& adjoint = context->input(In::kAdjoint);
    typename AttentionBase<T>::Pairs x, u;
    deepmd::AttentionPairs<T> gradient;
    deepmd::AttentionShape shape;
    int64_t n_pairs = -1, width = -1;
    OP_REQUIRES_OK(context, this->read(context, "", &x, &n_pairs, &width));
    OP_REQUIRES_OK(context, this->read(context, "_tangent", &u, &n_pairs, &width));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {n_pairs, width});
    OP_REQUIRES_OK(context, this->read_shape(splits, n_pairs, width, &shape));
    OP_REQUIRES_OK(context, this->allocate(context, Out::kQkvGradient, Out::kWeightsGradient,
                                           n_pairs, width, &gradient));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context,
                   context->allocate_output(Out::kAdjointGradient, {n_pairs, width}, &out));
    const T* y = adjoint.flat<T>().data();
    T* along = out->flat<T>().data();
    const auto kernel = DEEPMD_PICK(attention_hvp<T>);
    this->run(context, splits, shape, n_pairs, 15, [&](int64_t begin, int64_t end, T* scratch) {
      kernel(shape, x, u, y, begin, end, scratch, gradient, along);
    });
  }
};

DEEPMD_REGISTER_CPU("DpNeighborAttention", AttentionOp);
DEEPMD_REGISTER_CPU("DpNeighborAttentionVjp", AttentionVjpOp);
DEEPMD_REGISTER_CPU("DpNeighborAttentionHvp", AttentionHvpOp);

}  // namespace
