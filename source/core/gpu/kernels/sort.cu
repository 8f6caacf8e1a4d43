// SPDX-License-Identifier: BSD-3-Clause
// Counting and sorting of integers; include/gpu_pairs.h has the functions.
#include "kernel.h"

// counts[index[i]] += 1.
KERNEL(count, const int32_t* index, int64_t n, int64_t n_rows, int32_t* counts) {
  EACH(i, n) {
    if (inside(index[i], n_rows)) atomicAdd(counts + index[i], 1);
  }
}

// order gets the places of each row in any order; next [n_rows] begins as splits and is used up.
KERNEL(place, const int32_t* index, int64_t n, int64_t n_rows, int32_t* next, int32_t* order) {
  EACH(i, n) {
    if (inside(index[i], n_rows)) order[atomicAdd(next + index[i], 1)] = int32_t(i);
  }
}

// Sorts the places of each row, so that it does not matter in which order they came. A warp for
// each row: every lane finds the rank of a number among all. from and to must not overlap.
BLOCK_KERNEL(sort_rows, const int32_t* splits, const int32_t* from, int64_t n_rows, int32_t* to) {
  const int64_t warps = blockDim.x / kWarp;
  for (int64_t row = blockIdx.x * warps + threadIdx.x / kWarp; row < n_rows;
       row += gridDim.x * warps) {
    const int32_t begin = splits[row], n = splits[row + 1] - begin;
    EACH_LANE(i, n) {
      const int32_t value = from[begin + i];
      int32_t rank = 0;
      for (int32_t k = 0; k < n; ++k) rank += from[begin + k] < value;
      to[begin + rank] = value;
    }
  }
}

// Exclusive prefix sums in three steps: of blocks of kSumBlock numbers, of their totals, of all.
constexpr int kSumBlock = 1024;

// totals [blocks]: sums over blocks.
BLOCK_KERNEL(block_totals, const int32_t* counts, int64_t n, int32_t* totals) {
  SHARED int32_t parts[kWarp];
  EACH_BLOCK(block, (n + kSumBlock - 1) / kSumBlock) {
    int32_t sum = 0;
    EACH_THREAD(j, kSumBlock) {
      const int64_t i = block * kSumBlock + j;
      if (i < n) sum += counts[i];
    }
    sum = block_sum(sum, parts);
    if (threadIdx.x == 0) totals[block] = sum;
  }
}

// Exclusive sums of the totals, in place, by one block; the sum of all goes to total.
BLOCK_KERNEL(scan_totals, int32_t* totals, int64_t n, int32_t* total) {
  SHARED int32_t sums[256];
  int32_t before = 0;
  for (int64_t begin = 0; begin < n; begin += blockDim.x) {
    const int64_t i = begin + threadIdx.x;
    const int32_t value = i < n ? totals[i] : 0;
    sums[threadIdx.x] = value;
    block_sync();
    for (int step = 1; step < int(blockDim.x); step *= 2) {
      const int32_t left = int(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      block_sync();
      sums[threadIdx.x] += left;
      block_sync();
    }
    if (i < n) totals[i] = before + sums[threadIdx.x] - value;
    before += sums[blockDim.x - 1];
    block_sync();
  }
  if (threadIdx.x == 0) *total = before;
}

// sums [n] from the counts and the exclusive sums of blocks.
BLOCK_KERNEL(scan_blocks, const int32_t* counts, const int32_t* totals, int64_t n, int32_t* sums) {
  SHARED int32_t shared[256];
  EACH_BLOCK(block, (n + kSumBlock - 1) / kSumBlock) {
    int32_t before = totals[block];
    for (int begin = 0; begin < kSumBlock; begin += int(blockDim.x)) {
      const int64_t i = block * kSumBlock + begin + threadIdx.x;
      const int32_t value = i < n ? counts[i] : 0;
      shared[threadIdx.x] = value;
      block_sync();
      for (int step = 1; step < int(blockDim.x); step *= 2) {
        const int32_t left = int(threadIdx.x) >= step ? shared[threadIdx.x - step] : 0;
        block_sync();
        shared[threadIdx.x] += left;
        block_sync();
      }
      if (i < n) sums[i] = before + shared[threadIdx.x] - value;
      before += shared[blockDim.x - 1];
      block_sync();
    }
  }
}
