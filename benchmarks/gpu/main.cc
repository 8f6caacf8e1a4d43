// SPDX-License-Identifier: BSD-3-Clause
// gpu_bench [--on-host] [--exact] [--atoms N] WHAT, where WHAT is one of
//
//   list   card   check [FAMILY …]   md ATOMS …   train FRAMES ATOMS
//
// Prints lines of words between tabs, which on_gpu.py makes tables of:
//
//   card    NAME VALUE
//   check   FAMILY RESULT TYPE ERROR LIMIT
//   step    WHAT ATOMS TYPE SECONDS PEAK_BYTES PAIRS
//   stage   WHAT ATOMS TYPE STAGE SECONDS BYTES FLOPS
//   failed  WHAT MESSAGE
//
// An error is the largest difference from the processor's result over the largest number of that.
// The exit status is 1 if something has failed or is further off than its limit.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "card.h"
#include "chain.h"
#include "families.h"
#include "on_gpu.h"

#ifdef BENCH_ON_HOST
extern "C" deepmd::gpu::Runtime* deepmd_tf_gpu_runtime();
#endif

namespace bench {
namespace {

bool failed = false;

template <typename T>
const char* type_name() {
  return sizeof(T) == sizeof(float) ? "float32" : "float64";
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.empty() ? 0 : x[x.size() / 2];
}

// What the program runs on.
struct Machine {
  bool on_host = false, exact = false;
  std::unique_ptr<Card> card;
  gpu::Runtime* runtime = nullptr;
  std::unique_ptr<Memory> memory;

  void open() {
    if (on_host) {
#ifdef BENCH_ON_HOST
      card = make_paper_card();
      runtime = deepmd_tf_gpu_runtime();
#else
      throw gpu::Error("built without kernels on the host");
#endif
    } else {
      setenv("DEEPMD_TF_DEVICE", "gpu", 1);
      runtime = gpu::runtime();
      if (runtime == nullptr) throw gpu::Error(gpu::why_no_runtime());
      card = open_cuda_card();
    }
    memory = std::make_unique<Memory>(card.get(), exact);
  }
  OnGpu on() { return {card.get(), memory.get(), runtime}; }
};

void compare(const char* family, const char* type, double limit, const Results& ours,
             const Results& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto &a = ours[i].second, &b = expected[i].second;
    double largest = 0, error = a.size() == b.size() ? 0 : HUGE_VAL;
    for (const double x : b) largest = std::max(largest, std::abs(x));
    for (std::size_t k = 0; k < a.size() && k < b.size(); ++k) {
      const double off = std::abs(a[k] - b[k]);
      // a NaN is no number that agrees
      error = off <= error ? error : std::isnan(off) ? HUGE_VAL : off;
    }
    error /= largest > 0 ? largest : 1;
    std::printf("check\t%s\t%s\t%s\t%.3g\t%.1g\n", family, expected[i].first.c_str(), type, error,
                limit);
    std::fflush(stdout);
    failed |= !(error <= limit);
  }
}

template <typename List>
Results renamed(const List& list) {
  return Results(list.begin(), list.end());
}

template <typename On, typename T>
Results results_of(const std::string& family, On* on, std::int64_t atoms) {
  if (family == "chain" || family == "training") {
    const Water water(family == "chain" ? 1 : 2, family == "chain" ? atoms : atoms / 2);
    Chain<On, T> chain(on, water);
    if (family == "chain") {
      chain.step();
      return renamed(chain.results());
    }
    chain.train();
    return renamed(chain.training_results());
  }
  Families<On, T> all(on, atoms);
#define FAMILY(name) \
  if (family == #name) return all.name();
  FAMILY(neighbors)
  FAMILY(pairs)
  FAMILY(env_matrix)
  FAMILY(moment)
  FAMILY(contract)
  FAMILY(attention)
  FAMILY(gelu)
  FAMILY(layer_norm)
  FAMILY(fragments)
  FAMILY(mask_rows)
  FAMILY(padded_rows)
  FAMILY(pair_spline)
  FAMILY(tabulate)
  FAMILY(angles)
  FAMILY(slot_pairs)
#undef FAMILY
  throw gpu::Error("there is no family " + family);
}

const std::vector<std::string> families = {
    "chain",     "training",  "neighbors",  "pairs",       "env_matrix", "moment",
    "contract",  "attention", "angles",     "tabulate",    "gelu",       "layer_norm",
    "fragments", "mask_rows", "slot_pairs", "padded_rows", "pair_spline"};

template <typename T>
void check(Machine* machine, const std::string& family, std::int64_t atoms) {
  OnGpu gpu = machine->on();
  OnCpu cpu;
  const Results expected = results_of<OnCpu, T>(family, &cpu, atoms);
  const double limit = sizeof(T) == sizeof(float) ? 5e-4 : 1e-10;
  const Results once = results_of<OnGpu, T>(family, &gpu, atoms);
  compare(family.c_str(), type_name<T>(), limit, once, expected);
  // the same bits in every run
  const Results again = results_of<OnGpu, T>(family, &gpu, atoms);
  for (std::size_t i = 0; i < once.size(); ++i) {
    const auto &a = once[i].second, &b = again[i].second;
    if (a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0)
      continue;
    std::printf("failed\t%s, %s, %s\tdiffers between two runs\n", family.c_str(),
                once[i].first.c_str(), type_name<T>());
    failed = true;
  }
}

// Steps until they have taken half a second, at most 20; the first three do not count.
template <typename F>
std::vector<double> repeat(Machine* machine, OnGpu* on, Stages* stages, const F& step) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point from) {
    return std::chrono::duration<double>(Clock::now() - from).count();
  };
  for (int i = 0; i < (machine->on_host ? 0 : 3); ++i) step();
  machine->card->wait();
  std::vector<double> times;
  const auto start = Clock::now();
  // the step as a whole, without anything in between
  while (times.size() < 2 || (times.size() < 20 && seconds(start) < 0.5)) {
    const auto from = Clock::now();
    step();
    machine->card->wait();
    times.push_back(seconds(from));
    if (machine->on_host) break;
  }
  on->stages = stages;
  for (std::size_t i = 0; i < std::min<std::size_t>(times.size(), 7); ++i) {
    stages->begin_step();
    step();
    stages->end_step(machine->card.get());
  }
  on->stages = nullptr;
  return times;
}

