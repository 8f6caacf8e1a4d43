// SPDX-License-Identifier: BSD-3-Clause
// Environments of all atoms that a mask leaves in, on the GPU.
#pragma once

#include <cstdint>

#include "gpu.h"

namespace deepmd {
namespace gpu {

// Inputs and outputs of the operation DescrptSeAMask. An atom at a position that is not finite has
// rows that are not numbers.
template <typename T>
void mask_rows(const Stream& stream, const T* coord, const std::int32_t* type,
               const std::int32_t* mask, std::int64_t n_frames, std::int64_t n, T* rows,
               T* derivative, T* x, std::int32_t* nlist);

}  // namespace gpu
}  // namespace deepmd
