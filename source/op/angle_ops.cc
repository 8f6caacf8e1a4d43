// SPDX-License-Identifier: BSD-3-Clause
// angle_sums, angle_rows, angle_table: sums over pairs of neighbours of a tabulated function of the
// product of their vectors.
#include <algorithm>

#include "angles.h"
#include "checks.h"
#include "device.h"
#include "gpu_angles.h"
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

// From the rows on the inputs of all three are the same.
struct FromRows {
  enum { kRows, kSplits, kEmpty, kCount, kTableOf, kGrid, kTangents };
};

// Number of centres, from inputs that begin at `first`.
absl::Status infer_inputs(InferenceContext* c, int first, ShapeHandle* rows,
                          DimensionHandle* n_centers) {
  ShapeHandle shape;
  DimensionHandle n;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + FromRows::kRows), 2, rows));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(*rows, 1), 4, &n));
  TF_RETURN_IF_ERROR(deepmd::infer_centers(c, first + FromRows::kSplits, n_centers));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + FromRows::kEmpty), 2, &shape));
  TF_RETURN_IF_ERROR(c->Merge(*n_centers, c->Dim(shape, 0), n_centers));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + FromRows::kCount), 1, &shape));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + FromRows::kTableOf), 1, &shape));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(first + FromRows::kGrid), 1, &shape));
  for (int i = first + FromRows::kTangents; i < c->num_inputs(); ++i)
    TF_RETURN_IF_ERROR(c->Merge(*rows, c->input(i), rows));
  return absl::OkStatus();
}

struct AngleSumsIn {
  enum { kTable, kRows, kSplits, kEmpty, kCount, kTableOf, kGrid, kTangents };
};

REGISTER_OP("DpAngleSums")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("n_tangents: int >= 0")
    .Input("table: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("empty: T")
    .Input("count: T")
    .Input("table_of: int32")
    .Input("grid: int32")
    .Input("tangents: n_tangents * T")
    .Output("sums: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows, table;
      DimensionHandle n_centers;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(AngleSumsIn::kTable), 4, &table));
      TF_RETURN_IF_ERROR(infer_inputs(c, AngleSumsIn::kRows, &rows, &n_centers));
      c->set_output(0, c->Matrix(n_centers, c->Dim(table, 3)));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Sum over the pairs of slots j, k of each centre of f(R_j . R_k), with components 1 to 3 of the rows, or
its derivative along one or two tangents of the rows.

Both orders of j and k count, and j = k, where their types are the same; one order otherwise. f is the
quintic interpolant of the table of their two types. The result does not depend on the number of
threads.

table: [n_tables, 2 octaves per_octave + 1, 3, n_columns], values, first and second derivatives of f at
  nodes that are symmetric to 0.
rows: [n_pairs, 4].
splits: [n_centers * ntypes + 1], section (centre, type of the neighbour) has pairs splits[i] ...
  splits[i+1]-1.
empty: [n_centers, 4], the row of an empty slot; where components 1 to 3 are zero, empty slots are
  left out, since f(0) is 0.
count: [n_centers * ntypes], number of empty slots.
table_of: [ntypes * ntypes], table of two types; -1: they are left out.
grid: octaves and per_octave. Octaves have per_octave intervals that are 2, 4, ... times as wide as
  those of the first one, which is 0.25 long.
tangents: [n_pairs, 4] each.
sums: [n_centers, n_columns].
ntypes: sections per centre.
n_tangents: order of the derivative, up to 2.
)doc");

struct AngleRowsIn {
  enum { kTable, kAdjoint, kRows, kSplits, kEmpty, kCount, kTableOf, kGrid, kTangents };
};

REGISTER_OP("DpAngleRows")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("n_tangents: int >= 0")
    .Input("table: T")
    .Input("adjoint: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("empty: T")
    .Input("count: T")
    .Input("table_of: int32")
    .Input("grid: int32")
    .Input("tangents: n_tangents * T")
    .Output("d_rows: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows;
      DimensionHandle n_centers;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(AngleRowsIn::kTable), 4, &rows));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(AngleRowsIn::kAdjoint), 2, &rows));
      TF_RETURN_IF_ERROR(infer_inputs(c, AngleRowsIn::kRows, &rows, &n_centers));
      c->set_output(0, rows);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpAngleSums> with respect to the rows.