template <typename T>
void time_chain(Machine* machine, const char* what, std::int64_t frames, std::int64_t atoms) {
  machine->memory->release_free();
  OnGpu on = machine->on();
  const Water water(frames, atoms);
  const bool training = std::strcmp(what, "train") == 0;
  Chain<OnGpu, T> chain(&on, water);
  machine->memory->reset_peak();
  Stages stages;
  const auto times =
      repeat(machine, &on, &stages, [&] { training ? chain.train() : chain.step(); });
  const auto n = static_cast<long long>(water.n_rows());
  std::printf("step\t%s\t%lld\t%s\t%.6g\t%lld\t%lld\n", what, n, type_name<T>(), median(times),
              static_cast<long long>(machine->memory->peak()),
              static_cast<long long>(chain.n_pairs()));
  for (const auto& stage : stages.all())
    std::printf("stage\t%s\t%lld\t%s\t%s\t%.6g\t%.6g\t%.6g\n", what, n, type_name<T>(),
                stage.name.c_str(), median(stage.seconds), stage.bytes, stage.flops);
  std::fflush(stdout);
  if (training && !chain.finite()) throw gpu::Error("a gradient is not finite");
}

// Bytes read and written in a second by a copy within the memory of the card.
void time_copy(Machine* machine) {
  OnGpu on = machine->on();
  const std::int64_t n = machine->on_host || machine->exact ? 1 << 20 : std::int64_t(1) << 28;
  const auto from = on.zeros<float>(n), to = on.zeros<float>(n);
  const OnGpu::Call call(on);
  call.copy(from.data(), n, to.data());
  machine->card->mark(0);
  for (int i = 0; i < 10; ++i) call.copy(from.data(), n, to.data());
  machine->card->mark(1);
  machine->card->wait();
  std::printf("card\tbandwidth of a copy\t%.6g\n", 80.0 * double(n) / machine->card->between(0, 1));
}

// Lines on NVRTC and cuBLAS.
std::string libraries() {
  std::istringstream all(deepmd_tf_describe_gpu());
  std::string line, found;
  while (std::getline(all, line))
    if (line.find("NVRTC\t") < 2 || line.find("cuBLAS\t") < 2) found += "card\t" + line + "\n";
  return found;
}

void guard(const std::string& what, const std::function<void()>& body) {
  try {
    body();
  } catch (const std::exception& error) {
    std::printf("failed\t%s\t%s\n", what.c_str(), error.what());
    failed = true;
  }
  std::fflush(stdout);
}

void run(Machine* machine, std::vector<std::string> words, std::int64_t atoms) {
  const std::string what = words.empty() ? "" : words.front();
  if (!words.empty()) words.erase(words.begin());
  if (what == "list") {
    for (const auto& family : families) std::printf("%s\n", family.c_str());
    return;
  }
  machine->open();
  const auto number = [&](std::size_t i) { return std::strtoll(words.at(i).c_str(), nullptr, 10); };
  if (what == "card") {
    for (const auto& [name, value] : machine->card->facts())
      std::printf("card\t%s\t%s\n", name.c_str(), value.c_str());
    if (!machine->on_host) std::printf("%s", libraries().c_str());
    time_copy(machine);
  } else if (what == "check") {
    for (const auto& family : words.empty() ? families : words) {
      guard(family + ", float64", [&] { check<double>(machine, family, atoms); });
      guard(family + ", float32", [&] { check<float>(machine, family, atoms); });
    }
  } else if (what == "md") {
    for (std::size_t i = 0; i < words.size(); ++i) {
      guard("md " + words[i] + ", float32",
            [&] { time_chain<float>(machine, "md", 1, number(i)); });
      guard("md " + words[i] + ", float64",
            [&] { time_chain<double>(machine, "md", 1, number(i)); });
    }
  } else if (what == "train" && words.size() == 2) {
    guard("train, float32", [&] { time_chain<float>(machine, "train", number(0), number(1)); });
    guard("train, float64", [&] { time_chain<double>(machine, "train", number(0), number(1)); });
  } else {
    throw gpu::Error("what to do? check [FAMILY …], md N …, train FRAMES ATOMS, list or card");
  }
}

}  // namespace
}  // namespace bench

int main(int count, char** arguments) {
  bench::Machine machine;
  std::vector<std::string> words;
  std::int64_t atoms = 192;
  for (int i = 1; i < count; ++i) {
    const std::string word = arguments[i];
    if (word == "--on-host")
      machine.on_host = true;
    else if (word == "--exact")
      machine.exact = true;
    else if (word == "--atoms" && i + 1 < count)
      atoms = std::strtoll(arguments[++i], nullptr, 10);
    else
      words.push_back(word);
  }
  bench::guard("all", [&] { bench::run(&machine, words, atoms); });
  return bench::failed ? 1 : 0;
}
