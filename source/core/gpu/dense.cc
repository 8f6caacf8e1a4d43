// SPDX-License-Identifier: BSD-3-Clause
#include "gpu_dense.h"

#include <algorithm>
#include <vector>

#include "dense_tables.h"
#include "tables.h"

namespace deepmd {
namespace gpu {
namespace {

template <typename T>
Kernel dense_kernel(const char* name) {
  return {"dense", name, real_of<T>()};
}

constexpr int kThreads = 256;

template <typename T>
std::int64_t size_of(const DenseLayer<T>& layer) {
  return layer.n * layer.n_out;
}

// Adds an item of a matrix [n][width] that is handled number by number.
template <typename Item>
void add_matrix(std::int64_t n, std::int64_t width, Item item, Table<Item>* table) {
  item.size = n * width;
  item.width = width;
  table->add(item, blocks_of(n * width, kDenseBlock));
}

// What each layer returns: scratch memory, or where that is h, a null pointer.
template <typename T>
std::vector<T*> outputs_of(const Stream& stream, const DenseNets<T>& nets) {
  std::vector<T*> outputs;
  std::int64_t size = 0;
  const std::int64_t n = nets.n_nets * nets.n_layers;
  for (std::int64_t at = 0; at < n; ++at)
    size += changes(nets.layers[at]) ? size_of(nets.layers[at]) : 0;
  T* next = size > 0 ? stream.scratch<T>(size) : nullptr;
  for (std::int64_t at = 0; at < n; ++at) {
    const bool own = changes(nets.layers[at]);
    outputs.push_back(own ? next : nullptr);
    next += own ? size_of(nets.layers[at]) : 0;
  }
  return outputs;
}

// What goes into layer l of a net: the output of the layer below, or x.
template <typename T, typename Hidden>
const T* input_of(const DenseNets<T>& nets, std::int64_t net, std::int64_t l, const T* const* x,
                  Hidden hidden, const std::vector<T*>& outputs) {
  if (l == 0) return x[net];
  const std::int64_t at = net * nets.n_layers + l - 1;
  return outputs[at] != nullptr ? outputs[at] : hidden[at];
}

// Products x W of layer l of all nets.
template <typename T>
void multiply_layer(const Stream& stream, const DenseNets<T>& nets, std::int64_t l,
                    const T* const* x, T* const* hidden, const std::vector<T*>& outputs) {
  for (std::int64_t net = 0; net < nets.n_nets; ++net) {
    const std::int64_t at = net * nets.n_layers + l;
    const DenseLayer<T>& layer = nets.layers[at];
    stream.multiply(layer.n, layer.n_out, layer.n_in, false, false,
                    input_of(nets, net, l, x, hidden, outputs), layer.matrix, false, hidden[at]);
  }
}

// The energies of all nets.
template <typename T>
Table<DenseEnergy<T>> energies(const DenseNets<T>& nets, const T* const* x, T* const* hidden,
                               const std::vector<T*>& outputs, T* const* energy) {
  Table<DenseEnergy<T>> table;
  for (std::int64_t net = 0; net < nets.n_nets; ++net) {
    const DenseLayer<T>& top = nets.layers[(net + 1) * nets.n_layers - 1];
    DenseEnergy<T> item{};
    item.n = top.n;
    item.width = top.n_out;
    item.y = input_of(nets, net, nets.n_layers, x, hidden, outputs);
    item.matrix = nets.last[net];
    item.bias = nets.last_bias == nullptr ? nullptr : nets.last_bias[net];
    item.energy = energy[net];
    table.add(item, blocks_of(top.n, kDenseRows));
  }
  return table;
}

// Through all layers, whose elements are handled by kernel `name` with a table for each, and then
// to the energies.
template <typename T, typename Item>
void pass(const Stream& stream, const DenseNets<T>& nets, const char* name,
          std::vector<Table<Item>>* layers, const T* const* x, T* const* hidden,
          const std::vector<T*>& outputs, T* const* energy) {
  Table<DenseEnergy<T>> last = energies(nets, x, hidden, outputs, energy);
  Tables tables;
  for (auto& table : *layers) tables.add(&table);
  tables.add(&last);
  tables.write(stream);
  for (std::int64_t l = 0; l < nets.n_layers; ++l) {
    multiply_layer(stream, nets, l, x, hidden, outputs);
    tables.launch(stream, dense_kernel<T>(name), kThreads, (*layers)[l]);
  }
  tables.launch(stream, dense_kernel<T>("dense_energy"), kDenseRows * 32, last);
}

// Chunks of rows that are summed apart; their number depends on n only.
std::int64_t rows_of_chunk(std::int64_t n) { return std::max<std::int64_t>(128, blocks_of(n, 64)); }

// One sum over rows, of one or more terms.
template <typename T>
struct ColumnSum {
  std::vector<DenseSums<T>> terms;
  T* sum;

