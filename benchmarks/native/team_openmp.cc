// SPDX-License-Identifier: BSD-3-Clause
#include <omp.h>

#include <cstdint>

// The ranges of a loop on threads of OpenMP, taken one by one as those of the team are.
void openmp_loop(int threads, std::int64_t total, std::int64_t step,
                 void (*body)(const void*, std::int64_t, std::int64_t), const void* closure) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (std::int64_t begin = 0; begin < total; begin += step)
    body(closure, begin, begin + step < total ? begin + step : total);
}
