// SPDX-License-Identifier: BSD-3-Clause
#include "team.h"

#include <pthread.h>
#include <sched.h>
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <system_error>

namespace deepmd {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;

constexpr microseconds kIdle{500};         // a member spins for so long before it sleeps
constexpr microseconds kEnd{50};           // the caller spins for so long at the end of a loop
constexpr microseconds kClose{1'000'000};  // a loop may go on for so long when the process exits

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool passive() {
  static const bool value = [] {
    const char* policy = std::getenv("OMP_WAIT_POLICY");
    return policy != nullptr && strcasecmp(policy, "passive") == 0;
  }();
  return value;
}

// Processes of a parallel run on this machine, as its launcher says, or 1.
int local_processes() {
  // A script of Slurm's sbatch has the last one as well, but only what srun starts has a step.
  const bool step = std::getenv("SLURM_STEP_ID") != nullptr;
  for (const char* name :
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_LOCAL_SIZE",
        "SLURM_STEP_TASKS_PER_NODE", step ? "SLURM_NTASKS_PER_NODE" : ""}) {
    const char* text = std::getenv(name);
    const long count = text == nullptr ? 0 : std::strtol(text, nullptr, 10);  // "4(x2),3" is 4
    if (count > 0) return static_cast<int>(std::min(count, 1L << 20));
  }
  return 1;
}

}  // namespace

// Signal ------------------------------------------------------------------------------------------

template <typename Ready>
void Signal::wait(const Ready& ready, microseconds spin, bool yield) {
  if (ready()) return;
  if (spin > microseconds::zero()) {
    const auto end = steady_clock::now() + spin;
    do {
      for (int i = 0; i < 20; ++i) {
        if (ready()) return;
        pause();
      }
      if (yield) std::this_thread::yield();  // threads that have work go first
    } while (steady_clock::now() < end);
  }
  std::unique_lock<std::mutex> lock(mutex_);
  sleepers_.fetch_add(1);
  changed_.wait(lock, ready);
  sleepers_.fetch_sub(1);
}

void Signal::notify() {
  if (sleepers_.load() == 0) return;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
  }  // no thread is between its check and its sleep
  changed_.notify_all();
}

// SharedLoop --------------------------------------------------------------------------------------

void SharedLoop::work() noexcept {
  for (;;) {
    const std::int64_t begin = next_.fetch_add(step_, std::memory_order_relaxed);
    if (begin >= total_) return;
    const std::int64_t end = std::min(begin + step_, total_);
    try {
      if (!failed_.load(std::memory_order_relaxed)) body_(closure_, begin, end);
    } catch (...) {
      if (!failed_.exchange(true)) error_ = std::current_exception();
    }
    if (done_.fetch_add(end - begin) + end - begin == total_) all_done_.notify();
  }
}

void SharedLoop::wait() {
  all_done_.wait([this] { return done_.load() == total_; }, kEnd, false);
}

// Team --------------------------------------------------------------------------------------------

namespace {

// Teams are not deleted: the threads of other libraries may still come when the process exits, and
// the team of a forked process's parent, whose threads do not exist there, is only forgotten.
std::atomic<Team*> current{nullptr};
std::mutex making;

// A fork waits until no team is being made, so that the new process does not find `making` locked.
[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { making.lock(); }, [] { making.unlock(); },
                   [] {
                     current.store(nullptr);
                     making.unlock();
                   });

struct Closing {
  ~Closing() {
    Team* team = current.load();
    if (team != nullptr) team->close();
  }
} closing;

}  // namespace

Team& Team::get() {
  Team* team = current.load(std::memory_order_acquire);
  if (team != nullptr) return *team;
  const std::lock_guard<std::mutex> lock(making);
  if (current.load() == nullptr) current.store(new Team);
  return *current.load();
}

int Team::processors() {
  cpu_set_t set;
  const long online = std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L);
  // The call fails where a machine has more processors than fit into the set.
  const long allowed = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : online;
  // Launchers usually give each process its own processors; where they do not, it takes its share.
  return static_cast<int>(std::max(std::min(allowed, online / local_processes()), 1L));
}

bool Team::run(SharedLoop* loop, int others, bool spin) {
  if (taken_.exchange(true, std::memory_order_acquire)) return false;
  add_members(others);
  spin_.store(spin, std::memory_order_relaxed);
  wanted_.store(others);
  loop_.store(loop);
  loops_.fetch_add(1);
  offered_.notify();
  loop->work();
  loop_.store(nullptr);
  left_.wait([this] { return inside_.load() == 0; }, spin ? kEnd : microseconds::zero(), false);
  taken_.store(false, std::memory_order_release);
  return true;
}

void Team::add_members(int count) {
  try {
    while (static_cast<int>(members_.size()) < count) {
      const int number = static_cast<int>(members_.size());
      members_.emplace_back(&Team::serve, this, number, loops_.load());
    }
  } catch (const std::exception&) {
    // No more threads, or no memory for one: the loop is done by those that there are.
  }
}

void Team::serve(int number, std::uint64_t seen) {
  for (;;) {
    const auto spin = spin_.load(std::memory_order_relaxed) ? kIdle : microseconds::zero();
    offered_.wait([&] { return loops_.load() != seen; }, spin, true);
    if (closed_.load()) return;
    seen = loops_.load();
    inside_.fetch_add(1);
    SharedLoop* loop = loop_.load();
    if (loop != nullptr && number < wanted_.load()) loop->work();
    if (inside_.fetch_sub(1) == 1) left_.notify();
  }
}

void Team::close() {
  const auto end = steady_clock::now() + kClose;
  while (taken_.exchange(true)) {
    // exit() may have been called in a loop, which then never ends
    if (steady_clock::now() > end) return;
    std::this_thread::yield();
  }
  closed_.store(true);
  loops_.fetch_add(1);
  offered_.notify();
  for (std::thread& member : members_) member.join();
  members_.clear();
}

// -------------------------------------------------------------------------------------------------

void run_shared(int threads, const HelperPool* pool, std::int64_t total, std::int64_t cost,
                ParallelFor::Body body, const void* closure) {
  constexpr std::int64_t kLeast = 10000;  // cycles that are worth a range of their own
  constexpr std::int64_t kPerThread = 8;  // ranges, so that no thread waits long for another
  static const int processors = Team::processors();
  const std::int64_t ranges = std::min<std::int64_t>(
      kPerThread * threads, total * std::max<std::int64_t>(cost, 1) / kLeast);
  const std::int64_t step = ranges < 2 ? total : (total + ranges - 1) / ranges;
  const int others = static_cast<int>(
      std::min<std::int64_t>(std::min(threads, processors), (total + step - 1) / step) - 1);
  if (others < 1) return body(closure, 0, total);
  {
    SharedLoop loop(total, step, body, closure);
    if (Team::get().run(&loop, others, threads <= processors && !passive())) return loop.rethrow();
  }
  if (pool == nullptr) return body(closure, 0, total);
  // A thread of the pool may come when this loop is long done, and then finds no range.
  const auto loop = std::make_shared<SharedLoop>(total, step, body, closure);
  try {
    for (int i = 0; i < others; ++i) pool->schedule(pool->self, [loop] { loop->work(); });
  } catch (const std::exception&) {
    // No memory for the task: the loop is done by those that have come.
  }
  loop->work();
  loop->wait();
  loop->rethrow();
}

}  // namespace deepmd
