// SPDX-License-Identifier: BSD-3-Clause
// TensorFlow's worker threads as the ParallelFor of core.
//
// tensorflow::Shard cuts a loop into ranges, gives them to the workers and sleeps until all are done.
// A worker that sleeps itself takes tens of microseconds to wake, and so does the caller afterwards,
// which is as much as many of these loops take. So here everybody takes the next range when the last
// one is done: a late worker finds nothing left. The caller then waits without sleeping, for a range
// that is nearly done.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>

#include "parallel.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/lib/core/threadpool.h"

namespace deepmd {

class SharedLoop {
 public:
  SharedLoop(std::int64_t total, std::int64_t step, ParallelFor::Body body, const void* closure)
      : total_(total), step_(step), body_(body), closure_(closure) {}

  // Takes ranges until there are none. A worker may come when the caller has long gone, and with it
  // body and closure; nothing is left then.
  void work() {
    for (;;) {
      const std::int64_t begin = next_.fetch_add(step_, std::memory_order_relaxed);
      if (begin >= total_) return;
      const std::int64_t end = std::min(begin + step_, total_);
      body_(closure_, begin, end);
      done_.fetch_add(end - begin, std::memory_order_release);
    }
  }

  void wait() const {
    constexpr int kSpins = 2000;
    for (int i = 0; done_.load(std::memory_order_acquire) < total_; ++i) {
      if (i < kSpins) {
        pause();
      } else {
        std::this_thread::yield();  // whoever has the range is not running
      }
    }
  }

 private:
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  const std::int64_t total_, step_;
  const ParallelFor::Body body_;
  const void* const closure_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::int64_t> done_{0};
};

inline ParallelFor workers(tensorflow::OpKernelContext* context) {
  const auto* threads = context->device()->tensorflow_cpu_worker_threads();
  return ParallelFor(
      [](void* pool, std::int64_t total, std::int64_t cost, ParallelFor::Body body,
         const void* closure) {
        constexpr std::int64_t kLeast = 10000;  // cycles that are worth a range of their own
        constexpr std::int64_t kPerThread = 4;  // ranges, so that nobody waits long for another
        const auto* threads = static_cast<const tensorflow::DeviceBase::CpuWorkerThreads*>(pool);
        const std::int64_t ranges = std::min<std::int64_t>(
            kPerThread * threads->num_threads, total * std::max<std::int64_t>(cost, 1) / kLeast);
        if (threads->num_threads < 2 || ranges < 2) return body(closure, 0, total);
        const std::int64_t step = (total + ranges - 1) / ranges;
        const auto loop = std::make_shared<SharedLoop>(total, step, body, closure);
        const std::int64_t others = std::min<std::int64_t>(
            threads->num_threads, (total + step - 1) / step) - 1;
        for (std::int64_t i = 0; i < others; ++i)
          threads->workers->Schedule([loop] { loop->work(); });
        loop->work();
        loop->wait();
      },
      const_cast<tensorflow::DeviceBase::CpuWorkerThreads*>(threads), threads->num_threads);
}

}  // namespace deepmd
