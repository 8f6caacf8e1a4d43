// SPDX-License-Identifier: BSD-3-Clause
// DEEPMD_REGISTER("DpName", Class): kernels Class<Device, T> of an op with attr T, for both devices
// and float and double. Inputs and outputs that a kernel of the GPU has on the host follow:
// DEEPMD_REGISTER("DpName", Class, .HostMemory("n_rows")).
//
// DEEPMD_REGISTER_CPU("DpName", Class): kernels Class<T> for the processor alone.
//
// TensorFlow does not expect exceptions: what Compute() throws becomes the status of the op.
#pragma once

#include <exception>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "device.h"
#include "gpu.h"
#include "tensorflow/core/framework/kernel_def_builder.h"
#include "tensorflow/core/framework/op_kernel.h"

// Of every TensorFlow so far; one without it is to be loaded all the same.
namespace tsl {
void enable_tensor_float_32_execution(bool enabled) __attribute__((weak));
}

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
    } catch (const gpu::OutOfMemory& error) {
      context->CtxFailure(absl::ResourceExhaustedError(error.what()));
    } catch (const gpu::Error& error) {
      context->CtxFailure(absl::InternalError(error.what()));
    } catch (const std::exception& error) {
      context->CtxFailure(absl::InternalError(
          absl::StrCat("the operation ", this->name(), " has failed: ", error.what())));
    }
  }
};

// Products of float32 by TensorFlow's own operations are rounded to ten binary digits on newer
// cards (TensorFloat-32) unless they are told not to be, for the whole process.
inline void keep_single_precision() {
  if (tsl::enable_tensor_float_32_execution != nullptr)
    tsl::enable_tensor_float_32_execution(false);
}

// Registers a kernel for GPUs in a process that uses one (see gpu.h); elsewhere the operation is
// placed on the processor.
template <typename Kernel>
bool register_gpu(const tensorflow::KernelDef* definition, const char* name) {
  if (gpu::runtime() == nullptr) return false;
  keep_single_precision();
  tensorflow::kernel_factory::OpKernelRegistrar(
      definition, name, [](tensorflow::OpKernelConstruction* context) -> tensorflow::OpKernel* {
        return new Guarded<Kernel>(context);
      });
  return true;
}

}  // namespace deepmd

#define DEEPMD_REGISTER(name, Class, ...) DEEPMD_REGISTER_AT(__COUNTER__, name, Class, __VA_ARGS__)
#define DEEPMD_REGISTER_AT(counter, name, Class, ...) \
  DEEPMD_REGISTER_BOTH(counter, name, Class, __VA_ARGS__)
#define DEEPMD_REGISTER_BOTH(counter, name, Class, ...)                                            \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),    \
                          ::deepmd::Guarded<Class<::deepmd::Cpu, float>>);                         \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<double>("T"),   \
                          ::deepmd::Guarded<Class<::deepmd::Cpu, double>>);                        \
  [[maybe_unused]] static const bool registered_gpu_##counter =                                    \
      ::deepmd::register_gpu<Class<::deepmd::Gpu, float>>(tensorflow::register_kernel::Name(name)  \
                                                              .Device(tensorflow::DEVICE_GPU)      \
                                                              .TypeConstraint<float>("T")          \
                                                                  __VA_ARGS__.Build(),             \
                                                          #Class) &                                \
      ::deepmd::register_gpu<Class<::deepmd::Gpu, double>>(tensorflow::register_kernel::Name(name) \
                                                               .Device(tensorflow::DEVICE_GPU)     \
                                                               .TypeConstraint<double>("T")        \
                                                                   __VA_ARGS__.Build(),            \
                                                           #Class)

#define DEEPMD_REGISTER_CPU(name, ...)                                                           \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"),  \
                          ::deepmd::Guarded<__VA_ARGS__<float>>);                                \
  REGISTER_KERNEL_BUILDER(Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<double>("T"), \
                          ::deepmd::Guarded<__VA_ARGS__<double>>)
