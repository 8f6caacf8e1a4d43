// SPDX-License-Identifier: BSD-3-Clause
// The moment of columns that are known for every pair, on the GPU; contract.h has the formulas.
// Whatever splits hold, nothing outside of the arrays is touched.
#pragma once

#include "gpu.h"
#include "gpu_moment_view.h"

namespace deepmd {
namespace gpu {

template <typename T>
void contract(const Stream& stream, const ContractView& view, const T* rows, const T* columns,
              T* out);

template <typename T>
void contract_rows(const Stream& stream, const ContractView& view, const T* columns,
                   const T* adjoint, T* out);

template <typename T>
void contract_columns(const Stream& stream, const ContractView& view, const T* rows,
                      const T* adjoint, T* out);

}  // namespace gpu
}  // namespace deepmd
