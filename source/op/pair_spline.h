// SPDX-License-Identifier: BSD-3-Clause
// A tabulated pair potential, as it is stored in model files: cubic polynomials for each ordered
// pair of types (see cubic_spline.h).
#pragma once

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "checks.h"
#include "cubic_spline.h"
#include "gpu_pair_spline.h"
#include "tensorflow/core/framework/tensor.h"

namespace deepmd {

class PairSpline {
 public:
  // info: [4] = r0, h, n, ntypes; data: [ntypes * ntypes * n * 4] = a3, a2, a1, a0 of each
  // interval.
  absl::Status read(const tensorflow::Tensor& info, const tensorflow::Tensor& data) {
    absl::Status status = check_shape("table_info", info, {4});
    if (!status.ok()) return status;
    const double* head = info.flat<double>().data();
    start_ = head[0];
    step_ = head[1];
    const bool sound = std::isfinite(start_) && start_ >= 0 && std::isfinite(step_) && step_ > 0 &&
                       head[2] >= 1 && head[2] <= kMost && head[3] >= 1 && head[3] <= kMost;
    if (!sound) {
      return invalid_argument("table_info is ", head[0], ", ", head[1], ", ", head[2], ", ",
                              head[3],
                              ": expected a first distance, a step, and numbers of "
                              "intervals and of types");
    }
    n_ = static_cast<std::int64_t>(head[2]);
    n_types_ = static_cast<std::int64_t>(head[3]);
    // with at most kMost in each factor, the product fits
    if (data.NumElements() / 4 / n_ / n_types_ != n_types_ ||
        data.NumElements() != n_types_ * n_types_ * n_ * 4) {
      return invalid_argument("table_data has ", data.NumElements(), " numbers, expected 4 for ",
                              n_, " intervals of ", n_types_, " x ", n_types_, " pairs of types");
    }
    data_ = data.flat<double>().data();
    return absl::OkStatus();
  }

  double start() const { return start_; }
  std::int64_t n_types() const { return n_types_; }

  // Whether the table begins at or below r; false for what is no number.
  bool reaches(double r) const { return r >= start_; }

  // Derivative of order 0, 1, 2 ... at a distance that is reached.
  double derivative(std::int64_t order, double r, std::int64_t type_i, std::int64_t type_j) const {
    return cubic_derivative(order < 4 ? static_cast<int>(order) : 4, r, start_, step_,
                            static_cast<int>(n_), data_ + (type_i * n_types_ + type_j) * n_ * 4);
  }

  // The same for kernels of a GPU, where the data are on the device.
  gpu::PairTable on_gpu() const {
    return {start_, step_, static_cast<std::int32_t>(n_), n_types_, data_};
  }

  // The error for two atoms that are closer than the table reaches, in the caller's numbers.
  absl::Status too_close(std::int64_t frame, std::int64_t i, std::int64_t j, double r) const {
    return invalid_argument("frame ", frame, " has atoms ", i, " and ", j, " ", r,
                            " Å apart, but the table of the pair potential begins at ", start_,
                            " Å");
  }

 private:
  static constexpr double kMost = 1e6;

  double start_ = 0, step_ = 1;
  std::int64_t n_ = 0, n_types_ = 0;
  const double* data_ = nullptr;
};

}  // namespace deepmd
