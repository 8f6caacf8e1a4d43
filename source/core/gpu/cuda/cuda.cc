// SPDX-License-Identifier: BSD-3-Clause
// The runtime of CUDA. TensorFlow owns contexts, streams and memory: what is done here is done in
// the context of the stream that is given.
#include <algorithm>
#include <cstring>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "api.h"
#include "blas.h"
#include "compiler.h"
#include "runtime.h"

namespace deepmd {
namespace gpu {
namespace {

Address address(const void* pointer) { return reinterpret_cast<Address>(pointer); }

std::string name_of(const Kernel& kernel) {
  return std::string(kernel.name) + " of " + kernel.file + ".cu";
}

// The context of a stream is current while this lives.
class InContext {
 public:
  InContext(const Driver& driver, void* stream) : driver_(driver) {
    Context current = nullptr;
    // the default stream does not wait for those of TensorFlow: numbers would silently be wrong
    if (stream == nullptr)
      throw Error("this TensorFlow does not say what its stream on the GPU is");
    check(driver, driver.cuStreamGetCtx(stream, &context_), "tell whose a stream is");
    check(driver, driver.cuCtxGetCurrent(&current), "tell the current context");
    if (current == context_) return;
    check(driver, driver.cuCtxPushCurrent_v2(context_), "change to the context of a stream");
    pushed_ = true;
  }
  ~InContext() {
    Context popped;
    if (pushed_) driver_.cuCtxPopCurrent_v2(&popped);
  }
  InContext(const InContext&) = delete;
  InContext& operator=(const InContext&) = delete;

  Context context() const { return context_; }

 private:
  const Driver& driver_;
  Context context_ = nullptr;
  bool pushed_ = false;
};

// The card that a context is of.
struct Card {
  std::string name;
  Target target;
};

Card card_of_current(const Driver& driver) {
  constexpr int major_number = 75, minor_number = 76;
  int device = 0, major = 0, minor = 0;
  char name[256] = "";
  check(driver, driver.cuCtxGetDevice(&device), "tell which card it is");
  driver.cuDeviceGetName(name, sizeof name - 1, device);
  check(driver, driver.cuDeviceGetAttribute(&major, major_number, device), "tell its version");
  check(driver, driver.cuDeviceGetAttribute(&minor, minor_number, device), "tell its version");
  return {name, target_for(driver, 10 * major + minor)};
}

// Kernels of contexts, compiled and loaded when they are first asked for. A file is compiled by one
// thread, others wait for it; different files at the same time.
class Kernels {
 public:
  explicit Kernels(const Driver& driver) : driver_(driver) {}

  // In this context. Bytes of dynamic shared memory beyond 48 kB must be allowed to a kernel.
  Function get(Context context, const Kernel& kernel, std::int64_t shared) {
    const Function found = find(context, kernel, shared);
    return found != nullptr ? found : load(context, kernel, shared);
  }

 private:
  using Key = std::tuple<Context, Real, std::string_view, std::string_view>;
  struct Loaded {
    Function function;
    std::int64_t shared;
  };
  struct File {
    std::mutex mutex;
    Module module = nullptr;
    std::string error;  // it is not tried again
  };

  // Null if it is not loaded, or has less shared memory.
  Function find(Context context, const Kernel& kernel, std::int64_t shared) {
    const std::shared_lock<std::shared_mutex> lock(mutex_);
    const auto found = functions_.find({context, kernel.real, kernel.file, kernel.name});
    return found != functions_.end() && shared <= found->second.shared ? found->second.function
                                                                       : nullptr;
  }

  Function load(Context context, const Kernel& kernel, std::int64_t shared) {
    constexpr int not_found = 500, most_shared = 8;
    File& file = file_of(context, kernel);
    const std::lock_guard<std::mutex> file_lock(file.mutex);
    if (!file.error.empty()) throw Error(file.error);
    // another thread may have been here, and have allowed more
    if (const Function found = find(context, kernel, shared)) return found;
    if (file.module == nullptr) {
      try {
        file.module = module(card(context), kernel);
      } catch (const OutOfMemory&) {
        throw;
      } catch (const Error& error) {
        file.error = error.what();
        throw;
      }
    }
    Loaded loaded{nullptr, std::max<std::int64_t>(shared, 48 << 10)};
    const int status = driver_.cuModuleGetFunction(&loaded.function, file.module, kernel.name);
    if (status == not_found) throw Error("there is no kernel " + name_of(kernel));
    if (status != 0) fail(driver_, status, "load the kernel " + name_of(kernel));
    if (shared > 48 << 10) {
      const int refused = driver_.cuFuncSetAttribute(loaded.function, most_shared, int(shared));
      if (refused != 0)
        fail(driver_, refused,
             "give " + std::to_string(shared) + " bytes of shared memory to " + name_of(kernel));
    }
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    functions_[Key{context, kernel.real, own(kernel.file), own(kernel.name)}] = loaded;
    return loaded.function;
  }

  // From the cache; compiled if the driver does not take what is there.
  Module module(const Card& card, const Kernel& kernel) {
    Module module = nullptr;
    for (const bool cached : {true, false}) {
      const std::string code = compile(card.target, kernel.file, kernel.real, cached, card.name);
      const int status = driver_.cuModuleLoadData(&module, code.c_str());
      constexpr int invalid_image = 200, no_binary = 209, invalid_ptx = 218;
      const bool broken = status == invalid_image || status == no_binary || status == invalid_ptx;
      if (status == 0) break;
      if (!cached || !broken)
        fail(driver_, status, std::string("load the kernels ") + kernel.file + ".cu");
    }
    return module;
  }

