// SPDX-License-Identifier: BSD-3-Clause
// apply_adam: the whole end of a training step.
#include "adam.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "checks.h"
#include "device.h"
#include "gpu_adam.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)

REGISTER_OP("DpApplyAdam")
    .Attr("T: list({float32, float64}) >= 1")
    .Attr("part_types: list({float32, float64}) >= 1")
    .Attr("slices: list(int) >= 1")
    .Attr("terms: list(int) >= 1")
    .Attr("beta1: float")
    .Attr("beta2: float")
    .Attr("epsilon: float")
    .Attr("message: string")
    .Input("variables: Ref(T)")
    .Input("first_moments: Ref(T)")
    .Input("second_moments: Ref(T)")
    .Input("beta1_power: Ref(float32)")
    .Input("beta2_power: Ref(float32)")
    .Input("parts: part_types")
    .Input("loss: float64")
    .Input("rate: float32")
    .SetIsStateful()
    .SetShapeFn([](shape_inference::InferenceContext*) { return absl::OkStatus(); })
    .Doc(R"doc(
A step of Adam for all variables, or none if the loss or a square of a gradient is not finite.

variables, first_moments, second_moments: of the same types and shapes; changed in place.
beta1_power, beta2_power: [], beta1^t and beta2^t of this step t = 1, ...; multiplied by beta1, beta2.
parts: the gradients of one variable or slice after the other, each the sum of as many as terms says.
loss: [].
rate: [], the learning rate.
slices: n > 0 if the variable is n slices along its first axis with a gradient each; 0 if it has one.
terms: 1 or 2 for each gradient.
message: what the error says.
)doc");

// Numbers of a variable that are handled together. Fixed, so that no result depends on the threads.
constexpr int64_t kBlock = 4096;

struct Variable {
  Tensor value, m, v;
};

// Of a variable or a slice of it. Types do not matter: what is done with a block asks for the type.
struct Update {
  const Variable* variable;
  int64_t offset;        // where the slice begins
  const Tensor* first;   // of the parts
  const Tensor* second;  // null if there is one part
};

struct Block {
  const Update* update;
  int64_t begin, size;

  template <typename T>
  const T* first() const {
    return update->first->flat<T>().data() + begin;
  }
  template <typename T>
  const T* second() const {
    return update->second == nullptr ? nullptr : update->second->flat<T>().data() + begin;
  }
  template <typename T>
  T* at(const Tensor& tensor) const {
    return const_cast<T*>(tensor.flat<T>().data()) + update->offset + begin;
  }
};

template <typename Device>
class ApplyAdamOp : public OpKernel {
 public:
  explicit ApplyAdamOp(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<DataType> variables;
    OP_REQUIRES_OK(context, context->GetAttr("T", &variables));
    OP_REQUIRES_OK(context, context->GetAttr("slices", &slices_));
    OP_REQUIRES_OK(context, context->GetAttr("terms", &terms_));
    OP_REQUIRES_OK(context, context->GetAttr("beta1", &beta1_));
    OP_REQUIRES_OK(context, context->GetAttr("beta2", &beta2_));
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(context, context->GetAttr("message", &message_));
    std::vector<DataType> parts;
    OP_REQUIRES_OK(context, context->GetAttr("part_types", &parts));
    DEEPMD_CHECK(context, slices_.size() == variables.size(), "slices has ", slices_.size(),
                 " numbers, expected one for each of ", variables.size(), " variables");
    size_t next = 0, gradient = 0;
    for (size_t k = 0; k < slices_.size(); ++k) {
      DEEPMD_CHECK(context, slices_[k] >= 0, "slices[", k, "] = ", slices_[k], ", expected >= 0");
      for (int slice = 0; slice < gradients(k); ++slice, ++gradient) {
        DEEPMD_CHECK(context, gradient < terms_.size(), "terms has ", terms_.size(),
                     " numbers, expected one for each gradient");
        const int terms = terms_[gradient];
        DEEPMD_CHECK(context, terms == 1 || terms == 2, "terms[", gradient, "] = ", terms,
                     ", expected 1 or 2");
        for (int i = 0; i < terms; ++i, ++next)
          DEEPMD_CHECK(context, next < parts.size() && parts[next] == variables[k], "parts[", next,
                       "] is not of the type of variables[", k, "]");
      }
    }
    DEEPMD_CHECK(context, gradient == terms_.size(), "terms has ", terms_.size(),
                 " numbers, expected one for each of ", gradient, " gradients");
    DEEPMD_CHECK(context, next == parts.size(), "parts has ", parts.size(), " tensors, expected ",
                 next, " as terms says");
  }

