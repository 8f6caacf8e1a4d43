// SPDX-License-Identifier: BSD-3-Clause
#include "on_host.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "host_runtime.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace deepmd {
namespace on_host {
namespace {

using Key = std::tuple<std::string, std::string, gpu::Real>;

std::map<Key, Registered>& kernels() {
  static std::map<Key, Registered> found;
  return found;
}

constexpr std::size_t kStack = 1 << 16;
constexpr std::size_t kSharedBytes = 1 << 18;

enum class Wait { kNone, kBlock, kWarp };

#if defined(__x86_64__)
// Saves the stack of who calls it and goes on with another one.
extern "C" void deepmd_on_host_switch(void** save, void* load);
asm(R"(
.text
.type deepmd_on_host_switch, @function
deepmd_on_host_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size deepmd_on_host_switch, .-deepmd_on_host_switch
)");
#endif

class Block;
thread_local Block* running = nullptr;

void enter();

// A thread of a block.
struct Fiber {
  std::unique_ptr<char[]> stack{new char[kStack]};
#if defined(__x86_64__)
  void* pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;
  bool done = false;
  Wait wait = Wait::kNone;
  std::uint64_t given = 0;
};

// The fibers of a thread of the host, for one block after the other.
class Block {
 public:
  // Runs the threads of a block, in ascending or descending order. A warp goes on alone as far as
  // it can: one that does not wait for the others where it must shows it.
  void run(unsigned n, const Body& body, bool ascending) {
    while (fibers_.size() < n) fibers_.emplace_back(new Fiber);
    n_ = n;
    body_ = &body;
    for (unsigned i = 0; i < n; ++i) prepare(fibers_[i].get());
    const unsigned warps = (n + 31) / 32;
    for (unsigned living = n; living > 0;) {
      bool moved = false;
      for (unsigned turn = 0; turn < warps; ++turn) {
        const unsigned first = 32 * (ascending ? turn : warps - 1 - turn);
        const unsigned end = first + 32 < n ? first + 32 : n;
        do {
          for (unsigned lane = 0; lane < end - first; ++lane) {
            const unsigned i = ascending ? first + lane : end - 1 - lane;
            Fiber& fiber = *fibers_[i];
            if (fiber.done || fiber.wait != Wait::kNone) continue;
            moved = true;
            go(i);
            if (fiber.done) --living;
          }
        } while (release(first, end, Wait::kWarp));
      }
      moved |= release(0, n, Wait::kBlock);
      if (living > 0 && !moved) {
        std::fprintf(stderr, "a barrier is not reached by all threads\n");
        std::abort();
      }
    }
  }

  void wait(Wait what) {
    Fiber& fiber = *fibers_[current_];
    fiber.wait = what;
    leave(&fiber, false);
  }

  std::uint64_t exchange(std::uint64_t mine, unsigned lane) {
    const unsigned self = current_, base = self - self % 32;
    fibers_[self]->given = mine;
    wait(Wait::kWarp);
    const unsigned other = base + lane < n_ ? base + lane : self;
    const std::uint64_t found = fibers_[other]->given;
    wait(Wait::kWarp);
    return found;
  }

  unsigned ballot(bool mine) {
    const unsigned self = current_, base = self - self % 32;
    fibers_[self]->given = mine;
    wait(Wait::kWarp);
    unsigned found = 0;
    for (unsigned i = 0; i < 32 && base + i < n_; ++i)
      found |= static_cast<unsigned>(fibers_[base + i]->given) << i;
    wait(Wait::kWarp);
    return found;
  }

  // What a fiber runs.
  void body() {
    (*body_)();
    Fiber& fiber = *fibers_[current_];
    fiber.done = true;
    leave(&fiber, true);
  }

 private:
  void prepare(Fiber* fiber) {
    fiber->done = false;
    fiber->wait = Wait::kNone;
    fiber->fake_stack = nullptr;
#if defined(__x86_64__)
    // six registers and the address of enter(); the stack is aligned as after a call
    auto** top = reinterpret_cast<void**>(
        (reinterpret_cast<std::uintptr_t>(fiber->stack.get()) + kStack) & ~std::uintptr_t(15));
    *--top = nullptr;
    *--top = reinterpret_cast<void*>(&enter);
    for (int k = 0; k < 6; ++k) *--top = nullptr;
    fiber->pointer = top;
#else
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack.get();
    fiber->context.uc_stack.ss_size = kStack;
    fiber->context.uc_link = nullptr;
    makecontext(&fiber->context, &enter, 0);
#endif
  }

  void go(unsigned i) {
    current_ = i;
    threadIdx = {i, 0, 0};
    Fiber& fiber = *fibers_[i];
#if defined(__SANITIZE_ADDRESS__)
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, fiber.stack.get(), kStack);
#endif
#if defined(__x86_64__)
    deepmd_on_host_switch(&pointer_, fiber.pointer);
#else
    swapcontext(&context_, &fiber.context);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void leave(Fiber* fiber, bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber->fake_stack, stack_, stack_size_);
#else
    (void)for_good;
#endif
#if defined(__x86_64__)
    deepmd_on_host_switch(&fiber->pointer, pointer_);
#else
    swapcontext(&fiber->context, &context_);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &stack_, &stack_size_);
#endif
  }

