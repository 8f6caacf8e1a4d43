// SPDX-License-Identifier: BSD-3-Clause
// Products of matrices by cuBLAS.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "api.h"

namespace deepmd {
namespace gpu {

// One handle for each stream: cuBLAS repeats its results to the bit where streams do not share one.
class Products {
 public:
  // In the context of the stream. Throws Error.
  void multiply(const Driver& driver, Context context, void* stream, const Product& product,
                const void* a, const void* b, void* c);

 private:
  struct Handle {
    std::mutex mutex;
    void* handle = nullptr;
    Real real = Real::kDouble;
  };

  Handle& handle_of(Context context, void* stream);

  std::mutex mutex_;
  const Blas* blas_ = nullptr;
  std::map<std::pair<Context, void*>, std::unique_ptr<Handle>> handles_;
};

}  // namespace gpu
}  // namespace deepmd
