// SPDX-License-Identifier: BSD-3-Clause
// DEEPMD_REGISTER_CPU("DpName", Class): kernels Class<float> and Class<double> of an op with attr
// T. TensorFlow does not expect exceptions: what Compute() throws becomes the status of the op.
#pragma once

#include <exception>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace deepmd {

// The kernel of an op, whose exceptions end as errors of the op.
template <typename Kernel>
class Guarded final : public Kernel {
 public:
  using Kernel::Kernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    try {
      Kernel::Compute(context);
    } catch (const std::bad_alloc&) {
      context->CtxFailure(absl::ResourceExhaustedError(
          absl::StrCat("there is not enough memory for the operation ", this->name())));
    } catch (const std::exception& error) {
      context->CtxFailure(absl::InternalError(
          absl::StrCat("the operation ", this->name(), " has failed: ", error.what())));
    }
  }
};

}  // namespace deepmd

#define DEEPMD_REGISTER_CPU(name, ...)                                                           \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),  \
                          ::deepmd::Guarded<__VA_ARGS__<float>>);                                \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<double>("T"), \
                          ::deepmd::Guarded<__VA_ARGS__<double>>)
