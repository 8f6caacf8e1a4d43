// SPDX-License-Identifier: BSD-3-Clause
// The GPU as core and its callers see it: pieces of work that are put into a stream and done one
// after the other.
//
// Nothing of CUDA is needed to build this. A Runtime does the work: that of gpu/cuda.cc opens the
// driver, NVRTC and cuBLAS when a GPU is first used, and compiles the kernels in gpu/kernels; tests
// have one that runs the same kernels on the host (source/tests/gpu).
//
// Functions on whole arrays of the GPU are in namespace deepmd::gpu, in gpu_*.h. Their arrays are
// on the device, sizes and scalars on the host. They wait for nothing unless they say so.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <type_traits>
#include <typeinfo>

namespace deepmd {
namespace gpu {

// What the GPU or its software could not do, in one message for users.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// Numbers that the kernels of a file are compiled for.
enum class Real { kSingle, kDouble };

template <typename T>
constexpr Real real_of() {
  static_assert(std::is_same<T, float>::value || std::is_same<T, double>::value, "float or double");
  return std::is_same<T, float>::value ? Real::kSingle : Real::kDouble;
}

// A function of gpu/kernels/<file>.cu.
struct Kernel {
  const char* file;
  const char* name;
  Real real;
};

// Blocks of a kernel, threads of a block (at most kMostThreads), bytes of DYNAMIC_SHARED.
struct Grid {
  std::int64_t blocks;
  int threads;
  std::int64_t shared = 0;
};

constexpr int kMostThreads = 256;

// Arguments of a kernel: where they are, and their types, for runtimes that check them.
struct Arguments {
  void* const* values;
  const std::type_info* const* types;
  int count;
};

// C = op(A) op(B), or C + op(A) op(B), for matrices stored by rows; see gemm.h for the shapes.
struct Product {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b, add;
  Real real;
};

// What a GPU does. Streams are those of CUDA; everything throws Error.
class Runtime {
 public:
  virtual void launch(void* stream, const Kernel& kernel, const Grid& grid,
                      const Arguments& arguments) = 0;
  // Waits until the stream has come so far.
  virtual void copy_to_host(void* stream, void* host, const void* device, std::int64_t bytes) = 0;
  // The host's array may be changed at once.
  virtual void copy_to_device(void* stream, void* device, const void* host, std::int64_t bytes) = 0;
  virtual void copy(void* stream, void* to, const void* from, std::int64_t bytes) = 0;
  virtual void zero(void* stream, void* device, std::int64_t bytes) = 0;
  virtual void multiply(void* stream, const Product& product, const void* a, const void* b,
                        void* c) = 0;

 protected:
  ~Runtime() = default;
};

// The runtime of this process, or null: no driver, no NVRTC, or the environment variable
// DEEPMD_TF_DEVICE does not ask for a GPU. Whether there is a GPU is TensorFlow's to say.
Runtime* runtime();

// Why there is none, for users; null if there is one.
const char* why_no_runtime();

// As the types of arguments are compared: pointers to const and to what may be changed are alike.
template <typename A>
const std::type_info* argument_type() {
  using Pointee = std::remove_const_t<std::remove_pointer_t<A>>;
  return &typeid(std::conditional_t<std::is_pointer<A>::value, Pointee*, std::remove_const_t<A>>);
}

// Work in order on one GPU.
class Stream {
 public:
  // Memory of the device that lives as long as its owner, as an operation of TensorFlow does.
  using Allocate = void* (*)(void* owner, std::int64_t bytes);

  Stream(Runtime* runtime, void* handle, void* owner, Allocate allocate)
      : runtime_(runtime), handle_(handle), owner_(owner), allocate_(allocate) {}

  // Arguments must have the types of the kernel's parameters. Nothing is done for no blocks.
  template <typename... A>
  void launch(const Kernel& kernel, const Grid& grid, A... arguments) const {
    if (grid.blocks <= 0) return;
    void* const values[] = {static_cast<void*>(&arguments)...};
    static const std::type_info* const types[] = {argument_type<A>()...};
    runtime_->launch(handle_, kernel, grid, {values, types, sizeof...(A)});
  }

  // A thread for each of n items, in kernels that loop by EACH.
  template <typename... A>
  void for_each(const Kernel& kernel, std::int64_t n, A... arguments) const {
    constexpr int threads = 128;
    constexpr std::int64_t most = 1 << 20;
    const std::int64_t blocks = (n + threads - 1) / threads;
    launch(kernel, {blocks < most ? blocks : most, threads}, arguments...);
  }

  // Waits for what was put into the stream before.
  template <typename T>
  void read(const T* device, std::int64_t n, T* host) const {
    runtime_->copy_to_host(handle_, host, device, n * std::int64_t(sizeof(T)));
  }
  template <typename T>
  void write(const T* host, std::int64_t n, T* device) const {
    runtime_->copy_to_device(handle_, device, host, n * std::int64_t(sizeof(T)));
  }
  template <typename T>
  void copy(const T* from, std::int64_t n, T* to) const {
    runtime_->copy(handle_, to, from, n * std::int64_t(sizeof(T)));
  }
  template <typename T>
  void zero(T* device, std::int64_t n) const {
    runtime_->zero(handle_, device, n * std::int64_t(sizeof(T)));
  }

  // op(A) op(B), or that and C; see gemm.h. `add` of a product with k = 0 leaves C.
  template <typename T>
  void multiply(std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a, bool transpose_b,
                const T* a, const T* b, bool add, T* c) const {
    if (m == 0 || n == 0) return;
    if (k == 0) {
      if (!add) zero(c, m * n);
      return;
    }
    runtime_->multiply(handle_, {m, n, k, transpose_a, transpose_b, add, real_of<T>()}, a, b, c);
  }

  // n numbers of the device, aligned to 64 bytes, not set; never null. For work of this stream
  // only.
  template <typename T>
  T* scratch(std::int64_t n) const {
    return static_cast<T*>(allocate_(owner_, (n < 1 ? 1 : n) * std::int64_t(sizeof(T))));
  }

 private:
  Runtime* runtime_;
  void* handle_;
  void* owner_;
  Allocate allocate_;
};

}  // namespace gpu
}  // namespace deepmd

// For the Python side: why_no_runtime(), and lines on what is installed, valid until the thread's
// next call (see describe_cuda() in gpu/runtime.h).
extern "C" const char* deepmd_tf_why_no_gpu();
extern "C" const char* deepmd_tf_describe_gpu();
