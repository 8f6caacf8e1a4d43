// SPDX-License-Identifier: BSD-3-Clause
#define EIGEN_OF_THIS_ISA Eigen_avx2
#define EIGEN_PRODUCT eigen_avx2
#include "eigen.inc"
