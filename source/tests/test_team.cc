// SPDX-License-Identifier: BSD-3-Clause
// The thread team: coverage of ranges, exceptions, nesting, two callers, fork, closing, processors.
#include "team.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>

#include "check.h"

namespace {

using deepmd::HelperPool;
using deepmd::ParallelFor;
using deepmd::SharedLoop;
using deepmd::Team;
using std::int64_t;

// Threads of the team itself, whatever this machine has: others = threads - 1.
void on_team(int threads, int64_t total, const std::function<void(int64_t, int64_t)>& body,
             bool spin = true, int64_t step = 1) {
  SharedLoop loop(
      total, step,
      [](const void* closure, int64_t begin, int64_t end) {
        (*static_cast<const std::function<void(int64_t, int64_t)>*>(closure))(begin, end);
      },
      &body);
  if (!Team::get().run(&loop, threads - 1, spin)) {
    loop.work();
    loop.wait();
  }
  loop.rethrow();
}

ParallelFor shared(int threads, const HelperPool* pool = nullptr) {
  static thread_local struct {
    int threads;
    const HelperPool* pool;
  } workers;
  workers = {threads, pool};
  return ParallelFor(
      [](void* self, int64_t total, int64_t cost, ParallelFor::Body body, const void* closure) {
        auto* w = static_cast<decltype(&workers)>(self);
        deepmd::run_shared(w->threads, w->pool, total, cost, body, closure);
      },
      &workers, threads);
}

// Sums 0 ... total-1 of which each index must be visited once.
bool covers(int threads, int64_t total, bool spin) {
  std::vector<int> visits(total, 0);
  on_team(
      threads, total,
      [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++visits[i];
      },
      spin, 3);
  for (const int count : visits)
    if (count != 1) return false;
  return true;
}

TEST(every_index_is_visited_once) {
  for (int repeat = 0; repeat < 300; ++repeat)
    for (const bool spin : {true, false}) CHECK(covers(1 + repeat % 4, 1 + repeat, spin));
}

TEST(members_sleep_and_come_back) {
  CHECK(covers(3, 100, true));
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(covers(3, 100, true));
}

TEST(all_threads_work) {
  std::set<std::thread::id> seen;
  std::mutex mutex;
  on_team(3, 3, [&](int64_t, int64_t) {
    std::unique_lock<std::mutex> lock(mutex);
    seen.insert(std::this_thread::get_id());
    for (int i = 0; i < 5000 && seen.size() < 3; ++i) {
      lock.unlock();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      lock.lock();
    }
  });
  CHECK(seen.size() == 3);
}

// Exceptions --------------------------------------------------------------------------------------

// Throws in the thread of the caller, or in that of a member.
void throw_in(bool caller) {
  const auto self = std::this_thread::get_id();
  std::atomic<bool> thrown{false};
  on_team(2, 50, [&](int64_t, int64_t) {
    if ((std::this_thread::get_id() == self) == caller && !thrown.exchange(true))
      throw std::bad_alloc();
    // until the other one has had its turn
    for (int i = 0; i < 5000 && !thrown; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
}

TEST(exceptions_reach_the_caller_and_the_team_works_on) {
  for (int repeat = 0; repeat < 20; ++repeat)
    for (const bool caller : {true, false}) {
      bool caught = false;
      try {
        throw_in(caller);
      } catch (const std::bad_alloc&) {
        caught = true;
      }
      CHECK(caught);
      CHECK(covers(4, 200, true));
    }
  all_threads_work();
}

TEST(an_exception_of_many_is_thrown) {
  int caught = 0;
  for (int repeat = 0; repeat < 100; ++repeat) {
    try {
      on_team(3, 100, [](int64_t, int64_t) { throw std::runtime_error("no"); });
    } catch (const std::runtime_error& error) {
      caught += error.what() == std::string("no");
    }
  }
  CHECK(caught == 100);
}

TEST(an_exception_without_a_team) {
  bool caught = false;
  try {
    shared(1)(10, 1, [](int64_t, int64_t) { throw std::bad_alloc(); });
  } catch (const std::bad_alloc&) {
    caught = true;
  }
  CHECK(caught);
}

// A busy team -------------------------------------------------------------------------------------

TEST(a_loop_in_a_loop) {
  std::atomic<int64_t> sum{0};
  on_team(2, 10, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      shared(2)(10, 1000000, [&](int64_t from, int64_t to) {
        for (int64_t j = from; j < to; ++j) sum += 10 * i + j;
      });
  });
  CHECK(sum == 4950);
}

TEST(two_callers) {
  std::atomic<int> good{0};
  const auto run = [&] {
    for (int repeat = 0; repeat < 200; ++repeat) good += covers(2, 100, true);
  };
  std::thread first(run), second(run);
  first.join();
  second.join();
  CHECK(good == 400);
}

// A pool that starts a thread for every task, some of which come late.
struct Pool {
  std::vector<std::thread> threads;
  int left;  // tasks until there is no memory
  static void schedule(void* self, std::function<void()> task) {
    auto* pool = static_cast<Pool*>(self);
    if (pool->left-- == 0) throw std::bad_alloc();
    pool->threads.emplace_back([task = std::move(task)] {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      task();
    });
  }
  ~Pool() {
    for (std::thread& thread : threads) thread.join();
  }
};

TEST(a_pool_helps_while_the_team_is_busy) {
  for (const int left : {100, 0}) {
    Pool pool{{}, left};
    const HelperPool helpers{&pool, &Pool::schedule};
    std::atomic<int64_t> visited{0};
    int caught = 0;
    on_team(2, 1, [&](int64_t, int64_t) {
      const ParallelFor loop = shared(4, &helpers);
      for (int repeat = 0; repeat < 20; ++repeat)
        loop(100, 10000, [&](int64_t begin, int64_t end) { visited += end - begin; });
      try {
        loop(100, 10000, [&](int64_t, int64_t) { throw std::bad_alloc(); });
      } catch (const std::bad_alloc&) {
        ++caught;
      }
    });
    CHECK(visited == 2000);
    CHECK(caught == 1);
  }
}

// Processes ---------------------------------------------------------------------------------------

TEST(a_forked_process_has_a_team_of_its_own) {
  CHECK(covers(3, 100, true));
  for (int repeat = 0; repeat < 3; ++repeat) {
    // while another thread is at work with the team
    std::atomic<bool> stop{false};
    std::thread busy([&] {
      while (!stop) covers(2, 100, true);
    });
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      bool good = true;
      for (int i = 0; i < 20; ++i) good = good && covers(3, 100, true);
      _exit(good ? 0 : 3);
    }
    int status = -1;
    waitpid(child, &status, 0);
    stop = true;
    busy.join();
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
}

TEST(processors_of_the_process) {
  cpu_set_t before, one;
  sched_getaffinity(0, sizeof(before), &before);
  const int all = Team::processors();
  CHECK(all >= 1 && all <= CPU_COUNT(&before));
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  sched_setaffinity(0, sizeof(one), &one);
  CHECK(Team::processors() == 1);
  sched_setaffinity(0, sizeof(before), &before);
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  for (const char* name :
       {"OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_TASKS_PER_NODE"}) {
    setenv(name, std::to_string(online).c_str(), 1);
    CHECK(Team::processors() == 1);
    setenv(name, "100000(x2),3", 1);
    CHECK(Team::processors() == 1);
    setenv(name, "many", 1);
    CHECK(Team::processors() == all);
    unsetenv(name);
  }
  setenv("SLURM_NTASKS_PER_NODE", "1000", 1);
  CHECK(Team::processors() == all);
  setenv("SLURM_STEP_ID", "0", 1);
  CHECK(Team::processors() == 1);
  unsetenv("SLURM_NTASKS_PER_NODE");
  unsetenv("SLURM_STEP_ID");
}

TEST(more_threads_than_processors) {
  const ParallelFor loop = shared(16);
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::atomic<int64_t> visited{0};
    loop(1000, 1000, [&](int64_t begin, int64_t end) { visited += end - begin; });
    CHECK(visited == 1000);
  }
}

TEST(a_closed_team_refuses) {
  static Team team;
  std::vector<int> visits(30, 0);
  const auto body = [](const void* closure, int64_t begin, int64_t end) {
    auto& visits = *static_cast<std::vector<int>*>(const_cast<void*>(closure));
    for (int64_t i = begin; i < end; ++i) ++visits[i];
  };
  SharedLoop first(30, 1, body, &visits), second(30, 1, body, &visits);
  CHECK(team.run(&first, 2, true));
  team.close();
  CHECK(!team.run(&second, 2, true));
  for (const int count : visits) CHECK(count == 1);
}

}  // namespace

TEST_MAIN()
