// SPDX-License-Identifier: BSD-3-Clause
// Embedding nets with the activation function tanh: value and two derivatives at a few hundred
// points, and the cotangents of everything that they depend on.
//
// A layer takes the jet (x, x', x'') of its input, as functions of s, to
//
//   z = x W + b,  z' = x' W,  z'' = x'' W
//   h = tanh z,   h' = (1 - h^2) z',   h'' = (1 - h^2) (z'' - 2 h z'^2)
//
// and to x + h idt where the width stays, (x, x) + h idt where it doubles, and h otherwise. The
// first layer has the jet (s, 1, 0).
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

// Layer l takes width[l] numbers to width[l + 1]; width[0] = 1.
struct JetShape {
  std::int64_t n_layers;
  const std::int64_t* width;
};

// By layer: matrix [n_in][n_out], bias [n_out], idt [n_out] or null.
template <typename T>
struct JetWeights {
  const T* const* matrix;
  const T* const* bias;
  const T* const* idt;
};

}  // namespace deepmd

DEEPMD_EACH_ISA(
// Numbers of scratch memory that n nodes take in the functions below.
template <typename T>
std::int64_t jet_scratch(const JetShape& shape, std::int64_t n);

// out [n][3][width[n_layers]]: G, G', G'' of one net at nodes [n].
template <typename T>
void embedding_jets(const JetShape& shape, const JetWeights<T>& weights, const T* nodes,
                    std::int64_t n, T* scratch, T* out);

// From the cotangent of that, grad [n][3][width[n_layers]]: d_nodes [n], and d_weights with, for one
// layer behind the other, the cotangents of matrix, bias and idt; the last is not set in layers
// without a skip connection.
template <typename T>
void embedding_jets_grad(const JetShape& shape, const JetWeights<T>& weights, const T* nodes,
                         const T* grad, std::int64_t n, T* scratch, T* d_nodes, T* d_weights);
)
