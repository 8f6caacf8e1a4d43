// SPDX-License-Identifier: BSD-3-Clause
// The language of the kernels. Three compilers read these files: NVRTC on the machine that has the
// GPU, g++ for tests on the host (source/tests/gpu/on_host.h), and nvcc where somebody wants to.
//
//   KERNEL(name, parameters) { … }          threads that do not know of each other
//   BLOCK_KERNEL(name, parameters) { … }    threads of a block that wait for each other
//
// `real` is float or double: every file is compiled for both. No function of the standard library,
// no templates with external linkage, no static variables, no atomics on real numbers: a result may
// not depend on the order in which threads happen to run. A barrier is reached by all threads of
// the block (block_sync, block_sum) or of the warp (warp_…), so it never stands in a branch that
// some of them do not take.
#pragma once

#ifdef __CUDACC__
using int32_t = int;
using int64_t = long long;
// At most 256 threads, and one block on a processor is enough: without the 1 the compiler would
// rather put variables into memory than have fewer blocks side by side.
#define KERNEL(name, ...) extern "C" __global__ void __launch_bounds__(256, 1) name(__VA_ARGS__)
#define BLOCK_KERNEL(name, ...) KERNEL(name, __VA_ARGS__)
#define DEVICE static __device__ __forceinline__
#define SHARED __shared__
#define UNROLL _Pragma("unroll")
#define UNROLL_BY(times) DEEPMD_PRAGMA(unroll times)
#define DYNAMIC_SHARED(type, name)                            \
  extern __shared__ __align__(16) unsigned char name##_raw[]; \
  type* const name = reinterpret_cast<type*>(name##_raw)
#else
#include "on_host.h"
#endif

#define DEEPMD_PRAGMA(...) _Pragma(#__VA_ARGS__)

using real = DEEPMD_REAL;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// Items first, first + step, … of n for this thread, among all of the grid.
#define EACH(i, n)                                                          \
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < (n); \
       i += int64_t(gridDim.x) * blockDim.x)

// Items of the block: a block does i = blockIdx.x, and so on.
#define EACH_BLOCK(i, n) for (int64_t i = blockIdx.x; i < (n); i += gridDim.x)

// Items j < n for the threads of the block, or for the lanes of a warp.
#define EACH_THREAD(j, n) for (int j = int(threadIdx.x); j < (n); j += int(blockDim.x))
#define EACH_LANE(j, n) for (int j = int(threadIdx.x) % kWarp; j < (n); j += kWarp)

// Of items in the order of their first blocks, the one that `block` is of.
template <typename Item>
DEVICE const Item& find_item(const Item* items, int64_t n_items, int64_t block) {
  int64_t low = 0, high = n_items;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (items[middle].block <= block)
      low = middle;
    else
      high = middle;
  }
  return items[low];
}

DEVICE bool inside(int64_t index, int64_t n) { return index >= 0 && index < n; }
DEVICE real not_a_number() {
  const real zero = 0;
  return zero / zero;
}

DEVICE void block_sync() { __syncthreads(); }
DEVICE void warp_sync() { __syncwarp(kAllLanes); }

// Bit i: what lane i of the warp gave.
DEVICE unsigned warp_ballot(bool mine) { return __ballot_sync(kAllLanes, mine); }

// Sum over the 32 lanes of a warp, the same in each of them.
template <typename T>
DEVICE T warp_sum(T value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

// Sum over the threads of a block, the same in each of them; their number is a multiple of 32.
// parts: shared memory of a number for each warp. Barriers before and after it.
template <typename T>
DEVICE T block_sum(T value, T* parts) {
  value = warp_sum(value);
  block_sync();
  if (threadIdx.x % kWarp == 0) parts[threadIdx.x / kWarp] = value;
  block_sync();
  T sum = 0;
  for (int w = 0; w < int(blockDim.x) / kWarp; ++w) sum += parts[w];
  block_sync();
  return sum;
}
