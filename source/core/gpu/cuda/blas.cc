// SPDX-License-Identifier: BSD-3-Clause
#include "blas.h"

#include <algorithm>
#include <limits>
#include <string>

namespace deepmd {
namespace gpu {
namespace {

// Of cublasMath_t. Numbers of 32 bits are never rounded to those of a tensor core; tensor cores for
// 64 bits round nothing.
constexpr int kDefault = 0, kPedantic = 2;

const char* name_of(int status) {
  switch (status) {
    case 1: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case 3: return "CUBLAS_STATUS_ALLOC_FAILED";
    case 7: return "CUBLAS_STATUS_INVALID_VALUE";
    case 8: return "CUBLAS_STATUS_ARCH_MISMATCH";
    case 11: return "CUBLAS_STATUS_MAPPING_ERROR";
    case 13: return "CUBLAS_STATUS_EXECUTION_FAILED";
    case 14: return "CUBLAS_STATUS_INTERNAL_ERROR";
    case 15: return "CUBLAS_STATUS_NOT_SUPPORTED";
    default: return "unknown status";
  }
}

void check(int status, const char* what) {
  if (status == 0) return;
  const std::string message = std::string("cuBLAS could not ") + what + " (" + name_of(status) +
                              ", " + std::to_string(status) + "); ";
  constexpr int not_initialized = 1, out_of_memory = 3;
  if (status == out_of_memory || status == not_initialized)
    throw OutOfMemory(message +
                      "probably the memory of the GPU is full: use smaller batches, or end other "
                      "programs on this GPU");
  throw Error(message + "DEEPMD_TF_DEVICE=cpu runs on the processor");
}

}  // namespace

Products::Handle& Products::handle_of(Context context, void* stream) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::unique_ptr<Handle>& handle = handles_[{context, stream}];
  if (handle == nullptr) handle = std::make_unique<Handle>();
  return *handle;
}

void Products::multiply(const Driver& driver, Context context, void* stream, const Product& product,
                        const void* a, const void* b, void* c) {
  if (std::max({product.m, product.n, product.k}) > std::numeric_limits<int>::max())
    throw Error("a matrix has more than 2147483647 rows or columns; use smaller batches");
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::string why;
    if (blas_ == nullptr) blas_ = open_blas(driver, &why);
    if (blas_ == nullptr) throw Error(why);
  }
  Handle& own = handle_of(context, stream);
  const std::lock_guard<std::mutex> lock(own.mutex);
  if (own.handle == nullptr) {
    void* handle = nullptr;
    check(blas_->cublasCreate_v2(&handle), "start");
    check(blas_->cublasSetStream_v2(handle, stream), "use a stream");
    own.handle = handle;
  }
  if (own.real != product.real) {
    const int mode = product.real == Real::kSingle ? kPedantic : kDefault;
    check(blas_->cublasSetMathMode(own.handle, mode), "use full precision");
    own.real = product.real;
  }
  // Matrices stored by rows are transposed matrices stored by columns, and C' = op(B)' op(A)'.
  const int m = int(product.m), n = int(product.n), k = int(product.k);
  const int first = product.transpose_b, second = product.transpose_a;
  const int width_b = product.transpose_b ? k : n, width_a = product.transpose_a ? m : k;
  const auto call = [&](auto gemm, auto one) {
    using T = decltype(one);
    const T beta = product.add ? 1 : 0;
    check(gemm(own.handle, first, second, n, m, k, &one, static_cast<const T*>(b), width_b,
               static_cast<const T*>(a), width_a, &beta, static_cast<T*>(c), n),
          "multiply matrices");
  };
  if (product.real == Real::kSingle)
    call(blas_->cublasSgemm_v2, 1.0f);
  else
    call(blas_->cublasDgemm_v2, 1.0);
}

}  // namespace gpu
}  // namespace deepmd
