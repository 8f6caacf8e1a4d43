// SPDX-License-Identifier: BSD-3-Clause
// Tables that the kernels of gpu/kernels/embedding_jets.cu work through, and how they are cut.
#pragma once

#ifndef __CUDACC__
#include <cstdint>
#endif

namespace deepmd {
namespace gpu {

constexpr int kJetNodes = 16;    // of a block of most kernels, with three rows each
constexpr int kJetColumns = 32;  // of a block
constexpr int kJetSums = 8;      // sums that a block makes side by side

// A layer of a net; idt is null for 1.
template <typename T>
struct JetLayer {
  const T *matrix, *bias, *idt;
};

// Nodes of a net that are together in an array, in blocks of `each`. `first` counts the nodes of
// all nets, those of a net together.
template <typename T>
struct JetNodes {
  int64_t block, each;
  int64_t net, first, n;
  const T *nodes, *grad;
  T *jets, *d_nodes;
};

// The nets of a call, with n_nodes nodes together.
template <typename T>
struct JetTables {
  const JetNodes<T>* nodes;
  const JetLayer<T>* layers;  // by net and layer
  int64_t n_items, n_layers;
};

// One layer: its number and its widths.
struct JetStep {
  int64_t layer, n_in, n_out;
};

}  // namespace gpu
}  // namespace deepmd
