// SPDX-License-Identifier: BSD-3-Clause
// As many threads as TensorFlow gives to an operation, as the ParallelFor of core.
#pragma once

#include <algorithm>
#include <memory>

#include "parallel.h"
#include "team.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace deepmd {

inline ParallelFor workers(tensorflow::OpKernelContext* context) {
  const auto* threads = context->device()->tensorflow_cpu_worker_threads();
  return ParallelFor(
      [](void* pool, std::int64_t total, std::int64_t cost, ParallelFor::Body body,
         const void* closure) {
        constexpr std::int64_t kLeast = 10000;  // cycles that are worth a range of their own
        constexpr std::int64_t kPerThread = 8;  // ranges, so that nobody waits long for another
        const auto* threads = static_cast<const tensorflow::DeviceBase::CpuWorkerThreads*>(pool);
        const std::int64_t ranges = std::min<std::int64_t>(
            kPerThread * threads->num_threads, total * std::max<std::int64_t>(cost, 1) / kLeast);
        if (threads->num_threads < 2 || ranges < 2) return body(closure, 0, total);
        const std::int64_t step = (total + ranges - 1) / ranges;
        const int others = static_cast<int>(std::min<std::int64_t>(
            threads->num_threads, (total + step - 1) / step)) - 1;
        const auto loop = std::make_shared<SharedLoop>(total, step, body, closure);
        if (Team::get().run(loop.get(), others)) return;
        // The team is at work for another operation that runs at the same time. A worker of
        // TensorFlow may come when this loop is long done, and then finds no range.
        for (int i = 0; i < others; ++i) threads->workers->Schedule([loop] { loop->work(); });
        loop->work();
        loop->wait();
      },
      const_cast<tensorflow::DeviceBase::CpuWorkerThreads*>(threads), threads->num_threads);
}

}  // namespace deepmd