  // Lets fibers go on if all that live wait for the same.
  bool release(unsigned begin, unsigned end, Wait what) {
    bool any = false, ended = false;
    for (unsigned i = begin; i < end; ++i) {
      ended |= fibers_[i]->done;
      if (fibers_[i]->done) continue;
      if (fibers_[i]->wait != what) return false;
      any = true;
    }
    if (!any) return false;
    if (ended) {
      std::fprintf(stderr, "threads wait for others that have returned\n");
      std::abort();
    }
    for (unsigned i = begin; i < end; ++i) fibers_[i]->wait = Wait::kNone;
    return true;
  }

  friend void enter();

  std::vector<std::unique_ptr<Fiber>> fibers_;
  unsigned n_ = 0, current_ = 0;
  const Body* body_ = nullptr;
#if defined(__x86_64__)
  void* pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
  const void* stack_ = nullptr;
  std::size_t stack_size_ = 0;
};

void enter() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &running->stack_, &running->stack_size_);
#endif
  running->body();
}

void refuse(const gpu::Kernel& kernel, const std::string& what) {
  throw gpu::Error(std::string("kernel ") + kernel.name + " of " + kernel.file + ".cu: " + what);
}

std::atomic<Order> order{Order::kAlternating};

Block* only_in_block_kernels() {
  if (running == nullptr) {
    std::fprintf(stderr, "a KERNEL waits: it must be a BLOCK_KERNEL\n");
    std::abort();
  }
  return running;
}

}  // namespace

bool add(Registered kernel) {
  const Key key{kernel.kernel.file, kernel.kernel.name, kernel.kernel.real};
  kernels().emplace(key, std::move(kernel));
  return true;
}

void set_order(Order wanted) { order = wanted; }

std::vector<gpu::Kernel> registered() {
  std::vector<gpu::Kernel> found;
  for (const auto& [key, kernel] : kernels()) {
    const auto& [file, name, real] = key;
    // of integers alone: the same for both types
    const auto single = kernels().find({file, name, gpu::Real::kSingle});
    if (real == gpu::Real::kDouble && single->second.types == kernel.types) continue;
    found.push_back(kernel.kernel);
  }
  return found;
}

unsigned char* dynamic_shared() {
  alignas(64) static thread_local unsigned char bytes[kSharedBytes];
  return bytes;
}

void wait_for_block() { only_in_block_kernels()->wait(Wait::kBlock); }
void wait_for_warp() { only_in_block_kernels()->wait(Wait::kWarp); }
std::uint64_t exchange(std::uint64_t mine, unsigned lane) {
  return only_in_block_kernels()->exchange(mine, lane);
}
unsigned ballot(bool mine) { return only_in_block_kernels()->ballot(mine); }

void launch(const gpu::Kernel& kernel, const gpu::Grid& grid, const gpu::Arguments& arguments) {
  const auto at = kernels().find({kernel.file, kernel.name, kernel.real});
  if (at == kernels().end()) refuse(kernel, "there is none of this name");
  const Registered& found = at->second;
  if (arguments.count != static_cast<int>(found.types.size()))
    refuse(kernel, "has " + std::to_string(found.types.size()) + " parameters, got " +
                       std::to_string(arguments.count) + " arguments");
  for (int i = 0; i < arguments.count; ++i)
    if (*arguments.types[i] != *found.types[i])
      refuse(kernel, "argument " + std::to_string(i) + " is " + arguments.types[i]->name() +
                         ", expected " + found.types[i]->name());
  if (grid.threads < 1 || grid.threads > gpu::kMostThreads)
    refuse(kernel, "has blocks of " + std::to_string(grid.threads) + " threads");
  if (found.waits && grid.threads % 32 != 0) refuse(kernel, "has warps that are not full");
  // what every card has without being asked
  if (grid.shared > 48 * 1024) refuse(kernel, "asks for too much shared memory");

  static thread_local Block block;
  static thread_local bool ascending = false;
  ascending = order == Order::kAlternating ? !ascending : order == Order::kAscending;
  const Body body = found.bind(found.function, arguments.values);
  const auto threads = static_cast<unsigned>(grid.threads);
  const auto blocks = static_cast<unsigned>(grid.blocks);
  blockDim = {threads, 1, 1};
  gridDim = {blocks, 1, 1};
  for (unsigned turn = 0; turn < blocks; ++turn) {
    blockIdx = {ascending ? turn : blocks - 1 - turn, 0, 0};
    if (found.waits) {
      std::memset(dynamic_shared(), 0xff, grid.shared);
      running = &block;
      block.run(threads, body, ascending);
      running = nullptr;
      continue;
    }
    for (unsigned thread = 0; thread < threads; ++thread) {
      threadIdx = {ascending ? thread : threads - 1 - thread, 0, 0};
      body();
    }
  }
}

}  // namespace on_host
}  // namespace deepmd
