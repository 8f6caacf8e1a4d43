// SPDX-License-Identifier: BSD-3-Clause
// Moments of tabulated functions against a direct sum, the adjoint identities of the form that they
// are, the same bits for all numbers of threads; and tables in the layout of DeePMD-kit.
#include "moment.h"

#include "check.h"
#include "hermite.h"
#include "tabulate_kernels.h"
#include "threads.h"

namespace {

using std::int32_t;
using std::int64_t;

// A centre without pairs, one whose pairs are left out, s within, below and above the range.
template <typename T>
struct Example {
  int64_t columns;
  deepmd::MomentShape shape;
  std::vector<T> table, range = {T(-0.9), T(0.8), T(-1.0), T(1.0)}, s, rows, adjoint;
  std::vector<int32_t> splits = {0, 40, 60, 60, 60, 75, 90}, table_of = {0, 1, 0, 1, -1, 1};

  explicit Example(int64_t columns, int64_t orders = 2, int64_t order = 0)
      : columns(columns),
        shape{2, 9, columns, 90, 3, 2, orders, order, 7},
        table(check::random<T>(2 * 9 * 3 * columns, 1)),
        s(check::random<T>(90, 2)),
        rows(check::random<T>(90 * orders * 4, 3)),
        adjoint(check::random<T>(3 * 4 * columns, 4)) {}

  deepmd::MomentPairs<T> pairs() const {
    return {range.data(), s.data(), 1, splits.data(), table_of.data()};
  }

  std::vector<T> moment(int threads) const {
    std::vector<T> out(3 * 4 * columns);
    DEEPMD_PICK(moment<T>)(shape, pairs(), table.data(), rows.data(), nullptr, on_threads(threads),
                           out.data());
    return out;
  }

  std::vector<T> by_rows(int threads) const {
    std::vector<T> out(rows.size());
    DEEPMD_PICK(moment_rows<T>)(shape, pairs(), table.data(), adjoint.data(), on_threads(threads),
                                out.data());
    return out;
  }

  std::vector<T> by_table(int threads) const {
    std::vector<T> out(table.size());
    std::vector<double> scratch(DEEPMD_PICK(moment_table_scratch<T>)(shape) / 8 + 1);
    DEEPMD_PICK(moment_table<T>)(shape, pairs(), rows.data(), adjoint.data(), on_threads(threads),
                                 scratch.data(), out.data());
    return out;
  }

