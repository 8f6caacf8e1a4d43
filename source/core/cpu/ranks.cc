// SPDX-License-Identifier: BSD-3-Clause
#include "ranks.h"

namespace deepmd {
namespace DEEPMD_ISA {

void ranks(const std::int32_t* keys, std::int64_t size, std::int64_t padded, std::int32_t* ranks) {
  for (std::int64_t i = 0; i < size; ++i) {
    const std::int32_t key = keys[i];
    std::int32_t below = 0;
    for (std::int64_t block = 0; block < padded; block += kRanksPadding) {
      for (std::int64_t j = block; j < block + kRanksPadding; ++j) below += keys[j] < key;
    }
    ranks[i] = below;
  }
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
