// SPDX-License-Identifier: BSD-3-Clause
// The little that the native tests need of a test framework. A program is one file:
//
//   TEST(name) { CHECK(a == b); CHECK_CLOSE(x, y, 1e-12); }      and at the end      TEST_MAIN()
//
// A failed check is printed and the test continues; the program's exit status is 1 if any has
// failed.
#pragma once

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*run)();
};

inline std::vector<Test> tests;
inline int failures = 0;

inline bool add(const char* name, void (*run)()) {
  tests.push_back({name, run});
  return true;
}

inline void fail(const char* file, int line, const char* what) {
  std::printf("%s:%d: %s\n", file, line, what);
  ++failures;
}

// |a - b| <= tolerance max(1, |b|); false if either is NaN.
inline bool close(double a, double b, double tolerance) {
  return std::abs(a - b) <= tolerance * std::fmax(1.0, std::abs(b));
}

// Numbers between -1 and 1, the same in every run.
template <typename T>
std::vector<T> random(std::size_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<T> values(n);
  for (T& value : values) value = static_cast<T>(generator() / 2147483648.0 - 1.0);
  return values;
}

inline int main() {
  for (const Test& test : tests) {
    const int before = failures;
    test.run();
    std::printf("%s %s\n", failures == before ? "passed" : "FAILED", test.name);
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace check

#define TEST(name)                                                    \
  void name();                                                        \
  [[maybe_unused]] const bool added_##name = check::add(#name, name); \
  void name()
#define CHECK(condition) \
  if (!(condition)) check::fail(__FILE__, __LINE__, #condition)
#define CHECK_CLOSE(a, b, tolerance) CHECK(check::close((a), (b), (tolerance)))
#define TEST_MAIN() \
  int main() { return check::main(); }
