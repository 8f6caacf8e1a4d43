// SPDX-License-Identifier: BSD-3-Clause
// Does with the runtime of CUDA what its arguments say, one after the other, beside libraries that
// are made by fake_cuda.cc. Errors are printed as "error: …"; those that the test expects end with
// status 0, results that are wrong with 1.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "gpu.h"

namespace {

using deepmd::gpu::Kernel;
using deepmd::gpu::Real;

void* stream_of(std::uintptr_t number) { return reinterpret_cast<void*>(number); }

std::vector<std::vector<char>> scratch;

deepmd::gpu::Stream make_stream(std::uintptr_t number) {
  const auto allocate = [](void*, std::int64_t bytes) -> void* {
    return scratch.emplace_back(std::size_t(bytes)).data();
  };
  return {deepmd::gpu::runtime(), stream_of(number), nullptr, allocate};
}

void launch(const char* file, const char* name, Real real, std::int64_t blocks, std::int64_t shared,
            std::uintptr_t stream = 1) {
  const int first = 42;
  make_stream(stream).launch({file, name, real}, {blocks, 128, shared}, first);
}

void expect(bool right, const char* what) {
  if (right) return;
  std::printf("wrong: %s\n", what);
  std::exit(1);
}

template <typename T>
void multiply(bool transpose_a, bool transpose_b, bool add) {
  const int m = 2, n = 3, k = 4;
  std::vector<T> a(m * k), b(k * n), c(m * n, T(0.5)), expected(m * n, add ? T(0.5) : T(0));
  for (int i = 0; i < m * k; ++i) a[i] = T(i + 1);
  for (int i = 0; i < k * n; ++i) b[i] = T(10 - 3 * i);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l)
        expected[i * n + j] += (transpose_a ? a[l * m + i] : a[i * k + l]) *
                               (transpose_b ? b[j * k + l] : b[l * n + j]);
  make_stream(1).multiply(m, n, k, transpose_a, transpose_b, a.data(), b.data(), add, c.data());
  expect(c == expected, "product");
}

void copies() {
  const auto stream = make_stream(2);
  std::vector<int> host = {1, 2, 3, 4, 5}, device(5), other(5, 7), back(5);
  stream.write(host.data(), 5, device.data());
  stream.copy(device.data(), 5, other.data());
  stream.zero(other.data() + 3, 2);
  stream.read(other.data(), 5, back.data());
  expect(back == std::vector<int>({1, 2, 3, 0, 0}), "copies");
  stream.write(host.data(), 5, device.data());
  const std::vector<int> many(10000, 1);
  std::vector<int> place(10000);
  stream.write(many.data(), 10000, place.data());
  expect(place == many, "copies");
}

// Four threads, two contexts, two files.
void threads() {
  std::vector<std::thread> all;
  for (std::uintptr_t i = 0; i < 8; ++i)
    all.emplace_back([i] {
      for (int round = 0; round < 20; ++round)
        launch(i % 4 < 2 ? "sort" : "pairs", i % 4 < 2 ? "count" : "gather_pairs", Real::kDouble, 1,
               0, 1 + i % 2);
    });
  for (std::thread& thread : all) thread.join();
}

void run(const std::string& what) {
  if (what == "launch")
    launch("sort", "count", Real::kSingle, 7, 0);
  else if (what == "launch-double")
    launch("pairs", "gather_pairs", Real::kDouble, 7, 0);
  else if (what == "launch-shared")
    launch("sort", "count", Real::kSingle, 7, 100000);
  else if (what == "launch-many")
    launch("sort", "count", Real::kSingle, 2147483648, 0);
  else if (what == "launch-most")
    launch("sort", "count", Real::kSingle, 2147483647, 0);
  else if (what == "launch-other")
    launch("sort", "count", Real::kSingle, 7, 0, 2);
  else if (what == "launch-no-stream")
    launch("sort", "count", Real::kSingle, 7, 0, 0);
  else if (what == "launch-unknown")
    launch("sort", "nothing", Real::kSingle, 7, 0);
  else if (what == "launch-no-file")
    launch("nothing", "count", Real::kSingle, 7, 0);
  else if (what == "threads")
    threads();
  else if (what == "copies")
    copies();
  else if (what == "describe")
    std::printf("%s", deepmd_tf_describe_gpu());
  else if (what == "multiply")
    for (int i = 0; i < 8; ++i) {
      multiply<double>(i & 1, i & 2, i & 4);
      multiply<float>(i & 1, i & 2, i & 4);
    }
  else
    expect(false, what.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  if (deepmd::gpu::runtime() == nullptr) std::printf("none: %s\n", deepmd_tf_why_no_gpu());
  for (int i = 1; i < count; ++i) {
    try {
      if (deepmd::gpu::runtime() != nullptr || std::string(arguments[i]) == "describe")
        run(arguments[i]);
    } catch (const deepmd::gpu::OutOfMemory& error) {
      std::printf("out of memory: %s\n", error.what());
    } catch (const deepmd::gpu::Error& error) {
      std::printf("error: %s\n", error.what());
    }
  }
  return 0;
}