  void Compute(OpKernelContext* context) override {
    OpInputList parts;
    OP_REQUIRES_OK(context, context->input_list("parts", &parts));
    const Tensor *loss, *rate;
    OP_REQUIRES_OK(context, context->input("loss", &loss));
    OP_REQUIRES_OK(context, context->input("rate", &rate));
    DEEPMD_SHAPE(context, "loss", *loss, {});
    DEEPMD_SHAPE(context, "rate", *rate, {});
    OpMutableInputList variables, first_moments, second_moments;
    OP_REQUIRES_OK(context, context->mutable_input_list("variables", &variables));
    OP_REQUIRES_OK(context, context->mutable_input_list("first_moments", &first_moments));
    OP_REQUIRES_OK(context, context->mutable_input_list("second_moments", &second_moments));
    Tensor power1, power2;
    OP_REQUIRES_OK(context, context->mutable_input("beta1_power", &power1, false));
    OP_REQUIRES_OK(context, context->mutable_input("beta2_power", &power2, false));
    DEEPMD_SHAPE(context, "beta1_power", power1, {});
    DEEPMD_SHAPE(context, "beta2_power", power2, {});

    std::vector<Variable> changed(variables.size());
    std::vector<Update> updates(terms_.size());
    for (int k = 0, next = 0, gradient = 0; k < variables.size(); ++k) {
      Variable& variable = changed[k];
      variable = {variables.at(k, false), first_moments.at(k, false), second_moments.at(k, false)};
      TensorShape shape = variable.value.shape();
      OP_REQUIRES_OK(context, check_shape("first_moments", k, variable.m, shape));
      OP_REQUIRES_OK(context, check_shape("second_moments", k, variable.v, shape));
      if (slices_[k] > 0) {
        DEEPMD_CHECK(context, shape.dims() > 0 && shape.dim_size(0) == slices_[k], "variables[", k,
                     "] has shape ", shape.DebugString(), ", expected ", slices_[k], " slices");
        shape.RemoveDim(0);
      }
      for (int slice = 0; slice < gradients(k); ++slice, ++gradient) {
        Update& update = updates[gradient];
        update = {&variable, slice * shape.num_elements(), &parts[next],
                  terms_[gradient] == 2 ? &parts[next + 1] : nullptr};
        for (int i = 0; i < terms_[gradient]; ++i, ++next)
          OP_REQUIRES_OK(context, check_shape("parts", next, parts[next], shape));
      }
    }
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::gpu::AdamSettings settings{rate->scalar<float>()(), beta1_, beta2_, epsilon_};
      const bool done = deepmd::gpu::adam_step(
          deepmd::OpStream(context), settings, loss->flat<double>().data(), of_type<float>(updates),
          of_type<double>(updates), power1.flat<float>().data(), power2.flat<float>().data());
      OP_REQUIRES(context, done, absl::InvalidArgumentError(message_));
      return;
    }
    std::vector<Block> blocks;
    for (const Update& update : updates) {
      const int64_t size = update.first->NumElements();
      for (int64_t begin = 0; begin < size; begin += kBlock)
        blocks.push_back({&update, begin, std::min(kBlock, size - begin)});
    }

