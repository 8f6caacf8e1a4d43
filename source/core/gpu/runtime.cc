// SPDX-License-Identifier: BSD-3-Clause
#include "runtime.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

namespace deepmd {
namespace gpu {
namespace {

// A library with the function `Runtime* deepmd_tf_gpu_runtime()`, for tests.
constexpr char kOther[] = "DEEPMD_TF_GPU_RUNTIME";

Runtime* open_other(const char* path, std::string* why) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* function = library == nullptr ? nullptr : dlsym(library, "deepmd_tf_gpu_runtime");
  if (function == nullptr) {
    const char* error = dlerror();
    *why = std::string(kOther) + "=" + path + ": " + (error == nullptr ? "" : error);
    return nullptr;
  }
  return reinterpret_cast<Runtime* (*)()>(function)();
}

struct Opened {
  Runtime* runtime = nullptr;
  std::string why;

  Opened() {
    const char* device = std::getenv("DEEPMD_TF_DEVICE");
    if (device == nullptr || std::string(device) != "gpu") {
      why = "DEEPMD_TF_DEVICE is not gpu";
      return;
    }
    const char* other = std::getenv(kOther);
    runtime = other != nullptr && *other != '\0' ? open_other(other, &why) : open_cuda(&why);
  }
};

const Opened& opened() {
  static const Opened found;
  return found;
}

}  // namespace

Runtime* runtime() { return opened().runtime; }

const char* why_no_runtime() {
  return opened().runtime != nullptr ? nullptr : opened().why.c_str();
}

}  // namespace gpu
}  // namespace deepmd
