// SPDX-License-Identifier: BSD-3-Clause
#include "ranks.h"

namespace deepmd {
namespace DEEPMD_ISA {

void ranks(const std::int32_t* keys, std::int64_t size, std::int64_t padded, std::int32_t* ranks) {
  for (std::int64_t block = 0; block < padded; block += kRanksPadding) {
    std::int32_t below[kRanksPadding] = {};
    for (std::int64_t j = 0; j < size; ++j) {
      const std::int32_t key = keys[j];
      for (std::int64_t i = 0; i < kRanksPadding; ++i) below[i] += key < keys[block + i];
    }
    for (std::int64_t i = 0; i < kRanksPadding; ++i) ranks[block + i] = below[i];
  }
}

}  // namespace DEEPMD_ISA
}  // namespace deepmd
