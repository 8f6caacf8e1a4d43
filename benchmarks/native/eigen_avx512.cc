// SPDX-License-Identifier: BSD-3-Clause
#define EIGEN_OF_THIS_ISA Eigen_avx512
#define EIGEN_PRODUCT eigen_avx512
#include "eigen.inc"
