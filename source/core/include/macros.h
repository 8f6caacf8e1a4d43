// SPDX-License-Identifier: BSD-3-Clause
// DEEPMD_FORMULA marks a small function (or template) of scalars in a header that host and device
// code share. It has internal linkage, so that every compilation unit, and with it every
// instruction set (see isa.h), gets its own copy. DEEPMD_RARE marks one that is seldom needed: it
// stays out of the loops that call it, and takes structures by value, so that these stay in
// registers there. DEEPMD_BUILTIN(sqrtf) is a function of <math.h> that the compiler itself knows.
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define DEEPMD_FORMULA static __host__ __device__ __forceinline__
#define DEEPMD_RARE DEEPMD_FORMULA  // a call costs more than it saves
#define DEEPMD_BUILTIN(function) function
#else
#define DEEPMD_FORMULA static inline __attribute__((always_inline))
#define DEEPMD_RARE static __attribute__((noinline, cold))
#define DEEPMD_BUILTIN(function) __builtin_##function
#endif
