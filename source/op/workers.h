// SPDX-License-Identifier: BSD-3-Clause
// TensorFlow's worker threads as the ParallelFor of core.
#pragma once

#include "parallel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"

namespace deepmd {

inline ParallelFor workers(tensorflow::OpKernelContext* context) {
  const auto* threads = context->device()->tensorflow_cpu_worker_threads();
  return ParallelFor(
      [](void* pool, std::int64_t total, std::int64_t cost, ParallelFor::Body body,
         const void* closure) {
        const auto* threads = static_cast<const tensorflow::DeviceBase::CpuWorkerThreads*>(pool);
        tensorflow::Shard(threads->num_threads, threads->workers, total, cost,
                          [body, closure](std::int64_t begin, std::int64_t end) {
                            body(closure, begin, end);
                          });
      },
      const_cast<tensorflow::DeviceBase::CpuWorkerThreads*>(threads), threads->num_threads);
}

}  // namespace deepmd
