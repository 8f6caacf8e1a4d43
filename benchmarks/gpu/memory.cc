// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "card.h"
#include "gpu.h"

namespace bench {

void* Memory::take(std::int64_t bytes) {
  std::int64_t size = std::max<std::int64_t>(bytes, 1);
  if (!exact_) {
    // eight steps between powers of two
    std::int64_t step = 256;
    while (step * 16 < size) step *= 2;
    size = (size + step - 1) / step * step;
  }
  void* memory = nullptr;
  const auto found = free_.lower_bound(size);
  if (found != free_.end() && found->first <= size + size / 4) {
    size = found->first;
    memory = found->second;
    free_.erase(found);
  } else {
    memory = card_->allocate(size);
    if (memory == nullptr) {
      release_free();
      memory = card_->allocate(size);
    }
    if (memory == nullptr)
      throw deepmd::gpu::OutOfMemory("there is no memory for " + std::to_string(size) +
                                     " bytes more than " + std::to_string(used_));
  }
  taken_[memory] = size;
  used_ += size;
  peak_ = std::max(peak_, used_);
  return memory;
}

// Whoever takes it next uses it after all that is in the stream now.
void Memory::give(void* memory) {
  if (memory == nullptr) return;
  const auto found = taken_.find(memory);
  const std::int64_t size = found->second;
  taken_.erase(found);
  used_ -= size;
  if (exact_) {
    card_->wait();
    card_->release(memory);
  } else {
    free_.emplace(size, memory);
  }
}

void Memory::release_free() {
  card_->wait();
  for (const auto& [size, memory] : free_) card_->release(memory);
  free_.clear();
}

}  // namespace bench