table: [n_tables, n_nodes, 3, n_columns].
adjoint: [n_centers, n_columns].
rows: [n_pairs, 4].
splits: [n_centers * ntypes + 1].
empty: [n_centers, 4].
count: [n_centers * ntypes].
table_of: [ntypes * ntypes].
grid: octaves and per_octave.
tangents: [n_pairs, 4] each.
d_rows: [n_pairs, 4].
ntypes: sections per centre.
n_tangents: order of the derivative of DpAngleSums, up to 1.
)doc");

struct AngleTableIn {
  enum { kAdjoint, kRows, kSplits, kEmpty, kCount, kTableOf, kGrid, kTangents };
};

REGISTER_OP("DpAngleTable")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("ntypes: int >= 1")
    .Attr("n_tangents: int >= 0")
    .Attr("n_tables: int >= 0")
    .Input("adjoint: T")
    .Input("rows: T")
    .Input("splits: int32")
    .Input("empty: T")
    .Input("count: T")
    .Input("table_of: int32")
    .Input("grid: int32")
    .Input("tangents: n_tangents * T")
    .Output("table: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rows, adjoint;
      DimensionHandle n_centers;
      int64_t n_tables;
      TF_RETURN_IF_ERROR(c->GetAttr("n_tables", &n_tables));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(AngleTableIn::kAdjoint), 2, &adjoint));
      TF_RETURN_IF_ERROR(infer_inputs(c, AngleTableIn::kRows, &rows, &n_centers));
      c->set_output(0, c->MakeShape({n_tables, c->UnknownDim(), 3, c->Dim(adjoint, 1)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpAngleSums> with respect to the table. The result does not depend on the
number of threads.

adjoint: [n_centers, n_columns].
rows: [n_pairs, 4].
splits: [n_centers * ntypes + 1].
empty: [n_centers, 4].
count: [n_centers * ntypes].
table_of: [ntypes * ntypes].
grid: octaves and per_octave.
tangents: [n_pairs, 4] each.
table: [n_tables, n_nodes, 3, n_columns].
ntypes: sections per centre.
n_tangents: order of the derivative of DpAngleSums, up to 2.
n_tables: number of tables.
)doc");

// What the ops share.
template <typename Device, typename T>
class AngleOpBase : public OpKernel {
 public:
  AngleOpBase(OpKernelConstruction* context, int64_t most_tangents) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("ntypes", &shape_.ntypes));
    OP_REQUIRES_OK(context, context->GetAttr("n_tangents", &shape_.n_tangents));
    DEEPMD_CHECK(context, shape_.n_tangents <= most_tangents, "there are ", shape_.n_tangents,
                 " tangents, expected at most ", most_tangents);
  }

 protected:
  // Inputs; what an operation does not have is null.
  struct Inputs {
    deepmd::AngleShape shape;
    deepmd::AnglePairs<T> pairs;
    const T *table = nullptr, *adjoint = nullptr;
  };

  // Checks and reads all inputs of an operation that has a table.
  absl::Status read_with_table(OpKernelContext* context, int first, bool adjoint,
                               Inputs* in) const {
    const Tensor* table;
    TF_RETURN_IF_ERROR(context->input("table", &table));
    TF_RETURN_IF_ERROR(deepmd::check_shape("table", *table, {-1, -1, 3, -1}));
    TF_RETURN_IF_ERROR(read_pairs(context, first, table->dim_size(0), in));
    const int64_t n_nodes = deepmd::angle_nodes(in->shape);
    TF_RETURN_IF_ERROR(deepmd::check_shape("table", *table, {in->shape.n_tables, n_nodes, 3, -1}));
    in->table = table->flat<T>().data();
    in->shape.n_columns = table->dim_size(3);
    if (in->shape.n_columns == 0) return deepmd::invalid_argument("table has no column");
    return adjoint ? read_adjoint(context, in->shape.n_columns, in) : absl::OkStatus();
  }

  // The same for one that makes a table.
  absl::Status read_without_table(OpKernelContext* context, int first, int64_t n_tables,
                                  Inputs* in) const {
    TF_RETURN_IF_ERROR(read_pairs(context, first, n_tables, in));
    TF_RETURN_IF_ERROR(read_adjoint(context, -1, in));
    if (in->shape.n_columns == 0) return deepmd::invalid_argument("adjoint has no column");
    return absl::OkStatus();
  }

  // The columns of the table side by side, as the kernels of the processor take them.
  absl::Status make_columns(OpKernelContext* context, const Inputs& in, Tensor* columns) const {
    const int64_t n_nodes = deepmd::angle_nodes(in.shape), n_tables = in.shape.n_tables;
    const int64_t stride = deepmd::angle_stride(in.shape), width = in.shape.n_columns;
    TF_RETURN_IF_ERROR(context->allocate_temp(DataTypeToEnum<T>::value,
                                              TensorShape({n_tables * width, stride}), columns));
    T* to = columns->flat<T>().data();
    deepmd::workers(context)(n_tables * width, 2 * stride, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* first = in.table + i / width * 3 * n_nodes * width + i % width;
        for (int64_t q = 0; q < stride; ++q)
          to[i * stride + q] = q < 3 * n_nodes ? first[q * width] : T(0);
      }
    });
    return absl::OkStatus();
  }

  // Calls body(begin, end, scratch) for ranges of the centres first <= c < last.
  template <typename Body>
  absl::Status for_centers(OpKernelContext* context, const Inputs& in, int64_t first, int64_t last,
                           const Body& body) const {
    const deepmd::AngleShape& shape = in.shape;
    const auto parallel_for = deepmd::workers(context);
    const int64_t n = last - first;
    // more than threads: some centres have more neighbours than others
    const int64_t blocks = std::min<int64_t>(n, 4 * parallel_for.threads());
    if (blocks == 0) return absl::OkStatus();
    const int64_t bytes = (DEEPMD_PICK(angle_scratch<T>)(shape) + 63) / 64 * 64;
    Tensor scratch;
    TF_RETURN_IF_ERROR(context->allocate_temp(DT_INT8, TensorShape({blocks, bytes}), &scratch));
    char* memory = reinterpret_cast<char*>(scratch.flat<int8_t>().data());
    const int64_t neighbors = 1 + shape.n_pairs / (1 + shape.n_centers);
    const int64_t cost = (2000 + 10 * neighbors * neighbors) * (1 + n / blocks);
    parallel_for(blocks, cost, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        body(first + n * b / blocks, first + n * (b + 1) / blocks, memory + b * bytes);
    });
    return absl::OkStatus();
  }

 private:
  // Checks and reads the inputs from `first` on.
  absl::Status read_pairs(OpKernelContext* context, int first, int64_t n_tables, Inputs* in) const {
    using deepmd::check_shape;
    const auto input = [&](int which) -> const Tensor& { return context->input(first + which); };
    const Tensor &rows = input(FromRows::kRows), &splits = input(FromRows::kSplits);
    const Tensor &empty = input(FromRows::kEmpty), &count = input(FromRows::kCount);
    const Tensor &table_of = input(FromRows::kTableOf), &grid = input(FromRows::kGrid);
    deepmd::AngleShape& shape = in->shape;
    shape = shape_;
    TF_RETURN_IF_ERROR(check_shape("rows", rows, {-1, 4}));
    shape.n_pairs = rows.dim_size(0);
    TF_RETURN_IF_ERROR(deepmd::check_splits_on<Device>(splits, shape.ntypes, shape.n_pairs));
    const int64_t n_sections = splits.NumElements() - 1;
    shape.n_tables = n_tables;
    shape.n_centers = n_sections / shape.ntypes;
    TF_RETURN_IF_ERROR(check_shape("empty", empty, {shape.n_centers, 4}));
    TF_RETURN_IF_ERROR(check_shape("count", count, {n_sections}));
    TF_RETURN_IF_ERROR(check_shape("table_of", table_of, {shape.ntypes * shape.ntypes}));
    if constexpr (!deepmd::on_gpu<Device>)
      TF_RETURN_IF_ERROR(deepmd::check_indices("table_of", table_of, -1, n_tables));
    TF_RETURN_IF_ERROR(check_shape("grid", grid, {2}));
    shape.octaves = grid.flat<int32_t>()(0);
    shape.per_octave = grid.flat<int32_t>()(1);
    if (shape.octaves < 1 || shape.octaves > 64 || shape.per_octave < 1 ||
        shape.per_octave > 65536) {
      return deepmd::invalid_argument("grid has ", shape.octaves, " octaves of ", shape.per_octave,
                                      " intervals, expected 1 … 64 of 1 … 65536");
    }
    const int32_t* at = splits.flat<int32_t>().data();
    if constexpr (!deepmd::on_gpu<Device>) {
      for (int64_t i = 0; i < n_sections; i += shape.ntypes)
        shape.most = std::max<int64_t>(shape.most, at[i + shape.ntypes] - at[i]);
    }
    const auto values = [](const Tensor& tensor) { return tensor.flat<T>().data(); };
    in->pairs = {values(rows),  {nullptr, nullptr}, at,
                 values(empty), values(count),      table_of.flat<int32_t>().data()};
    for (int64_t i = 0; i < shape.n_tangents; ++i) {
      const Tensor& tangent = input(FromRows::kTangents + i);
      TF_RETURN_IF_ERROR(check_shape("tangents", tangent, {shape.n_pairs, 4}));
      in->pairs.tangents[i] = values(tangent);
    }
    return absl::OkStatus();
  }

  absl::Status read_adjoint(OpKernelContext* context, int64_t columns, Inputs* in) const {
    const Tensor* adjoint;
    TF_RETURN_IF_ERROR(context->input("adjoint", &adjoint));
    TF_RETURN_IF_ERROR(deepmd::check_shape("adjoint", *adjoint, {in->shape.n_centers, columns}));
    in->shape.n_columns = adjoint->dim_size(1);
    in->adjoint = adjoint->flat<T>().data();
    return absl::OkStatus();
  }

  deepmd::AngleShape shape_ = {};
};

