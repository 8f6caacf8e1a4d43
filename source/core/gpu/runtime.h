// SPDX-License-Identifier: BSD-3-Clause
// What runtime.cc and cuda.cc share.
#pragma once

#include <string>

#include "gpu.h"

namespace deepmd {
namespace gpu {

// A file that kernels are compiled from, by the name that #include has; the table ends with a null.
struct Text {
  const char* name;
  const char* text;
};
extern const Text texts[];

// The runtime of CUDA; or null, and the reason.
Runtime* open_cuda(std::string* why);

// Lines "NAME<tab>VALUE" on driver, cards, NVRTC, cuBLAS and the cache; a name begins with "!"
// where something is not there, and the value is the reason. Starts the driver.
std::string describe_cuda();

}  // namespace gpu
}  // namespace deepmd
