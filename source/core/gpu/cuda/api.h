// SPDX-License-Identifier: BSD-3-Clause
// What is used of the CUDA driver, NVRTC and cuBLAS, declared here: nothing of CUDA is there when
// this is built, and not everywhere when it runs.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "gpu.h"

namespace deepmd {
namespace gpu {

// Things of the driver are known by their address only, memory of the device by a number.
using Context = void*;
using Module = void*;
using Function = void*;
using Event = void*;
using Address = unsigned long long;

// Every function returns a number, 0 if all is well.
#define DEEPMD_DRIVER_FUNCTIONS(F)                                                        \
  F(cuInit, unsigned)                                                                     \
  F(cuDriverGetVersion, int*)                                                             \
  F(cuGetErrorName, int, const char**)                                                    \
  F(cuGetErrorString, int, const char**)                                                  \
  F(cuDeviceGetCount, int*)                                                               \
  F(cuDeviceGet, int*, int)                                                               \
  F(cuDeviceGetName, char*, int, int)                                                     \
  F(cuDeviceGetAttribute, int*, int, int)                                                 \
  F(cuDeviceTotalMem_v2, std::size_t*, int)                                               \
  F(cuCtxGetCurrent, Context*)                                                            \
  F(cuCtxPushCurrent_v2, Context)                                                         \
  F(cuCtxPopCurrent_v2, Context*)                                                         \
  F(cuCtxGetDevice, int*)                                                                 \
  F(cuStreamGetCtx, void*, Context*)                                                      \
  F(cuStreamSynchronize, void*)                                                           \
  F(cuModuleLoadData, Module*, const void*)                                               \
  F(cuModuleGetFunction, Function*, Module, const char*)                                  \
  F(cuFuncSetAttribute, Function, int, int)                                               \
  F(cuLaunchKernel, Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, \
    unsigned, void*, void* const*, void**)                                                \
  F(cuMemcpyDtoHAsync_v2, void*, Address, std::size_t, void*)                             \
  F(cuMemcpyHtoDAsync_v2, Address, const void*, std::size_t, void*)                       \
  F(cuMemcpyDtoDAsync_v2, Address, Address, std::size_t, void*)                           \
  F(cuMemsetD8Async, Address, unsigned char, std::size_t, void*)                          \
  F(cuMemAllocHost_v2, void**, std::size_t)                                               \
  F(cuEventCreate, Event*, unsigned)                                                      \
  F(cuEventRecord, Event, void*)                                                          \
  F(cuEventQuery, Event)

#define DEEPMD_NVRTC_FUNCTIONS(F)                                                  \
  F(nvrtcVersion, int*, int*)                                                      \
  F(nvrtcGetNumSupportedArchs, int*)                                               \
  F(nvrtcGetSupportedArchs, int*)                                                  \
  F(nvrtcCreateProgram, void**, const char*, const char*, int, const char* const*, \
    const char* const*)                                                            \
  F(nvrtcDestroyProgram, void**)                                                   \
  F(nvrtcCompileProgram, void*, int, const char* const*)                           \
  F(nvrtcGetProgramLogSize, void*, std::size_t*)                                   \
  F(nvrtcGetProgramLog, void*, char*)                                              \
  F(nvrtcGetCUBINSize, void*, std::size_t*)                                        \
  F(nvrtcGetCUBIN, void*, char*)                                                   \
  F(nvrtcGetPTXSize, void*, std::size_t*)                                          \
  F(nvrtcGetPTX, void*, char*)

#define DEEPMD_BLAS_FUNCTIONS(F)                                                                   \
  F(cublasCreate_v2, void**)                                                                       \
  F(cublasSetStream_v2, void*, void*)                                                              \
  F(cublasSetMathMode, void*, int)                                                                 \
  F(cublasSgemm_v2, void*, int, int, int, int, int, const float*, const float*, int, const float*, \
    int, const float*, float*, int)                                                                \
  F(cublasDgemm_v2, void*, int, int, int, int, int, const double*, const double*, int,             \
    const double*, int, const double*, double*, int)

#define DEEPMD_MEMBER(name, ...) int (*name)(__VA_ARGS__) = nullptr;

// A library that was opened; it stays.
struct Opened {
  void* handle = nullptr;
  std::string path;
};

struct Driver : Opened {
  DEEPMD_DRIVER_FUNCTIONS(DEEPMD_MEMBER)
  int version = 0;  // 12040 for CUDA 12.4
};

struct Nvrtc : Opened {
  DEEPMD_NVRTC_FUNCTIONS(DEEPMD_MEMBER)
  std::string version;
  std::vector<int> architectures;  // 90 for sm_90, ascending
};

struct Blas : Opened {
  DEEPMD_BLAS_FUNCTIONS(DEEPMD_MEMBER)
};

#undef DEEPMD_MEMBER

// The driver, or null and the reason; initialised by nobody yet.
const Driver* open_driver(std::string* why);

// NVRTC of CUDA 12 or 13, and the cuBLAS that fits the driver, or null and the reason. They are
// looked for by their name, in the packages of pip beside this library and beside TensorFlow, and
// in /usr/local/cuda.
const Nvrtc* open_nvrtc(int cuda, std::string* why);
const Blas* open_blas(const Driver& driver, std::string* why);

// "12.4" of 12040.
std::string version_text(int version);

// "CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected".
std::string words(const Driver& driver, int status);

// Throws Error, or OutOfMemory, that says what could not be done, why, and what to do.
[[noreturn]] void fail(const Driver& driver, int status, const std::string& what);
inline void check(const Driver& driver, int status, const char* what) {
  if (status != 0) fail(driver, status, what);
}

}  // namespace gpu
}  // namespace deepmd
