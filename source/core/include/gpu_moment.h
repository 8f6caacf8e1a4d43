// SPDX-License-Identifier: BSD-3-Clause
// The moment of a tabulated embedding on the GPU; moment.h has the formulas, and says what
// MomentShape and MomentPairs mean. Pairs of tables that do not exist are left out of sums, and
// rows of them are NaN; so are rows of a table whose range is none.
#pragma once

#include <cstdint>

#include "gpu.h"
#include "moment.h"

namespace deepmd {
namespace gpu {

template <typename T>
void moment(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
            const T* table, const T* rows, T* out);

template <typename T>
void moment_rows(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                 const T* table, const T* adjoint, T* out);

// rows [n_pairs][4] and s, their first column, of order 0. start may be null, or out.
template <typename T>
void moment_of_rows(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                    const T* table, const T* rows, const T* start, T* out);

template <typename T>
void moment_of_rows_vjp(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                        const T* table, const T* rows, const T* adjoint, T* out);

template <typename T>
void moment_table(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                  const T* rows, const T* adjoint, T* out);

template <typename T>
void moment_tangent_rows(const Stream& stream, const T* rows, const T* tangent, std::int64_t n,
                         T* s, T* tangent_rows);

// count [1], on the device.
template <typename T>
void moment_outside(const Stream& stream, const MomentShape& shape, const MomentPairs<T>& pairs,
                    std::int64_t* count);

}  // namespace gpu
}  // namespace deepmd
