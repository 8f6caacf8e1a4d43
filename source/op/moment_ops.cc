// SPDX-License-Identifier: BSD-3-Clause
// moment, moment_rows, moment_table: the moment of a tabulated embedding, and moment_outside.
#include "moment_ops.h"

namespace {

using namespace deepmd::moments;  // NOLINT(build/namespaces)
using namespace tensorflow;       // NOLINT(build/namespaces)

struct MomentIn {
  enum { kTable, kRange, kS, kRows, kSplits, kTableOf };
};

REGISTER_OP("DpMoment")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Attr("octaves: int >= 0 = 0")
    .Attr("per_octave: int >= 0 = 0")
    .Input("table: T")
    .Input("range: T")
    .Input("s: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Output("moment: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      TF_RETURN_IF_ERROR(infer_pairs(c, MomentIn::kRange, MomentIn::kS, 1, MomentIn::kSplits,
                                     &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, MomentIn::kTable, &n_tables, &n_columns));
      TF_RETURN_IF_ERROR(infer_rows(c, MomentIn::kRows, &n_pairs));
      c->set_output(0, c->MakeShape({n_centers, c->MakeDim(4), n_columns}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Moment of a tabulated embedding: moment[c][a][m] = sum over the pairs p of centre c and over j of
rows[p][j][a] G_m^(order+j)(s[p]), where G is the quintic Hermite interpolant of the table.

Between two nodes G is the polynomial of degree five that has value, first and second derivative
of the table at both; below the range, and above its octaves, it is a straight line with value and
slope of the end. Octave e = 0 ... octaves - 1 has per_octave intervals 2^e as wide as those of the range.
Derivatives of G are exact derivatives of that. The result does not depend on the number of threads.

table: [n_tables, n_nodes, 3, n_columns], value, first and second derivative at the nodes: first the
  uniform ones, then those of the octaves.
range: [n_tables, 2], first and last uniform node.
s: [n_pairs].
rows: [n_pairs, orders, 4].
splits: [n_centers * ntypes + 1], section (centre, type of the neighbour) has pairs splits[i] ...
  splits[i+1]-1.
table_of: [n_centers * ntypes], table of a section; -1: the section is left out.
moment: [n_centers, 4, n_columns].
order: derivative of G that rows[:, 0] multiply.
ntypes: sections per centre.
divisor: what the result is divided by.
octaves: by which the nodes go on above the range.
per_octave: intervals of each octave.
)doc");

struct MomentRowsIn {
  enum { kTable, kRange, kS, kAdjoint, kSplits, kTableOf };
};

REGISTER_OP("DpMomentRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Attr("orders: int >= 1")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Attr("octaves: int >= 0 = 0")
    .Attr("per_octave: int >= 0 = 0")
    .Input("table: T")
    .Input("range: T")
    .Input("s: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Output("rows: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      int64_t orders;
      TF_RETURN_IF_ERROR(c->GetAttr("orders", &orders));
      TF_RETURN_IF_ERROR(infer_pairs(c, MomentRowsIn::kRange, MomentRowsIn::kS, 1,
                                     MomentRowsIn::kSplits, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, MomentRowsIn::kTable, &n_tables, &n_columns));
      TF_RETURN_IF_ERROR(infer_adjoint(c, MomentRowsIn::kAdjoint, &n_centers, &n_columns));
      c->set_output(0, c->MakeShape({n_pairs, c->MakeDim(orders), c->MakeDim(4)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpMoment> with respect to rows:
rows[p][j][a] = sum_m adjoint[c(p)][a][m] G_m^(order+j)(s[p]); zero in sections that are left out.

table: [n_tables, n_nodes, 3, n_columns].
range: [n_tables, 2].
s: [n_pairs].
adjoint: [n_centers, 4, n_columns].
splits: [n_centers * ntypes + 1].
table_of: [n_centers * ntypes].
rows: [n_pairs, orders, 4].
order: derivative of G in rows[:, 0].
orders: number of derivatives.
ntypes: sections per centre.
divisor: what the result is divided by.
octaves: by which the nodes go on above the range.
per_octave: intervals of each octave.
)doc");

struct MomentTableIn {
  enum { kRange, kS, kRows, kAdjoint, kSplits, kTableOf, kNNodes };
};

REGISTER_OP("DpMomentTable")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Attr("octaves: int >= 0 = 0")
    .Attr("per_octave: int >= 0 = 0")
    .Input("range: T")
    .Input("s: T")
    .Input("rows: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Input("n_nodes: int32")
    .Output("table: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle scalar;
      DimensionHandle n_tables, n_pairs, n_centers, n_columns = c->UnknownDim(), n_nodes;
      TF_RETURN_IF_ERROR(infer_pairs(c, MomentTableIn::kRange, MomentTableIn::kS, 1,
                                     MomentTableIn::kSplits, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_rows(c, MomentTableIn::kRows, &n_pairs));
      TF_RETURN_IF_ERROR(infer_adjoint(c, MomentTableIn::kAdjoint, &n_centers, &n_columns));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(MomentTableIn::kNNodes), 0, &scalar));
      TF_RETURN_IF_ERROR(c->MakeDimForScalarInput(6, &n_nodes));
      c->set_output(0, c->MakeShape({n_tables, n_nodes, c->MakeDim(3), n_columns}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpMoment> with respect to the table. The result does not depend on the
number of threads.

range: [n_tables, 2].
s: [n_pairs].
rows: [n_pairs, orders, 4].
adjoint: [n_centers, 4, n_columns].
splits: [n_centers * ntypes + 1].
table_of: [n_centers * ntypes].
n_nodes: number of nodes of every table, 2 uniform ones or more.
table: [n_tables, n_nodes, 3, n_columns].
order: derivative of G that rows[:, 0] multiply.
ntypes: sections per centre.
divisor: what the result is divided by.
octaves: by which the nodes go on above the range.
per_octave: intervals of each octave.
)doc");

struct MomentOutsideIn {
  enum { kRange, kS, kSplits, kTableOf };
};

REGISTER_OP("DpMomentOutside")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Input("range: T")
    .Input("s: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Output("count: int64")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers;
      TF_RETURN_IF_ERROR(infer_pairs(c, MomentOutsideIn::kRange, MomentOutsideIn::kS, 1,
                                     MomentOutsideIn::kSplits, &n_tables, &n_pairs, &n_centers));
      c->set_output(0, c->Scalar());
      return absl::OkStatus();
    })
    .Doc(R"doc(
Number of pairs whose s is outside the range of their table, where octaves or straight lines extend it.

A NaN counts. Pairs of sections that are left out do not.

range: [n_tables, 2].
s: [n_pairs].
splits: [n_centers * ntypes + 1].
table_of: [n_centers * ntypes].
count: scalar.
ntypes: sections per centre.
)doc");

template <typename Device, typename T>
class MomentOp : public MomentOpBase<Device, T> {
 public:
  using MomentOpBase<Device, T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(MomentIn::kTable);
    const Tensor& rows = context->input(MomentIn::kRows);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context,
                   this->read_pairs(context->input(MomentIn::kRange), context->input(MomentIn::kS),
                                    context->input(MomentIn::kSplits),
                                    context->input(MomentIn::kTableOf), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    OP_REQUIRES_OK(context, this->read_rows(rows, &shape));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, {shape.n_centers, 4, shape.n_columns}, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment(deepmd::OpStream(context), shape, pairs, table.flat<T>().data(),
                          rows.flat<T>().data(), out->flat<T>().data());
      return;
    }
    DEEPMD_PICK(moment<T>)
    (shape, pairs, table.flat<T>().data(), rows.flat<T>().data(), nullptr, deepmd::workers(context),
     out->flat<T>().data());
  }
};

template <typename Device, typename T>
class MomentRowsOp : public MomentOpBase<Device, T> {
 public:
  explicit MomentRowsOp(OpKernelConstruction* context) : MomentOpBase<Device, T>(context) {
    OP_REQUIRES_OK(context, context->GetAttr("orders", &orders_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(MomentRowsIn::kTable);
    const Tensor& adjoint = context->input(MomentRowsIn::kAdjoint);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(
        context,
        this->read_pairs(context->input(MomentRowsIn::kRange), context->input(MomentRowsIn::kS),
                         context->input(MomentRowsIn::kSplits),
                         context->input(MomentRowsIn::kTableOf), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {shape.n_centers, 4, shape.n_columns});
    shape.orders = orders_;
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {shape.n_pairs, orders_, 4}, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment_rows(deepmd::OpStream(context), shape, pairs, table.flat<T>().data(),
                               adjoint.flat<T>().data(), out->flat<T>().data());
      return;
    }
    DEEPMD_PICK(moment_rows<T>)
    (shape, pairs, table.flat<T>().data(), adjoint.flat<T>().data(), deepmd::workers(context),
     out->flat<T>().data());
  }

 private:
  int64_t orders_;
};

template <typename Device, typename T>
class MomentTableOp : public MomentOpBase<Device, T> {
 public:
  using MomentOpBase<Device, T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(MomentTableIn::kRows);
    const Tensor& adjoint = context->input(MomentTableIn::kAdjoint);
    const Tensor& n_nodes = context->input(MomentTableIn::kNNodes);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(
        context,
        this->read_pairs(context->input(MomentTableIn::kRange), context->input(MomentTableIn::kS),
                         context->input(MomentTableIn::kSplits),
                         context->input(MomentTableIn::kTableOf), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_rows(rows, &shape));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {shape.n_centers, 4, -1});
    DEEPMD_SHAPE(context, "n_nodes", n_nodes, {});
    shape.n_columns = adjoint.dim_size(2);
    DEEPMD_CHECK(context, shape.n_columns > 0, "adjoint has no column");
    shape.n_nodes = n_nodes.scalar<int32_t>()();
    OP_REQUIRES_OK(context, this->check_nodes(shape.n_nodes));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {shape.n_tables, shape.n_nodes, 3, shape.n_columns}, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment_table(deepmd::OpStream(context), shape, pairs, rows.flat<T>().data(),
                                adjoint.flat<T>().data(), out->flat<T>().data());
      return;
    }
    Tensor scratch;
    const int64_t bytes = DEEPMD_PICK(moment_table_scratch<T>)(shape);
    OP_REQUIRES_OK(context, context->allocate_temp(DT_INT8, {bytes}, &scratch));
    DEEPMD_PICK(moment_table<T>)
    (shape, pairs, rows.flat<T>().data(), adjoint.flat<T>().data(), deepmd::workers(context),
     scratch.flat<int8_t>().data(), out->flat<T>().data());
  }
};

template <typename Device, typename T>
class MomentOutsideOp : public MomentOpBase<Device, T> {
 public:
  using MomentOpBase<Device, T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context,
                   this->read_pairs(context->input(MomentOutsideIn::kRange),
                                    context->input(MomentOutsideIn::kS),
                                    context->input(MomentOutsideIn::kSplits),
                                    context->input(MomentOutsideIn::kTableOf), &shape, &pairs));
    Tensor* count = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &count));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::moment_outside(deepmd::OpStream(context), shape, pairs,
                                  count->flat<int64_t>().data());
      return;
    }
    count->scalar<int64_t>()() = DEEPMD_PICK(moment_outside<T>)(shape, pairs);
  }
};

DEEPMD_REGISTER("DpMoment", MomentOp);
DEEPMD_REGISTER("DpMomentRows", MomentRowsOp);
DEEPMD_REGISTER("DpMomentTable", MomentTableOp, .HostMemory("n_nodes"));
DEEPMD_REGISTER("DpMomentOutside", MomentOutsideOp);

}  // namespace
