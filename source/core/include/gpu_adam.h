// SPDX-License-Identifier: BSD-3-Clause
// A step of Adam on the GPU; adam.h has the formulas. Lists are on the host, the arrays that they
// name on the device.
#pragma once

#include <vector>

#include "adam_tables.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// The step for all variables, and for the powers of beta1 and beta2; false, and nothing has
// changed, if loss or a square of a gradient is not finite. Waits. `block` of the updates is set
// here.
bool adam_step(const Stream& stream, const AdamSettings& settings, const double* loss,
               const std::vector<AdamUpdate<float>>& single,
               const std::vector<AdamUpdate<double>>& twice, float* power1, float* power2);

}  // namespace gpu
}  // namespace deepmd
