// SPDX-License-Identifier: BSD-3-Clause
// Layers of fitting nets with the activation function tanh: values, and derivatives of values and
// of derivatives, for n rows (atoms) at a time.
//
//   h = tanh(x W + b),  y = h idt,  or y = h idt + x in a layer with a skip connection
//
// Each is a product of matrices (gemm.h) and a formula for each element, which is computed as soon
// as a block of the product is done. The functions compute the blocks begin <= i < end of the
// product that they start with, independently of each other.
#pragma once

#include <cstdint>

#include "isa.h"

namespace deepmd {

template <typename T>
struct DenseLayer {
  std::int64_t n, n_in, n_out;  // rows, columns of x, columns of h
  bool skip;                    // then n_in = n_out
  const T* matrix;              // W [n_in][n_out]
  const T* bias;                // b [n_out]
  const T* idt;                 // [n_out], or null for 1
};

// Whether y differs from h.
template <typename T>
DEEPMD_FORMULA bool changes(const DenseLayer<T>& layer) {
  return layer.skip || layer.idt != nullptr;
}

// What a layer needs of itself to take the cotangent of y to that of z = x W + b.
template <typename T>
struct DenseSlope {
  const T* h;    // [n][n_out]
  const T* d_h;  // cotangent of h besides that through y, or null for 0
  const T* idt;  // or null for 1
  T* d_z;        // [n][n_out], the result; or null: no layer here
};

}  // namespace deepmd

DEEPMD_EACH_ISA(
// Blocks of x W, and of d_z W^T.
template <typename T>
std::int64_t dense_blocks(const DenseLayer<T>& layer);
template <typename T>
std::int64_t dense_back_blocks(const DenseLayer<T>& layer);

// h and y [n][n_out] from x [n][n_in]; y is not set unless changes(layer).
template <typename T>
void dense(const DenseLayer<T>& layer, const T* x, std::int64_t begin, std::int64_t end, T* h,
           T* y);

// The cotangent of x [n][n_in] from those of y and z, and from it that of z of the layer below.
template <typename T>
void dense_back(const DenseLayer<T>& layer, const T* d_y, const T* d_z, std::int64_t begin,
                std::int64_t end, T* d_x, const DenseSlope<T>& below);

// The tangents of h and y along that of x [n][n_in]; and d_h, the derivative by h of the inner
// product of the tangent of y and d_y, through the slope of tanh, 1 - h^2.
template <typename T>
void dense_along(const DenseLayer<T>& layer, const T* t_x, const T* h, const T* d_y,
                 std::int64_t begin, std::int64_t end, T* t_h, T* t_y, T* d_h);

// The last layer is linear and of one column, energy = y W + b with W [width]. For the rows begin <=
// i < end: the energy, b being null for 0; and the cotangents of y [n][width] and of z below.
template <typename T>
void dense_energy(const T* matrix, const T* bias, std::int64_t width, const T* y,
                  std::int64_t begin, std::int64_t end, T* energy);
template <typename T>
void dense_energy_back(const T* matrix, std::int64_t width, const T* d_energy, std::int64_t begin,
                       std::int64_t end, T* d_y, const DenseSlope<T>& below);

// y from x and h, or their tangents, for the rows begin <= i < end.
template <typename T>
void dense_output(const DenseLayer<T>& layer, const T* x, const T* h, std::int64_t begin,
                  std::int64_t end, T* y);

// sum over i of a[i][:], or of a[i][:] b[i][:] if there is b, [n][width] each, in the order of i; or
// adds that to sum.
template <typename T>
void dense_sums(const T* a, const T* b, std::int64_t n, std::int64_t width, bool add, T* sum);
)
