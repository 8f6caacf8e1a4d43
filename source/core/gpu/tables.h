// SPDX-License-Identifier: BSD-3-Clause
// Tables of items that kernels work through, many in one launch; find_item of kernel.h finds that
// of a block. All tables of a call are written to the device together.
#pragma once

#include <type_traits>
#include <vector>

#include "gpu.h"

namespace deepmd {
namespace gpu {

template <typename Item>
struct Table {
  std::vector<Item> items;
  std::int64_t blocks = 0;  // of the launch
  std::size_t at = 0;       // in the memory of Tables, when it is written

  // Adds an item of so many blocks.
  void add(Item item, std::int64_t n) {
    if (n <= 0) return;
    item.block = blocks;
    items.push_back(item);
    blocks += n;
  }
};

class Tables {
 public:
  template <typename Item>
  void add(Table<Item>* table) {
    static_assert(std::is_trivially_copyable<Item>::value, "bytes are copied");
    table->at = bytes_.size();
    const auto* items = reinterpret_cast<const unsigned char*>(table->items.data());
    bytes_.insert(bytes_.end(), items, items + table->items.size() * sizeof(Item));
    bytes_.resize((bytes_.size() + kAlign - 1) / kAlign * kAlign);
  }

  // After all have been added.
  void write(const Stream& stream) {
    if (bytes_.empty()) return;
    device_ = stream.scratch<unsigned char>(bytes_.size());
    stream.write(bytes_.data(), bytes_.size(), device_);
  }

  // The items of a table on the device.
  template <typename Item>
  const Item* items(const Table<Item>& table) const {
    return reinterpret_cast<const Item*>(device_ + table.at);
  }

  // A kernel(items, number of items, arguments).
  template <typename Item, typename... A>
  void launch(const Stream& stream, const Kernel& kernel, int threads, const Table<Item>& table,
              A... arguments) const {
    if (table.blocks == 0) return;
    stream.launch(kernel, {table.blocks, threads}, items(table),
                  static_cast<std::int64_t>(table.items.size()), arguments...);
  }

 private:
  static constexpr std::size_t kAlign = 16;
  std::vector<unsigned char> bytes_;
  unsigned char* device_ = nullptr;
};

inline std::int64_t blocks_of(std::int64_t n, std::int64_t each) { return (n + each - 1) / each; }

}  // namespace gpu
}  // namespace deepmd
