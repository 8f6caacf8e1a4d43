// SPDX-License-Identifier: BSD-3-Clause
#include "water.h"

#include <cmath>
#include <random>

namespace bench {

std::vector<double> random_numbers(std::int64_t n, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<double> values(n);
  for (double& value : values) value = generator() / 2147483648.0 - 1.0;
  return values;
}

Water::Water(std::int64_t n_frames, std::int64_t n) : n_frames(n_frames) {
  constexpr double density = 0.0334, bond = 0.9572, half_angle = 0.9121;  // 1/Å³, Å, radian
  const auto molecules = std::max<std::int64_t>(1, (n + 1) / 3);
  n_atoms = 3 * molecules;
  const double edge = std::cbrt(molecules / density);
  std::int64_t m = 1;
  while (m * m * m < molecules) ++m;
  coord.resize(3 * n_frames * n_atoms);
  type.resize(n_frames * n_atoms);
  for (std::int64_t frame = 0; frame < n_frames; ++frame) {
    for (int a = 0; a < 9; ++a) box.push_back(a % 4 == 0 ? edge : 0);
    const auto random = random_numbers(7 * molecules, 100 + frame);
    for (std::int64_t i = 0; i < molecules; ++i) {
      const double* r = random.data() + 7 * i;
      // points of a lattice that are left out are spread over the box
      const std::int64_t point = i * (m * m * m) / molecules;
      const std::int64_t place[3] = {point / (m * m), point / m % m, point % m};
      double u[3], v[3], dot = 0, uu = 0, vv = 0;
      for (int d = 0; d < 3; ++d) {
        u[d] = r[d] + 1e-3;
        v[d] = r[3 + (d + 1) % 3] + (d == 1);
        uu += u[d] * u[d];
        dot += u[d] * v[d];
      }
      for (int d = 0; d < 3; ++d) {
        v[d] -= u[d] * dot / uu;
        vv += v[d] * v[d];
      }
      const std::int64_t rows[3] = {i, molecules + 2 * i, molecules + 2 * i + 1};
      for (int atom = 0; atom < 3; ++atom) {
        const std::int64_t row = frame * n_atoms + rows[atom];
        type[row] = atom > 0;
        for (int d = 0; d < 3; ++d) {
          const double along = atom == 0 ? 0 : bond * std::cos(half_angle) / std::sqrt(uu) * u[d];
          const double across = atom == 0 ? 0 : bond * std::sin(half_angle) / std::sqrt(vv) * v[d];
          coord[3 * row + d] = edge / m * (place[d] + 0.05 * r[(d + 3) % 7]) + along +
                               (atom == 1 ? across : -across);
        }
      }
    }
  }
  for (std::int64_t row = 0; row < n_rows(); ++row)
    for (int t = 0; t < kTypes; ++t) table_of.push_back(t);
}

namespace {

void add_layer(std::int64_t n_in, std::int64_t n_out, bool idt, Weights* weights) {
  const auto seed = static_cast<unsigned>(1000 + 10 * weights->matrix.size());
  weights->matrix.push_back(numbers<double>(n_in * n_out, seed, 1.7 / std::sqrt(n_in + n_out)));
  weights->bias.push_back(numbers<double>(n_out, seed + 1, 0.5));
  weights->idt.push_back(idt ? numbers<double>(n_out, seed + 2, 0.01, 0.1) : std::vector<double>());
}

}  // namespace

Weights embedding_weights() {
  Weights weights;
  for (int net = 0; net < kTypes; ++net)
    for (int l = 0; l < kEmbeddingLayers; ++l)
      add_layer(kNeuron[l], kNeuron[l + 1], false, &weights);
  return weights;
}

Weights fitting_weights() {
  Weights weights;
  for (int net = 0; net < kTypes; ++net) {
    add_layer(kDescriptor, kFitting, false, &weights);
    for (int l = 1; l < kFittingLayers; ++l) add_layer(kFitting, kFitting, true, &weights);
    add_layer(kFitting, 1, false, &weights);
  }
  return weights;
}

}  // namespace bench
