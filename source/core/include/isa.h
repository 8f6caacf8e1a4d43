// SPDX-License-Identifier: BSD-3-Clause
// Instruction sets: the kernels in core/cpu/*.cc are compiled once per set, and the best one that
// the processor has is picked when a kernel is called.
//
//   DEEPMD_EACH_ISA(declarations)   declares the same functions for every set
//   DEEPMD_PICK(f)(arguments)       calls f of the best set
//
// In core/cpu/*.cc everything lives in `namespace deepmd { namespace DEEPMD_ISA { … } }`. The trap
// in such files: an inline function or template with external linkage (anything of std::, a member
// function of a class in a shared header) exists once in the library, whichever set it was compiled
// for, and the AVX-512 copy of it would then run on a processor without. So: no std:: templates
// there, and helpers in headers are DEEPMD_FORMULA. tests/test_build.py looks for offenders.
//
// The environment variable DEEPMD_TF_ISA (baseline, avx2, avx512) asks for a lower set than the
// processor has; it is read once.
#pragma once

#include "macros.h"

#if defined(__x86_64__) || defined(_M_X64)
#define DEEPMD_EACH_ISA(...) \
  namespace deepmd {         \
  namespace baseline {       \
  __VA_ARGS__                \
  }                          \
  namespace avx2 {           \
  __VA_ARGS__                \
  }                          \
  namespace avx512 {         \
  __VA_ARGS__                \
  }                          \
  }
#define DEEPMD_PICK(function)                                             \
  (::deepmd::isa() == ::deepmd::Isa::avx512 ? &::deepmd::avx512::function \
   : ::deepmd::isa() == ::deepmd::Isa::avx2 ? &::deepmd::avx2::function   \
                                            : &::deepmd::baseline::function)
#else
#define DEEPMD_EACH_ISA(...) \
  namespace deepmd {         \
  namespace baseline {       \
  __VA_ARGS__                \
  }                          \
  }
#define DEEPMD_PICK(function) (&::deepmd::baseline::function)
#endif

namespace deepmd {

enum class Isa { baseline, avx2, avx512 };

// The set that is used in this process.
Isa isa();

}  // namespace deepmd

// Name of that set, as DEEPMD_TF_ISA has it; for the Python side.
extern "C" const char* deepmd_tf_isa();