template <typename Device, typename T>
class AngleSumsOp : public AngleOpBase<Device, T> {
 public:
  explicit AngleSumsOp(OpKernelConstruction* context) : AngleOpBase<Device, T>(context, 2) {}

  void Compute(OpKernelContext* context) override {
    typename AngleOpBase<Device, T>::Inputs in;
    OP_REQUIRES_OK(context, this->read_with_table(context, AngleSumsIn::kRows, false, &in));
    Tensor *out = nullptr, columns;
    const int64_t n_centers = in.shape.n_centers;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_centers, in.shape.n_columns}, &out));
    T* sums = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::angle_sums(deepmd::OpStream(context), in.shape, in.pairs, in.table, sums);
      return;
    }
    OP_REQUIRES_OK(context, this->make_columns(context, in, &columns));
    const T* table = columns.flat<T>().data();
    const auto kernel = DEEPMD_PICK(angle_sums<T>);
    OP_REQUIRES_OK(context, this->for_centers(context, in, 0, n_centers,
                                              [&](int64_t begin, int64_t end, void* scratch) {
                                                kernel(in.shape, in.pairs, table, begin, end,
                                                       scratch, sums);
                                              }));
  }
};

template <typename Device, typename T>
class AngleRowsOp : public AngleOpBase<Device, T> {
 public:
  explicit AngleRowsOp(OpKernelConstruction* context) : AngleOpBase<Device, T>(context, 1) {}