  // The definition: sum over pairs and orders, in double precision.
  std::vector<double> direct() const {
    std::vector<double> out(3 * 4 * columns, 0.0);
    for (size_t section = 0; section < table_of.size(); ++section) {
      const int k = table_of[section];
      for (int32_t p = splits[section]; p < splits[section + 1] && k >= 0; ++p)
        for (int64_t j = 0; j < shape.orders; ++j) {
          const auto grid = deepmd::make_hermite_grid<double>(range[2 * k], range[2 * k + 1], 9);
          const auto point = deepmd::hermite_locate<double>(s[p], grid);
          double w[8];
          deepmd::hermite_weights(point, grid, static_cast<int>(shape.order + j), w);
          for (int node = 0; node < 2; ++node)
            for (int m = 0; m < 3; ++m)
              for (int64_t c = 0; c < columns; ++c)
                for (int a = 0; a < 4; ++a)
                  out[(section / 2 * 4 + a) * columns + c] +=
                      w[4 * node + m] * rows[(p * shape.orders + j) * 4 + a] / 7 *
                      table[((k * 9 + point.interval + node) * 3 + m) * columns + c];
        }
    }
    return out;
  }
};

template <typename T>
double dot(const std::vector<T>& a, const std::vector<T>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

template <typename T>
void compare(int64_t columns, int64_t order, double tolerance) {
  const Example<T> e(columns, 2, order);
  const auto moment = e.moment(1), by_rows = e.by_rows(1), by_table = e.by_table(1);
  const auto expected = e.direct();
  double largest = 1;
  for (const double x : expected) largest = std::fmax(largest, std::abs(x));
  for (size_t i = 0; i < moment.size(); ++i)
    CHECK(std::abs(moment[i] - expected[i]) <= tolerance * largest);
  const double form = dot(e.adjoint, moment), scale = largest * 4 * columns;
  CHECK(std::abs(dot(e.rows, by_rows) - form) <= tolerance * scale);
  CHECK(std::abs(dot(e.table, by_table) - form) <= tolerance * scale);
  for (const int threads : {2, 4}) {
    CHECK(e.moment(threads) == moment);
    CHECK(e.by_rows(threads) == by_rows);
    CHECK(e.by_table(threads) == by_table);
  }
}

TEST(moments) {
  for (const int64_t columns : {1, 7, 25, 100})
    for (const int64_t order : {0, 1}) {
      compare<double>(columns, order, 1e-12);
      compare<float>(columns, order, 2e-4);
    }
}

TEST(pairs_outside_of_the_range) {
  Example<double> e(3);
  const auto outside = [&] { return DEEPMD_PICK(moment_outside<double>)(e.shape, e.pairs()); };
  const int64_t before = outside();
  e.s[0] = std::nan("");
  e.s[61] = 50;  // in a section that is left out
  const double first = check::random<double>(90, 2)[0];
  CHECK(outside() == before + (first >= e.range[0] && first <= e.range[1]));
}

TEST(interpolation_is_smooth_at_the_nodes) {
  // 0, 0.25, ..., 1, then octaves of two intervals: 1.25, 1.5, 2, 2.5, 3.5, 4.5
  const auto grid = deepmd::make_hermite_grid(0.0, 1.0, 5, 3, 2);
  const double nodes[] = {0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3.5};
  const auto values = check::random<double>(33, 8);
  const auto at = [&](double s, int order) {
    const auto point = deepmd::hermite_locate(s, grid);
    double w[8], sum = 0;
    deepmd::hermite_weights(point, grid, order, w);
    for (int node = 0; node < 2; ++node)
      for (int m = 0; m < 3; ++m) sum += w[4 * node + m] * values[3 * (point.interval + node) + m];
    return sum;
  };
  for (int node = 1; node < 10; ++node)
    for (int order = 0; order < 3; ++order) {
      CHECK_CLOSE(at(nodes[node - 1] - 1e-12, order), values[3 * node + order], 1e-7);
      CHECK_CLOSE(at(nodes[node - 1] + 1e-12, order), values[3 * node + order], 1e-7);
    }
  CHECK_CLOSE(at(4.5 - 1e-12, 0), values[30], 1e-7);
  CHECK_CLOSE(at(6.5, 0), values[30] + 2 * values[31], 1e-12);
}

TEST(tables_of_stock) {
  constexpr int64_t n_columns = 11, n_centers = 3, n_slots = 6, n_rows = 10;
  const auto table = check::random<double>(n_rows * 6 * n_columns, 1);
  auto s = check::random<double>(n_centers * n_slots, 2);
  auto rows = check::random<double>(n_centers * n_slots * 4, 3);
  const auto adjoint = check::random<double>(n_centers * 4 * n_columns, 4);
  for (double& x : s) x = 1.3 * std::abs(x);
  const deepmd::TableGrid<double> grid{0.0, 0.5, 1.0, 0.1, 0.1, 0.0, 0, 5, 9, n_rows};
  const deepmd::TabulateQuery<double> query{grid,    table.data(), n_columns,
                                            n_slots, s.data(),     rows.data()};
  std::vector<double> out(n_centers * 4 * n_columns), d_s(s.size()), d_rows(rows.size());
  DEEPMD_PICK(tabulate<double>)(query, 0, n_centers, out.data());
  DEEPMD_PICK(tabulate_grad<double>)(query, adjoint.data(), 0, n_centers, d_s.data(),
                                     d_rows.data());
  std::vector<double> expected(out.size(), 0.0);
  for (int64_t c = 0; c < n_centers; ++c)
    for (int64_t j = 0; j < n_slots; ++j) {
      const auto point = deepmd::table_locate(s[c * n_slots + j], grid);
      for (int64_t k = 0; k < n_columns; ++k) {
        double value = 0;
        for (int p = 0; p < 6; ++p)
          value += table[(point.row * n_columns + k) * 6 + p] * point.value[p];
        for (int a = 0; a < 4; ++a)
          expected[(c * 4 + a) * n_columns + k] += rows[(c * n_slots + j) * 4 + a] * value;
      }
    }
  for (size_t i = 0; i < out.size(); ++i) CHECK_CLOSE(out[i], expected[i], 1e-12);
  CHECK_CLOSE(dot(rows, d_rows), dot(adjoint, out), 1e-11);
}

}  // namespace

TEST_MAIN()
