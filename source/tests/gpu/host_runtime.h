// SPDX-License-Identifier: BSD-3-Clause
// Kernels by their names, on the host.
#pragma once

#include <vector>

#include "gpu.h"

namespace deepmd {
namespace on_host {

// Runs a kernel; throws gpu::Error if there is none of this name or its arguments are of other
// types.
void launch(const gpu::Kernel& kernel, const gpu::Grid& grid, const gpu::Arguments& arguments);

// In which order blocks and threads run. Alternating is that of every second launch: the same again
// for an operation of an even number of them.
enum class Order { kAlternating, kAscending, kDescending };
void set_order(Order order);

// All kernels; those without real numbers once.
std::vector<gpu::Kernel> registered();

}  // namespace on_host
}  // namespace deepmd
