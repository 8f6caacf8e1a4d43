// SPDX-License-Identifier: BSD-3-Clause
// The descriptor of moments and its derivatives on the GPU; descriptor.h has the formulas.
#pragma once

#include <cstdint>

#include "descriptor.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// Atoms of frames of in_frame atoms each: count of each frame, from its atom `first` on. Their
// descriptors, frame by frame, are an array of their own; moments are those of all atoms.
struct PartOfFrames {
  std::int64_t n_frames, in_frame, first, count;
};

template <typename T>
void descriptor(const Stream& stream, const DescriptorShape& shape, const PartOfFrames& part,
                const T* moment, T* out);

template <typename T>
void descriptor_jvp(const Stream& stream, const DescriptorShape& shape, const PartOfFrames& part,
                    const T* moment, const T* tangent, T* out);

// Sets the gradient of the part's atoms.
template <typename T>
void descriptor_vjp(const Stream& stream, const DescriptorShape& shape, const PartOfFrames& part,
                    const T* adjoint, const T* moment, T* gradient);

}  // namespace gpu
}  // namespace deepmd
