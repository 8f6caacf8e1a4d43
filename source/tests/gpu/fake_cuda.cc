// SPDX-License-Identifier: BSD-3-Clause
// What cuda.cc opens on a machine with a GPU, without one: three libraries of this text, each with
// the functions of one. Memory of the device is the host's. What is called is written into the file
// $FAKE_CUDA_LOG, a line each. $FAKE_CUDA says what is otherwise than usual, as "name=number …":
//
//   cuLaunchKernel=719   that function fails with this number, and so on
//   version=11040        what the driver is of      card=61        what the card is
//   cards=0              how many there are         knows=90       the newest that NVRTC knows
//   slow=100             milliseconds that compiling takes
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <thread>

namespace {

long setting(const char* name, long usual) {
  const char* all = std::getenv("FAKE_CUDA");
  const std::string text = std::string(" ") + (all == nullptr ? "" : all);
  const std::string key = std::string(" ") + name + "=";
  const std::size_t at = text.find(key);
  return at == std::string::npos ? usual : std::atol(text.c_str() + at + key.size());
}

void note(const std::string& line) {
  const char* path = std::getenv("FAKE_CUDA_LOG");
  if (path == nullptr) return;
  const int file = open(path, O_WRONLY | O_CREAT | O_APPEND, 0666);
  const std::string text = line + "\n";
  if (write(file, text.data(), text.size()) < 0) std::abort();
  close(file);
}

int done(const char* name, const std::string& what = "") {
  note(std::string(name) + (what.empty() ? "" : " ") + what);
  return int(setting(name, 0));
}

[[maybe_unused]] std::string text(long number) { return std::to_string(number); }

}  // namespace

#define FAKE(name, ...) extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

#ifdef FAKE_DRIVER

namespace {

int one_context, other_context;
thread_local void* current = nullptr;

struct Image {
  std::string text;
};

// Functions are their names.
std::string* function_of(const char* name) {
  static std::mutex mutex;
  static std::map<std::string, std::string>& names = *new std::map<std::string, std::string>;
  const std::lock_guard<std::mutex> lock(mutex);
  return &names.emplace(name, name).first->second;
}

}  // namespace

