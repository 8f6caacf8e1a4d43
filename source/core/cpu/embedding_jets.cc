// SPDX-License-Identifier: BSD-3-Clause
//
// A few dozen nodes go through all layers at once, as a matrix with three rows each. Matrices in
// scratch memory have rows that are padded with zeros to full vectors, so that no loop has a
// remainder. The transposed pass computes the layers again, which is cheaper than to store them.
#include "embedding_jets.h"

#include "columns.h"
#include "tanh.h"
#include "tile.h"

namespace deepmd {
namespace DEEPMD_ISA {
namespace {

using std::int64_t;

template <typename T>
using Full = Vec<T, kWidth<T>>;

template <typename T>
DEEPMD_INLINE int64_t padded(int64_t n) {
  return (n + kWidth<T> - 1) / kWidth<T> * kWidth<T>;
}

// ---------------------------------------------------------------------------------------------------
// Product of small matrices

constexpr int kRows = 6;  // with kBlock vectors each they are the accumulators

// c[i][:] = sum_k a[i a_row + k a_step] b[k][:]; b and c have rows of n_padded numbers.
template <typename T>
struct Product {
  int64_t n_rows, n_terms, n_padded;
  const T* a;
  int64_t a_row, a_step;
  const T* b;
  T* c;

  template <int N>
  DEEPMD_INLINE void block(int64_t v) const {
    // The last rows may be computed twice.
    int64_t i = 0;
    if (n_rows >= kRows) {
      for (; i < n_rows; i += kRows)
        tile<kRows, N>(i + kRows <= n_rows ? i : n_rows - kRows, v * kWidth<T>);
    } else {
      for (; i < n_rows; ++i) tile<1, N>(i, v * kWidth<T>);
    }
  }

  template <int M, int N>
  DEEPMD_INLINE void tile(int64_t first, int64_t column) const {
    Full<T> sum[M][N];
    multiply_tile(n_terms, a + first * a_row, a_row, a_step, b + column, n_padded, sum);
    for (int i = 0; i < M; ++i)
      for (int j = 0; j < N; ++j)
        store(c + (first + i) * n_padded + column + j * kWidth<T>, sum[i][j]);
  }
};

template <typename T>
void multiply(const Product<T>& product) {
  const int64_t n_vectors = product.n_padded / kWidth<T>;
  for (int64_t b = 0; b < count_blocks<kBlock>(n_vectors); ++b)
    run_block<kBlock>(n_vectors, b, product);
}

// ---------------------------------------------------------------------------------------------------
// Layers

// 1 where the width stays, 2 where it doubles, 0 where there is no skip connection.
DEEPMD_INLINE int64_t copies(int64_t n_in, int64_t n_out) {
  return n_out == n_in ? 1 : n_out == 2 * n_in ? 2 : 0;
}

// Where a layer is in scratch memory; all rows are padded.
template <typename T>
struct LayerMemory {
  int64_t n_in, n_out, in_padded, out_padded;
  T* matrix;      // [n_in][n_out]
  T* transposed;  // [n_out][n_in]
  T* bias;        // [n_out]
  T* idt;         // [n_out], 1 where there is none
  T* x;           // [3 n][n_in]
  T* z;           // [3 n][n_out], with tanh z in the place of the value
};

template <typename T>
DEEPMD_INLINE int64_t widest(const JetShape& shape) {
  int64_t width = 0;
  for (int64_t l = 0; l <= shape.n_layers; ++l)
    if (shape.width[l] > width) width = shape.width[l];
  return padded<T>(width);
}

template <typename T>
struct Memory {
  T* next;

  // 64 bytes are a multiple of any vector.
  explicit Memory(T* scratch) {
    const auto address = reinterpret_cast<std::uintptr_t>(scratch);
    next = scratch + (64 - address % 64) % 64 / sizeof(T);
  }

  T* take(int64_t count) {
    T* memory = next;
    next += count;
    return memory;
  }

