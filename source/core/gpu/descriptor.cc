// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_descriptor.h"

namespace deepmd {
namespace gpu {
namespace {

constexpr int kThreads = 128;  // that of descriptor.cu

Grid block_for_each(std::int64_t n) {
  constexpr std::int64_t most = 1 << 20;
  return {n < most ? n : most, kThreads};
}

}  // namespace

template <typename T>
void descriptor(const Stream& stream, const DescriptorShape& shape, const PartOfFrames& part,
                const T* moment, T* out) {
  const std::int64_t n = part.n_frames * part.count;
  stream.launch({"descriptor", "descriptor", real_of<T>()}, block_for_each(n), moment, n,
                part.count, part.in_frame, part.first, shape.n_columns, shape.n_axis, out);
}

template <typename T>
void descriptor_jvp(const Stream& stream, const DescriptorShape& shape, const PartOfFrames& part,
                    const T* moment, const T* tangent, T* out) {
  const std::int64_t n = part.n_frames * part.count;
  stream.launch({"descriptor", "descriptor_jvp", real_of<T>()}, block_for_each(n), moment, tangent,
                n, part.count, part.in_frame, part.first, shape.n_columns, shape.n_axis, out);
}

template <typename T>
void descriptor_vjp(const Stream& stream, const DescriptorShape& shape, const PartOfFrames& part,
                    const T* adjoint, const T* moment, T* gradient) {
  const std::int64_t n = part.n_frames * part.count;
  stream.launch({"descriptor", "descriptor_vjp", real_of<T>()}, block_for_each(n), adjoint, moment,
                n, part.count, part.in_frame, part.first, shape.n_columns, shape.n_axis, gradient);
}

#define INSTANTIATE(T)                                                                        \
  template void descriptor<T>(const Stream&, const DescriptorShape&, const PartOfFrames&,     \
                              const T*, T*);                                                  \
  template void descriptor_jvp<T>(const Stream&, const DescriptorShape&, const PartOfFrames&, \
                                  const T*, const T*, T*);                                    \
  template void descriptor_vjp<T>(const Stream&, const DescriptorShape&, const PartOfFrames&, \
                                  const T*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
