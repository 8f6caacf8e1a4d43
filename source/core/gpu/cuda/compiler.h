// SPDX-License-Identifier: BSD-3-Clause
// Kernels compiled by NVRTC for the card that is there.
#pragma once

#include <string>

#include "api.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// What is compiled for: a compiler, and an architecture that it knows and the card runs.
struct Target {
  const Nvrtc* nvrtc = nullptr;
  int architecture = 0;  // 90 for sm_90
  bool ptx = false;      // the driver translates the rest: the card is newer than the compiler
};

constexpr int kOldestCard = 70;

// Whether there is an NVRTC that this driver understands; otherwise the reason.
const Nvrtc* any_nvrtc(const Driver& driver, std::string* why);

// The compiler and architecture for a card, as 90 for 9.0; throws Error.
Target target_for(const Driver& driver, int card);

// The kernels of gpu/kernels/<file>.cu as the driver takes them, from the cache if `cached` and
// they are there. `card` is a name for the progress line. Throws Error if they do not compile.
std::string compile(const Target& target, const std::string& file, Real real, bool cached,
                    const std::string& card);

}  // namespace gpu
}  // namespace deepmd