  LayerMemory<T> take_layer(int64_t n_in, int64_t n_out, int64_t n) {
    LayerMemory<T> m;
    m.n_in = n_in;
    m.n_out = n_out;
    m.in_padded = padded<T>(n_in);
    m.out_padded = padded<T>(n_out);
    m.matrix = take(n_in * m.out_padded);
    m.transposed = take(n_out * m.in_padded);
    m.bias = take(m.out_padded);
    m.idt = take(m.out_padded);
    m.x = take(3 * n * m.in_padded);
    m.z = take(3 * n * m.out_padded);
    return m;
  }
};

// to[i][:] = from[i][:], the rest of a row `rest`.
template <typename T>
void pad_rows(const T* from, int64_t n_rows, int64_t n_columns, T rest, T* to) {
  const int64_t n_padded = padded<T>(n_columns);
  for (int64_t i = 0; i < n_rows; ++i, from += n_columns, to += n_padded) {
    for (int64_t j = 0; j < n_columns; ++j) to[j] = from[j];
    for (int64_t j = n_columns; j < n_padded; ++j) to[j] = rest;
  }
}

template <typename T>
void unpad_rows(const T* from, int64_t n_rows, int64_t n_columns, T* to) {
  const int64_t n_padded = padded<T>(n_columns);
  for (int64_t i = 0; i < n_rows; ++i, from += n_padded, to += n_columns)
    for (int64_t j = 0; j < n_columns; ++j) to[j] = from[j];
}

template <typename T>
void read_weights(const LayerMemory<T>& m, const JetWeights<T>& weights, int64_t l) {
  pad_rows(weights.matrix[l], m.n_in, m.n_out, T(0), m.matrix);
  pad_rows(weights.bias[l], 1, m.n_out, T(0), m.bias);
  for (int64_t j = 0; j < m.out_padded; ++j) m.idt[j] = T(1);
  if (weights.idt[l] != nullptr && copies(m.n_in, m.n_out) > 0)
    pad_rows(weights.idt[l], 1, m.n_out, T(1), m.idt);
}

template <typename T>
void transpose_matrix(const LayerMemory<T>& m) {
  for (int64_t j = 0; j < m.n_out; ++j) {
    T* row = m.transposed + j * m.in_padded;
    for (int64_t i = 0; i < m.n_in; ++i) row[i] = m.matrix[i * m.out_padded + j];
    for (int64_t i = m.n_in; i < m.in_padded; ++i) row[i] = T(0);
  }
}

// The jet of the input of the first layer.
template <typename T>
void start(const LayerMemory<T>& m, const T* nodes, int64_t n) {
  for (int64_t k = 0; k < 3 * n * m.in_padded; ++k) m.x[k] = T(0);
  for (int64_t k = 0; k < n; ++k) {
    m.x[3 * k * m.in_padded] = nodes[k];
    m.x[(3 * k + 1) * m.in_padded] = T(1);
  }
}

// m.z from m.x, but with the value before tanh.
template <typename T>
void pass_matrix(const LayerMemory<T>& m, int64_t n) {
  multiply(Product<T>{3 * n, m.n_in, m.out_padded, m.x, m.in_padded, 1, m.matrix, m.z});
}

// Jet [3 n][n_out] of the output, from m.x and m.z, where tanh replaces its argument.
template <typename T>
void activate(const LayerMemory<T>& m, int64_t n, T* out) {
  const int64_t p = m.out_padded;
  for (int64_t k = 0; k < n; ++k) {
    T* z = m.z + 3 * k * p;
    T* h = out + 3 * k * p;
    for (int64_t j = 0; j < p; j += kWidth<T>) {
      const auto t = tanh<T>(load<Full<T>>(z + j) + load<Full<T>>(m.bias + j));
      const auto z1 = load<Full<T>>(z + p + j), z2 = load<Full<T>>(z + 2 * p + j);
      const auto idt = load<Full<T>>(m.idt + j);
      const auto slope = T(1) - t * t;
      store(z + j, t);
      store(h + j, t * idt);
      store(h + p + j, slope * z1 * idt);
      store(h + 2 * p + j, slope * (z2 - T(2) * t * z1 * z1) * idt);
    }
  }
  for (int64_t copy = 0; copy < copies(m.n_in, m.n_out); ++copy)
    for (int64_t i = 0; i < 3 * n; ++i) {
      const T* x = m.x + i * m.in_padded;
      T* h = out + i * p + copy * m.n_in;
      for (int64_t j = 0; j < m.n_in; ++j) h[j] += x[j];
    }
}

// From the cotangent g [3 n][n_out] of the output: that of z, in the place of m.z, of the bias and
// of idt.
template <typename T>
void activate_back(const LayerMemory<T>& m, int64_t n, const T* g, T* d_bias, T* d_idt) {
  const int64_t p = m.out_padded;
  for (int64_t j = 0; j < p; j += kWidth<T>) {
    const auto idt = load<Full<T>>(m.idt + j);
    Full<T> bias_sum{}, idt_sum{};
    for (int64_t k = 0; k < n; ++k) {
      T* z = m.z + 3 * k * p + j;
      const T* h = g + 3 * k * p + j;
      const auto t = load<Full<T>>(z), z1 = load<Full<T>>(z + p), z2 = load<Full<T>>(z + 2 * p);
      auto g0 = load<Full<T>>(h), g1 = load<Full<T>>(h + p), g2 = load<Full<T>>(h + 2 * p);
      // Derivatives of tanh, the second and the third times z'.
      const auto first = T(1) - t * t;
      const auto second = T(-2) * t * first * z1;
      const auto third = first * (T(6) * t * t - T(2)) * z1;
      idt_sum += g0 * t + g1 * (first * z1) + g2 * (second * z1 + first * z2);
      g0 *= idt;
      g1 *= idt;
      g2 *= idt;
      const auto value = g0 * first + g1 * second + g2 * (third * z1 - T(2) * t * first * z2);
      bias_sum += value;
      store(z, value);
      store(z + p, g1 * first + T(2) * g2 * second);
      store(z + 2 * p, g2 * first);
    }
    store(d_bias + j, bias_sum);
    store(d_idt + j, idt_sum);
  }
}

// The way there and back.
template <typename T>
struct Backward {
  const JetShape& shape;
  const JetWeights<T>& weights;
  const T* grad;
  int64_t n;
  Memory<T> memory;
  T *g, *d_x;                    // [3 n][widest]
  T *d_matrix, *d_bias, *d_idt;  // of one layer, padded

