// SPDX-License-Identifier: BSD-3-Clause
// Embedding nets with two derivatives on the GPU, all nets of a call together; embedding_jets.h has
// the formulas. Lists are on the host, the arrays that they name on the device.
#pragma once

#include <cstdint>
#include <vector>

#include "embedding_jets.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// The weights by net and layer; idt is null where there is none.
template <typename T>
struct JetNets {
  std::int64_t n_nets;
  JetShape shape;
  const T *const *matrix, *const *bias, *const *idt;
};

// Nodes [n] of a net, with jets [n][3][width] or, for the other function, grad and d_nodes. Parts
// of a call are in the order of the nets; not every net needs to have one.
template <typename T>
struct JetPart {
  std::int64_t net, n;
  const T *nodes, *grad;
  T *jets, *d_nodes;
};

template <typename T>
void embedding_jets(const Stream& stream, const JetNets<T>& nets,
                    const std::vector<JetPart<T>>& parts);

// Cotangents of nodes, and of the weights by net and layer; d_idt is null where idt is.
template <typename T>
void embedding_jets_grad(const Stream& stream, const JetNets<T>& nets,
                         const std::vector<JetPart<T>>& parts, T* const* d_matrix, T* const* d_bias,
                         T* const* d_idt);

}  // namespace gpu
}  // namespace deepmd
