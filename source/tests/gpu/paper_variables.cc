// SPDX-License-Identifier: BSD-3-Clause
// Assignment to reference variables on the GPU that is made of paper. A TensorFlow that is built
// for GPUs has it there; one that is not has it on the processor only, which would then have all
// variables.
#include <cstring>

#include "paper_memory.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)

class AssignOp : public OpKernel {
 public:
  explicit AssignOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("validate_shape", &validate_shape_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& value = context->input(1);
    context->forward_ref_input_to_ref_output(0, 0);
    const mutex_lock lock(*context->input_ref_mutex(0));
    Tensor variable = context->mutable_input(0, /*lock_held=*/true);
    const bool same = variable.shape().IsSameSize(value.shape());
    OP_REQUIRES(context, same || !validate_shape_,
                absl::InvalidArgumentError(
                    absl::StrCat("a variable of shape ", variable.shape().DebugString(),
                                 " is assigned a value of shape ", value.shape().DebugString())));
    if (!variable.IsInitialized() || !same) {
      OP_REQUIRES_OK(context, context->allocate_temp(value.dtype(), value.shape(), &variable));
      context->replace_ref_input(0, variable, /*lock_held=*/true);
    }
    const auto from = value.tensor_data();
    if (from.empty()) return;
    std::memcpy(deepmd::paper::on_host(variable.tensor_data().data()),
                deepmd::paper::on_host(from.data()), from.size());
  }

 private:
  bool validate_shape_;
};

REGISTER_KERNEL_BUILDER(Name("Assign").Device(DEVICE_GPU).TypeConstraint<float>("T"), AssignOp);
REGISTER_KERNEL_BUILDER(Name("Assign").Device(DEVICE_GPU).TypeConstraint<double>("T"), AssignOp);

}  // namespace
