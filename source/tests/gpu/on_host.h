// SPDX-License-Identifier: BSD-3-Clause
// Kernels of a GPU on the host, for tests; core/gpu/kernels/kernel.h includes this in place of
// CUDA.
//
// Threads of a KERNEL are turns of a loop. Those of a BLOCK_KERNEL are fibers: they run one after
// the other until each waits at a barrier, so that a barrier that some threads of a block or warp
// never reach, be it that they have returned, is seen and ends the program. Blocks and fibers run
// in ascending order in one launch and in descending order in the next, or as set_order() says:
// what depends on the order differs between two launches, and a test that compares with the right
// numbers finds it. Fresh shared memory is not zero.
#pragma once

#include <math.h>  // sqrt, tanh and so on, which CUDA has in the global namespace

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <typeinfo>
#include <utility>
#include <vector>

#include "gpu.h"

struct dim3 {
  unsigned x, y, z;
};
inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

#define DEVICE static inline
#define SHARED static thread_local
#define UNROLL
#define UNROLL_BY(times) DEEPMD_PRAGMA(GCC unroll times)
#define __device__
#define __forceinline__ inline
#define DYNAMIC_SHARED(type, name) \
  type* const name = reinterpret_cast<type*>(::deepmd::on_host::dynamic_shared())

namespace deepmd {
namespace on_host {

// Calls a kernel with the values of its arguments.
using Body = std::function<void()>;
using Bind = Body (*)(void (*kernel)(), void* const* values);

struct Registered {
  gpu::Kernel kernel;
  bool waits;  // a BLOCK_KERNEL
  void (*function)();
  Bind bind;
  std::vector<const std::type_info*> types;
};

// Adds a kernel to those that launch() knows.
bool add(Registered kernel);

template <typename... P, std::size_t... I>
Body bind_values(void (*kernel)(), void* const* values, std::index_sequence<I...>) {
  const auto function = reinterpret_cast<void (*)(P...)>(kernel);
  return [=] { function(*static_cast<std::remove_const_t<P>*>(values[I])...); };
}

template <typename... P>
bool add_function(const char* file, const char* name, gpu::Real real, bool waits,
                  void (*function)(P...)) {
  const Bind bind = [](void (*kernel)(), void* const* values) {
    return bind_values<P...>(kernel, values, std::index_sequence_for<P...>());
  };
  return add({{file, name, real},
              waits,
              reinterpret_cast<void (*)()>(function),
              bind,
              {gpu::argument_type<P>()...}});
}

unsigned char* dynamic_shared();

// Waits for the other threads of the block, or of the warp.
void wait_for_block();
void wait_for_warp();

// What each lane of the warp gave, after all have.
std::uint64_t exchange(std::uint64_t mine, unsigned lane);

// Bit i: what lane i of the warp gave.
unsigned ballot(bool mine);

template <typename T>
T from_lane(T value, unsigned lane) {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = exchange(bits, lane);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace on_host
}  // namespace deepmd

#define DEEPMD_ADD_KERNEL(waits, name, ...)                                            \
  static void name(__VA_ARGS__);                                                       \
  [[maybe_unused]] static const bool name##_added = ::deepmd::on_host::add_function(   \
      DEEPMD_KERNEL_FILE, #name, ::deepmd::gpu::real_of<DEEPMD_REAL>(), waits, &name); \
  static void name(__VA_ARGS__)
#define KERNEL(name, ...) DEEPMD_ADD_KERNEL(false, name, __VA_ARGS__)
#define BLOCK_KERNEL(name, ...) DEEPMD_ADD_KERNEL(true, name, __VA_ARGS__)

inline void __syncthreads() { deepmd::on_host::wait_for_block(); }
inline void __syncwarp(unsigned) { deepmd::on_host::wait_for_warp(); }

inline unsigned lane_of_thread() { return threadIdx.x % 32; }

template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return deepmd::on_host::from_lane(value, static_cast<unsigned>(lane) % 32);
}
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return deepmd::on_host::from_lane(value, lane_of_thread() ^ static_cast<unsigned>(mask));
}
template <typename T>
T __shfl_down_sync(unsigned, T value, unsigned step) {
  const unsigned lane = lane_of_thread();
  return deepmd::on_host::from_lane(value, lane + step < 32 ? lane + step : lane);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned step) {
  const unsigned lane = lane_of_thread();
  return deepmd::on_host::from_lane(value, lane >= step ? lane - step : lane);
}

inline unsigned __ballot_sync(unsigned, int predicate) {
  return deepmd::on_host::ballot(predicate != 0);
}
inline int __ffs(int bits) { return __builtin_ffs(bits); }

// Products that are not fused with a sum: nothing is here (-ffp-contract=off).
inline float __fmul_rn(float a, float b) { return a * b; }
inline double __dmul_rn(double a, double b) { return a * b; }

// Atomics are of integers only; one thread runs at a time.
inline std::int32_t atomicAdd(std::int32_t* at, std::int32_t value) {
  const std::int32_t old = *at;
  *at = old + value;
  return old;
}
inline unsigned long long atomicAdd(unsigned long long* at, unsigned long long value) {
  const unsigned long long old = *at;
  *at = old + value;
  return old;
}
inline std::int32_t atomicMax(std::int32_t* at, std::int32_t value) {
  const std::int32_t old = *at;
  if (value > old) *at = value;
  return old;
}
inline std::int32_t atomicMin(std::int32_t* at, std::int32_t value) {
  const std::int32_t old = *at;
  if (value < old) *at = value;
  return old;
}
