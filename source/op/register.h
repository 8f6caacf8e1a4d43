// SPDX-License-Identifier: BSD-3-Clause
// DEEPMD_REGISTER_CPU("DpName", Class): kernels Class<float> and Class<double> of an op with attr T.
#pragma once

#include "tensorflow/core/framework/op_kernel.h"

#define DEEPMD_REGISTER_CPU(name, ...)                                                     \
  REGISTER_KERNEL_BUILDER(                                                                 \
      Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<float>("T"), __VA_ARGS__<float>); \
  REGISTER_KERNEL_BUILDER(                                                                 \
      Name(name).Device(tensorflow::DEVICE_CPU).TypeConstraint<double>("T"), __VA_ARGS__<double>)
