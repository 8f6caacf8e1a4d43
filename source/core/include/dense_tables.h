// SPDX-License-Identifier: BSD-3-Clause
// Tables that a kernel of gpu/kernels/dense.cu works through in one launch: an item for each net.
// Items are in the order of their first blocks; a block finds its own by find_item of kernel.h.
#pragma once

#ifndef __CUDACC__
#include <cstdint>
#endif

namespace deepmd {
namespace gpu {

// Numbers of a matrix that a block handles.
constexpr int kDenseBlock = 1024;
// Rows of a matrix that a block handles where there is a warp for each.
constexpr int kDenseRows = 8;
// Columns of a matrix that a block sums.
constexpr int kDenseColumns = 32;

// Matrices [size / width][width].
template <typename T>
struct DenseMatrix {
  int64_t block, size, width;
};

// h holds x W, to which bias is added and tanh applied; or is h where bias is null.
// y = h idt + x, if it is not null; idt null stands for 1, and x for 0.
template <typename T>
struct DenseForward : DenseMatrix<T> {
  const T *bias, *idt, *x;
  T *h, *y;
};

// t_h holds t_x W, and gets the tangent of h; d_h and t_y as in dense_along of dense.h.
template <typename T>
struct DenseAlong : DenseMatrix<T> {
  const T *idt, *x, *h, *d_y;
  T *t_h, *t_y, *d_h;
};

// d_y, which holds d_z W^T of the layer above or else gets d_energy[i] matrix[j], to which `skip`
// is added if it is not null. From it comes d_z, if that is not null; d_h null stands for 0.
template <typename T>
struct DenseBackward : DenseMatrix<T> {
  const T *d_energy, *matrix, *skip, *h, *d_h, *idt;
  T *d_y, *d_z;
};

// energy[i] = sum over j of y[i][j] matrix[j], and bias[0].
template <typename T>
struct DenseEnergy {
  int64_t block, n, width;
  const T *y, *matrix, *bias;
  T* energy;
};

// parts[chunk][j]: sum over the rows of a chunk of a[i][j] b[i][j] of_row[i]; null stands for 1.
template <typename T>
struct DenseSums {
  int64_t block, n, width, rows;  // rows of a chunk
  const T *a, *b, *of_row;
  T* parts;
};

// sum[j] of all parts[chunk * step + j], in order.
template <typename T>
struct DenseJoin {
  int64_t block, chunks, width, step;
  const T* parts;
  T* sum;
};

}  // namespace gpu
}  // namespace deepmd
