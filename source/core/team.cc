// SPDX-License-Identifier: BSD-3-Clause
#include "team.h"

#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <system_error>
#include <thread>

namespace deepmd {
namespace {

constexpr std::chrono::microseconds kLookOut{500};  // for the next loop, before a member sleeps

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Until ready() is true, which is soon, unless whoever makes it so is not running.
template <typename Ready>
void wait_until(const Ready& ready) {
  for (int i = 0; !ready(); ++i) {
    if (i < 2000) {
      pause();
    } else {
      std::this_thread::yield();
    }
  }
}

bool passive() {
  static const bool value = [] {
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    return policy != nullptr && strcasecmp(policy, "passive") == 0;
  }();
  return value;
}

}  // namespace

void SharedLoop::work() {
  for (;;) {
    const std::int64_t begin = next_.fetch_add(step_, std::memory_order_relaxed);
    if (begin >= total_) return;
    const std::int64_t end = std::min(begin + step_, total_);
    body_(closure_, begin, end);
    done_.fetch_add(end - begin, std::memory_order_release);
  }
}

void SharedLoop::wait() const {
  wait_until([this] { return done_.load(std::memory_order_acquire) == total_; });
}

Team& Team::get() {
  static std::atomic<Team*> team{nullptr};
  static std::atomic<pid_t> owner{0};
  static std::mutex mutex;
  const pid_t self = getpid();
  if (owner.load(std::memory_order_acquire) != self) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (owner.load(std::memory_order_relaxed) != self) {
      team.store(new Team, std::memory_order_relaxed);
      owner.store(self, std::memory_order_release);
    }
  }
  return *team.load(std::memory_order_relaxed);
}

bool Team::run(SharedLoop* loop, int others) {
  if (taken_.exchange(true, std::memory_order_acquire)) return false;
  while (members_ < others && add_member()) {
  }
  wanted_.store(others);
  loop_.store(loop);
  loops_.fetch_add(1);
  if (sleeping_.load() > 0) {
    { const std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between looking and sleeping
    offered_.notify_all();
  }
  loop->work();
  loop->wait();
  loop_.store(nullptr);
  wait_until([this] { return inside_.load() == 0; });
  taken_.store(false, std::memory_order_release);
  return true;
}

bool Team::add_member() {
  try {
    std::thread(&Team::serve, this, members_, loops_.load()).detach();
  } catch (const std::system_error&) {
    return false;  // no more threads: those that there are do it
  }
  ++members_;
  return true;
}

void Team::serve(int number, std::uint64_t seen) {
  for (;;) {
    wait_for_loop(seen);
    seen = loops_.load();
    inside_.fetch_add(1);
    SharedLoop* loop = loop_.load();
    if (loop != nullptr && number < wanted_.load()) loop->work();
    inside_.fetch_sub(1);
  }
}

void Team::wait_for_loop(std::uint64_t seen) {
  if (!passive()) {
    const auto end = std::chrono::steady_clock::now() + kLookOut;
    do {
      for (int i = 0; i < 20; ++i) {
        if (loops_.load(std::memory_order_acquire) != seen) return;
        pause();
      }
      std::this_thread::yield();  // whoever has work goes first
    } while (std::chrono::steady_clock::now() < end);
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleeping_.fetch_add(1);
  offered_.wait(lock, [&] { return loops_.load() != seen; });
  sleeping_.fetch_sub(1);
}

}  // namespace deepmd
