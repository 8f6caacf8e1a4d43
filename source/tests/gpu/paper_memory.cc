// SPDX-License-Identifier: BSD-3-Clause
#include "paper_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, size)
#define ASAN_UNPOISON_MEMORY_REGION(begin, size)
#endif

namespace deepmd {
namespace paper {
namespace {

constexpr std::size_t kCapacity = std::size_t(4) << 30;
constexpr std::size_t kAlign = 256;
// Behind every array, never part of another one; set when it is allocated, looked at when released.
constexpr std::size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xA5;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "GPU made of paper: %s\n", what);
  std::abort();
}

class Memory {
 public:
  Memory() {
    const int file = memfd_create("paper_gpu", 0);
    if (file < 0 || ftruncate(file, kCapacity) != 0) fail("no memory");
    device_ = map(file, PROT_NONE);
    host_ = map(file, PROT_READ | PROT_WRITE);
    close(file);
    free_[0] = kCapacity;
    // a kernel that leaves its arrays is seen at once where there is AddressSanitizer
    ASAN_POISON_MEMORY_REGION(device_, kCapacity);
  }

  void* allocate(std::size_t bytes) {
    const std::size_t size = (bytes + kAlign - 1) / kAlign * kAlign + kGuard;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (used_ + size > limit_) return nullptr;
    for (auto at = free_.begin(); at != free_.end(); ++at) {
      if (at->second < size) continue;
      const std::size_t offset = at->first, left = at->second - size;
      free_.erase(at);
      if (left > 0) free_[offset + size] = left;
      taken_[offset] = {bytes, size};
      std::memset(host_ + offset, 0xff, bytes);
      std::memset(host_ + offset + bytes, kGuardByte, size - bytes);
      used_ += size;
      ASAN_UNPOISON_MEMORY_REGION(device_ + offset, bytes);
      return device_ + offset;
    }
    return nullptr;
  }

  void release(void* device) {
    if (device == nullptr) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto at = taken_.find(static_cast<char*>(device) - device_);
    if (at == taken_.end()) fail("memory is released that was not allocated");
    std::size_t offset = at->first;
    auto [bytes, size] = at->second;
    for (std::size_t i = bytes; i < size; ++i)
      if (static_cast<unsigned char>(host_[offset + i]) != kGuardByte)
        fail("something was written behind an array");
    ASAN_POISON_MEMORY_REGION(device_ + offset, bytes);
    taken_.erase(at);
    used_ -= size;
    const auto next = free_.find(offset + size);
    if (next != free_.end()) {
      size += next->second;
      free_.erase(next);
    }
    auto before = free_.lower_bound(offset);
    if (before != free_.begin() && (--before)->first + before->second == offset)
      before->second += size;
    else
      free_[offset] = size;
  }

  bool is_device(const void* address) const {
    const auto offset = static_cast<const char*>(address) - device_;
    return offset >= 0 && static_cast<std::size_t>(offset) < kCapacity;
  }

  void* on_host(const void* device) const {
    if (!is_device(device)) fail("an address of the host is used as one of the device");
    return host_ + (static_cast<const char*>(device) - device_);
  }

  void unlock() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (unlocked_++ == 0) mprotect(device_, kCapacity, PROT_READ | PROT_WRITE);
  }

  void lock() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--unlocked_ == 0) mprotect(device_, kCapacity, PROT_NONE);
  }

  std::size_t used() const { return used_; }
  void limit(std::size_t bytes) { limit_ = bytes; }

 private:
  struct Taken {
    std::size_t bytes, size;
  };

  static char* map(int file, int access) {
    void* address = mmap(nullptr, kCapacity, access, MAP_SHARED | MAP_NORESERVE, file, 0);
    if (address == MAP_FAILED) fail("no address space");
    return static_cast<char*>(address);
  }

  std::mutex mutex_;
  char *device_ = nullptr, *host_ = nullptr;
  std::map<std::size_t, std::size_t> free_;  // bytes by offset
  std::map<std::size_t, Taken> taken_;
  std::size_t used_ = 0, limit_ = kCapacity;
  int unlocked_ = 0;
};

Memory& memory() {
  // never destroyed: TensorFlow releases what it has when the process ends
  static Memory& one = *new Memory;
  return one;
}

}  // namespace

void* allocate(std::size_t bytes) { return memory().allocate(bytes); }
void release(void* device) { memory().release(device); }
bool is_device(const void* address) { return memory().is_device(address); }
void* on_host(const void* device) { return memory().on_host(device); }
std::size_t used() { return memory().used(); }
std::size_t capacity() { return kCapacity; }
void limit(std::size_t bytes) { memory().limit(bytes); }
Unlocked::Unlocked() { memory().unlock(); }
Unlocked::~Unlocked() { memory().lock(); }

}  // namespace paper
}  // namespace deepmd
