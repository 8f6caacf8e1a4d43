// SPDX-License-Identifier: BSD-3-Clause
// Boxes of water, and the model of examples/water (se_e2_a) with random weights.
#pragma once

#include <cstdint>
#include <vector>

namespace bench {

constexpr int kTypes = 2;  // O, H
constexpr double kCutoff = 6, kSmooth = 0.5;
constexpr std::int32_t kSel[kTypes] = {46, 92};
constexpr std::int64_t kNeuron[] = {1, 25, 50, 100};
constexpr std::int64_t kEmbeddingLayers = 3, kColumns = 100, kAxis = 16;
constexpr std::int64_t kDescriptor = kColumns * kAxis;
constexpr std::int64_t kFitting = 240, kFittingLayers = 3;
constexpr std::int64_t kNodes = 256;
constexpr double kRange[2] = {-0.6, 12};  // of the first component of rows
constexpr double kAverage = 0.05, kDeviation[4] = {0.1, 0.07, 0.07, 0.07};

// Numbers between -1 and 1, the same in every run.
std::vector<double> random_numbers(std::int64_t n, unsigned seed);

template <typename T>
std::vector<T> numbers(std::int64_t n, unsigned seed, double scale = 1, double shift = 0) {
  std::vector<T> result;
  for (const double x : random_numbers(n, seed))
    result.push_back(static_cast<T>(shift + scale * x));
  return result;
}

template <typename T>
std::vector<T> as(const std::vector<double>& x) {
  return std::vector<T>(x.begin(), x.end());
}

// Frames of molecules at 1 g/cm³, each turned by random; first all O of a frame, then all H.
struct Water {
  std::int64_t n_frames = 0, n_atoms = 0;  // of each frame
  std::vector<double> coord, box;
  std::vector<std::int32_t> type,
      table_of;  // table_of: of each section, the type of its neighbours

  // About n atoms in each frame.
  Water(std::int64_t n_frames, std::int64_t n);

  std::int64_t n_rows() const { return n_frames * n_atoms; }
  std::int64_t first(int t) const { return t == 0 ? 0 : n_atoms / 3; }
  std::int64_t count(int t) const { return t == 0 ? n_atoms / 3 : n_atoms - n_atoms / 3; }
};

// Weights by net and layer.
struct Weights {
  std::vector<std::vector<double>> matrix, bias, idt;
};
Weights embedding_weights();
Weights fitting_weights();  // the last layer among them; idt of layers 1 and 2

}  // namespace bench
