// SPDX-License-Identifier: BSD-3-Clause
// What a program of its own needs of the driver beside what core uses: a context, a stream, memory
// and times. TensorFlow has all that otherwise.
#include <dlfcn.h>

#include <cstdio>

#include "card.h"
#include "gpu.h"

namespace bench {
namespace {

using deepmd::gpu::Error;

#define BENCH_FUNCTIONS(F)                           \
  F(cuInit, unsigned)                                \
  F(cuDriverGetVersion, int*)                        \
  F(cuGetErrorString, int, const char**)             \
  F(cuDeviceGet, int*, int)                          \
  F(cuDeviceGetName, char*, int, int)                \
  F(cuDeviceGetAttribute, int*, int, int)            \
  F(cuDevicePrimaryCtxRetain, void**, int)           \
  F(cuCtxSetCurrent, void*)                          \
  F(cuMemGetInfo_v2, std::size_t*, std::size_t*)     \
  F(cuMemAlloc_v2, unsigned long long*, std::size_t) \
  F(cuMemFree_v2, unsigned long long)                \
  F(cuStreamCreate, void**, unsigned)                \
  F(cuStreamSynchronize, void*)                      \
  F(cuEventCreate, void**, unsigned)                 \
  F(cuEventRecord, void*, void*)                     \
  F(cuEventSynchronize, void*)                       \
  F(cuEventElapsedTime, float*, void*, void*)

// Numbers of attributes of a card.
enum { kClock = 13, kProcessors = 16, kMemoryClock = 36, kBusWidth = 37, kMajor = 75, kMinor = 76 };

// Products and sums in one cycle of a processor of the card, in float32, and how many times as many
// they are as those in float64; without tensor cores. From the tables of the CUDA programming
// guide.
std::pair<int, int> rates(int version) {
  switch (version) {
    case 70:
    case 72:
    case 80: return {64, 2};
    case 75: return {64, 32};
    case 86:
    case 87:
    case 89: return {128, 64};
    case 90:
    case 100: return {128, 2};
    default: return {128, 64};
  }
}

class CudaCard final : public Card {
 public:
  CudaCard() {
    void* const library = dlopen("libcuda.so.1", RTLD_NOW);
    if (library == nullptr) throw Error("there is no driver (libcuda.so.1)");
    const auto find = [&](const char* name) {
      void* const function = dlsym(library, name);
      if (function == nullptr) throw Error(std::string("the driver has no function ") + name);
      return function;
    };
#define BENCH_FIND(name, ...) name = reinterpret_cast<int (*)(__VA_ARGS__)>(find(#name));
    BENCH_FUNCTIONS(BENCH_FIND)
#undef BENCH_FIND
    void* context = nullptr;
    check(cuInit(0), "start the driver");
    check(cuDeviceGet(&device_, 0), "find a GPU");
    check(cuDevicePrimaryCtxRetain(&context, device_), "make a context");
    check(cuCtxSetCurrent(context), "take the context");
    constexpr unsigned apart_from_default = 1;
    check(cuStreamCreate(&stream_, apart_from_default), "make a stream");
  }

  void* stream() override { return stream_; }

  void* allocate(std::int64_t bytes) override {
    constexpr int out_of_memory = 2;
    unsigned long long memory = 0;
    const int status = cuMemAlloc_v2(&memory, static_cast<std::size_t>(bytes));
    if (status == out_of_memory) return nullptr;
    check(status, "reserve memory");
    return reinterpret_cast<void*>(memory);
  }

  // After an error of a kernel every call fails; it has been told by then.
  void release(void* memory) override {
    cuMemFree_v2(reinterpret_cast<unsigned long long>(memory));
  }

  void wait() override { cuStreamSynchronize(stream_); }

  void mark(std::size_t i) override {
    while (i >= events_.size()) {
      events_.push_back(nullptr);
      check(cuEventCreate(&events_.back(), 0), "make an event");
    }
    check(cuEventRecord(events_[i], stream_), "mark a time");
  }

  double between(std::size_t i, std::size_t j) override {
    float milliseconds = 0;
    check(cuEventSynchronize(events_[j]), "wait");
    check(cuEventElapsedTime(&milliseconds, events_[i], events_[j]), "tell a time");
    return 1e-3 * milliseconds;
  }

  std::vector<std::pair<std::string, std::string>> facts() override {
    char name[256] = "";
    int version = 0;
    std::size_t free = 0, total = 0;
    cuDeviceGetName(name, sizeof name - 1, device_);
    cuDriverGetVersion(&version);
    cuMemGetInfo_v2(&free, &total);
    const int sm = 10 * ask(kMajor) + ask(kMinor), processors = ask(kProcessors);
    const auto [rate, ratio] = rates(sm);
    const double single = 2e3 * rate * processors * ask(kClock);  // kHz
    const double bandwidth = 2e3 * ask(kMemoryClock) * ask(kBusWidth) / 8;
    const auto text = [](const char* format, double value) {
      char buffer[64];
      std::snprintf(buffer, sizeof buffer, format, value);
      return std::string(buffer);
    };
    return {{"card", std::string(name) + ", sm_" + std::to_string(sm)},
            {"processors", std::to_string(processors)},
            {"memory of the card (GB)", text("%.1f", 1e-9 * double(total))},
            {"free memory (GB)", text("%.1f", 1e-9 * double(free))},
            {"driver for CUDA",
             std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10)},
            {"bandwidth", text("%.6g", bandwidth)},
            {"peak float32", text("%.6g", single)},
            {"peak float64", text("%.6g", single / ratio)}};
  }

 private:
  void check(int status, const char* what) const {
    if (status == 0) return;
    const char* words = nullptr;
    cuGetErrorString(status, &words);
    throw Error(std::string("the GPU cannot ") + what + ": " +
                (words == nullptr ? std::to_string(status) : words));
  }

  int ask(int attribute) const {
    int value = 0;
    cuDeviceGetAttribute(&value, attribute, device_);
    return value;
  }

#define BENCH_MEMBER(name, ...) int (*name)(__VA_ARGS__) = nullptr;
  BENCH_FUNCTIONS(BENCH_MEMBER)
#undef BENCH_MEMBER
  int device_ = 0;
  void* stream_ = nullptr;
  std::vector<void*> events_;
};

}  // namespace

std::unique_ptr<Card> open_cuda_card() { return std::make_unique<CudaCard>(); }

}  // namespace bench
