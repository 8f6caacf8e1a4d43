// SPDX-License-Identifier: BSD-3-Clause
// Checks of op inputs: every message names the tensor, what it has, and what was expected.
//
//   DEEPMD_SHAPE(context, "x", x, {pairs, 3});      -1 stands for any size
//   DEEPMD_CHECK(context, n > 0, "n_nodes must be positive, got ", n);
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "device.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"

#define DEEPMD_CHECK(context, condition, ...) \
  OP_REQUIRES(context, condition, ::absl::InvalidArgumentError(::absl::StrCat(__VA_ARGS__)))

#define DEEPMD_SHAPE(context, name, tensor, ...) \
  OP_REQUIRES_OK(context, ::deepmd::check_shape(name, tensor, __VA_ARGS__))

// For indices that pick rows: center, neighbor, type and the like. On a GPU (see device.h) nobody
// looks at them; its kernels do not follow wrong ones.
#define DEEPMD_INDICES(context, name, tensor, low, high) \
  OP_REQUIRES_OK(context, ::deepmd::check_indices(name, tensor, low, high))
#define DEEPMD_INDICES_ON(Device, context, name, tensor, low, high) \
  if constexpr (!::deepmd::on_gpu<Device>) DEEPMD_INDICES(context, name, tensor, low, high)

namespace deepmd {

// An error with the message that the arguments make when put side by side.
template <typename... Args>
absl::Status invalid_argument(const Args&... args) {
  return absl::InvalidArgumentError(absl::StrCat(args...));
}

inline absl::Status check_shape(const char* name, const tensorflow::Tensor& tensor,
                                std::initializer_list<std::int64_t> expected) {
  bool same = tensor.dims() == static_cast<int>(expected.size());
  int axis = 0;
  for (const std::int64_t size : expected) {
    same = same && (size < 0 || tensor.dim_size(axis) == size);
    ++axis;
  }
  if (same) return absl::OkStatus();
  std::string wanted;
  for (const std::int64_t size : expected) {
    absl::StrAppend(&wanted, wanted.empty() ? "" : ",", size < 0 ? "?" : absl::StrCat(size));
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, " has shape ", tensor.shape().DebugString(), ", expected [", wanted, "]"));
}

// low <= value < high for every value of an int32 tensor.
inline absl::Status check_indices(const char* name, const tensorflow::Tensor& tensor,
                                  std::int64_t low, std::int64_t high) {
  const std::int32_t* values = tensor.flat<std::int32_t>().data();
  const std::int64_t size = tensor.NumElements();
  // Two plain reductions: they cost nothing beside what follows, and there is nothing to break.
  std::int32_t least = 0, most = 0;
  if (size > 0) least = most = values[0];
  for (std::int64_t i = 0; i < size; ++i) {
    least = values[i] < least ? values[i] : least;
    most = values[i] > most ? values[i] : most;
  }
  if (size == 0 || (least >= low && most < high)) return absl::OkStatus();
  std::int64_t i = 0;
  while (values[i] >= low && values[i] < high) ++i;
  return absl::InvalidArgumentError(absl::StrCat(
      name, "[", i, "] = ", values[i], " is outside the valid range ", low, " … ", high - 1));
}

}  // namespace deepmd
