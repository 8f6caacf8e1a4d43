// SPDX-License-Identifier: BSD-3-Clause
#include "ranks.h"

#include "vector.h"

namespace deepmd {
namespace DEEPMD_ISA {

void ranks(const std::int32_t* keys, std::int64_t size, std::int64_t padded, std::int32_t* ranks) {
  constexpr int W = kWidth<float>;
  using V = Vector<float, W>::Indices;
  static_assert(kRanksPadding % W == 0, "a vector must not go past the end");
  for (std::int64_t i = 0; i < padded; i += W) {
    const V mine = load<V>(keys + i);
    V below{};
    // What is true is -1 in a vector.
    for (std::int64_t j = 0; j < size; ++j) below -= V{} + keys[j] < mine;
    store(ranks + i, below);
  }
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