  void add(const DenseLayer<T>& layer, std::int64_t width, const T* a, const T* b,
           const T* of_row) {
    DenseSums<T> term{};
    term.n = layer.n;
    term.width = width;
    term.rows = rows_of_chunk(layer.n);
    term.a = a;
    term.b = b;
    term.of_row = of_row;
    terms.push_back(term);
  }
};

template <typename T>
void sum_columns(const Stream& stream, std::vector<ColumnSum<T>>* sums) {
  std::int64_t size = 0;
  for (const auto& sum : *sums)
    for (const auto& term : sum.terms) size += blocks_of(term.n, term.rows) * term.width;
  T* parts = stream.scratch<T>(size);
  Table<DenseSums<T>> terms;
  Table<DenseJoin<T>> joins;
  for (auto& sum : *sums) {
    DenseJoin<T> join{};
    join.width = join.step = sum.terms[0].width;
    join.parts = parts;
    join.sum = sum.sum;
    for (auto& term : sum.terms) {
      const std::int64_t chunks = blocks_of(term.n, term.rows);
      term.parts = parts;
      terms.add(term, chunks * blocks_of(term.width, kDenseColumns));
      join.chunks += chunks;
      parts += chunks * term.width;
    }
    joins.add(join, blocks_of(join.width, kThreads));
  }
  Tables tables;
  tables.add(&terms);
  tables.add(&joins);
  tables.write(stream);
  tables.launch(stream, dense_kernel<T>("dense_sums"), kThreads, terms);
  tables.launch(stream, dense_kernel<T>("dense_join"), kThreads, joins);
}

template <typename T>
DenseForward<T> forward_item(const DenseLayer<T>& layer, const T* x, T* h, T* y) {
  DenseForward<T> item{};
  item.bias = layer.bias;
  item.idt = layer.idt;
  item.x = layer.skip ? x : nullptr;
  item.h = h;
  item.y = y;
  return item;
}

}  // namespace

template <typename T>
void dense_nets(const Stream& stream, const DenseNets<T>& nets, const T* const* x, T* const* hidden,
                T* const* energy) {
  const std::vector<T*> outputs = outputs_of(stream, nets);
  std::vector<Table<DenseForward<T>>> layers(nets.n_layers);
  for (std::int64_t at = 0; at < nets.n_nets * nets.n_layers; ++at) {
    const std::int64_t net = at / nets.n_layers, l = at % nets.n_layers;
    const DenseLayer<T>& layer = nets.layers[at];
    add_matrix(
        layer.n, layer.n_out,
        forward_item(layer, input_of(nets, net, l, x, hidden, outputs), hidden[at], outputs[at]),
        &layers[l]);
  }
  pass(stream, nets, "dense_forward", &layers, x, hidden, outputs, energy);
}

template <typename T>
void dense_nets_jvp(const Stream& stream, const DenseNets<T>& nets, const T* const* hidden,
                    const T* const* d_layer, const T* const* t_x, T* const* t_energy,
                    T* const* t_hidden, T* const* d_hidden) {
  const std::vector<T*> outputs = outputs_of(stream, nets);
  std::vector<Table<DenseAlong<T>>> layers(nets.n_layers);
  for (std::int64_t at = 0; at < nets.n_nets * nets.n_layers; ++at) {
    const std::int64_t net = at / nets.n_layers, l = at % nets.n_layers;
    const DenseLayer<T>& layer = nets.layers[at];
    DenseAlong<T> item{};
    item.idt = layer.idt;
    item.x = layer.skip ? input_of(nets, net, l, t_x, t_hidden, outputs) : nullptr;
    item.h = hidden[at];
    item.d_y = d_layer[at];
    item.t_h = t_hidden[at];
    item.t_y = outputs[at];
    item.d_h = d_hidden[at];
    add_matrix(layer.n, layer.n_out, item, &layers[l]);
  }
  pass(stream, nets, "dense_along", &layers, t_x, t_hidden, outputs, t_energy);
}

template <typename T>
void dense_nets_vjp(const Stream& stream, const DenseNets<T>& nets, const T* const* hidden,
                    const T* const* d_energy, const T* const* d_hidden, T* const* d_x,
                    T* const* d_layer, T* const* d_z) {
  const std::int64_t n_layers = nets.n_layers;
  // steps[l] makes the cotangent of what goes into layer l, and from it d_z of the layer below
  std::vector<Table<DenseBackward<T>>> steps(n_layers + 1);
  for (std::int64_t net = 0; net < nets.n_nets; ++net) {
    for (std::int64_t l = 0; l <= n_layers; ++l) {
      const std::int64_t at = net * n_layers + l;
      DenseBackward<T> item{};
      if (l == n_layers) {
        item.matrix = nets.last[net];
        item.d_energy = d_energy[net];
      } else if (nets.layers[at].skip) {
        item.skip = d_layer[at];
      }
      if (l == 0) continue;  // x is not added to by the first layer: the product is all
      const DenseLayer<T>& below = nets.layers[at - 1];
      item.h = hidden[at - 1];
      item.d_h = d_hidden == nullptr ? nullptr : d_hidden[at - 1];
      item.idt = below.idt;
      item.d_y = d_layer[at - 1];
      item.d_z = d_z[at - 1];
      add_matrix(below.n, below.n_out, item, &steps[l]);
    }
  }
  Tables tables;
  for (auto& table : steps) tables.add(&table);
  tables.write(stream);
  for (std::int64_t l = n_layers; l >= 0; --l) {
    for (std::int64_t net = 0; net < nets.n_nets && l < n_layers; ++net) {
      const std::int64_t at = net * n_layers + l;
      const DenseLayer<T>& layer = nets.layers[at];
      stream.multiply(layer.n, layer.n_in, layer.n_out, false, true, static_cast<const T*>(d_z[at]),
                      layer.matrix, false, l == 0 ? d_x[net] : d_layer[at - 1]);
    }
    tables.launch(stream, dense_kernel<T>("dense_backward"), kThreads, steps[l]);
  }
}

template <typename T>
void dense_nets_weights(const Stream& stream, const DenseNets<T>& nets, std::int64_t n_terms,
                        const std::int64_t* idt_of, const T* const* x, const T* const* hidden,
                        const T* const* d_energy, const T* const* d_layer, const T* const* d_z,
                        T* const* d_matrix, T* const* d_bias, T* const* d_idt) {
  const std::int64_t n_layers = nets.n_layers, n_results = nets.n_nets / n_terms;
  const std::vector<T*> outputs = outputs_of(stream, nets);
  std::vector<Table<DenseForward<T>>> layers(n_layers);
  for (std::int64_t at = 0; at < nets.n_nets * n_layers; ++at) {
    const std::int64_t net = at / n_layers, l = at % n_layers;
    if (outputs[at] == nullptr) continue;
    DenseLayer<T> layer = nets.layers[at];
    layer.bias = nullptr;
    // h is only read where there is no bias
    add_matrix(layer.n, layer.n_out,
               forward_item(layer, input_of(nets, net, l, x, hidden, outputs),
                            const_cast<T*>(hidden[at]), outputs[at]),
               &layers[l]);
  }
  Tables tables;
  for (auto& table : layers) tables.add(&table);
  tables.write(stream);
  for (auto& table : layers)
    tables.launch(stream, dense_kernel<T>("dense_forward"), kThreads, table);

  std::vector<ColumnSum<T>> sums;
  for (std::int64_t first = 0; first < n_results; ++first) {
    for (std::int64_t l = 0; l <= n_layers; ++l) {
      const std::int64_t item = first * (n_layers + 1) + l;
      ColumnSum<T> bias{{}, d_bias[item]}, idt{{}, nullptr}, last{{}, d_matrix[item]};
      for (std::int64_t term = 0; term < n_terms; ++term) {
        const std::int64_t net = first + term * n_results, at = net * n_layers + l;
        const T* input = input_of(nets, net, l, x, hidden, outputs);
        if (l == n_layers) {
          const DenseLayer<T>& below = nets.layers[at - 1];
          last.add(below, below.n_out, input, nullptr, d_energy[net]);
          if (term == 0) bias.add(below, 1, d_energy[net], nullptr, nullptr);
          continue;
        }
        const DenseLayer<T>& layer = nets.layers[at];
        stream.multiply(layer.n_in, layer.n_out, layer.n, true, false, input, d_z[at], term > 0,
                        d_matrix[item]);
        if (term == 0) bias.add(layer, layer.n_out, d_z[at], nullptr, nullptr);
        if (idt_of[at] < 0) continue;
        if (term == 0) idt.sum = d_idt[idt_of[at]];
        idt.add(layer, layer.n_out, d_layer[at], hidden[at], nullptr);
      }
      sums.push_back(bias);
      if (!idt.terms.empty()) sums.push_back(idt);
      if (!last.terms.empty()) sums.push_back(last);
    }
  }
  sum_columns(stream, &sums);
}

#define INSTANTIATE(T)                                                                        \
  template void dense_nets<T>(const Stream&, const DenseNets<T>&, const T* const*, T* const*, \
                              T* const*);                                                     \
  template void dense_nets_vjp<T>(const Stream&, const DenseNets<T>&, const T* const*,        \
                                  const T* const*, const T* const*, T* const*, T* const*,     \
                                  T* const*);                                                 \
  template void dense_nets_jvp<T>(const Stream&, const DenseNets<T>&, const T* const*,        \
                                  const T* const*, const T* const*, T* const*, T* const*,     \
                                  T* const*);                                                 \
  template void dense_nets_weights<T>(const Stream&, const DenseNets<T>&, std::int64_t,       \
                                      const std::int64_t*, const T* const*, const T* const*,  \
                                      const T* const*, const T* const*, const T* const*,      \
                                      T* const*, T* const*, T* const*);
INSTANTIATE(float)
INSTANTIATE(double)

}  // namespace gpu
}  // namespace deepmd
