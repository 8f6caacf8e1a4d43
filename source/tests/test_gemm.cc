// SPDX-License-Identifier: BSD-3-Clause
// Products of matrices against three loops, for shapes around the sizes of tiles and panels.
#include "gemm.h"

#include "check.h"

namespace {

using deepmd::GemmShape;
using std::int64_t;

template <typename T>
void compare(const GemmShape& shape, bool add, double tolerance) {
  const auto [m, n, k, transpose_a, transpose_b] = shape;
  const auto a = check::random<T>(m * k, 1), b = check::random<T>(k * n, 2);
  const auto before = check::random<T>(m * n, 3);
  auto c = before;
  const int64_t blocks = DEEPMD_PICK(gemm_blocks<T>)(shape);
  // the second half first: blocks are independent
  DEEPMD_PICK(gemm<T>)(shape, a.data(), b.data(), blocks / 2, blocks, add, c.data());
  DEEPMD_PICK(gemm<T>)(shape, a.data(), b.data(), 0, blocks / 2, add, c.data());
  int64_t wrong = 0, covered = 0;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double sum = add ? before[i * n + j] : 0.0;
      for (int64_t l = 0; l < k; ++l)
        sum += static_cast<double>(a[transpose_a ? l * m + i : i * k + l]) *
               static_cast<double>(b[transpose_b ? j * k + l : l * n + j]);
      wrong += !check::close(c[i * n + j], sum, tolerance);
    }
  for (int64_t block = 0; block < blocks; ++block) {
    const auto r = DEEPMD_PICK(gemm_range<T>)(shape, block);
    covered += (r.end_row - r.row) * (r.end_column - r.column);
  }
  CHECK(wrong == 0);
  CHECK(covered == m * n);
}

TEST(products) {
  const int64_t sizes[] = {1, 3, 8, 25, 49, 130};
  for (const int64_t m : sizes)
    for (const int64_t n : sizes)
      for (const int64_t k : {int64_t{1}, int64_t{50}, int64_t{300}})
        for (int flags = 0; flags < 4; ++flags) {
          const GemmShape shape{m, n, k, (flags & 1) != 0, (flags & 2) != 0};
          compare<double>(shape, flags == 2, 1e-13);
          compare<float>(shape, flags == 1, 5e-5);
        }
}

TEST(empty_products) {
  compare<double>({0, 5, 3, false, false}, false, 0);
  compare<double>({4, 5, 0, false, false}, false, 0);
  compare<double>({4, 5, 0, false, true}, true, 0);
}

}  // namespace

TEST_MAIN()
