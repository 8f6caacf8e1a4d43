// SPDX-License-Identifier: BSD-3-Clause
#include "runtime.h"

#include <dlfcn.h>

#include <cstdio>
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

// Which device the user asks for.
enum class Wish { kNone, kCpu, kGpu, kUnknown };

constexpr char kDevice[] = "DEEPMD_TF_DEVICE";

Wish wish() {
  const char* text = std::getenv(kDevice);
  const std::string word = text == nullptr ? "" : text;
  if (word.empty()) return Wish::kNone;
  if (word == "cpu") return Wish::kCpu;
  return word == "gpu" ? Wish::kGpu : Wish::kUnknown;
}

// What Python says in its own log; other programs have this line.
void tell(const std::string& why) {
  if (dlsym(RTLD_DEFAULT, "Py_IsInitialized") != nullptr) return;
  std::fprintf(stderr, "deepmd_tf WARNING: operations run on the processor: %s\n", why.c_str());
  std::fflush(stderr);
}

struct Found {
  Runtime* runtime = nullptr;
  std::string why;

  Found() {
    switch (wish()) {
      case Wish::kNone: why = std::string(kDevice) + " is not set"; return;
      case Wish::kCpu: why = std::string(kDevice) + " is cpu"; return;
      case Wish::kUnknown:
        why = std::string(kDevice) + " is \"" + std::getenv(kDevice) + "\", expected cpu or gpu";
        break;
      case Wish::kGpu: {
        const char* other = std::getenv(kOther);
        runtime = other != nullptr && *other != '\0' ? open_other(other, &why) : open_cuda(&why);
        if (runtime == nullptr) why = std::string(kDevice) + " is gpu, but " + why;
      }
    }
    if (runtime == nullptr) tell(why);
  }
};

const Found& opened() {
  static const Found found;
  return found;
}

}  // namespace

Runtime* runtime() { return opened().runtime; }

const char* why_no_runtime() {
  return opened().runtime != nullptr ? nullptr : opened().why.c_str();
}

}  // namespace gpu
}  // namespace deepmd

extern "C" __attribute__((visibility("default"))) const char* deepmd_tf_why_no_gpu() {
  return deepmd::gpu::why_no_runtime();
}

extern "C" __attribute__((visibility("default"))) const char* deepmd_tf_describe_gpu() {
  static thread_local std::string text;
  text = deepmd::gpu::describe_cuda();
  return text.c_str();
}
