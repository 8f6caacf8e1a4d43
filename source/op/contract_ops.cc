// SPDX-License-Identifier: BSD-3-Clause
// contract, contract_rows, contract_columns: the moment of an
// embedding that is known for every pair.
#include "checks.h"
#include "contract.h"
#include "gpu_contract.h"
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

struct ContractIn {
  enum { kRows, kColumns, kSplits };
};

REGISTER_OP("DpContract")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Input("rows: T")
    .Input("columns: T")
    .Input("splits: int32")
    .Output("moment: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows, columns;
      DimensionHandle n, n_centers;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ContractIn::kRows), 2, &rows));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(rows, 1), 4, &n));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ContractIn::kColumns), 2, &columns));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(rows, 0), c->Dim(columns, 0), &n));
      TF_RETURN_IF_ERROR(deepmd::infer_centers(c, ContractIn::kSplits, &n_centers));
      c->set_output(0, c->MakeShape({n_centers, c->MakeDim(4), c->Dim(columns, 1)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Sum of outer products over the pairs of a centre: moment[c][a][m] = sum_p rows[p][a] columns[p][m].

rows: [n_pairs, 4].
columns: [n_pairs, n_columns].
splits: [n_centers * ntypes + 1], section (centre, type of the neighbour) has pairs splits[i] ...
  splits[i+1]-1.
moment: [n_centers, 4, n_columns].
ntypes: sections per centre.
)doc");

struct ContractRowsIn {
  enum { kColumns, kAdjoint, kSplits };
};

REGISTER_OP("DpContractRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Input("columns: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Output("rows: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle columns, adjoint;
      DimensionHandle n;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ContractRowsIn::kColumns), 2, &columns));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ContractRowsIn::kAdjoint), 3, &adjoint));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(adjoint, 1), 4, &n));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(adjoint, 2), c->Dim(columns, 1), &n));
      TF_RETURN_IF_ERROR(deepmd::infer_centers(c, ContractRowsIn::kSplits, &n));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(adjoint, 0), n, &n));
      c->set_output(0, c->Matrix(c->Dim(columns, 0), 4));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpContract> with respect to rows:
rows[p][a] = sum_m adjoint[c(p)][a][m] columns[p][m].

columns: [n_pairs, n_columns].
adjoint: [n_centers, 4, n_columns].
splits: [n_centers * ntypes + 1].
rows: [n_pairs, 4].
ntypes: sections per centre.
)doc");

struct ContractColumnsIn {
  enum { kRows, kAdjoint, kSplits };
};

REGISTER_OP("DpContractColumns")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Input("rows: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Output("columns: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows, adjoint;
      DimensionHandle n;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ContractColumnsIn::kRows), 2, &rows));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(rows, 1), 4, &n));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(ContractColumnsIn::kAdjoint), 3, &adjoint));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(adjoint, 1), 4, &n));
      TF_RETURN_IF_ERROR(deepmd::infer_centers(c, ContractColumnsIn::kSplits, &n));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(adjoint, 0), n, &n));
      c->set_output(0, c->Matrix(c->Dim(rows, 0), c->Dim(adjoint, 2)));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpContract> with respect to columns:
columns[p][m] = sum_a rows[p][a] adjoint[c(p)][a][m].

rows: [n_pairs, 4].
adjoint: [n_centers, 4, n_columns].
splits: [n_centers * ntypes + 1].
columns: [n_pairs, n_columns].
ntypes: sections per centre.
)doc");

template <typename Device, typename T>
class SectionsOp : public OpKernel {
 public:
  explicit SectionsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("ntypes", &ntypes_));
  }

 protected:
  int64_t n_centers(const Tensor& splits) const { return (splits.NumElements() - 1) / ntypes_; }

  absl::Status check_splits(const Tensor& splits, int64_t n_pairs) const {
    return deepmd::check_splits_on<Device>(splits, ntypes_, n_pairs);
  }

  // What a GPU's functions take.
  deepmd::gpu::ContractView view(const Tensor& splits, int64_t n_pairs, int64_t n_columns) const {
    return {splits.flat<int32_t>().data(), n_columns, n_pairs, n_centers(splits), ntypes_};
  }

  // Runs kernel(shape, begin, end) over all centres.
  template <typename Kernel>
  void run(OpKernelContext* context, const Tensor& splits, int64_t n_pairs, int64_t n_columns,
           const Kernel& kernel) const {
    const deepmd::ContractShape shape{n_columns, ntypes_, splits.flat<int32_t>().data()};
    const int64_t centers = n_centers(splits);
    const int64_t cost = 100 + (1 + n_pairs / (centers + 1)) * n_columns;
    deepmd::workers(context)(centers, cost,
                             [&](int64_t begin, int64_t end) { kernel(shape, begin, end); });
  }

  int64_t ntypes_;
};

