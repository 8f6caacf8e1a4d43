// SPDX-License-Identifier: BSD-3-Clause
// moment, moment_rows, moment_table: the moment of a tabulated embedding, and moment_outside.
#include "checks.h"
#include "moment.h"
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

// range [n_tables, 2], s [n_pairs] or, of rank 2, the rows [n_pairs, 4] that it is the first column of,
// splits and, after it, table_of: what all ops have.
absl::Status infer_pairs(InferenceContext* c, int range, int s, int rank, int splits,
                         DimensionHandle* n_tables, DimensionHandle* n_pairs,
                         DimensionHandle* n_centers) {
  ShapeHandle shape;
  DimensionHandle n;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(range), 2, &shape));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 1), 2, &n));
  *n_tables = c->Dim(shape, 0);
  TF_RETURN_IF_ERROR(c->WithRank(c->input(s), rank, &shape));
  if (rank == 2) TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 1), 4, &n));
  *n_pairs = c->Dim(shape, 0);
  TF_RETURN_IF_ERROR(deepmd::infer_centers(c, splits, n_centers));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(splits + 1), 1, &shape));
  TF_RETURN_IF_ERROR(c->Subtract(c->Dim(c->input(splits), 0), 1, &n));
  return c->Merge(c->Dim(shape, 0), n, &n);
}

absl::Status infer_table(InferenceContext* c, int table, DimensionHandle* n_tables,
                         DimensionHandle* n_columns) {
  ShapeHandle shape;
  DimensionHandle three;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(table), 4, &shape));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *n_tables, n_tables));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 2), 3, &three));
  *n_columns = c->Dim(shape, 3);
  return absl::OkStatus();
}

absl::Status infer_rows(InferenceContext* c, int rows, DimensionHandle* n_pairs) {
  ShapeHandle shape;
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(rows), 3, &shape));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *n_pairs, n_pairs));
  return c->WithValue(c->Dim(shape, 2), 4, &four);
}

absl::Status infer_adjoint(InferenceContext* c, int adjoint, DimensionHandle* n_centers,
                           DimensionHandle* n_columns) {
  ShapeHandle shape;
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(adjoint), 3, &shape));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *n_centers, n_centers));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 1), 4, &four));
  return c->Merge(c->Dim(shape, 2), *n_columns, n_columns);
}

REGISTER_OP("DpMoment")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Input("table: T")
    .Input("range: T")
    .Input("s: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Output("moment: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      TF_RETURN_IF_ERROR(infer_pairs(c, 1, 2, 1, 4, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, 0, &n_tables, &n_columns));
      TF_RETURN_IF_ERROR(infer_rows(c, 3, &n_pairs));
      c->set_output(0, c->MakeShape({n_centers, c->MakeDim(4), n_columns}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Moment of a tabulated embedding: moment[c][a][m] = sum over the pairs p of centre c and over j of
rows[p][j][a] G_m^(order+j)(s[p]), where G is the quintic Hermite interpolant of the table.

Between two nodes G is the polynomial of degree five that has value, first and second derivative
of the table at both; outside the range it is a straight line with value and slope of the end.
Derivatives of G are exact derivatives of that. The result does not depend on the number of threads.

table: [n_tables, n_nodes, 3, n_columns], value, first and second derivative at uniform nodes.
range: [n_tables, 2], first and last node.
s: [n_pairs].
rows: [n_pairs, orders, 4].
splits: [n_centers * ntypes + 1], section (centre, type of the neighbour) has pairs splits[i] ...
  splits[i+1]-1.
table_of: [n_centers * ntypes], table of a section; -1: the section is left out.
moment: [n_centers, 4, n_columns].
order: derivative of G that rows[:, 0] multiply.
ntypes: sections per centre.
divisor: what the result is divided by.
)doc");

REGISTER_OP("DpMomentRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Attr("orders: int >= 1")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
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
      TF_RETURN_IF_ERROR(infer_pairs(c, 1, 2, 1, 4, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, 0, &n_tables, &n_columns));
      TF_RETURN_IF_ERROR(infer_adjoint(c, 3, &n_centers, &n_columns));
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
)doc");

REGISTER_OP("DpMomentTable")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("order: int >= 0 = 0")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
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
      TF_RETURN_IF_ERROR(infer_pairs(c, 0, 1, 1, 4, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_rows(c, 2, &n_pairs));
      TF_RETURN_IF_ERROR(infer_adjoint(c, 3, &n_centers, &n_columns));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(6), 0, &scalar));
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
n_nodes: number of nodes of every table, at least 2.
table: [n_tables, n_nodes, 3, n_columns].
order: derivative of G that rows[:, 0] multiply.
ntypes: sections per centre.
divisor: what the result is divided by.
)doc");

