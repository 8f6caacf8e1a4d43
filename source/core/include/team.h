// SPDX-License-Identifier: BSD-3-Clause
// Threads for loops that take as little as 20 µs.
//
// A thread pool cuts a loop into ranges, hands them to workers and sleeps until all are done. To
// wake a thread takes some tens of microseconds, which is as long as most of our loops. So
//
//   * every thread takes the next range when it is done with one; a late thread finds none left;
//   * between two loops idle threads spin for up to 0.5 ms before they sleep, as those of OpenMP
//   do;
//   * at the end of a loop the caller spins for up to 50 µs for the others before it sleeps.
//
// Nobody spins with OMP_WAIT_POLICY=passive, nor where more threads are asked for than the process
// has processors. An exception in a range ends the loop and is thrown again to the caller.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "parallel.h"

namespace deepmd {

// Lets threads sleep until a condition of sequentially consistent atomics holds.
class Signal {
 public:
  // Returns when ready() holds; spins for `spin` before it sleeps, and yields now and then if
  // asked.
  template <typename Ready>
  void wait(const Ready& ready, std::chrono::microseconds spin, bool yield);

  // To be called after every change that may make the condition hold.
  void notify();

 private:
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

// The ranges of a loop over [0, total), which any number of threads take one after the other.
class SharedLoop {
 public:
  SharedLoop(std::int64_t total, std::int64_t step, ParallelFor::Body body, const void* closure)
      : total_(total), step_(step), body_(body), closure_(closure) {}

  // Takes ranges until there are none. What a body throws is kept; later ranges are then skipped.
  void work() noexcept;

  // Returns when all ranges are done.
  void wait();

  // Throws what a body has thrown. All ranges must be done.
  void rethrow() const {
    if (error_ != nullptr) std::rethrow_exception(error_);
  }

 private:
  const std::int64_t total_, step_;
  const ParallelFor::Body body_;
  const void* const closure_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::int64_t> done_{0};
  std::atomic<bool> failed_{false};
  std::exception_ptr error_;  // set by whoever sets failed_
  Signal all_done_;
};

// Threads that work on one loop at a time.
class Team {
 public:
  // The team of this process; a forked process makes one of its own. Its threads are joined when
  // the library is unloaded or the process exits; afterwards run() returns false.
  static Team& get();

  // Processors that this process may use: those it is allowed to run on, and not more than its
  // share where a launcher (mpirun, srun) says how many processes it started on this machine.
  static int processors();

  // Works on a loop with up to `others` threads more until it is done. False, and nothing has
  // happened, if the team works on another loop. spin: whether to spin while waiting.
  bool run(SharedLoop* loop, int others, bool spin);

  // Joins the threads, as soon as no loop runs; for tests, too.
  void close();

 private:
  void add_members(int count);
  void serve(int number, std::uint64_t seen);

  std::atomic<bool> taken_{false};
  std::atomic<bool> closed_{false};
  std::vector<std::thread> members_;
  // A loop is offered by a new number of loops_. Members count themselves into inside_ before they
  // look at loop_, and run() takes loop_ away before it looks at inside_, so that a loop ends only
  // when no member is in it or can get in.
  alignas(64) std::atomic<std::uint64_t> loops_{0};
  std::atomic<SharedLoop*> loop_{nullptr};
  std::atomic<int> wanted_{0};
  std::atomic<bool> spin_{true};
  alignas(64) std::atomic<int> inside_{0};
  Signal offered_, left_;
};

// A pool that helps while the team works on another loop, as of an operation that runs at the same
// time: schedule(self, task) makes some thread call the task some time.
struct HelperPool {
  void* self;
  void (*schedule)(void* self, std::function<void()> task);
};

// A loop of ParallelFor on at most `threads` threads of the team, or else of `pool`, null for none.
void run_shared(int threads, const HelperPool* pool, std::int64_t total, std::int64_t cost,
                ParallelFor::Body body, const void* closure);

}  // namespace deepmd
