// SPDX-License-Identifier: BSD-3-Clause
// Times loops on our thread team and on OpenMP, and our matrix products and Eigen's, alternately.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

#include "gemm.h"
#include "team.h"

void openmp_loop(int threads, std::int64_t total, std::int64_t step,
                 void (*body)(const void*, std::int64_t, std::int64_t), const void* closure);
void eigen_avx2(long m, long n, long k, const float* a, const float* b, float* c);
void eigen_avx2(long m, long n, long k, const double* a, const double* b, double* c);
void eigen_avx512(long m, long n, long k, const float* a, const float* b, float* c);
void eigen_avx512(long m, long n, long k, const double* a, const double* b, double* c);

namespace {

using std::int64_t;
using Clock = std::chrono::steady_clock;

double microseconds(const std::function<void()>& work) {
  const auto begin = Clock::now();
  work();
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

// Medians of the times of each, run in turn, with a pause of `gap` µs of other work before each.
std::vector<double> medians(const std::vector<std::function<void()>>& works, int repeats,
                            double gap) {
  std::vector<std::vector<double>> times(works.size());
  for (int repeat = 0; repeat < repeats; ++repeat)
    for (size_t k = 0; k < works.size(); ++k) {
      const auto end = Clock::now() + std::chrono::duration<double, std::micro>(gap);
      while (Clock::now() < end) {
      }
      times[k].push_back(microseconds(works[k]));
    }
  std::vector<double> result;
  for (auto& t : times) {
    std::nth_element(t.begin(), t.begin() + t.size() / 2, t.end());
    result.push_back(t[t.size() / 2]);
  }
  return result;
}

// Loops of some µs of arithmetic in all, in 16 ranges. Only one library's threads may spin at a
// time, so each is measured in a block of its own.
void loops(int threads) {
  std::printf(
      "loops on %d threads: work, then time of one loop in µs on one thread, the team, "
      "OpenMP\n",
      threads);
  std::vector<double> x(1 << 14, 1.0);
  for (const int64_t items : {2000, 5000, 10000, 20000}) {
    for (const double gap : {5.0, 100.0}) {
      const auto body = [](const void* closure, int64_t begin, int64_t end) {
        auto& x = *static_cast<std::vector<double>*>(const_cast<void*>(closure));
        for (int64_t i = begin; i < end; ++i) {
          double& y = x[i % x.size()];
          for (int k = 0; k < 8; ++k) y = y * 0.999 + 1e-3;
        }
      };
      const int64_t step = (items + 15) / 16;
      const auto serial = medians({[&] { body(&x, 0, items); }}, 2000, gap);
      const auto team = medians({[&] {
                                  deepmd::SharedLoop loop(items, step, body, &x);
                                  deepmd::Team::get().run(&loop, threads - 1, true);
                                }},
                                2000, gap);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      const auto openmp =
          medians({[&] { openmp_loop(threads, items, step, body, &x); }}, 2000, gap);
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      std::printf("  gap %4.0f  %7.1f %7.1f %7.1f\n", gap, serial[0], team[0], openmp[0]);
    }
  }
}

template <typename T>
void products(const char* type) {
  std::printf(
      "products in %s: m n k, GFLOP/s of core AVX-512, Eigen AVX-512, core AVX2, Eigen "
      "AVX2\n",
      type);
  const int64_t shapes[][3] = {{64, 240, 240}, {128, 240, 240}, {192, 240, 240}, {192, 240, 1600},
                               {500, 50, 25},  {500, 100, 50},  {5000, 50, 25},  {5000, 100, 50}};
  for (const auto& s : shapes) {
    const int64_t m = s[0], n = s[1], k = s[2];
    std::vector<T> a(m * k, T(0.5)), b(k * n, T(0.25)), c(m * n);
    const deepmd::GemmShape shape{m, n, k, false, false};
    const auto times =
        medians({[&] {
                   deepmd::avx512::gemm<T>(shape, a.data(), b.data(), 0,
                                           deepmd::avx512::gemm_blocks<T>(shape), false, c.data());
                 },
                 [&] { eigen_avx512(m, n, k, a.data(), b.data(), c.data()); },
                 [&] {
                   deepmd::avx2::gemm<T>(shape, a.data(), b.data(), 0,
                                         deepmd::avx2::gemm_blocks<T>(shape), false, c.data());
                 },
                 [&] { eigen_avx2(m, n, k, a.data(), b.data(), c.data()); }},
                static_cast<int>(std::min<int64_t>(500, 4000000000 / (m * n * k) / 4)), 0);
    std::printf("  %5ld %4ld %4ld ", m, n, k);
    for (const double t : times) std::printf(" %7.1f", 2e-3 * m * n * k / t);
    std::printf("\n");
  }
}

}  // namespace

int main() {
  loops(2);
  products<double>("float64");
  products<float>("float32");
}