REGISTER_OP("DpMomentOfRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("starts: int >= 0")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Input("table: T")
    .Input("range: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Input("start: starts * T")
    .Output("moment: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      TF_RETURN_IF_ERROR(infer_pairs(c, 1, 2, 2, 3, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, 0, &n_tables, &n_columns));
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
)doc");

REGISTER_OP("DpMomentOfRowsVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("divisor: int >= 1 = 1")
    .Input("table: T")
    .Input("range: T")
    .Input("rows: T")
    .Input("adjoint: T")
    .Input("splits: int32")
    .Input("table_of: int32")
    .Output("d_rows: T")
    .SetShapeFn([](InferenceContext* c) {
      DimensionHandle n_tables, n_pairs, n_centers, n_columns;
      TF_RETURN_IF_ERROR(infer_pairs(c, 1, 2, 2, 4, &n_tables, &n_pairs, &n_centers));
      TF_RETURN_IF_ERROR(infer_table(c, 0, &n_tables, &n_columns));
      TF_RETURN_IF_ERROR(infer_adjoint(c, 3, &n_centers, &n_columns));
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
)doc");

REGISTER_OP("DpMomentTangentRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("rows: T")
    .Input("tangent: T")
    .Output("s: T")
    .Output("tangent_rows: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows, tangent;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &rows));
      TF_RETURN_IF_ERROR(c->Merge(rows, c->input(1), &tangent));
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
      TF_RETURN_IF_ERROR(infer_pairs(c, 0, 1, 1, 2, &n_tables, &n_pairs, &n_centers));
      c->set_output(0, c->Scalar());
      return absl::OkStatus();
    })
    .Doc(R"doc(
Number of pairs whose s is outside the range of their table, where straight lines extend it.

A NaN counts. Pairs of sections that are left out do not.

range: [n_tables, 2].
s: [n_pairs].
splits: [n_centers * ntypes + 1].
table_of: [n_centers * ntypes].
count: scalar.
ntypes: sections per centre.
)doc");

// What the ops share: the sizes and the tensors that say where the pairs are.
template <typename T>
class MomentOpBase : public OpKernel {
 public:
  explicit MomentOpBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("ntypes", &ntypes_));
    if (context->HasAttr("order")) OP_REQUIRES_OK(context, context->GetAttr("order", &order_));
    if (context->HasAttr("divisor"))
      OP_REQUIRES_OK(context, context->GetAttr("divisor", &divisor_));
  }

 protected:
  // Checks and reads inputs range, s, splits and table_of.
  absl::Status read_pairs(const Tensor& range, const Tensor& s, const Tensor& splits,
                          const Tensor& table_of, deepmd::MomentShape* shape,
                          deepmd::MomentPairs<T>* pairs) const {
    TF_RETURN_IF_ERROR(deepmd::check_shape("s", s, {-1}));
    return read_pairs(range, s, 1, splits, table_of, shape, pairs);
  }

  // The same with rows, whose first column s is.
  absl::Status read_pairs_of_rows(const Tensor& range, const Tensor& rows, const Tensor& splits,
                                  const Tensor& table_of, deepmd::MomentShape* shape,
                                  deepmd::MomentPairs<T>* pairs) const {
    TF_RETURN_IF_ERROR(deepmd::check_shape("rows", rows, {-1, 4}));
    TF_RETURN_IF_ERROR(read_pairs(range, rows, 4, splits, table_of, shape, pairs));
    shape->orders = 1;
    return absl::OkStatus();
  }

  absl::Status read_pairs(const Tensor& range, const Tensor& s, int64_t step, const Tensor& splits,
                          const Tensor& table_of, deepmd::MomentShape* shape,
                          deepmd::MomentPairs<T>* pairs) const {
    using deepmd::check_shape;
    TF_RETURN_IF_ERROR(check_shape("range", range, {-1, 2}));
    TF_RETURN_IF_ERROR(deepmd::check_splits(splits, ntypes_, s.dim_size(0)));
    TF_RETURN_IF_ERROR(check_shape("table_of", table_of, {splits.NumElements() - 1}));
    TF_RETURN_IF_ERROR(deepmd::check_indices("table_of", table_of, -1, range.dim_size(0)));
    const T* ends = range.flat<T>().data();
    for (int64_t i = 0; i < range.dim_size(0); ++i) {
      const T width = ends[2 * i + 1] - ends[2 * i];
      // Written so that a NaN or an infinity is refused.
      if (!(width > T(0) && width * T(0) == T(0))) {
        return deepmd::invalid_argument("range[", i, "] = [", ends[2 * i], ", ", ends[2 * i + 1],
                                       "], expected finite numbers in rising order");
      }
    }
    *shape = deepmd::MomentShape{};
    shape->n_tables = range.dim_size(0);
    shape->n_pairs = s.dim_size(0);
    shape->n_centers = table_of.NumElements() / ntypes_;
    shape->ntypes = ntypes_;
    shape->order = order_;
    shape->divisor = divisor_;
    *pairs = deepmd::MomentPairs<T>{ends, s.flat<T>().data(), step,
                                    splits.flat<int32_t>().data(),
                                    table_of.flat<int32_t>().data()};
    return absl::OkStatus();
  }

  absl::Status read_table(const Tensor& table, deepmd::MomentShape* shape) const {
    TF_RETURN_IF_ERROR(deepmd::check_shape("table", table, {shape->n_tables, -1, 3, -1}));
    shape->n_nodes = table.dim_size(1);
    shape->n_columns = table.dim_size(3);
    if (shape->n_columns == 0) return deepmd::invalid_argument("table has no column");
    return check_nodes(shape->n_nodes);
  }

  absl::Status read_rows(const Tensor& rows, deepmd::MomentShape* shape) const {
    TF_RETURN_IF_ERROR(deepmd::check_shape("rows", rows, {shape->n_pairs, -1, 4}));
    shape->orders = rows.dim_size(1);
    return absl::OkStatus();
  }

  absl::Status check_nodes(int64_t n_nodes) const {
    if (n_nodes >= 2 && n_nodes < (int64_t{1} << 30)) return absl::OkStatus();
    return deepmd::invalid_argument("a table has ", n_nodes, " nodes, expected at least 2");
  }

  int64_t ntypes_, order_ = 0, divisor_ = 1;
};

template <typename T>
class MomentOp : public MomentOpBase<T> {
 public:
  using MomentOpBase<T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(0);
    const Tensor& rows = context->input(3);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context, this->read_pairs(context->input(1), context->input(2),
                                             context->input(4), context->input(5), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    OP_REQUIRES_OK(context, this->read_rows(rows, &shape));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context,
                   context->allocate_output(0, {shape.n_centers, 4, shape.n_columns}, &out));
    DEEPMD_PICK(moment<T>)
    (shape, pairs, table.flat<T>().data(), rows.flat<T>().data(), nullptr,
     deepmd::workers(context), out->flat<T>().data());
  }
};

template <typename T>
class MomentRowsOp : public MomentOpBase<T> {
 public:
  explicit MomentRowsOp(OpKernelConstruction* context) : MomentOpBase<T>(context) {
    OP_REQUIRES_OK(context, context->GetAttr("orders", &orders_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(0);
    const Tensor& adjoint = context->input(3);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context, this->read_pairs(context->input(1), context->input(2),
                                             context->input(4), context->input(5), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {shape.n_centers, 4, shape.n_columns});
    shape.orders = orders_;
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {shape.n_pairs, orders_, 4}, &out));
    DEEPMD_PICK(moment_rows<T>)
    (shape, pairs, table.flat<T>().data(), adjoint.flat<T>().data(), deepmd::workers(context),
     out->flat<T>().data());
  }

 private:
  int64_t orders_;
};

template <typename T>
class MomentTableOp : public MomentOpBase<T> {
 public:
  using MomentOpBase<T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(2);
    const Tensor& adjoint = context->input(3);
    const Tensor& n_nodes = context->input(6);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context, this->read_pairs(context->input(0), context->input(1),
                                             context->input(4), context->input(5), &shape, &pairs));
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
    Tensor scratch;
    const int64_t bytes = DEEPMD_PICK(moment_table_scratch<T>)(shape);
    OP_REQUIRES_OK(context, context->allocate_temp(DT_INT8, {bytes}, &scratch));
    DEEPMD_PICK(moment_table<T>)
    (shape, pairs, rows.flat<T>().data(), adjoint.flat<T>().data(), deepmd::workers(context),
     scratch.flat<int8_t>().data(), out->flat<T>().data());
  }
};

