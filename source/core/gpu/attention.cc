// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_attention.h"

#include <algorithm>
#include <cmath>

#include "gpu_attention_view.h"
#include "gpu_pairs.h"

namespace deepmd {
namespace gpu {
namespace {

// Inputs and scratch memory of an operation, and its tiles.
template <typename T>
class Work {
 public:
  // u: of second derivatives. adjoint: of derivatives, null otherwise.
  Work(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
       const AttentionPairs<const T>& x, const AttentionPairs<const T>& u, const T* adjoint)
      : stream_(stream) {
    const std::int64_t n = sizes.n_pairs, centers = sizes.n_centers;
    blocks_ = n / kAttentionTile + std::min(n, centers);  // a tile of each centre may not be full
    if (centers == 0) blocks_ = 0;
    if (blocks_ == 0) return;
    view_ = {};
    view_.qkv = x.qkv;
    view_.weights = x.weights;
    view_.rows = x.rows;
    view_.qkv_tangent = u.qkv;
    view_.weights_tangent = u.weights;
    view_.rows_tangent = u.rows;
    view_.adjoint = adjoint;
    view_.splits = shape.splits;
    view_.n_pairs = n;
    view_.n_centers = centers;
    view_.ntypes = shape.ntypes;
    view_.width = shape.width;
    view_.slots = shape.slots;
    view_.smooth = shape.smooth;
    view_.diagonal = shape.diagonal;
    view_.exp_shift = T(std::exp(-kAttentionShift));
    view_.tiles = stream.scratch<std::int32_t>(centers + 1);
    view_.inverse = stream.scratch<T>(kParts * n);
    view_.curved = stream.scratch<T>(kParts * n);
    view_.direction = stream.scratch<T>(3 * n);
    if (adjoint != nullptr) view_.sums = stream.scratch<T>(kSums * n);
    if (u.qkv != nullptr) {
      view_.along = stream.scratch<T>(kParts * n);
      view_.direction_dot = stream.scratch<T>(3 * n);
    }
    std::int32_t* const counts = stream.scratch<std::int32_t>(centers);
    stream.for_each(kernel("attention", "attention_tiles"), centers, view_, counts);
    exclusive_sums(stream, counts, centers, view_.tiles);
    constexpr std::int64_t warps = 4, most = 1 << 20;
    stream.launch(kernel("attention", "attention_lengths"),
                  {std::min((n + warps - 1) / warps, most), 32 * warps}, view_);
  }

  void run(const char* file, const char* name, const AttentionResult<T>& result) const {
    stream_.launch(kernel(file, name), {blocks_, 256}, view_, result);
  }

 private:
  static Kernel kernel(const char* file, const char* name) { return {file, name, real_of<T>()}; }

  const Stream& stream_;
  AttentionView<T> view_ = {};
  std::int64_t blocks_;
};

}  // namespace

template <typename T>
void attention(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
               const AttentionPairs<const T>& x, T* out) {
  const Work<T> work(stream, shape, sizes, x, {}, nullptr);
  work.run("attention", "attention_values", {out, nullptr, nullptr, nullptr});
}

template <typename T>
void attention_vjp(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
                   const AttentionPairs<const T>& x, const T* adjoint,
                   const AttentionPairs<T>& gradient) {
  const Work<T> work(stream, shape, sizes, x, {}, adjoint);
  const AttentionResult<T> result{nullptr, gradient.qkv, gradient.weights, gradient.rows};
  work.run("attention", "attention_vjp_rows", result);
  work.run("attention", "attention_vjp_columns", result);
}

template <typename T>
void attention_hvp(const Stream& stream, const AttentionShape& shape, const AttentionSizes& sizes,
                   const AttentionPairs<const T>& x, const AttentionPairs<const T>& u,
                   const T* adjoint, const AttentionPairs<T>& gradient, T* adjoint_gradient) {
  const Work<T> work(stream, shape, sizes, x, u, adjoint);
  const AttentionResult<T> result{adjoint_gradient, gradient.qkv, gradient.weights, gradient.rows};
  work.run("attention_hvp", "attention_hvp_rows", result);
  work.run("attention_hvp", "attention_hvp_columns", result);
}

#define INSTANTIATE(T)                                                                           \
  template void attention<T>(const Stream&, const AttentionShape&, const AttentionSizes&,        \
                             const AttentionPairs<const T>&, T*);                                \
  template void attention_vjp<T>(const Stream&, const AttentionShape&, const AttentionSizes&,    \
                                 const AttentionPairs<const T>&, const T*,                       \
                                 const AttentionPairs<T>&);                                      \
  template void attention_hvp<T>(const Stream&, const AttentionShape&, const AttentionSizes&,    \
                                 const AttentionPairs<const T>&, const AttentionPairs<const T>&, \
                                 const T*, const AttentionPairs<T>&, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
