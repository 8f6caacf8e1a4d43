// SPDX-License-Identifier: BSD-3-Clause
// Fitting nets on the GPU, all nets of a call together; dense.h has the formulas. Lists are on the
// host, the arrays that they name on the device.
#pragma once

#include <cstdint>

#include "dense.h"
#include "gpu.h"

namespace deepmd {
namespace gpu {

// layers [n_nets * n_layers] by net and layer; last, and last_bias or null [n_nets]. A list of
// arrays of hidden layers is by net and layer too.
template <typename T>
struct DenseNets {
  std::int64_t n_nets, n_layers;
  const DenseLayer<T>* layers;
  const T* const* last;
  const T* const* last_bias;
};

// hidden [n][n_out] of all layers, and energy [n] of all nets, from x [n][n_in].
template <typename T>
void dense_nets(const Stream& stream, const DenseNets<T>& nets, const T* const* x, T* const* hidden,
                T* const* energy);

// From the cotangents of energy, and of hidden or null: those of x, of what layers return, and of
// the argument z of tanh.
template <typename T>
void dense_nets_vjp(const Stream& stream, const DenseNets<T>& nets, const T* const* hidden,
                    const T* const* d_energy, const T* const* d_hidden, T* const* d_x,
                    T* const* d_layer, T* const* d_z);

// Tangents along t_x; d_hidden as d_h in dense_along.
template <typename T>
void dense_nets_jvp(const Stream& stream, const DenseNets<T>& nets, const T* const* hidden,
                    const T* const* d_layer, const T* const* t_x, T* const* t_energy,
                    T* const* t_hidden, T* const* d_hidden);

// Cotangents of the weights: matrix and bias by net and layer, the last one among them, and idt
// where idt_of [n_nets * n_layers] is not -1. With several terms, nets are those of the first, then
// of the next, and there are n_nets / n_terms results, which are sums over the terms, but that of
// bias, which is of the first.
template <typename T>
void dense_nets_weights(const Stream& stream, const DenseNets<T>& nets, std::int64_t n_terms,
                        const std::int64_t* idt_of, const T* const* x, const T* const* hidden,
                        const T* const* d_energy, const T* const* d_layer, const T* const* d_z,
                        T* const* d_matrix, T* const* d_bias, T* const* d_idt);

}  // namespace gpu
}  // namespace deepmd