template <typename T>
class MomentOfRowsOp : public MomentOpBase<T> {
 public:
  explicit MomentOfRowsOp(OpKernelConstruction* context) : MomentOpBase<T>(context) {
    int64_t n_starts;
    OP_REQUIRES_OK(context, context->GetAttr("starts", &n_starts));
    DEEPMD_CHECK(context, n_starts <= 1, "there are ", n_starts, " starts, expected one or none");
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(0);
    const Tensor& rows = context->input(2);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context,
                   this->read_pairs_of_rows(context->input(1), rows, context->input(3),
                                            context->input(4), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    const TensorShape all({shape.n_centers, 4, shape.n_columns});
    const T* start = nullptr;
    Tensor* out = nullptr;
    if (context->num_inputs() == 6) {
      const Tensor& given = context->input(5);
      DEEPMD_SHAPE(context, "start", given, {shape.n_centers, 4, shape.n_columns});
      start = given.flat<T>().data();
      OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({5}, 0, all, &out));
    } else {
      OP_REQUIRES_OK(context, context->allocate_output(0, all, &out));
    }
    DEEPMD_PICK(moment<T>)
    (shape, pairs, table.flat<T>().data(), rows.flat<T>().data(), start, deepmd::workers(context),
     out->flat<T>().data());
  }
};

