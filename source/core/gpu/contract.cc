// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_contract.h"

#include "strips.h"

namespace deepmd {
namespace gpu {
namespace {

constexpr int kThreads = 128;  // kContractWarps of contract.cu

// A block for each centre.
template <typename T, typename... A>
void launch(const Stream& stream, const ByStrip& names, const ContractView& view,
            const A*... arrays, T* out) {
  stream.launch({"contract", names.of(view.n_columns), real_of<T>()}, {view.n_centers, kThreads},
                view, arrays..., out);
}

}  // namespace

template <typename T>
void contract(const Stream& stream, const ContractView& view, const T* rows, const T* columns,
              T* out) {
  launch<T, T, T>(stream, {"contract_1", "contract_2", "contract_4"}, view, rows, columns, out);
}

template <typename T>
void contract_rows(const Stream& stream, const ContractView& view, const T* columns,
                   const T* adjoint, T* out) {
  launch<T, T, T>(stream, {"contract_rows_1", "contract_rows_2", "contract_rows_4"}, view, columns,
                  adjoint, out);
}

template <typename T>
void contract_columns(const Stream& stream, const ContractView& view, const T* rows,
                      const T* adjoint, T* out) {
  launch<T, T, T>(stream, {"contract_columns_1", "contract_columns_2", "contract_columns_4"}, view,
                  rows, adjoint, out);
}

#define INSTANTIATE(T)                                                                        \
  template void contract<T>(const Stream&, const ContractView&, const T*, const T*, T*);      \
  template void contract_rows<T>(const Stream&, const ContractView&, const T*, const T*, T*); \
  template void contract_columns<T>(const Stream&, const ContractView&, const T*, const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
