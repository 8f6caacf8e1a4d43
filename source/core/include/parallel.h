// SPDX-License-Identifier: BSD-3-Clause
// Loops over worker threads that the caller owns; core knows no thread pool of its own.
#pragma once

#include <cstdint>

namespace deepmd {

// Calls body(begin, end) for disjoint ranges that together cover [0, total), possibly at the same
// time; returns when all are done. The op layer makes one from TensorFlow's worker threads
// (op/workers.h). How the ranges are cut depends on the number of threads, so a kernel whose result
// must not depend on it lets every range own what it writes and never adds across ranges.
class ParallelFor {
 public:
  using Body = void (*)(const void* closure, std::int64_t begin, std::int64_t end);
  using Runner = void (*)(void* workers, std::int64_t total, std::int64_t cost, Body body,
                          const void* closure);

  ParallelFor(Runner runner, void* workers, int threads)
      : runner_(runner), workers_(workers), threads_(threads) {}

  // cost: processor cycles that one item takes, roughly; too small a total is not cut at all.
  template <typename F>
  void operator()(std::int64_t total, std::int64_t cost, const F& body) const {
    if (total <= 0) return;
    runner_(
        workers_, total, cost,
        [](const void* closure, std::int64_t begin, std::int64_t end) {
          (*static_cast<const F*>(closure))(begin, end);
        },
        &body);
  }

  // Number of threads that may run at the same time.
  int threads() const { return threads_; }

 private:
  Runner runner_;
  void* workers_;
  int threads_;
};

}  // namespace deepmd