template <typename T>
class MomentOfRowsVjpOp : public MomentOpBase<T> {
 public:
  using MomentOpBase<T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& table = context->input(0);
    const Tensor& rows = context->input(2);
    const Tensor& adjoint = context->input(3);
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context,
                   this->read_pairs_of_rows(context->input(1), rows, context->input(4),
                                            context->input(5), &shape, &pairs));
    OP_REQUIRES_OK(context, this->read_table(table, &shape));
    DEEPMD_SHAPE(context, "adjoint", adjoint, {shape.n_centers, 4, shape.n_columns});
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, rows.shape(), &out));
    DEEPMD_PICK(moment_of_rows_vjp<T>)
    (shape, pairs, table.flat<T>().data(), rows.flat<T>().data(), adjoint.flat<T>().data(),
     deepmd::workers(context), out->flat<T>().data());
  }
};

template <typename T>
class MomentTangentRowsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& rows = context->input(0);
    const Tensor& tangent = context->input(1);
    DEEPMD_SHAPE(context, "rows", rows, {-1, 4});
    DEEPMD_SHAPE(context, "tangent", tangent, {rows.dim_size(0), 4});
    const int64_t n = rows.dim_size(0);
    Tensor *s = nullptr, *out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n}, &s));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n, 2, 4}, &out));
    const T* r = rows.flat<T>().data();
    const T* t = tangent.flat<T>().data();
    T* first = s->flat<T>().data();
    T* both = out->flat<T>().data();
    deepmd::workers(context)(n, 8, [&](int64_t begin, int64_t end) {
      for (int64_t p = begin; p < end; ++p) {
        first[p] = r[4 * p];
        for (int64_t a = 0; a < 4; ++a) {
          both[8 * p + a] = t[4 * p + a];
          both[8 * p + 4 + a] = t[4 * p] * r[4 * p + a];
        }
      }
    });
  }
};

template <typename T>
class MomentOutsideOp : public MomentOpBase<T> {
 public:
  using MomentOpBase<T>::MomentOpBase;

  void Compute(OpKernelContext* context) override {
    deepmd::MomentShape shape;
    deepmd::MomentPairs<T> pairs;
    OP_REQUIRES_OK(context, this->read_pairs(context->input(0), context->input(1),
                                             context->input(2), context->input(3), &shape, &pairs));
    Tensor* count = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {}, &count));
    count->scalar<int64_t>()() = DEEPMD_PICK(moment_outside<T>)(shape, pairs);
  }
};

DEEPMD_REGISTER_CPU("DpMoment", MomentOp);
DEEPMD_REGISTER_CPU("DpMomentRows", MomentRowsOp);
DEEPMD_REGISTER_CPU("DpMomentTable", MomentTableOp);
DEEPMD_REGISTER_CPU("DpMomentOfRows", MomentOfRowsOp);
DEEPMD_REGISTER_CPU("DpMomentOfRowsVjp", MomentOfRowsVjpOp);
DEEPMD_REGISTER_CPU("DpMomentTangentRows", MomentTangentRowsOp);
DEEPMD_REGISTER_CPU("DpMomentOutside", MomentOutsideOp);

}  // namespace
