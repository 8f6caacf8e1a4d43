// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_embedding_jets.h"

#include <algorithm>

#include "dense_tables.h"
#include "jet_tables.h"
#include "tables.h"

namespace deepmd {
namespace gpu {
namespace {

constexpr int kThreads = 128;

template <typename T>
Kernel jets_kernel(const char* name) {
  return {"embedding_jets", name, real_of<T>()};
}

// Nodes that are summed together; their number depends on n only.
std::int64_t nodes_of_chunk(std::int64_t n) { return std::max<std::int64_t>(32, blocks_of(n, 32)); }

bool has_skip(const JetStep& step) {
  return step.n_out == step.n_in || step.n_out == 2 * step.n_in;
}

template <typename T>
struct Call {
  const Stream& stream;
  const JetNets<T>& nets;
  Table<JetNodes<T>> nodes, chunks;
  Table<JetLayer<T>> layers;
  std::int64_t n = 0;                    // nodes of all nets
  std::vector<std::int64_t> first = {};  // chunk of each net, and their number
  Tables tables = {};

  Call(const Stream& on, const JetNets<T>& of, const std::vector<JetPart<T>>& parts)
      : stream(on), nets(of) {
    for (const auto& part : parts) {
      while (static_cast<std::int64_t>(first.size()) <= part.net) first.push_back(chunks.blocks);
      JetNodes<T> item{0,          kJetNodes, part.net,  n,           part.n,
                       part.nodes, part.grad, part.jets, part.d_nodes};
      nodes.add(item, blocks_of(part.n, kJetNodes));
      item.each = nodes_of_chunk(part.n);
      chunks.add(item, blocks_of(part.n, item.each));
      n += part.n;
    }
    while (static_cast<std::int64_t>(first.size()) <= nets.n_nets) first.push_back(chunks.blocks);
    for (std::int64_t k = 0; k < nets.n_nets * nets.shape.n_layers; ++k)
      layers.items.push_back({nets.matrix[k], nets.bias[k], nets.idt[k]});
    tables.add(&nodes);
    tables.add(&chunks);
    tables.add(&layers);
  }

  JetTables<T> of(const Table<JetNodes<T>>& items) const {
    return {tables.items(items), tables.items(layers),
            static_cast<std::int64_t>(items.items.size()), nets.shape.n_layers};
  }

  JetStep step(std::int64_t l) const { return {l, nets.shape.width[l], nets.shape.width[l + 1]}; }

  // A block for 16 nodes, or for a chunk, and 32 of so many columns.
  template <typename... A>
  void launch(const char* name, const Table<JetNodes<T>>& items, std::int64_t l,
              std::int64_t columns, int threads, A... arguments) const {
    stream.launch(jets_kernel<T>(name), {items.blocks * blocks_of(columns, kJetColumns), threads},
                  of(items), step(l), arguments...);
  }

