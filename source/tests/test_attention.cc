// SPDX-License-Identifier: BSD-3-Clause
// Attention against plain loops, its derivatives against differences, in as much scratch memory as
// is promised to be enough.
#include "attention.h"

#include "check.h"

namespace {

using deepmd::AttentionPairs;
using deepmd::AttentionShape;
using std::int64_t;
using Numbers = std::vector<double>;

// Three centres, the second without neighbours.
struct Case {
  int64_t n, width;
  bool smooth, diagonal, directed;
  std::vector<std::int32_t> splits;
  Numbers qkv, weights, rows;

  Case(int64_t n, int64_t width, int form)
      : n(n),
        width(width),
        smooth((form & 1) != 0),
        diagonal((form & 2) != 0),
        directed((form & 4) != 0),
        splits{0, static_cast<std::int32_t>(n / 3), static_cast<std::int32_t>(n / 3),
               static_cast<std::int32_t>(n)},
        qkv(check::random<double>(3 * n * width, 1)),
        weights(check::random<double>(n, 2)),
        rows(check::random<double>(4 * n, 3)) {
    for (double& w : weights) w = smooth ? 0.55 + 0.4 * w : 1.0;
  }

  AttentionShape shape() const { return {width, smooth, diagonal, n + 5, 1, splits.data()}; }
  Numbers scratch() const { return Numbers(deepmd::attention_scratch(width, n - n / 3)); }
  AttentionPairs<const double> pairs() const {
    return {qkv.data(), weights.data(), directed ? rows.data() : nullptr};
  }
  Case moved(const Case& u, double t) const {
    Case to = *this;
    for (std::size_t i = 0; i < qkv.size(); ++i) to.qkv[i] += t * u.qkv[i];
    for (std::size_t i = 0; i < rows.size(); ++i) to.rows[i] += t * u.rows[i];
    for (std::size_t i = 0; smooth && i < weights.size(); ++i) to.weights[i] += t * u.weights[i];
    return to;
  }
  double dot(const Case& u) const {
    double sum = 0;
    for (std::size_t i = 0; i < qkv.size(); ++i) sum += qkv[i] * u.qkv[i];
    for (std::size_t i = 0; directed && i < rows.size(); ++i) sum += rows[i] * u.rows[i];
    for (std::size_t i = 0; i < weights.size(); ++i) sum += weights[i] * u.weights[i];
    return sum;
  }
};

Numbers evaluate(const Case& c) {
  Numbers out(c.n * c.width), scratch = c.scratch();
  DEEPMD_PICK(attention<double>)(c.shape(), c.pairs(), 0, 3, scratch.data(), out.data());
  return out;
}

Case pull(const Case& c, const Numbers& y) {
  Case g = c;
  Numbers scratch = c.scratch();
  DEEPMD_PICK(attention_vjp<double>)(
      c.shape(), c.pairs(), y.data(), 0, 3, scratch.data(),
      AttentionPairs<double>{g.qkv.data(), g.weights.data(), c.directed ? g.rows.data() : nullptr});
  return g;
}

// x over its length.
Numbers unit(const double* x, int64_t size) {
  double square = 0;
  for (int64_t k = 0; k < size; ++k) square += x[k] * x[k];
  Numbers y(x, x + size);
  for (double& number : y) number /= std::sqrt(square);
  return y;
}

double dot(const Numbers& x, const Numbers& y) {
  double sum = 0;
  for (std::size_t k = 0; k < x.size(); ++k) sum += x[k] * y[k];
  return sum;
}

void compare(const Case& c) {
  const Numbers out = evaluate(c);
  for (int center = 0; center < 3; ++center) {
    const int64_t from = c.splits[center], to = c.splits[center + 1];
    for (int64_t i = from; i < to; ++i) {
      const auto part = [&](int64_t p, int which) {
        return unit(c.qkv.data() + (3 * p + which) * c.width, c.width);
      };
      double total = c.smooth ? (c.n + 5 - (to - from)) * std::exp(-20.0) : 0.0;
      Numbers sum(c.width);
      for (int64_t j = from; j < to; ++j) {
        const double both = c.weights[i] * c.weights[j], a = dot(part(i, 0), part(j, 1));
        const double e = std::exp(c.smooth ? (a + 20) * both - 20 : a);
        const auto direction = [&](int64_t p) { return unit(c.rows.data() + 4 * p + 1, 3); };
        const double d = c.directed ? dot(direction(i), direction(j)) : 1.0;
        total += e;
        for (int64_t k = 0; k < c.width && (c.diagonal || i != j); ++k)
          sum[k] += e * both * d * part(j, 2)[k];
      }
      for (int64_t k = 0; k < c.width; ++k)
        CHECK_CLOSE(out[i * c.width + k], sum[k] / total, 1e-13);
    }
  }
}

void differentiate(const Case& c) {
  Case u = c;
  u.qkv = check::random<double>(c.qkv.size(), 4);
  u.rows = check::random<double>(c.rows.size(), 5);
  u.weights = c.smooth ? check::random<double>(c.n, 6) : Numbers(c.n);
  const Numbers y = check::random<double>(c.n * c.width, 7);
  const double h = 1e-6;
  const Case ahead = c.moved(u, h), behind = c.moved(u, -h);
  const Numbers plus = evaluate(ahead), minus = evaluate(behind);
  const Case first = pull(c, y);
  CHECK_CLOSE(first.dot(u), (dot(plus, y) - dot(minus, y)) / (2 * h), 1e-6);

  Case second = c;
  Numbers along(y.size()), scratch = c.scratch();
  DEEPMD_PICK(attention_hvp<double>)(
      c.shape(), c.pairs(), u.pairs(), y.data(), 0, 3, scratch.data(),
      AttentionPairs<double>{second.qkv.data(), second.weights.data(),
                             c.directed ? second.rows.data() : nullptr},
      along.data());
  for (std::size_t i = 0; i < y.size(); ++i)
    CHECK_CLOSE(along[i], (plus[i] - minus[i]) / (2 * h), 1e-6);
  const Case after = pull(ahead, y), before = pull(behind, y);
  for (std::size_t i = 0; i < c.qkv.size(); ++i)
    CHECK_CLOSE(second.qkv[i], (after.qkv[i] - before.qkv[i]) / (2 * h), 1e-5);
  for (int64_t i = 0; i < c.n; ++i)
    CHECK_CLOSE(second.weights[i], (after.weights[i] - before.weights[i]) / (2 * h), 1e-5);
  for (std::size_t i = 0; c.directed && i < c.rows.size(); ++i)
    CHECK_CLOSE(second.rows[i], (after.rows[i] - before.rows[i]) / (2 * h), 1e-5);
}

TEST(values_and_derivatives) {
  for (const int64_t n : {0, 1, 3, 20, 31})
    for (const int64_t width : {2, 3, 9, 33})
      for (int form = 0; form < 8; ++form) {
        compare(Case(n, width, form));
        differentiate(Case(n, width, form));
      }
}

}  // namespace

TEST_MAIN()
