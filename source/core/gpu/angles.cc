// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_angles.h"

#include <algorithm>

#include "gpu_angles_view.h"

namespace deepmd {
namespace gpu {
namespace {

// Numbers of the tables for each of some centres, whose memory is bounded.
template <typename T>
class Chunks {
 public:
  Chunks(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs)
      : stream_(stream), shape_(shape) {
    view_.rows = pairs.rows;
    view_.tangents[0] = pairs.tangents[0];
    view_.tangents[1] = pairs.tangents[1];
    view_.splits = pairs.splits;
    view_.empty = pairs.empty;
    view_.count = pairs.count;
    view_.table_of = pairs.table_of;
    view_.n_tables = shape.n_tables;
    view_.n_pairs = shape.n_pairs;
    view_.ntypes = shape.ntypes;
    view_.octaves = static_cast<std::int32_t>(shape.octaves);
    view_.per_octave = static_cast<std::int32_t>(shape.per_octave);
    size_ = shape.n_tables * angle_nodes(shape) * 3;
    const std::int64_t fits = kMost / std::max<std::int64_t>(size_, 1);
    chunk_ = std::min(std::max<std::int64_t>(fits, kLeast), shape.n_centers);
    numbers_ = stream.scratch<T>(chunk_ * size_);
  }

  // Calls body(first centre, number of centres, numbers [centre][size()]).
  template <typename Body>
  void for_each(const Body& body) {
    for (std::int64_t first = 0; first < shape_.n_centers; first += chunk_) {
      view_.first = first;
      body(first, std::min(chunk_, shape_.n_centers - first), numbers_);
    }
  }

  std::int64_t size() const { return size_; }

  // The numbers by which the tables are multiplied, for n centres of this turn.
  void weigh(std::int64_t n) const {
    static const char* const names[] = {"angle_weights_0", "angle_weights_1", "angle_weights_2"};
    stream_.launch({"angles", names[shape_.n_tangents], real_of<T>()}, {n * shape_.n_tables, 256},
                   view_, numbers_);
  }

  // What numbers of nodes give to the rows.
  void to_rows(std::int64_t n, T* out) const {
    static const char* const names[] = {"angle_rows_0", "angle_rows_1"};
    const T* const nodes = numbers_;
    stream_.launch({"angles", names[shape_.n_tangents], real_of<T>()}, {n * shape_.ntypes, 128},
                   view_, nodes, out);
  }

 private:
  static constexpr std::int64_t kMost = std::int64_t{1} << 22, kLeast = 8;

  const Stream& stream_;
  const AngleShape& shape_;
  AngleView<T> view_ = {};
  std::int64_t size_, chunk_;
  T* numbers_;
};

}  // namespace

template <typename T>
void angle_sums(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs,
                const T* table, T* out) {
  Chunks<T> chunks(stream, shape, pairs);
  chunks.for_each([&](std::int64_t first, std::int64_t n, const T* weights) {
    chunks.weigh(n);
    stream.multiply(n, shape.n_columns, chunks.size(), false, false, weights, table, false,
                    out + first * shape.n_columns);
  });
}

template <typename T>
void angle_table(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs,
                 const T* adjoint, T* out) {
  Chunks<T> chunks(stream, shape, pairs);
  if (shape.n_centers == 0) stream.zero(out, chunks.size() * shape.n_columns);
  chunks.for_each([&](std::int64_t first, std::int64_t n, const T* weights) {
    chunks.weigh(n);
    stream.multiply(chunks.size(), shape.n_columns, n, true, false, weights,
                    adjoint + first * shape.n_columns, first > 0, out);
  });
}

template <typename T>
void angle_rows(const Stream& stream, const AngleShape& shape, const AnglePairs<T>& pairs,
                const T* table, const T* adjoint, T* out) {
  Chunks<T> chunks(stream, shape, pairs);
  chunks.for_each([&](std::int64_t first, std::int64_t n, T* nodes) {
    stream.multiply(n, chunks.size(), shape.n_columns, false, true,
                    adjoint + first * shape.n_columns, table, false, nodes);
    chunks.to_rows(n, out);
  });
}

#define INSTANTIATE(T)                                                                           \
  template void angle_sums<T>(const Stream&, const AngleShape&, const AnglePairs<T>&, const T*,  \
                              T*);                                                               \
  template void angle_table<T>(const Stream&, const AngleShape&, const AnglePairs<T>&, const T*, \
                               T*);                                                              \
  template void angle_rows<T>(const Stream&, const AngleShape&, const AnglePairs<T>&, const T*,  \
                              const T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
