// SPDX-License-Identifier: BSD-3-Clause
// What the operations on moments share: shapes of their inputs, and reading them.
#pragma once

#include "checks.h"
#include "gpu_moment.h"
#include "moment.h"
#include "register.h"
#include "sections.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace deepmd {
namespace moments {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

// range [n_tables, 2], s [n_pairs] or, of rank 2, the rows [n_pairs, 4] that it is the first column
// of, splits and, after it, table_of: what all ops have.
inline absl::Status infer_pairs(InferenceContext* c, int range, int s, int rank, int splits,
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

inline absl::Status infer_table(InferenceContext* c, int table, DimensionHandle* n_tables,
                                DimensionHandle* n_columns) {
  ShapeHandle shape;
  DimensionHandle three;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(table), 4, &shape));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *n_tables, n_tables));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 2), 3, &three));
  *n_columns = c->Dim(shape, 3);
  return absl::OkStatus();
}

inline absl::Status infer_rows(InferenceContext* c, int rows, DimensionHandle* n_pairs) {
  ShapeHandle shape;
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(rows), 3, &shape));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *n_pairs, n_pairs));
  return c->WithValue(c->Dim(shape, 2), 4, &four);
}

inline absl::Status infer_adjoint(InferenceContext* c, int adjoint, DimensionHandle* n_centers,
                                  DimensionHandle* n_columns) {
  ShapeHandle shape;
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(adjoint), 3, &shape));
  TF_RETURN_IF_ERROR(c->Merge(c->Dim(shape, 0), *n_centers, n_centers));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 1), 4, &four));
  return c->Merge(c->Dim(shape, 2), *n_columns, n_columns);
}

// What the ops share: the sizes and the tensors that say where the pairs are.
template <typename Device, typename T>
class MomentOpBase : public OpKernel {
 public:
  explicit MomentOpBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("ntypes", &ntypes_));
    if (context->HasAttr("order")) OP_REQUIRES_OK(context, context->GetAttr("order", &order_));
    if (context->HasAttr("divisor"))
      OP_REQUIRES_OK(context, context->GetAttr("divisor", &divisor_));
    if (context->HasAttr("octaves")) {
      OP_REQUIRES_OK(context, context->GetAttr("octaves", &octaves_));
      OP_REQUIRES_OK(context, context->GetAttr("per_octave", &per_octave_));
      DEEPMD_CHECK(context,
                   octaves_ <= 64 && per_octave_ <= 65536 && (octaves_ == 0) == (per_octave_ == 0),
                   "there are ", octaves_, " octaves with ", per_octave_,
                   " nodes each, expected at most 64 with at most 65536");
    }
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
    TF_RETURN_IF_ERROR(deepmd::check_sections(splits, ntypes_, s.dim_size(0)));
    TF_RETURN_IF_ERROR(check_shape("table_of", table_of, {splits.NumElements() - 1}));
    if constexpr (!deepmd::on_gpu<Device>)
      TF_RETURN_IF_ERROR(check_values(range, s, splits, table_of));
    *shape = deepmd::MomentShape{};
    shape->n_tables = range.dim_size(0);
    shape->n_pairs = s.dim_size(0);
    shape->n_centers = table_of.NumElements() / ntypes_;
    shape->ntypes = ntypes_;
    shape->octaves = octaves_;
    shape->per_octave = per_octave_;
    shape->order = order_;
    shape->divisor = divisor_;
    *pairs = deepmd::MomentPairs<T>{range.flat<T>().data(), s.flat<T>().data(), step,
                                    splits.flat<int32_t>().data(), table_of.flat<int32_t>().data()};
    return absl::OkStatus();
  }

  absl::Status check_values(const Tensor& range, const Tensor& s, const Tensor& splits,
                            const Tensor& table_of) const {
    TF_RETURN_IF_ERROR(deepmd::check_splits(splits, ntypes_, s.dim_size(0)));
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
    const int64_t fewest = 2 + octaves_ * per_octave_;
    if (n_nodes >= fewest && n_nodes < (int64_t{1} << 30)) return absl::OkStatus();
    return deepmd::invalid_argument("a table has ", n_nodes, " nodes, expected at least ", fewest);
  }

  int64_t ntypes_, order_ = 0, divisor_ = 1, octaves_ = 0, per_octave_ = 0;
};

}  // namespace moments
}  // namespace deepmd
