// SPDX-License-Identifier: BSD-3-Clause
// Where an operation runs. Kernels are templates of a Device, Cpu or Gpu:
//
//   if constexpr (deepmd::on_gpu<Device>)
//     deepmd::gpu::gather_pairs(deepmd::OpStream(context), values, …);
//   else
//     … DEEPMD_PICK(gather_pairs<T>) … deepmd::workers(context) …
//
// Inputs and outputs of a Gpu kernel are on the device, those excepted that DEEPMD_REGISTER names:
// nothing there may be read by the host. Shapes are checked alike. Values on the device are not:
// its kernels stay within their arrays whatever they are given, and a number that cannot be
// computed is NaN.
#pragma once

#include <new>
#include <type_traits>
#include <vector>

#include "gpu.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "workers.h"
#include "xla/stream_executor/stream.h"

namespace deepmd {

struct Cpu {};
struct Gpu {};

template <typename Device>
constexpr bool on_gpu = std::is_same<Device, Gpu>::value;

// The stream of the GPU that an operation runs on, with memory that lasts as long as this object.
class OpStream : public gpu::Stream {
 public:
  explicit OpStream(tensorflow::OpKernelContext* context)
      : gpu::Stream(gpu::runtime(),
                    context->op_device_context()->stream()->platform_specific_handle().stream, this,
                    &allocate),
        context_(context) {}
  OpStream(const OpStream&) = delete;
  OpStream& operator=(const OpStream&) = delete;

 private:
  static void* allocate(void* self, std::int64_t bytes) {
    auto* stream = static_cast<OpStream*>(self);
    tensorflow::Tensor memory;
    if (!stream->context_->allocate_temp(tensorflow::DT_INT8, {bytes}, &memory).ok())
      throw std::bad_alloc();
    // TensorFlow gives memory of a GPU to others in the order of the stream: it may be let go as
    // soon as all work with it is in the stream.
    stream->scratch_.push_back(memory);
    return memory.flat<std::int8_t>().data();
  }

  tensorflow::OpKernelContext* context_;
  std::vector<tensorflow::Tensor> scratch_;
};

}  // namespace deepmd