template <typename Device, typename T>
class ContractOp : public SectionsOp<Device, T> {
 public:
  using SectionsOp<Device, T>::SectionsOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(ContractIn::kRows);
    const Tensor& columns = context->input(ContractIn::kColumns);
    const Tensor& splits = context->input(ContractIn::kSplits);
    DEEPMD_SHAPE(context, "rows", rows, {-1, 4});
    const int64_t n_pairs = rows.dim_size(0);
    DEEPMD_SHAPE(context, "columns", columns, {n_pairs, -1});
    const int64_t n_columns = columns.dim_size(1);
    DEEPMD_CHECK(context, n_columns > 0, "columns has no column");
    OP_REQUIRES_OK(context, this->check_splits(splits, n_pairs));
    Tensor* moment = nullptr;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, {this->n_centers(splits), 4, n_columns}, &moment));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::contract(deepmd::OpStream(context), this->view(splits, n_pairs, n_columns),
                            rows.flat<T>().data(), columns.flat<T>().data(),
                            moment->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(contract<T>);
    this->run(context, splits, n_pairs, n_columns,
              [&](const deepmd::ContractShape& shape, int64_t begin, int64_t end) {
                kernel(shape, rows.flat<T>().data(), columns.flat<T>().data(), begin, end,
                       moment->flat<T>().data());
              });
  }
};

template <typename Device, typename T>
class ContractRowsOp : public SectionsOp<Device, T> {
 public:
  using SectionsOp<Device, T>::SectionsOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& columns = context->input(ContractRowsIn::kColumns);
    const Tensor& adjoint = context->input(ContractRowsIn::kAdjoint);
    const Tensor& splits = context->input(ContractRowsIn::kSplits);
    DEEPMD_SHAPE(context, "columns", columns, {-1, -1});
    const int64_t n_pairs = columns.dim_size(0), n_columns = columns.dim_size(1);
    DEEPMD_CHECK(context, n_columns > 0, "columns has no column");
    OP_REQUIRES_OK(context, this->check_splits(splits, n_pairs));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {this->n_centers(splits), 4, n_columns});
    Tensor* rows = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, 4}, &rows));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::contract_rows(deepmd::OpStream(context), this->view(splits, n_pairs, n_columns),
                                 columns.flat<T>().data(), adjoint.flat<T>().data(),
                                 rows->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(contract_rows<T>);
    this->run(context, splits, n_pairs, n_columns,
              [&](const deepmd::ContractShape& shape, int64_t begin, int64_t end) {
                kernel(shape, columns.flat<T>().data(), adjoint.flat<T>().data(), begin, end,
                       rows->flat<T>().data());
              });
  }
};

template <typename Device, typename T>
class ContractColumnsOp : public SectionsOp<Device, T> {
 public:
  using SectionsOp<Device, T>::SectionsOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(ContractColumnsIn::kRows);
    const Tensor& adjoint = context->input(ContractColumnsIn::kAdjoint);
    const Tensor& splits = context->input(ContractColumnsIn::kSplits);
    DEEPMD_SHAPE(context, "rows", rows, {-1, 4});
    const int64_t n_pairs = rows.dim_size(0);
    OP_REQUIRES_OK(context, this->check_splits(splits, n_pairs));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {this->n_centers(splits), 4, -1});
    const int64_t n_columns = adjoint.dim_size(2);
    DEEPMD_CHECK(context, n_columns > 0, "adjoint has no column");
    Tensor* columns = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, n_columns}, &columns));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::contract_columns(deepmd::OpStream(context),
                                    this->view(splits, n_pairs, n_columns), rows.flat<T>().data(),
                                    adjoint.flat<T>().data(), columns->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(contract_columns<T>);
    this->run(context, splits, n_pairs, n_columns,
              [&](const deepmd::ContractShape& shape, int64_t begin, int64_t end) {
                kernel(shape, rows.flat<T>().data(), adjoint.flat<T>().data(), begin, end,
                       columns->flat<T>().data());
              });
  }
};

DEEPMD_REGISTER("DpContract", ContractOp);
DEEPMD_REGISTER("DpContractRows", ContractRowsOp);
DEEPMD_REGISTER("DpContractColumns", ContractColumnsOp);

}  // namespace
