// SPDX-License-Identifier: BSD-3-Clause
// A ParallelFor with a given number of threads, independent of the machine.
#pragma once

#include "parallel.h"
#include "team.h"

inline deepmd::ParallelFor on_threads(int threads) {
  static int numbers[] = {0, 1, 2, 3, 4};
  return deepmd::ParallelFor(
      [](void* threads, std::int64_t total, std::int64_t, deepmd::ParallelFor::Body body,
         const void* closure) {
        deepmd::SharedLoop loop(total, 1, body, closure);
        if (!deepmd::Team::get().run(&loop, *static_cast<int*>(threads) - 1, true)) {
          loop.work();
          loop.wait();
        }
        loop.rethrow();
      },
      &numbers[threads], threads);
}
