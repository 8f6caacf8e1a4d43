// SPDX-License-Identifier: BSD-3-Clause
// DEEPMD_FORMULA marks a small function (or template) of scalars in a header that host and device
// code share. It has internal linkage, so that every compilation unit, and with it every
// instruction set (see isa.h), gets its own copy.
#pragma once

#if defined(__CUDACC__) || defined(__HIPCC__)
#define DEEPMD_FORMULA static __host__ __device__ __forceinline__
#else
#define DEEPMD_FORMULA static inline __attribute__((always_inline))
#endif
