// SPDX-License-Identifier: BSD-3-Clause
// Sharing of the rows of a result among threads, for kernels that go through all pairs for their
// rows.
#pragma once

#include <algorithm>
#include <cstdint>

#include "parallel.h"

namespace deepmd {

// Calls body(begin, end) for blocks of rows.
template <typename F>
void for_row_blocks(const ParallelFor& parallel_for, std::int64_t n_rows, std::int64_t n_pairs,
                    std::int64_t cost_per_pair, const F& body) {
  // A block costs at least one walk through the pairs, so there are no more blocks than threads.
  const std::int64_t worthwhile = 1 + n_pairs * cost_per_pair / 20000;
  const std::int64_t blocks = std::max<std::int64_t>(
      1, std::min<std::int64_t>({parallel_for.threads(), worthwhile, n_rows}));
  parallel_for(blocks, 10000 + n_pairs * cost_per_pair / blocks,
               [&](std::int64_t begin, std::int64_t end) {
                 body(n_rows * begin / blocks, n_rows * end / blocks);
               });
}

}  // namespace deepmd