FAKE(cuInit, unsigned) { return done("cuInit"); }
FAKE(cuDriverGetVersion, int* version) {
  *version = int(setting("version", 12040));
  return 0;
}
FAKE(cuGetErrorName, int status, const char** name) {
  *name = status == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : status == 719 ? "CUDA_ERROR_LAUNCH_FAILED"
                          : "CUDA_ERROR_OF_SOME_KIND";
  return 0;
}
FAKE(cuGetErrorString, int status, const char** text) {
  *text = status == 2 ? "out of memory" : "words of the driver";
  return 0;
}
FAKE(cuDeviceGetCount, int* count) {
  *count = int(setting("cards", 1));
  return done("cuDeviceGetCount");
}
FAKE(cuDeviceGet, int* device, int i) {
  *device = i;
  return 0;
}
FAKE(cuDeviceGetName, char* name, int length, int) {
  std::snprintf(name, std::size_t(length), "Paper 100");
  return 0;
}
FAKE(cuDeviceGetAttribute, int* value, int attribute, int) {
  const int card = int(setting("card", 90));
  *value = attribute == 75 ? card / 10 : card % 10;
  return 0;
}
FAKE(cuDeviceTotalMem_v2, std::size_t* bytes, int) {
  *bytes = std::size_t(80) << 30;
  return 0;
}
FAKE(cuCtxGetCurrent, void** context) {
  *context = current;
  return 0;
}
FAKE(cuCtxPushCurrent_v2, void* context) {
  current = context;
  return done("cuCtxPushCurrent");
}
FAKE(cuCtxPopCurrent_v2, void** context) {
  *context = current;
  current = nullptr;
  return done("cuCtxPopCurrent");
}
FAKE(cuCtxGetDevice, int* device) {
  *device = 0;
  return current == nullptr ? 201 : 0;
}
// Odd streams are of one context, even ones of the other.
FAKE(cuStreamGetCtx, void* stream, void** context) {
  *context = reinterpret_cast<std::uintptr_t>(stream) % 2 ? &one_context : &other_context;
  return int(setting("cuStreamGetCtx", 0));
}
FAKE(cuStreamSynchronize, void*) { return done("cuStreamSynchronize"); }
FAKE(cuModuleLoadData, void** module, const char* image) {
  const bool cubin = std::strncmp(image, "FAKE", 4) == 0 || std::strncmp(image, "\177ELF", 4) == 0;
  const bool ptx = std::strncmp(image, "//", 2) == 0;
  if (!cubin && !ptx) {
    note("cuModuleLoadData refused");
    return 200;
  }
  *module = new Image{image};
  return current == nullptr ? 201 : done("cuModuleLoadData", ptx ? "PTX" : "cubin");
}
FAKE(cuModuleGetFunction, void** function, void* module, const char* name) {
  const Image& image = *static_cast<Image*>(module);
  if (image.text[0] == 'F' && image.text.find(std::string("(") + name + ",") == std::string::npos)
    return 500;
  *function = function_of(name);
  return done("cuModuleGetFunction", name);
}
FAKE(cuFuncSetAttribute, void*, int attribute, int value) {
  return done("cuFuncSetAttribute", text(attribute) + " " + text(value));
}
FAKE(cuLaunchKernel, void* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned,
     unsigned, unsigned shared, void*, void** values, void**) {
  if (current == nullptr) return 201;
  return done("cuLaunchKernel", *static_cast<std::string*>(function) + " " + text(x) + " " +
                                    text(y * z) + " " + text(threads) + " " + text(shared) + " " +
                                    text(*static_cast<int*>(values[0])));
}
FAKE(cuMemcpyDtoHAsync_v2, void* to, void* from, std::size_t bytes, void*) {
  std::memcpy(to, from, bytes);
  return done("cuMemcpyDtoHAsync", text(long(bytes)));
}
FAKE(cuMemcpyHtoDAsync_v2, void* to, void* from, std::size_t bytes, void*) {
  std::memcpy(to, from, bytes);
  return done("cuMemcpyHtoDAsync", text(long(bytes)));
}
FAKE(cuMemcpyDtoDAsync_v2, void* to, void* from, std::size_t bytes, void*) {
  std::memcpy(to, from, bytes);
  return done("cuMemcpyDtoDAsync", text(long(bytes)));
}
FAKE(cuMemsetD8Async, void* to, unsigned char value, std::size_t bytes, void*) {
  std::memset(to, value, bytes);
  return done("cuMemsetD8Async", text(long(bytes)));
}
FAKE(cuMemAllocHost_v2, void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return done("cuMemAllocHost", text(long(bytes)));
}
FAKE(cuEventCreate, void** event, unsigned) {
  *event = new int;
  return done("cuEventCreate");
}
FAKE(cuEventRecord, void*, void*) { return done("cuEventRecord"); }
FAKE(cuEventQuery, void*) { return int(setting("cuEventQuery", 0)); }

// What a program without TensorFlow uses, such as benchmarks/gpu.
FAKE(cuDevicePrimaryCtxRetain, void** context, int) {
  *context = &other_context;
  return done("cuDevicePrimaryCtxRetain");
}
FAKE(cuCtxSetCurrent, void* context) {
  current = context;
  return done("cuCtxSetCurrent");
}
FAKE(cuStreamCreate, void** stream, unsigned) {
  *stream = reinterpret_cast<void*>(2);
  return done("cuStreamCreate");
}
FAKE(cuMemGetInfo_v2, std::size_t* free, std::size_t* total) {
  *free = *total = std::size_t(80) << 30;
  return 0;
}
FAKE(cuMemAlloc_v2, void** memory, std::size_t bytes) {
  *memory = std::malloc(bytes);
  return done("cuMemAlloc", text(long(bytes)));
}
FAKE(cuMemFree_v2, void* memory) {
  std::free(memory);
  return done("cuMemFree");
}
FAKE(cuEventSynchronize, void*) { return done("cuEventSynchronize"); }
FAKE(cuEventElapsedTime, float* milliseconds, void*, void*) {
  *milliseconds = 1;
  return done("cuEventElapsedTime");
}

