// SPDX-License-Identifier: BSD-3-Clause
// The runtime of the GPU that is made of paper. It counts what it did, for tests.
#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "host_runtime.h"
#include "paper_memory.h"

namespace deepmd {
namespace paper {
namespace {

// Row by row, every sum in the order of l.
template <typename T>
void product(const gpu::Product& p, const T* a, const T* b, T* c) {
  std::vector<T> turned(p.transpose_b ? p.k * p.n : 0);
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(turned.size()); ++i)
    turned[i] = b[i % p.n * p.k + i / p.n];
  if (p.transpose_b) b = turned.data();
  for (std::int64_t i = 0; i < p.m; ++i) {
    T* const row = c + i * p.n;
    if (!p.add) std::fill(row, row + p.n, T(0));
    for (std::int64_t l = 0; l < p.k; ++l) {
      const T factor = p.transpose_a ? a[l * p.m + i] : a[i * p.k + l];
      for (std::int64_t j = 0; j < p.n; ++j) row[j] += factor * b[l * p.n + j];
    }
  }
}

class PaperRuntime final : public gpu::Runtime {
 public:
  void launch(void*, const gpu::Kernel& kernel, const gpu::Grid& grid,
              const gpu::Arguments& arguments) override {
    count(std::string(kernel.file) + " " + kernel.name +
          (kernel.real == gpu::Real::kSingle ? " float" : " double"));
    for (int i = 0; i < arguments.count; ++i)
      check_address(kernel, i, *arguments.types[i], arguments.values[i]);
    const Unlocked unlocked;
    on_host::launch(kernel, grid, arguments);
  }

  void copy_to_host(void*, void* host, const void* device, std::int64_t bytes) override {
    count("copy_to_host");
    if (bytes > 0) std::memcpy(host, on_host_(device), bytes);
  }
  void copy_to_device(void*, void* device, const void* host, std::int64_t bytes) override {
    count("copy_to_device");
    if (bytes > 0) std::memcpy(on_host_(device), host, bytes);
  }
  void copy(void*, void* to, const void* from, std::int64_t bytes) override {
    if (bytes > 0) std::memcpy(on_host_(to), on_host_(from), bytes);
  }
  void zero(void*, void* device, std::int64_t bytes) override {
    if (bytes > 0) std::memset(on_host_(device), 0, bytes);
  }
  void multiply(void*, const gpu::Product& p, const void* a, const void* b, void* c) override {
    count(p.real == gpu::Real::kSingle ? "multiply float" : "multiply double");
    if (p.real == gpu::Real::kSingle)
      product(p, static_cast<const float*>(on_host_(a)), static_cast<const float*>(on_host_(b)),
              static_cast<float*>(on_host_(c)));
    else
      product(p, static_cast<const double*>(on_host_(a)), static_cast<const double*>(on_host_(b)),
              static_cast<double*>(on_host_(c)));
  }

  std::string counts() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string text;
    for (const auto& [name, number] : counts_) text += name + " " + std::to_string(number) + "\n";
    return text;
  }

 private:
  // A kernel on the host could read memory of the host; one on a GPU cannot.
  static void check_address(const gpu::Kernel& kernel, int i, const std::type_info& type,
                            const void* value) {
    if (type.name()[0] != 'P') return;  // of a pointer
    const void* address = nullptr;
    std::memcpy(&address, value, sizeof address);
    if (address == nullptr || is_device(address)) return;
    throw gpu::Error(std::string("kernel ") + kernel.name + " of " + kernel.file +
                     ".cu: argument " + std::to_string(i) + " is an address of the host");
  }

  static void* on_host_(const void* device) { return paper::on_host(device); }

  void count(const std::string& what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++counts_[what];
  }

  std::mutex mutex_;
  std::map<std::string, long> counts_;
};

PaperRuntime& runtime() {
  static PaperRuntime& one = *new PaperRuntime;
  return one;
}

}  // namespace
}  // namespace paper
}  // namespace deepmd

extern "C" deepmd::gpu::Runtime* deepmd_tf_gpu_runtime() { return &deepmd::paper::runtime(); }

// Lines "FILE KERNEL TYPE NUMBER" of what was launched and copied, for ctypes; valid until the next
// call.
extern "C" const char* paper_gpu_counts() {
  static thread_local std::string text;
  text = deepmd::paper::runtime().counts();
  return text.c_str();
}

// Lines "FILE KERNEL TYPE" of all kernels.
extern "C" const char* paper_gpu_kernels() {
  static thread_local std::string text;
  text.clear();
  for (const auto& kernel : deepmd::on_host::registered())
    text += std::string(kernel.file) + " " + kernel.name +
            (kernel.real == deepmd::gpu::Real::kSingle ? " float\n" : " double\n");
  return text.c_str();
}

// 0: every launch runs the other way round than the last; 1: ascending; 2: descending.
extern "C" void paper_gpu_order(int order) {
  deepmd::on_host::set_order(static_cast<deepmd::on_host::Order>(order));
}

// Bytes of the device that are in use, and a limit to them from now on.
extern "C" std::size_t paper_gpu_used() { return deepmd::paper::used(); }
extern "C" void paper_gpu_limit(std::size_t bytes) { deepmd::paper::limit(bytes); }