  void Compute(OpKernelContext* context) override {
    typename AngleOpBase<Device, T>::Inputs in;
    OP_REQUIRES_OK(context, this->read_with_table(context, AngleRowsIn::kRows, true, &in));
    Tensor *out = nullptr, columns;
    OP_REQUIRES_OK(context, context->allocate_output(0, {in.shape.n_pairs, 4}, &out));
    T* rows = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::angle_rows(deepmd::OpStream(context), in.shape, in.pairs, in.table, in.adjoint,
                              rows);
      return;
    }
    OP_REQUIRES_OK(context, this->make_columns(context, in, &columns));
    const T* table = columns.flat<T>().data();
    const auto kernel = DEEPMD_PICK(angle_rows<T>);
    OP_REQUIRES_OK(context, this->for_centers(context, in, 0, in.shape.n_centers,
                                              [&](int64_t begin, int64_t end, void* scratch) {
                                                kernel(in.shape, in.pairs, table, in.adjoint, begin,
                                                       end, scratch, rows);
                                              }));
  }
};

template <typename Device, typename T>
class AngleTableOp : public AngleOpBase<Device, T> {
 public:
  explicit AngleTableOp(OpKernelConstruction* context) : AngleOpBase<Device, T>(context, 2) {
    OP_REQUIRES_OK(context, context->GetAttr("n_tables", &n_tables_));
  }

