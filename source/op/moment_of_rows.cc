// SPDX-License-Identifier: BSD-3-Clause
// moment_of_rows, moment_of_rows_vjp: the moment where s is the first column of the rows, and
// moment_tangent_rows.
#include "moment_ops.h"

namespace {

using namespace deepmd::moments;  // NOLINT(build/namespaces)
using namespace tensorflow;       // NOLINT(build/namespaces)

struct MomentOfRowsIn {
  enum { kTable, kRange, kRows, kSplits, kTableOf, kStart };
};

REGISTER_OP("DpMomentOfRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("starts: int >= 0")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Attr("octaves: int >= 0 = 0")
    .Attr("per_octave: int >= 0 = 0")
    .Input("table: T")
    .Input("range: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Input("start: starts * T")
    .Output("moment: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      TF_RETURN_IF_ERROR(infer_pairs(c, MomentOfRowsIn::kRange, MomentOfRowsIn::kRows, 2,
                                     MomentOfRowsIn::kSplits, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, MomentOfRowsIn::kTable, &n_tables, &n_columns));
      c->set_output(0, c->MakeShape({n_centers, c->MakeDim(4), n_columns}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
DpMoment of order 0, where s is the first column of the rows, added to start.

table: [n_tables, n_nodes, 3, n_columns].
range: [n_tables, 2].
rows: [n_pairs, 4].
splits: [n_centers * ntypes + 1].
table_of: [n_centers * ntypes].
start: [n_centers, 4, n_columns], or none for 0.
moment: [n_centers, 4, n_columns].
ntypes: sections per centre.
divisor: what the sum is divided by.
octaves: by which the nodes go on above the range.
per_octave: intervals of each octave.
)doc");

struct MomentOfRowsVjpIn {
  enum { kTable, kRange, kRows, kAdjoint, kSplits, kTableOf };
};

REGISTER_OP("DpMomentOfRowsVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Attr("octaves: int >= 0 = 0")
    .Attr("per_octave: int >= 0 = 0")
    .Input("table: T")
    .Input("range: T")
    .Input("rows: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Output("d_rows: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      TF_RETURN_IF_ERROR(infer_pairs(c, MomentOfRowsVjpIn::kRange, MomentOfRowsVjpIn::kRows, 2,
                                     MomentOfRowsVjpIn::kSplits, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, MomentOfRowsVjpIn::kTable, &n_tables, &n_columns));
      TF_RETURN_IF_ERROR(infer_adjoint(c, MomentOfRowsVjpIn::kAdjoint, &n_centers, &n_columns));
      c->set_output(0, c->MakeShape({n_pairs, c->MakeDim(4)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpMomentOfRows> with respect to the rows.

table: [n_tables, n_nodes, 3, n_columns].
range: [n_tables, 2].
rows: [n_pairs, 4].
adjoint: [n_centers, 4, n_columns].
splits: [n_centers * ntypes + 1].
table_of: [n_centers * ntypes].
d_rows: [n_pairs, 4]; zero in sections that are left out.
ntypes: sections per centre.
divisor: what the result is divided by.
octaves: by which the nodes go on above the range.
per_octave: intervals of each octave.
)doc");

struct MomentTangentRowsIn {
  enum { kRows, kTangent };
};

REGISTER_OP("DpMomentTangentRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("rows: T")
    .Input("tangent: T")
    .Output("s: T")
    .Output("tangent_rows: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows, tangent;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(MomentTangentRowsIn::kRows), 2, &rows));
      TF_RETURN_IF_ERROR(c->Merge(rows, c->input(MomentTangentRowsIn::kTangent), &tangent));
      c->set_output(0, c->Vector(c->Dim(rows, 0)));
      c->set_output(1, c->MakeShape({c->Dim(rows, 0), c->MakeDim(2), c->MakeDim(4)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
What DpMoment takes to give the derivative of DpMomentOfRows along a tangent of the rows:
tangent_rows[p] = (tangent[p], tangent[p][0] rows[p]).

rows: [n_pairs, 4].
tangent: [n_pairs, 4].
s: [n_pairs], first column of the rows.
tangent_rows: [n_pairs, 2, 4].
)doc");

template <typename Device, typename T>
class MomentOfRowsOp : public MomentOpBase<Device, T> {
 public:
  explicit MomentOfRowsOp(OpKernelConstruction* context) : MomentOpBase<Device, T>(context) {
    int64_t n_starts;
    OP_REQUIRES_OK(context, context->GetAttr("starts", &n_starts));
    DEEPMD_CHECK(context, n_starts <= 1, "there are ", n_starts, " starts, expected one or none");
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(MomentOfRowsIn::kTable);
    const Tensor& rows = context->input(MomentOfRowsIn::kRows);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context, this->read_pairs_of_rows(context->input(MomentOfRowsIn::kRange), rows,
                                                     context->input(MomentOfRowsIn::kSplits),
                                                     context->input(MomentOfRowsIn::kTableOf),
                                                     &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    const TensorShape all({shape.n_centers, 4, shape.n_columns});
    const T* start = nullptr;
    Tensor* out = nullptr;
    if (context->num_inputs() > MomentOfRowsIn::kStart) {
      const Tensor& given = context->input(MomentOfRowsIn::kStart);
      DEEPMD_SHAPE(context, "start", given, {shape.n_centers, 4, shape.n_columns});
      start = given.flat<T>().data();
      OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({5}, 0, all, &out));
    } else {
      OP_REQUIRES_OK(context, context->allocate_output(0, all, &out));
    }
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment_of_rows(deepmd::OpStream(context), shape, pairs, table.flat<T>().data(),
                                  rows.flat<T>().data(), start, out->flat<T>().data());
      return;
    }
    DEEPMD_PICK(moment<T>)
    (shape, pairs, table.flat<T>().data(), rows.flat<T>().data(), start, deepmd::workers(context),
     out->flat<T>().data());
  }
};

template <typename Device, typename T>
class MomentOfRowsVjpOp : public MomentOpBase<Device, T> {
 public:
  using MomentOpBase<Device, T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(MomentOfRowsVjpIn::kTable);
    const Tensor& rows = context->input(MomentOfRowsVjpIn::kRows);
    const Tensor& adjoint = context->input(MomentOfRowsVjpIn::kAdjoint);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context, this->read_pairs_of_rows(
                                context->input(MomentOfRowsVjpIn::kRange), rows,
                                context->input(MomentOfRowsVjpIn::kSplits),
                                context->input(MomentOfRowsVjpIn::kTableOf), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {shape.n_centers, 4, shape.n_columns});
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, rows.shape(), &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment_of_rows_vjp(deepmd::OpStream(context), shape, pairs,
                                      table.flat<T>().data(), rows.flat<T>().data(),
                                      adjoint.flat<T>().data(), out->flat<T>().data());
      return;
    }
    DEEPMD_PICK(moment_of_rows_vjp<T>)
    (shape, pairs, table.flat<T>().data(), rows.flat<T>().data(), adjoint.flat<T>().data(),
     deepmd::workers(context), out->flat<T>().data());
  }
};

template <typename Device, typename T>
class MomentTangentRowsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(MomentTangentRowsIn::kRows);
    const Tensor& tangent = context->input(MomentTangentRowsIn::kTangent);
    DEEPMD_SHAPE(context, "rows", rows, {-1, 4});
    DEEPMD_SHAPE(context, "tangent", tangent, {rows.dim_size(0), 4});
    const int64_t n = rows.dim_size(0);
    Tensor *s = nullptr, *out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n}, &s));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n, 2, 4}, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment_tangent_rows(deepmd::OpStream(context), rows.flat<T>().data(),
                                       tangent.flat<T>().data(), n, s->flat<T>().data(),
                                       out->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(moment_tangent_rows<T>);
    deepmd::workers(context)(n, 8, [&](int64_t begin, int64_t end) {
      kernel(rows.flat<T>().data(), tangent.flat<T>().data(), begin, end, s->flat<T>().data(),
             out->flat<T>().data());
    });
  }
};

DEEPMD_REGISTER("DpMomentOfRows", MomentOfRowsOp);
DEEPMD_REGISTER("DpMomentOfRowsVjp", MomentOfRowsVjpOp);
DEEPMD_REGISTER("DpMomentTangentRows", MomentTangentRowsOp);

}  // namespace
