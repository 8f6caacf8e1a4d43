// SPDX-License-Identifier: BSD-3-Clause
// Layers with tanh: values against the C library, derivatives against central differences.
#include "dense.h"

#include "check.h"

namespace {

using deepmd::DenseLayer;
using deepmd::DenseSlope;
using std::int64_t;

template <typename T>
struct Example {
  int64_t n, width;
  std::vector<T> x, matrix, bias, idt;
  DenseLayer<T> layer;

  Example(int64_t n, int64_t width, T scale)
      : n(n),
        width(width),
        x(check::random<T>(n * width, 1)),
        matrix(check::random<T>(width * width, 2)),
        bias(check::random<T>(width, 3)),
        idt(check::random<T>(width, 4)),
        layer{n, width, width, true, matrix.data(), bias.data(), idt.data()} {
    for (T& value : matrix) value *= scale;
  }

  // y = h idt + x, and h.
  std::vector<T> apply(const std::vector<T>& in, std::vector<T>* h) const {
    std::vector<T> y(n * width);
    h->resize(n * width);
    const int64_t blocks = DEEPMD_PICK(dense_blocks<T>)(layer);
    DEEPMD_PICK(dense<T>)(layer, in.data(), 0, blocks, h->data(), y.data());
    return y;
  }
};

template <typename T>
void compare_values(T scale, double tolerance) {
  const Example<T> e(13, 21, scale);
  std::vector<T> h;
  const std::vector<T> y = e.apply(e.x, &h);
  for (int64_t i = 0; i < e.n; ++i)
    for (int64_t j = 0; j < e.width; ++j) {
      double z = e.bias[j];
      for (int64_t k = 0; k < e.width; ++k)
        z += static_cast<double>(e.x[i * e.width + k]) * e.matrix[k * e.width + j];
      const double expected = std::tanh(z);
      CHECK_CLOSE(h[i * e.width + j], expected, tolerance);
      CHECK_CLOSE(y[i * e.width + j], expected * e.idt[j] + e.x[i * e.width + j], tolerance);
    }
}

// From arguments that are tiny to those at which tanh is 1.
TEST(tanh_of_layers) {
  for (const double scale : {1e-8, 1e-2, 1.0, 10.0}) {
    compare_values<double>(scale, 1e-14);
    compare_values<float>(static_cast<float>(scale), 3e-6);
  }
}

TEST(derivatives_of_layers) {
  const Example<double> e(5, 19, 0.3);
  const int64_t size = e.n * e.width;
  std::vector<double> h, unused;
  e.apply(e.x, &h);
  const auto t_x = check::random<double>(size, 5), d_y = check::random<double>(size, 6);
  constexpr double step = 1e-6;
  auto plus = e.x, minus = e.x;
  for (int64_t i = 0; i < size; ++i) {
    plus[i] += step * t_x[i];
    minus[i] -= step * t_x[i];
  }
  const auto up = e.apply(plus, &unused), down = e.apply(minus, &unused);
  std::vector<double> t_h(size), t_y(size), d_h(size), d_x(size), d_z(size);
  DEEPMD_PICK(dense_along<double>)(e.layer, t_x.data(), h.data(), d_y.data(), 0,
                                   DEEPMD_PICK(dense_blocks<double>)(e.layer), t_h.data(),
                                   t_y.data(), d_h.data());
  double forward = 0, back = 0;
  for (int64_t i = 0; i < size; ++i) {
    CHECK_CLOSE(t_y[i], (up[i] - down[i]) / (2 * step), 1e-8);
    forward += t_y[i] * d_y[i];
    d_z[i] = d_y[i] * e.idt[i % e.width] * (1 - h[i] * h[i]);
  }
  DEEPMD_PICK(dense_back<double>)(e.layer, d_y.data(), d_z.data(), 0,
                                  DEEPMD_PICK(dense_back_blocks<double>)(e.layer), d_x.data(),
                                  DenseSlope<double>{});
  for (int64_t i = 0; i < size; ++i) back += t_x[i] * d_x[i];
  CHECK_CLOSE(forward, back, 1e-12);
}

}  // namespace

TEST_MAIN()