    OP_REQUIRES(context, std::isfinite(loss->scalar<double>()()) && finite(context, blocks),
                absl::InvalidArgumentError(message_));
    step(context, blocks, rate->scalar<float>()(), power1.scalar<float>()(),
         power2.scalar<float>()());
    power1.scalar<float>()() *= beta1_;
    power2.scalar<float>()() *= beta2_;
  }

 private:
  int gradients(size_t variable) const { return std::max(slices_[variable], 1); }

  static absl::Status check_shape(const char* list, int k, const Tensor& tensor,
                                  const TensorShape& expected) {
    if (tensor.shape() == expected) return absl::OkStatus();
    return deepmd::invalid_argument(list, "[", k, "] has shape ", tensor.shape().DebugString(),
                                    ", expected ", expected.DebugString());
  }

  // Those of a type, for the GPU.
  template <typename T>
  static std::vector<deepmd::gpu::AdamUpdate<T>> of_type(const std::vector<Update>& updates) {
    std::vector<deepmd::gpu::AdamUpdate<T>> found;
    for (const Update& update : updates) {
      const Variable& variable = *update.variable;
      if (variable.value.dtype() != DataTypeToEnum<T>::value) continue;
      const auto at = [&](const Tensor& tensor) {
        return const_cast<T*>(tensor.flat<T>().data()) + update.offset;
      };
      found.push_back({0, update.first->NumElements(), update.first->flat<T>().data(),
                       update.second == nullptr ? nullptr : update.second->flat<T>().data(),
                       at(variable.value), at(variable.m), at(variable.v)});
    }
    return found;
  }

  // Whether the squares of all gradients are.
  static bool finite(OpKernelContext* context, const std::vector<Block>& blocks) {
    const auto single = DEEPMD_PICK(sum_squares<float>);
    const auto twice = DEEPMD_PICK(sum_squares<double>);
    std::vector<double> sums(blocks.size());
    deepmd::workers(context)(blocks.size(), 2 * kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Block& b = blocks[i];
        sums[i] = b.update->variable->value.dtype() == DT_FLOAT
                      ? single(b.first<float>(), b.second<float>(), b.size)
                      : twice(b.first<double>(), b.second<double>(), b.size);
      }
    });
    return std::all_of(sums.begin(), sums.end(), [](double sum) { return std::isfinite(sum); });
  }

  void step(OpKernelContext* context, const std::vector<Block>& blocks, float rate, float power1,
            float power2) const {
    const auto single = DEEPMD_PICK(adam_step<float>);
    const auto twice = DEEPMD_PICK(adam_step<double>);
    const auto rates1 = deepmd::adam_rates<float>(rate, beta1_, beta2_, epsilon_, power1, power2);
    const auto rates2 = deepmd::adam_rates<double>(rate, beta1_, beta2_, epsilon_, power1, power2);
    deepmd::workers(context)(blocks.size(), 6 * kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Block& b = blocks[i];
        const Variable& u = *b.update->variable;
        if (u.value.dtype() == DT_FLOAT)
          single(rates1, b.first<float>(), b.second<float>(), b.size, b.at<float>(u.value),
                 b.at<float>(u.m), b.at<float>(u.v));
        else
          twice(rates2, b.first<double>(), b.second<double>(), b.size, b.at<double>(u.value),
                b.at<double>(u.m), b.at<double>(u.v));
      }
    });
  }

  std::vector<int32_t> slices_, terms_;
  float beta1_, beta2_, epsilon_;
  std::string message_;
};

REGISTER_KERNEL_BUILDER(Name("DpApplyAdam").Device(DEVICE_CPU),
                        deepmd::Guarded<ApplyAdamOp<deepmd::Cpu>>);
// The powers are on the GPU too: references must be where their variables are, which are with all
// others of the step.
[[maybe_unused]] const bool registered_gpu = deepmd::register_gpu<ApplyAdamOp<deepmd::Gpu>>(
    register_kernel::Name("DpApplyAdam").Device(DEVICE_GPU).HostMemory("rate").Build(),
    "ApplyAdamOp");

}  // namespace
