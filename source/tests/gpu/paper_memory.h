// SPDX-License-Identifier: BSD-3-Clause
// Memory of a GPU that is made of paper: memory of the host that the host must not touch.
#pragma once

#include <cstddef>

namespace deepmd {
namespace paper {

// An address of the device, whose memory holds no numbers (all bits are set); null if there is no
// more. The host cannot read or write it.
void* allocate(std::size_t bytes);
void release(void* device);

bool is_device(const void* address);

// The same memory as the host may see it.
void* on_host(const void* device);

// Bytes in use, and of all.
std::size_t used();
std::size_t capacity();

// No more than so many bytes from now on.
void limit(std::size_t bytes);

// While one lives, device addresses may be used: kernels run.
class Unlocked {
 public:
  Unlocked();
  ~Unlocked();
};

}  // namespace paper
}  // namespace deepmd
