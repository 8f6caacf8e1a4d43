// SPDX-License-Identifier: BSD-3-Clause
// Environment rows: values, and each derivative map against central differences of the one before.
#include "env_matrix.h"

#include "check.h"

namespace {

using namespace deepmd;  // NOLINT(build/namespaces)

const Cutoff<double> kCutoff = make_cutoff(6.0, 0.5);
constexpr double kStep = 1e-5;

struct Point {
  std::vector<double> x, g, u, v;
};

// Distances on all three pieces of the switch and at its ends.
std::vector<Point> points() {
  std::vector<Point> result;
  for (const double r : {0.3, 0.5, 0.9, 3.0, 5.9, 6.5}) {
    const unsigned seed = 10 + static_cast<unsigned>(100 * r);
    Point p{check::random<double>(3, seed), check::random<double>(4, seed + 1),
            check::random<double>(3, seed + 2), check::random<double>(3, seed + 3)};
    const double norm = std::sqrt(p.x[0] * p.x[0] + p.x[1] * p.x[1] + p.x[2] * p.x[2]);
    for (double& c : p.x) c *= r / norm;
    result.push_back(p);
  }
  return result;
}

// (f(x + h d) - f(x - h d)) / 2h of N components.
template <int N, typename F>
std::vector<double> difference(const Point& p, const std::vector<double>& d, const F& f) {
  double plus[N], minus[N], x[3];
  for (int a = 0; a < 3; ++a) x[a] = p.x[a] + kStep * d[a];
  f(x, plus);
  for (int a = 0; a < 3; ++a) x[a] = p.x[a] - kStep * d[a];
  f(x, minus);
  std::vector<double> result;
  for (int k = 0; k < N; ++k) result.push_back((plus[k] - minus[k]) / (2 * kStep));
  return result;
}

TEST(values) {
  for (const Point& p : points()) {
    const double r = std::sqrt(p.x[0] * p.x[0] + p.x[1] * p.x[1] + p.x[2] * p.x[2]);
    const double u = std::fmin(std::fmax((r - 0.5) / 5.5, 0.0), 1.0);
    const double s = (u * u * u * (-6 * u * u + 15 * u - 10) + 1) / r;
    double row[4];
    env_row(p.x.data(), kCutoff, row);
    CHECK_CLOSE(row[0], s, 1e-13);
    for (int a = 0; a < 3; ++a) CHECK_CLOSE(row[a + 1], s * p.x[a] / r, 1e-13);
  }
}

TEST(first_derivatives) {
  for (const Point& p : points()) {
    const auto expected =
        difference<4>(p, p.v, [](const double x[3], double* row) { env_row(x, kCutoff, row); });
    double jvp[4], vjp[3], forward = 0, back = 0;
    env_row_jvp(p.x.data(), p.v.data(), kCutoff, jvp);
    env_row_vjp(p.x.data(), p.g.data(), kCutoff, vjp);
    for (int k = 0; k < 4; ++k) {
      CHECK_CLOSE(jvp[k], expected[k], 1e-6);
      forward += p.g[k] * jvp[k];
    }
    for (int a = 0; a < 3; ++a) back += p.v[a] * vjp[a];
    CHECK_CLOSE(forward, back, 1e-12);
  }
}

TEST(second_derivatives) {
  for (const Point& p : points()) {
    const auto of_vjp = difference<3>(
        p, p.v, [&](const double x[3], double* out) { env_row_vjp(x, p.g.data(), kCutoff, out); });
    const auto of_jvp = difference<4>(
        p, p.v, [&](const double x[3], double* out) { env_row_jvp(x, p.u.data(), kCutoff, out); });
    double hvp[3], jvp_of_jvp[4], exchanged[4];
    env_row_hvp(p.x.data(), p.g.data(), p.v.data(), kCutoff, hvp);
    env_row_jvp_of_jvp(p.x.data(), p.u.data(), p.v.data(), kCutoff, jvp_of_jvp);
    env_row_jvp_of_jvp(p.x.data(), p.v.data(), p.u.data(), kCutoff, exchanged);
    // at 0.5 Å the third derivative jumps, so differences are of first order there
    const double tolerance =
        std::abs(p.x[0] * p.x[0] + p.x[1] * p.x[1] + p.x[2] * p.x[2] - 0.25) < 1e-9 ? 1e-3 : 1e-6;
    for (int a = 0; a < 3; ++a) CHECK_CLOSE(hvp[a], of_vjp[a], tolerance);
    for (int k = 0; k < 4; ++k) {
      CHECK_CLOSE(jvp_of_jvp[k], of_jvp[k], tolerance);
      CHECK_CLOSE(jvp_of_jvp[k], exchanged[k], 1e-12);
    }
  }
}

TEST(nothing_beyond_the_cutoff) {
  const double x[3] = {6.0, 1.0, 0.0};
  double row[4];
  env_row(x, kCutoff, row);
  for (const double component : row) CHECK(component == 0);
}

}  // namespace

TEST_MAIN()
