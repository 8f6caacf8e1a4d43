// SPDX-License-Identifier: BSD-3-Clause
// apply_adam: the whole end of a training step.
#include "adam.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "checks.h"
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
parts: the gradient of variable k is the sum of the next terms[k] of these.
loss: [].
rate: [], the learning rate.
terms: 1 or 2 for each variable.
message: what the error says.
)doc");

// Numbers of a variable that are handled together. Fixed, so that no result depends on the threads.
constexpr int64_t kBlock = 4096;

// Types do not matter to it: what is done with a block asks the variable's type.
struct Update {
  const Tensor* first;   // of the parts
  const Tensor* second;  // null if there is one part
  Tensor variable, m, v;
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
    return const_cast<T*>(tensor.flat<T>().data()) + begin;
  }
};

class ApplyAdamOp : public OpKernel {
 public:
  explicit ApplyAdamOp(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<DataType> variables;
    OP_REQUIRES_OK(context, context->GetAttr("T", &variables));
    OP_REQUIRES_OK(context, context->GetAttr("terms", &terms_));
    OP_REQUIRES_OK(context, context->GetAttr("beta1", &beta1_));
    OP_REQUIRES_OK(context, context->GetAttr("beta2", &beta2_));
    OP_REQUIRES_OK(context, context->GetAttr("epsilon", &epsilon_));
    OP_REQUIRES_OK(context, context->GetAttr("message", &message_));
    std::vector<DataType> parts;
    OP_REQUIRES_OK(context, context->GetAttr("part_types", &parts));
    DEEPMD_CHECK(context, terms_.size() == variables.size(), "terms has ", terms_.size(),
                 " numbers, expected one for each of ", variables.size(), " variables");
    size_t next = 0;
    for (size_t k = 0; k < terms_.size(); ++k) {
      DEEPMD_CHECK(context, terms_[k] == 1 || terms_[k] == 2, "terms[", k, "] = ", terms_[k],
                   ", expected 1 or 2");
      for (int i = 0; i < terms_[k]; ++i, ++next)
        DEEPMD_CHECK(context, next < parts.size() && parts[next] == variables[k], "parts[", next,
                     "] is not of the type of variables[", k, "]");
    }
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

    std::vector<Update> updates(terms_.size());
    std::vector<Block> blocks;
    for (int k = 0, next = 0; k < variables.size(); ++k) {
      Update& update = updates[k];
      update.first = &parts[next];
      update.second = terms_[k] == 2 ? &parts[next + 1] : nullptr;
      update.variable = variables.at(k, false);
      update.m = first_moments.at(k, false);
      update.v = second_moments.at(k, false);
      const TensorShape& shape = update.variable.shape();
      OP_REQUIRES_OK(context, check_shape("first_moments", k, update.m, shape));
      OP_REQUIRES_OK(context, check_shape("second_moments", k, update.v, shape));
      for (int i = 0; i < terms_[k]; ++i, ++next)
        OP_REQUIRES_OK(context, check_shape("parts", next, parts[next], shape));
      const int64_t size = shape.num_elements();
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
  static absl::Status check_shape(const char* list, int k, const Tensor& tensor,
                                  const TensorShape& expected) {
    if (tensor.shape() == expected) return absl::OkStatus();
    return deepmd::invalid_argument(list, "[", k, "] has shape ", tensor.shape().DebugString(),
                                    ", expected ", expected.DebugString());
  }

  // Whether the squares of all gradients are.
  static bool finite(OpKernelContext* context, const std::vector<Block>& blocks) {
    const auto single = DEEPMD_PICK(sum_squares<float>);
    const auto twice = DEEPMD_PICK(sum_squares<double>);
    std::vector<double> sums(blocks.size());
    deepmd::workers(context)(blocks.size(), 2 * kBlock, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const Block& b = blocks[i];
        sums[i] = b.update->variable.dtype() == DT_FLOAT
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
        const Update& u = *b.update;
        if (u.variable.dtype() == DT_FLOAT)
          single(rates1, b.first<float>(), b.second<float>(), b.size, b.at<float>(u.variable),
                 b.at<float>(u.m), b.at<float>(u.v));
        else
          twice(rates2, b.first<double>(), b.second<double>(), b.size, b.at<double>(u.variable),
                b.at<double>(u.m), b.at<double>(u.v));
      }
    });
  }

  std::vector<int32_t> terms_;
  float beta1_, beta2_, epsilon_;
  std::string message_;
};

REGISTER_KERNEL_BUILDER(Name("DpApplyAdam").Device(DEVICE_CPU), deepmd::Guarded<ApplyAdamOp>);

}  // namespace