  // Takes m.x through layer l and those behind it, and leaves its cotangent in g.
  void layer(int64_t l, const LayerMemory<T>& m, T* d_weights) {
    read_weights(m, weights, l);
    transpose_matrix(m);
    pass_matrix(m, n);
    T* d_next = d_weights + (m.n_in + 2) * m.n_out;
    if (l + 1 == shape.n_layers) {
      activate(m, n, g);
      pad_rows(grad, 3 * n, m.n_out, T(0), g);
    } else {
      const auto next = memory.take_layer(m.n_out, shape.width[l + 2], n);
      activate(m, n, next.x);
      layer(l + 1, next, d_next);
    }
    activate_back(m, n, g, d_bias, d_idt);
    multiply(Product<T>{m.n_in, 3 * n, m.out_padded, m.x, 1, m.in_padded, m.z, d_matrix});
    unpad_rows(d_matrix, m.n_in, m.n_out, d_weights);
    unpad_rows(d_bias, 1, m.n_out, d_next - 2 * m.n_out);
    unpad_rows(d_idt, 1, m.n_out, d_next - m.n_out);
    multiply(Product<T>{3 * n, m.n_out, m.in_padded, m.z, m.out_padded, 1, m.transposed, d_x});
    for (int64_t i = 0; i < 3 * n; ++i) {
      const T* skipped = g + i * m.out_padded;
      T* to = d_x + i * m.in_padded;
      for (int64_t copy = 0; copy < copies(m.n_in, m.n_out); ++copy, skipped += m.n_in)
        for (int64_t j = 0; j < m.n_in; ++j) to[j] += skipped[j];
    }
    T* swap = g;
    g = d_x;
    d_x = swap;
  }
};

}  // namespace

template <typename T>
std::int64_t jet_scratch(const JetShape& shape, std::int64_t n) {
  const int64_t width = widest<T>(shape);
  int64_t size = 64 + 6 * n * width + (width + 2) * width;
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    const int64_t n_in = shape.width[l], n_out = shape.width[l + 1];
    size += (n_in + 2 + 3 * n) * padded<T>(n_out) + (n_out + 3 * n) * padded<T>(n_in);
  }
  return size;
}

template <typename T>
void embedding_jets(const JetShape& shape, const JetWeights<T>& weights, const T* nodes,
                    std::int64_t n, T* scratch, T* out) {
  Memory<T> memory(scratch);
  T* jet = memory.take(3 * n * widest<T>(shape));
  auto m = memory.take_layer(1, shape.width[1], n);
  start(m, nodes, n);
  for (int64_t l = 0; l < shape.n_layers; ++l) {
    read_weights(m, weights, l);
    pass_matrix(m, n);
    if (l + 1 == shape.n_layers) {
      activate(m, n, jet);
    } else {
      const auto next = memory.take_layer(m.n_out, shape.width[l + 2], n);
      activate(m, n, next.x);
      m = next;
    }
  }
  unpad_rows(jet, 3 * n, m.n_out, out);
}

template <typename T>
void embedding_jets_grad(const JetShape& shape, const JetWeights<T>& weights, const T* nodes,
                         const T* grad, std::int64_t n, T* scratch, T* d_nodes, T* d_weights) {
  const int64_t width = widest<T>(shape);
  Memory<T> memory(scratch);
  T* g = memory.take(3 * n * width);
  T* d_x = memory.take(3 * n * width);
  T* d_matrix = memory.take(width * width);
  T* d_bias = memory.take(width);
  T* d_idt = memory.take(width);
  const auto first = memory.take_layer(1, shape.width[1], n);
  start(first, nodes, n);
  Backward<T> backward{shape, weights, grad, n, memory, g, d_x, d_matrix, d_bias, d_idt};
  backward.layer(0, first, d_weights);
  for (int64_t k = 0; k < n; ++k) d_nodes[k] = backward.g[3 * k * first.in_padded];
}

#define INSTANTIATE(T)                                                                            \
  template std::int64_t jet_scratch<T>(const JetShape&, std::int64_t);                            \
  template void embedding_jets<T>(const JetShape&, const JetWeights<T>&, const T*, std::int64_t,  \
                                  T*, T*);                                                        \
  template void embedding_jets_grad<T>(const JetShape&, const JetWeights<T>&, const T*, const T*, \
                                       std::int64_t, T*, T*, T*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace DEEPMD_ISA
}  // namespace deepmd