  const Card& card(Context context) {
    const std::lock_guard<std::mutex> lock(cards_mutex_);
    const auto found = cards_.find(context);
    return found != cards_.end() ? found->second
                                 : cards_.emplace(context, card_of_current(driver_)).first->second;
  }

  File& file_of(Context context, const Kernel& kernel) {
    const std::lock_guard<std::mutex> lock(cards_mutex_);
    return files_[{context, kernel.real, kernel.file}];
  }

  // The same text, for ever.
  std::string_view own(std::string_view text) {
    for (const std::string& known : names_)
      if (known == text) return known;
    return names_.emplace_back(text);
  }

  const Driver& driver_;
  std::shared_mutex mutex_;
  std::map<Key, Loaded> functions_;
  std::deque<std::string> names_;
  std::mutex cards_mutex_;
  std::map<Context, Card> cards_;
  std::map<std::tuple<Context, Real, std::string>, File> files_;
};

// Memory of the host that copies to the device are made from, so that they need not be waited for.
class Staging {
 public:
  explicit Staging(const Driver& driver) : driver_(driver) {}

  void copy(Context context, void* stream, void* device, const void* host, std::size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Block& block = free_block(context, bytes);
    std::memcpy(block.memory, host, bytes);
    check(driver_, driver_.cuMemcpyHtoDAsync_v2(address(device), block.memory, bytes, stream),
          "copy to its memory");
    check(driver_, driver_.cuEventRecord(block.copied, stream), "mark a copy");
  }

 private:
  struct Block {
    Context context;
    void* memory;
    std::size_t bytes;
    Event copied;
  };

  Block& free_block(Context context, std::size_t bytes) {
    for (Block& block : blocks_)
      if (block.context == context && block.bytes >= bytes &&
          driver_.cuEventQuery(block.copied) == 0)
        return block;
    constexpr unsigned without_times = 2;
    Block block{context, nullptr, 4096, nullptr};
    while (block.bytes < bytes) block.bytes *= 2;
    check(driver_, driver_.cuEventCreate(&block.copied, without_times), "make an event");
    check(driver_, driver_.cuMemAllocHost_v2(&block.memory, block.bytes),
          "reserve memory of the host");
    return blocks_.emplace_back(block);
  }

  const Driver& driver_;
  std::mutex mutex_;
  std::deque<Block> blocks_;
};

class CudaRuntime final : public Runtime {
 public:
  explicit CudaRuntime(const Driver& driver)
      : driver_(driver), kernels_(driver), staging_(driver) {}

  void launch(void* stream, const Kernel& kernel, const Grid& grid,
              const Arguments& arguments) override {
    if (grid.blocks > std::numeric_limits<std::int32_t>::max() || grid.threads > kMostThreads)
      throw Error("the kernel " + name_of(kernel) +
                  " has too many blocks or threads; use smaller batches");
    const InContext current(driver_, stream);
    const Function function = kernels_.get(current.context(), kernel, grid.shared);
    const int status =
        driver_.cuLaunchKernel(function, unsigned(grid.blocks), 1, 1, unsigned(grid.threads), 1, 1,
                               unsigned(grid.shared), stream, arguments.values, nullptr);
    if (status != 0) fail(driver_, status, "run the kernel " + name_of(kernel));
  }

  void copy_to_host(void* stream, void* host, const void* device, std::int64_t bytes) override {
    const InContext current(driver_, stream);
    if (bytes > 0)
      check(driver_, driver_.cuMemcpyDtoHAsync_v2(host, address(device), bytes, stream),
            "copy from its memory");
    check(driver_, driver_.cuStreamSynchronize(stream), "finish its work");
  }

  void copy_to_device(void* stream, void* device, const void* host, std::int64_t bytes) override {
    if (bytes <= 0) return;
    const InContext current(driver_, stream);
    staging_.copy(current.context(), stream, device, host, std::size_t(bytes));
  }

  void copy(void* stream, void* to, const void* from, std::int64_t bytes) override {
    if (bytes <= 0) return;
    const InContext current(driver_, stream);
    check(driver_, driver_.cuMemcpyDtoDAsync_v2(address(to), address(from), bytes, stream),
          "copy within its memory");
  }

  void zero(void* stream, void* device, std::int64_t bytes) override {
    if (bytes <= 0) return;
    const InContext current(driver_, stream);
    check(driver_, driver_.cuMemsetD8Async(address(device), 0, bytes, stream), "set its memory");
  }

  void multiply(void* stream, const Product& product, const void* a, const void* b,
                void* c) override {
    const InContext current(driver_, stream);
    products_.multiply(driver_, current.context(), stream, product, a, b, c);
  }

 private:
  const Driver& driver_;
  Kernels kernels_;
  Staging staging_;
  Products products_;
};

}  // namespace

// Nothing is started here: this runs while libraries are being loaded.
Runtime* open_cuda(std::string* why) {
  const Driver* const driver = open_driver(why);
  if (driver == nullptr || any_nvrtc(*driver, why) == nullptr) return nullptr;
  static Runtime& runtime = *new CudaRuntime(*driver);
  return &runtime;
}

}  // namespace gpu
}  // namespace deepmd
