// SPDX-License-Identifier: BSD-3-Clause
// The moment of columns that are known for every pair, and its transposes; include/contract.h has
// the formulas. A block for each centre, whose warps share the pairs.
#include "lanes.h"

#include "gpu_moment_view.h"

using deepmd::gpu::ContractView;

constexpr int kContractWarps = 4;

struct Range {
  int64_t from, to;
};

DEVICE Range pairs_of(const ContractView& view, int64_t center) {
  const int64_t from = clamp(view.splits[center * view.ntypes], 0, view.n_pairs);
  return {from, clamp(view.splits[(center + 1) * view.ntypes], from, view.n_pairs)};
}

template <int N>
DEVICE void contract(const ContractView& view, const real* rows, const real* columns, real* out) {
  constexpr int kPart = 4 * kWarp * N;
  SHARED real parts[kContractWarps * kPart];
  EACH_BLOCK(center, view.n_centers) {
    const Range pairs = pairs_of(view, center);
    for (int64_t first = 0; first < view.n_columns; first += kWarp * N) {
      real sum[4][N] = {};
      for (int64_t p = pairs.from + warp_of_block(); p < pairs.to; p += kContractWarps) {
        real g[N];
        load_columns<N>(columns + p * view.n_columns, first, view.n_columns, g);
        UNROLLED(a, 4) {
          const real row = rows[4 * p + a];
          UNROLLED(j, N) sum[a][j] += row * g[j];
        }
      }
      add_warps<N>(sum, parts, kPart, first, view.n_columns, nullptr,
                   out + center * 4 * view.n_columns);
    }
  }
}

// Eight pairs at a time: their 32 sums over columns are one for each lane.
template <int N>
DEVICE void contract_rows(const ContractView& view, const real* columns, const real* adjoint,
                          real* out) {
  constexpr int kPairs = 8;
  const bool one_strip = view.n_columns <= kWarp * N;
  mark_lost_pairs(view.splits, view.n_centers * view.ntypes, view.n_pairs, 4, out);
  EACH_BLOCK(center, view.n_centers) {
    const Range pairs = pairs_of(view, center);
    const real* of_center = adjoint + center * 4 * view.n_columns;
    real y[4][N];
    if (one_strip) load_adjoint<N>(of_center, 0, view.n_columns, y);
    for (int64_t p = pairs.from + kPairs * warp_of_block(); p < pairs.to;
         p += kPairs * kContractWarps) {
      real sum[4 * kPairs] = {};
      for (int64_t first = 0; first < view.n_columns; first += kWarp * N) {
        if (!one_strip) load_adjoint<N>(of_center, first, view.n_columns, y);
        UNROLLED(i, kPairs) {
          if (p + i >= pairs.to) continue;
          real g[N];
          load_columns<N>(columns + (p + i) * view.n_columns, first, view.n_columns, g);
          UNROLLED(a, 4) UNROLLED(j, N) sum[4 * i + a] += y[a][j] * g[j];
        }
      }
      const real value = sums_of_32(sum);
      if (p + lane_of_warp() / 4 < pairs.to) out[4 * p + lane_of_warp()] = value;
    }
  }
}

template <int N>
DEVICE void contract_columns(const ContractView& view, const real* rows, const real* adjoint,
                             real* out) {
  mark_lost_pairs(view.splits, view.n_centers * view.ntypes, view.n_pairs, view.n_columns, out);
  EACH_BLOCK(center, view.n_centers) {
    const Range pairs = pairs_of(view, center);
    for (int64_t first = 0; first < view.n_columns; first += kWarp * N) {
      real y[4][N];
      load_adjoint<N>(adjoint + center * 4 * view.n_columns, first, view.n_columns, y);
      for (int64_t p = pairs.from + warp_of_block(); p < pairs.to; p += kContractWarps) {
        real g[N] = {};
        UNROLLED(a, 4) {
          const real row = rows[4 * p + a];
          UNROLLED(j, N) g[j] += row * y[a][j];
        }
        store_columns<N>(out + p * view.n_columns, first, view.n_columns, g);
      }
    }
  }
}

BLOCK_KERNEL(contract_1, ContractView view, const real* rows, const real* columns, real* out) {
  contract<1>(view, rows, columns, out);
}
BLOCK_KERNEL(contract_2, ContractView view, const real* rows, const real* columns, real* out) {
  contract<2>(view, rows, columns, out);
}
BLOCK_KERNEL(contract_4, ContractView view, const real* rows, const real* columns, real* out) {
  contract<4>(view, rows, columns, out);
}

BLOCK_KERNEL(contract_rows_1, ContractView view, const real* columns, const real* adjoint,
             real* out) {
  contract_rows<1>(view, columns, adjoint, out);
}
BLOCK_KERNEL(contract_rows_2, ContractView view, const real* columns, const real* adjoint,
             real* out) {
  contract_rows<2>(view, columns, adjoint, out);
}
BLOCK_KERNEL(contract_rows_4, ContractView view, const real* columns, const real* adjoint,
             real* out) {
  contract_rows<4>(view, columns, adjoint, out);
}

BLOCK_KERNEL(contract_columns_1, ContractView view, const real* rows, const real* adjoint,
             real* out) {
  contract_columns<1>(view, rows, adjoint, out);
}
BLOCK_KERNEL(contract_columns_2, ContractView view, const real* rows, const real* adjoint,
             real* out) {
  contract_columns<2>(view, rows, adjoint, out);
}
BLOCK_KERNEL(contract_columns_4, ContractView view, const real* rows, const real* adjoint,
             real* out) {
  contract_columns<4>(view, rows, adjoint, out);
}
