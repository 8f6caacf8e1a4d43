// SPDX-License-Identifier: BSD-3-Clause
// As many threads as TensorFlow gives to an operation, as the ParallelFor of core.
#pragma once

#include <utility>

#include "parallel.h"
#include "team.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace deepmd {

inline ParallelFor workers(tensorflow::OpKernelContext* context) {
  using CpuWorkerThreads = tensorflow::DeviceBase::CpuWorkerThreads;
  const auto* threads = context->device()->tensorflow_cpu_worker_threads();
  return ParallelFor(
      [](void* self, std::int64_t total, std::int64_t cost, ParallelFor::Body body,
         const void* closure) {
        const HelperPool pool{
            self, [](void* self, std::function<void()> task) {
              static_cast<CpuWorkerThreads*>(self)->workers->Schedule(std::move(task));
            }};
        run_shared(static_cast<CpuWorkerThreads*>(self)->num_threads, &pool, total, cost, body,
                   closure);
      },
      const_cast<CpuWorkerThreads*>(threads), threads->num_threads);
}

}  // namespace deepmd
