// SPDX-License-Identifier: BSD-3-Clause
// Threads for loops that take as little as 20 µs.
//
// A thread pool cuts a loop into ranges, hands them to workers and sleeps until all are done. To wake
// a thread takes some tens of microseconds, and a worker that has gone to sleep since the last loop
// is woken first, the caller afterwards: as much time as most of our loops take. So
//
//   * everybody takes the next range when the last one is done, and who comes late finds none;
//   * between loops the members of the team look out for the next one for a while before they
//     sleep, as those of OpenMP do; OMP_WAIT_POLICY=passive makes them sleep at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "parallel.h"

namespace deepmd {

// The ranges of a loop over [0, total), for whoever takes them.
class SharedLoop {
 public:
  SharedLoop(std::int64_t total, std::int64_t step, ParallelFor::Body body, const void* closure)
      : total_(total), step_(step), body_(body), closure_(closure) {}

  // Takes ranges until there are none.
  void work();

  // Until all ranges are done.
  void wait() const;

 private:
  const std::int64_t total_, step_;
  const ParallelFor::Body body_;
  const void* const closure_;
  alignas(64) std::atomic<std::int64_t> next_{0};
  alignas(64) std::atomic<std::int64_t> done_{0};
};

// Threads that work on one loop at a time.
class Team {
 public:
  // Of this process; a forked one has a team of its own. It is never taken down.
  static Team& get();

  // Works on a loop with so many others until it is done. False, and nothing has happened, if the
  // team works on another loop.
  bool run(SharedLoop* loop, int others);

 private:
  bool add_member();
  void serve(int number, std::uint64_t seen);
  void wait_for_loop(std::uint64_t seen);

  std::atomic<bool> taken_{false};
  int members_ = 0;
  // A loop is offered by a new number of loops_. Members count themselves into inside_ before they
  // look at loop_, and run() takes loop_ away before it looks at inside_, so that a loop ends only
  // when nobody is in it or can get in.
  alignas(64) std::atomic<std::uint64_t> loops_{0};
  std::atomic<SharedLoop*> loop_{nullptr};
  std::atomic<int> wanted_{0};
  alignas(64) std::atomic<int> inside_{0};
  std::atomic<int> sleeping_{0};
  std::mutex mutex_;
  std::condition_variable offered_;
};

}  // namespace deepmd
