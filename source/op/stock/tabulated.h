// SPDX-License-Identifier: BSD-3-Clause
// What the operations of compressed models share. They begin with table and table_info and then
// have the arguments that they can be differentiated by.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "checks.h"
#include "gpu_tabulate.h"
#include "register.h"
#include "table_grid.h"
#include "tabulate_kernels.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace deepmd {

struct TabulateIn {
  enum { kTable, kTableInfo, kFirst };
};

// Shape of a descriptor: the first `kept` axes of input `em`, four numbers if `with_rows`, and
// last_layer_size columns.
inline absl::Status descriptor_shape(tensorflow::shape_inference::InferenceContext* c, int em,
                                     int rank, int kept, bool with_rows) {
  tensorflow::shape_inference::ShapeHandle shape;
  std::int64_t width;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(em), rank, &shape));
  TF_RETURN_IF_ERROR(c->GetAttr("last_layer_size", &width));
  std::vector<tensorflow::shape_inference::DimensionHandle> axes;
  for (int i = 0; i < kept; ++i) axes.push_back(c->Dim(shape, i));
  if (with_rows) axes.push_back(c->MakeDim(4));
  axes.push_back(width < 0 ? c->UnknownDim() : c->MakeDim(width));
  c->set_output(0, c->MakeShape(axes));
  return absl::OkStatus();
}

// Derivatives have the shapes of what they are by.
inline absl::Status gradient_shapes(tensorflow::shape_inference::InferenceContext* c) {
  for (int i = 0; i < c->num_outputs(); ++i) c->set_output(i, c->input(TabulateIn::kFirst + i));
  return absl::OkStatus();
}

// A kernel of an operation with the attribute last_layer_size.
class WithColumns : public tensorflow::OpKernel {
 public:
  explicit WithColumns(tensorflow::OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("last_layer_size", &n_columns_));
    OP_REQUIRES_OK(context, check_columns(n_columns_));
  }

 protected:
  // Centres without slots take no memory, so there may be more than the output can hold.
  static absl::Status allocate(tensorflow::OpKernelContext* context,
                               std::initializer_list<std::int64_t> sizes,
                               tensorflow::Tensor** out) {
    tensorflow::TensorShape shape;
    TF_RETURN_IF_ERROR(tensorflow::TensorShape::BuildTensorShape(sizes, &shape));
    return context->allocate_output(0, shape, out);
  }

  std::int64_t n_columns_ = 0;
};

// All outputs of a derivative.
template <typename T>
absl::Status allocate_gradients(tensorflow::OpKernelContext* context,
                                std::initializer_list<T**> out) {
  int i = 0;
  for (T** numbers : out) {
    tensorflow::Tensor* tensor = nullptr;
    TF_RETURN_IF_ERROR(
        context->allocate_output(i, context->input(TabulateIn::kFirst + i).shape(), &tensor));
    *numbers = tensor->flat<T>().data();
    ++i;
  }
  return absl::OkStatus();
}

// Inputs dy and, behind it, descriptor.
inline absl::Status check_adjoint(tensorflow::OpKernelContext* context, int dy,
                                  std::initializer_list<std::int64_t> sizes) {
  TF_RETURN_IF_ERROR(check_shape("dy", context->input(dy), sizes));
  return check_shape("descriptor", context->input(dy + 1), sizes);
}

// table, table_info and the arguments of functions, which are input `s`.
template <typename T>
absl::Status read_points(tensorflow::OpKernelContext* context, std::int64_t n_columns, int s,
                         bool symmetric, TabulatePoints<T>* points) {
  const tensorflow::Tensor& table = context->input(TabulateIn::kTable);
  TF_RETURN_IF_ERROR(read_grid(table, context->input(TabulateIn::kTableInfo), n_columns,
                               &points->grid, symmetric));
  points->table = table.flat<T>().data();
  points->n_columns = n_columns;
  points->s = context->input(s).flat<T>().data();
  return absl::OkStatus();
}

// Operations on rows: em_x and em.
struct TabulateRowsIn {
  enum { kEmX = TabulateIn::kFirst, kEm };
};

template <typename T>
absl::Status read_rows(tensorflow::OpKernelContext* context, std::int64_t n_columns,
                       TabulateQuery<T>* query) {
  const tensorflow::Tensor& s = context->input(TabulateRowsIn::kEmX);
  const tensorflow::Tensor& rows = context->input(TabulateRowsIn::kEm);
  TabulatePoints<T> points;
  TF_RETURN_IF_ERROR(
      read_points(context, n_columns, TabulateRowsIn::kEmX, /*symmetric=*/false, &points));
  TF_RETURN_IF_ERROR(check_shape("em", rows, {-1, -1, 4}));
  const std::int64_t n_slots = rows.dim_size(1);
  TF_RETURN_IF_ERROR(check_shape("em_x", s, {rows.dim_size(0) * n_slots, 1}));
  *query = {points.grid, points.table, n_columns, n_slots, points.s, rows.flat<T>().data()};
  return absl::OkStatus();
}

// Number of columns of dy, [n_centers, 4, columns], of operations on rows.
inline absl::Status count_columns(const tensorflow::Tensor& dy, std::int64_t* n_columns) {
  TF_RETURN_IF_ERROR(check_shape("dy", dy, {-1, 4, -1}));
  *n_columns = dy.dim_size(2);
  if (*n_columns > 0) return absl::OkStatus();
  return invalid_argument("dy has shape ", dy.shape().DebugString(),
                          ", expected at least one column");
}

}  // namespace deepmd

#define DEEPMD_REGISTER_TABULATE(name, Class) \
  DEEPMD_REGISTER(name, Class, .HostMemory("table_info"))