  void Compute(OpKernelContext* context) override {
    typename AngleOpBase<Device, T>::Inputs in;
    OP_REQUIRES_OK(context, this->read_without_table(context, AngleTableIn::kRows, n_tables_, &in));
    const int64_t n_nodes = deepmd::angle_nodes(in.shape), n_centers = in.shape.n_centers;
    const int64_t width = in.shape.n_columns;
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_tables_, n_nodes, 3, width}, &out));
    T* table = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::angle_table(deepmd::OpStream(context), in.shape, in.pairs, in.adjoint, table);
      return;
    }
    // The weights of a chunk of centres take some megabytes, whatever the number of threads.
    const int64_t stride = deepmd::angle_stride(in.shape), size = n_tables_ * stride;
    const int64_t fits = (int64_t{1} << 20) / std::max<int64_t>(size, 1);
    const int64_t chunk = std::min<int64_t>(std::max<int64_t>(fits, 8), n_centers);
    Tensor weights, sums;
    const auto type = DataTypeToEnum<T>::value;
    OP_REQUIRES_OK(context, context->allocate_temp(type, TensorShape({chunk, size}), &weights));
    OP_REQUIRES_OK(context, context->allocate_temp(type, TensorShape({width, size}), &sums));
    T* w = weights.flat<T>().data();
    T* sum = sums.flat<T>().data();
    std::fill(sum, sum + width * size, T(0));
    const auto deposit = DEEPMD_PICK(angle_weights<T>);
    const auto add = DEEPMD_PICK(angle_add<T>);
    const int64_t parts = (size + kPart - 1) / kPart;
    for (int64_t first = 0; first < n_centers; first += chunk) {
      const int64_t last = std::min(first + chunk, n_centers);
      OP_REQUIRES_OK(context, this->for_centers(context, in, first, last,
                                                [&](int64_t begin, int64_t end, void* scratch) {
                                                  deposit(in.shape, in.pairs, begin, end, first,
                                                          scratch, w);
                                                }));
      const T* y = in.adjoint + first * width;
      deepmd::workers(context)(parts * width, (last - first) * kPart / 4,
                               [&](int64_t begin, int64_t end) {
                                 for (int64_t i = begin; i < end; ++i) {
                                   const int64_t m = i % width, at = i / width * kPart;
                                   add(w + at, size, y + m, width, last - first,
                                       std::min(kPart, size - at), sum + m * size + at);
                                 }
                               });
    }
    for (int64_t k = 0; k < n_tables_; ++k)
      for (int64_t q = 0; q < 3 * n_nodes; ++q)
        for (int64_t m = 0; m < width; ++m) *table++ = sum[m * size + k * stride + q];
  }

 private:
  static constexpr int64_t kPart = 512;  // numbers that are added up at a time
  int64_t n_tables_;
};

DEEPMD_REGISTER("DpAngleSums", AngleSumsOp, .HostMemory("grid"));
DEEPMD_REGISTER("DpAngleRows", AngleRowsOp, .HostMemory("grid"));
DEEPMD_REGISTER("DpAngleTable", AngleTableOp, .HostMemory("grid"));

}  // namespace