  T* rows(std::int64_t width) const { return stream.scratch<T>(3 * n * width); }
};

}  // namespace

template <typename T>
void embedding_jets(const Stream& stream, const JetNets<T>& nets,
                    const std::vector<JetPart<T>>& parts) {
  Call<T> call(stream, nets, parts);
  if (call.n == 0) return;
  call.tables.write(stream);
  const JetShape& shape = nets.shape;
  const T* x = nullptr;
  for (std::int64_t l = 0; l < shape.n_layers; ++l) {
    const std::int64_t width = shape.width[l + 1];
    T* out = l + 1 == shape.n_layers ? nullptr : call.rows(width);
    call.launch("jets_layer", call.nodes, l, width, kThreads, x, static_cast<T*>(nullptr), out);
    x = out;
  }
}

template <typename T>
void embedding_jets_grad(const Stream& stream, const JetNets<T>& nets,
                         const std::vector<JetPart<T>>& parts, T* const* d_matrix, T* const* d_bias,
                         T* const* d_idt) {
  Call<T> call(stream, nets, parts);
  const JetShape& shape = nets.shape;
  const std::int64_t n_layers = shape.n_layers;
  // of a chunk: cotangents of matrix, bias and idt of one layer after the other
  std::vector<std::int64_t> offset = {0};
  std::int64_t widest = 1;
  for (std::int64_t l = 0; l < n_layers; ++l) {
    offset.push_back(offset[l] + (shape.width[l] + 2) * shape.width[l + 1]);
    widest = std::max(widest, shape.width[l + 1]);
  }
  const std::int64_t n_weights = offset[n_layers];
  T* of_chunks = stream.scratch<T>(call.chunks.blocks * n_weights);
  Table<DenseJoin<T>> joins;
  bool any_idt = false;
  for (std::int64_t k = 0; k < nets.n_nets * n_layers; ++k) {
    const std::int64_t net = k / n_layers, l = k % n_layers;
    const std::int64_t n_in = shape.width[l], n_out = shape.width[l + 1];
    DenseJoin<T> join{};
    join.chunks = call.first[net + 1] - call.first[net];
    join.step = n_weights;
    join.parts = of_chunks + call.first[net] * n_weights + offset[l];
    const auto add = [&](std::int64_t width, T* sum) {
      join.width = width;
      join.sum = sum;
      joins.add(join, blocks_of(width, 256));
      join.parts += width;
    };
    add(n_in * n_out, d_matrix[k]);
    add(n_out, d_bias[k]);
    if (d_idt[k] != nullptr) add(n_out, d_idt[k]);
    any_idt = any_idt || d_idt[k] != nullptr;
  }
  call.tables.add(&joins);
  call.tables.write(stream);

  if (call.n > 0) {
    // x[l] goes into layer l, z[l] into its tanh
    std::vector<T*> x = {nullptr}, z;
    for (std::int64_t l = 0; l < n_layers; ++l) {
      const std::int64_t width = shape.width[l + 1];
      z.push_back(call.rows(width));
      x.push_back(l + 1 < n_layers ? call.rows(width) : nullptr);
      call.launch("jets_layer", call.nodes, l, width, kThreads, static_cast<const T*>(x[l]), z[l],
                  x[l + 1]);
    }
    T *d_z = call.rows(widest), *d_z_below = call.rows(widest);
    T *g = nullptr, *g_free[2] = {call.rows(widest), call.rows(widest)};
    call.launch("jets_top", call.nodes, n_layers - 1, shape.width[n_layers], kThreads,
                static_cast<const T*>(z[n_layers - 1]), d_z);
    for (std::int64_t l = n_layers - 1; l >= 0; --l) {
      const JetStep step = call.step(l);
      const T *from = d_z, *given = g;
      const std::int64_t below = blocks_of(step.n_in + 1, kJetColumns);
      call.launch("jets_weights", call.chunks, l,
                  below * blocks_of(step.n_out, kJetColumns) * kJetColumns, kThreads,
                  static_cast<const T*>(x[l]), from, of_chunks + offset[l], n_weights);
      if (any_idt && has_skip(step))
        call.launch("jets_idt", call.chunks, l, step.n_out, 256, static_cast<const T*>(z[l]), given,
                    of_chunks + offset[l] + (step.n_in + 1) * step.n_out, n_weights);
      if (l == 0) {
        call.launch("jets_nodes", call.nodes, l, 1, kThreads, from, given);
        break;
      }
      T* g_below = has_skip(call.step(l - 1)) ? g_free[l % 2] : nullptr;
      call.launch("jets_back", call.nodes, l, step.n_in, kThreads, from, given,
                  static_cast<const T*>(z[l - 1]), d_z_below, g_below);
      std::swap(d_z, d_z_below);
      g = g_below;
    }
  }
  call.tables.launch(stream, {"dense", "dense_join", real_of<T>()}, 256, joins);
}

#define INSTANTIATE(T)                                                                       \
  template void embedding_jets<T>(const Stream&, const JetNets<T>&,                          \
                                  const std::vector<JetPart<T>>&);                           \
  template void embedding_jets_grad<T>(const Stream&, const JetNets<T>&,                     \
                                       const std::vector<JetPart<T>>&, T* const*, T* const*, \
                                       T* const*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