#elif defined(FAKE_NVRTC)

namespace {

struct Program {
  std::string text, log, code, ptx;
};

}  // namespace

FAKE(nvrtcVersion, int* major, int* minor) {
  *major = FAKE_NVRTC;
  *minor = 3;
  return 0;
}
FAKE(nvrtcGetNumSupportedArchs, int* count) {
  *count = 3;
  return 0;
}
FAKE(nvrtcGetSupportedArchs, int* found) {
  const int newest = int(setting("knows", 90)) + (FAKE_NVRTC == 13 ? 30 : 0);
  found[0] = 52;
  found[1] = FAKE_NVRTC == 13 ? 80 : 70;
  found[2] = newest;
  return 0;
}
FAKE(nvrtcCreateProgram, void** program, const char* text, const char*, int count,
     const char* const* texts, const char* const* names) {
  bool header = false;
  for (int i = 0; i < count; ++i)
    header = header || (std::strcmp(names[i], "kernel.h") == 0 && std::strlen(texts[i]) > 100);
  *program = new Program{text, "", "", ""};
  return header ? done("nvrtcCreateProgram") : 1;
}
FAKE(nvrtcDestroyProgram, void** program) {
  delete static_cast<Program*>(*program);
  return 0;
}
FAKE(nvrtcCompileProgram, void* program, int count, const char* const* options) {
  std::string all;
  for (int i = 0; i < count; ++i) all += std::string(" ") + options[i];
  std::this_thread::sleep_for(std::chrono::milliseconds(setting("slow", 0)));
  auto* own = static_cast<Program*>(program);
  own->log = "sort.cu(7): error: expected a ';'";
  own->code = "FAKE" + all + "\n" + own->text;
  own->ptx = "//" + own->code;
  return done("nvrtcCompileProgram", all);
}
#define FAKE_TEXT(name, member)                                      \
  FAKE(nvrtcGet##name##Size, void* program, std::size_t* size) {     \
    *size = static_cast<Program*>(program)->member.size() + 1;       \
    return 0;                                                        \
  }                                                                  \
  FAKE(nvrtcGet##name, void* program, char* to) {                    \
    std::strcpy(to, static_cast<Program*>(program)->member.c_str()); \
    return done("nvrtcGet" #name);                                   \
  }
FAKE_TEXT(ProgramLog, log)
FAKE_TEXT(CUBIN, code)
FAKE_TEXT(PTX, ptx)

#else  // FAKE_BLAS: products of matrices stored by columns

namespace {

template <typename T>
void product(int trans_a, int trans_b, int m, int n, int k, T alpha, const T* a, int lda,
             const T* b, int ldb, T beta, T* c, int ldc) {
  for (int j = 0; j < n; ++j)
    for (int i = 0; i < m; ++i) {
      T sum = 0;
      for (int l = 0; l < k; ++l)
        sum += (trans_a ? a[l + i * lda] : a[i + l * lda]) *
               (trans_b ? b[j + l * ldb] : b[l + j * ldb]);
      c[i + j * ldc] = alpha * sum + (beta == 0 ? T(0) : beta * c[i + j * ldc]);
    }
}

}  // namespace

FAKE(cublasCreate_v2, void** handle) {
  *handle = new int;
  return done("cublasCreate");
}
FAKE(cublasSetStream_v2, void*, void* stream) {
  return done("cublasSetStream", text(long(reinterpret_cast<std::uintptr_t>(stream))));
}
FAKE(cublasSetMathMode, void*, int mode) { return done("cublasSetMathMode", text(mode)); }
FAKE(cublasSgemm_v2, void*, int ta, int tb, int m, int n, int k, const float* alpha, const float* a,
     int lda, const float* b, int ldb, const float* beta, float* c, int ldc) {
  product(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
  return done("cublasSgemm");
}
FAKE(cublasDgemm_v2, void*, int ta, int tb, int m, int n, int k, const double* alpha,
     const double* a, int lda, const double* b, int ldb, const double* beta, double* c, int ldc) {
  product(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc);
  return done("cublasDgemm");
}

#endif
