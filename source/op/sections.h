// SPDX-License-Identifier: BSD-3-Clause
// Checks of the sections that pairs are sorted into: one per centre and type of the neighbour.
#pragma once

#include "checks.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace deepmd {

// splits [n_sections + 1] has `ntypes` sections for every centre, and some if there are pairs: what
// a GPU's kernels need, which do not leave their arrays whatever splits hold.
inline absl::Status check_sections(const tensorflow::Tensor& splits, std::int64_t ntypes,
                                   std::int64_t n_pairs) {
  TF_RETURN_IF_ERROR(check_shape("splits", splits, {-1}));
  const std::int64_t n_sections = splits.NumElements() - 1;
  if (n_sections < 0) return invalid_argument("splits is empty, expected [0, …]");
  if (n_sections % ntypes != 0) {
    return invalid_argument("splits has ", n_sections,
                            " sections, which is no multiple of ntypes = ", ntypes);
  }
  if (n_sections == 0 && n_pairs > 0)
    return invalid_argument("splits has no sections for ", n_pairs, " pairs");
  return absl::OkStatus();
}

// The same, and that splits begins at 0, never falls and ends at n_pairs.
inline absl::Status check_splits(const tensorflow::Tensor& splits, std::int64_t ntypes,
                                 std::int64_t n_pairs) {
  TF_RETURN_IF_ERROR(check_sections(splits, ntypes, n_pairs));
  const std::int64_t n_sections = splits.NumElements() - 1;
  const std::int32_t* value = splits.flat<std::int32_t>().data();
  if (value[0] != 0 || value[n_sections] != n_pairs) {
    return invalid_argument("splits runs from ", value[0], " to ", value[n_sections],
                            ", expected 0 to ", n_pairs, ", the number of pairs");
  }
  for (std::int64_t i = 0; i < n_sections; ++i) {
    if (value[i] > value[i + 1]) {
      return invalid_argument("splits[", i, "] = ", value[i], " is followed by ", value[i + 1],
                              ", expected numbers that do not fall");
    }
  }
  return absl::OkStatus();
}

// On a GPU (see device.h) nobody looks at the numbers.
template <typename Device>
absl::Status check_splits_on(const tensorflow::Tensor& splits, std::int64_t ntypes,
                             std::int64_t n_pairs) {
  return on_gpu<Device> ? check_sections(splits, ntypes, n_pairs)
                        : check_splits(splits, ntypes, n_pairs);
}

// Number of centres from the shape of splits; checks that, and the rank.
inline absl::Status infer_centers(tensorflow::shape_inference::InferenceContext* c, int splits,
                                  tensorflow::shape_inference::DimensionHandle* n_centers) {
  tensorflow::shape_inference::ShapeHandle shape;
  tensorflow::shape_inference::DimensionHandle n_sections;
  std::int64_t ntypes;
  TF_RETURN_IF_ERROR(c->GetAttr("ntypes", &ntypes));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(splits), 1, &shape));
  TF_RETURN_IF_ERROR(c->Subtract(c->Dim(shape, 0), 1, &n_sections));
  return c->Divide(n_sections, ntypes, /*evenly_divisible=*/true, n_centers);
}

}  // namespace deepmd
