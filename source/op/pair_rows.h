// SPDX-License-Identifier: BSD-3-Clause
// The scalar input that holds the number of rows of an output.
#pragma once

#include "checks.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace deepmd {

// Number of rows of an output, from the scalar input that holds it.
inline absl::Status rows_from_input(tensorflow::shape_inference::InferenceContext* c, int input,
                                    tensorflow::shape_inference::DimensionHandle* rows) {
  tensorflow::shape_inference::ShapeHandle scalar;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 0, &scalar));
  return c->MakeDimForScalarInput(input, rows);
}

// The scalar n_rows; negative after an error has been set.
inline std::int64_t read_n_rows(tensorflow::OpKernelContext* context,
                                const tensorflow::Tensor& n_rows) {
  if (n_rows.dims() != 0 || n_rows.scalar<int32_t>()() < 0) {
    context->CtxFailure(absl::InvalidArgumentError(absl::StrCat(
        "n_rows is ", n_rows.DebugString(), ", expected a scalar that is not negative")));
    return -1;
  }
  return n_rows.scalar<int32_t>()();
}

}  // namespace deepmd
