// SPDX-License-Identifier: BSD-3-Clause
// A step of molecular dynamics and one of training by the functions that operations call, on a GPU
// (OnGpu) or on the processor (OnCpu), one text for both. Beside each part stands what it has to
// move and to compute at least: every array once, and no number twice.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "on_cpu.h"
#include "water.h"

namespace bench {

template <typename On, typename T>
class Chain {
 public:
  template <typename N>
  using Array = typename On::template Array<N>;
  using int64 = std::int64_t;
  using Numbers = std::vector<std::vector<double>>;

  struct Pairs {
    int64 n = 0;
    Array<std::int32_t> center, neighbor;
    Array<T> shift;
  };

  Chain(On* on, const Water& water)
      : on_(*on),
        water_(water),
        rows_(water.n_rows()),
        coord_(on_.put(as<T>(water.coord))),
        box_(on_.put(as<T>(water.box))),
        range_(on_.put(std::vector<T>{T(kRange[0]), T(kRange[1]), T(kRange[0]), T(kRange[1])})),
        type_(on_.put(water.type)),
        table_of_(on_.put(water.table_of)) {
    std::vector<T> average, deviation, nodes;
    for (int i = 0; i < 4 * kTypes; ++i) {
      average.push_back(i % 4 == 0 ? T(kAverage) : T(0));
      deviation.push_back(T(kDeviation[i % 4]));
    }
    for (int64 i = 0; i < kNodes; ++i)
      nodes.push_back(T(kRange[0] + (kRange[1] - kRange[0]) * i / (kNodes - 1)));
    average_ = on_.put(average);
    deviation_ = on_.put(deviation);
    nodes_ = on_.put(nodes);
    put_all(embedding_weights(), &embedding_);
    put_all(fitting_weights(), &fitting_);
    for (int t = 0; t < kTypes; ++t) {
      const int64 n = water.n_frames * water.count(t);
      d_energy_[t] = on_.put(std::vector<T>(n, T(1)));
      for (int l = 0; l < kFittingLayers; ++l)
        layers_.push_back({n, l == 0 ? kDescriptor : kFitting, kFitting, l > 0,
                           fitting_.matrix[4 * t + l].data(), fitting_.bias[4 * t + l].data(),
                           l == 0 ? nullptr : fitting_.idt[4 * t + l].data()});
      last_.push_back(fitting_.matrix[4 * t + 3].data());
      last_bias_.push_back(fitting_.bias[4 * t + 3].data());
    }
    table_ = on_.template make<T>(kTypes * kNodes * 3 * kColumns);
    make_table();
  }

  // Energies, forces and the virial. Arrays of pairs and descriptors are kept for what follows, or
  // let go as soon as nothing needs them.
  void step(bool keep = false) {
    for (auto* array : {&pairs_.shift, &x_, &env_, &moment_, &adjoint_, &force_}) array->drop();
    for (auto* array : {&pairs_.center, &pairs_.neighbor, &splits_}) array->drop();
    for (Net* net : {&d_, &d_descriptor_}) drop(net);
    neighbors();
    const double p = double(pairs_.n), a = double(rows_), t = sizeof(T);
    on_.stage("gather", p * (8 + 6 * t) + a * 3 * t, 6 * p);
    x_ = on_.template make<T>(3 * pairs_.n);
    on_.gather_pairs(coord_.data(), pairs_.center.data(), pairs_.neighbor.data(),
                     pairs_.shift.data(), rows_, int64{3}, pairs_.n, x_.data());
    pairs_.shift.drop();
    on_.stage("environment rows", p * (4 + 7 * t), 40 * p);
    env_ = on_.template make<T>(4 * pairs_.n);
    on_.env_matrix(env_pairs(), env_sizes(), average_.data(), env_.data());
    on_.stage("moment", p * 4 * t + a * (4 * kColumns * t + 16), 20 * p * kColumns);
    moment_ = on_.template make<T>(rows_ * 4 * kColumns);
    const T* const nothing = nullptr;
    on_.moment_of_rows(moment_shape(1), of_rows(), table_.data(), env_.data(), nothing,
                       moment_.data());
    on_.stage("descriptor", a * (4 * kColumns + kDescriptor) * t, 8 * a * kDescriptor);
    for (int k = 0; k < kTypes; ++k) {
      d_[k] = on_.template make<T>(layers_[3 * k].n * kDescriptor);
      on_.descriptor(shape(), part(k), moment_.data(), d_[k].data());
    }
    on_.stage("fitting net", a * (kDescriptor + 3 * kFitting + 1) * t, net_flops());
    hidden_ = hidden();
    for (int k = 0; k < kTypes; ++k) energy_[k] = on_.template make<T>(layers_[3 * k].n);
    on_.dense_nets(nets(), inputs(d_).data(), list(hidden_).data(), list(energy_).data());
    if (!keep) drop(&d_);
    on_.stage("fitting net, back", a * (kDescriptor + 9 * kFitting) * t, net_flops());
    d_layer_ = hidden();
    d_z_ = hidden();
    for (int k = 0; k < kTypes; ++k)
      d_descriptor_[k] = on_.template make<T>(layers_[3 * k].n * kDescriptor);
    const T* const* const no_hidden = nullptr;
    on_.dense_nets_vjp(nets(), inputs(hidden_).data(), inputs(d_energy_).data(), no_hidden,
                       list(d_descriptor_).data(), list(d_layer_).data(), list(d_z_).data());
    if (!keep) {
      drop(&hidden_);
      drop(&d_layer_);
      drop(&d_z_);
    }
    on_.stage("descriptor, back", a * (8 * kColumns + kDescriptor) * t, 16 * a * kDescriptor);
    adjoint_ = on_.template make<T>(rows_ * 4 * kColumns);
    for (int k = 0; k < kTypes; ++k)
      on_.descriptor_vjp(shape(), part(k), d_descriptor_[k].data(), moment_.data(),
                         adjoint_.data());
    if (!keep) {
      drop(&d_descriptor_);
      moment_.drop();
    }
    on_.stage("moment, back", p * 8 * t + a * (4 * kColumns * t + 16), 40 * p * kColumns);
    Array<T> d_rows = on_.template make<T>(4 * pairs_.n);
    on_.moment_of_rows_vjp(moment_shape(1), of_rows(), table_.data(), env_.data(), adjoint_.data(),
                           d_rows.data());
    if (!keep) {
      adjoint_.drop();
      env_.drop();
    }
    on_.stage("environment rows, back", p * (4 + 10 * t), 80 * p);
    Array<T> g = on_.template make<T>(3 * pairs_.n);
    on_.env_matrix_vjp(env_pairs(), env_sizes(), d_rows.data(), g.data());
    d_rows.drop();
    on_.stage("forces and virial", p * (8 + 6 * t) + a * 3 * t, 24 * p);
    force_ = on_.template make<T>(3 * rows_);
    virial_ = on_.template make<T>(9 * water_.n_frames);
    T* const no_atom_virial = nullptr;
    on_.pair_forces(g.data(), x_.data(), pairs_.center.data(), pairs_.neighbor.data(), pairs_.n,
                    water_.n_frames, water_.n_atoms, force_.data(), virial_.data(), no_atom_virial);
  }

  // A step of Adam for a loss of energies and forces whose derivatives by them are fixed numbers:
  // all that a training step does but the loss itself.
  void train() {
    start_training();
    const double table = table_.size() * double(sizeof(T));
    on_.stage("embedding nets", table, jet_flops());
    make_table();
    step(true);
    const double p = double(pairs_.n), a = double(rows_), t = sizeof(T);
    on_.stage("tangent of pairs", p * (8 + 6 * t) + a * 3 * t, 24 * p);
    Array<T> v = on_.template make<T>(3 * pairs_.n);
    const T* const nothing = nullptr;
    on_.pair_forces_vjp(of_force_.data(), of_virial_.data(), nothing, x_.data(),
                        pairs_.center.data(), pairs_.neighbor.data(), pairs_.n, water_.n_frames,
                        water_.n_atoms, v.data());
    on_.stage("tangent of rows", p * (4 + 24 * t), 90 * p);
    Array<T> t_rows = on_.template make<T>(4 * pairs_.n);
    Array<T> s = on_.template make<T>(pairs_.n), both = on_.template make<T>(8 * pairs_.n);
    on_.env_matrix_jvp(env_pairs(), env_sizes(), v.data(), t_rows.data());
    on_.moment_tangent_rows(env_.data(), t_rows.data(), pairs_.n, s.data(), both.data());
    const deepmd::MomentPairs<T> at{range_.data(), s.data(), 1, splits_.data(), table_of_.data()};
    on_.stage("tangent of the moment", p * 9 * t + a * 4 * kColumns * t, 40 * p * kColumns);
    Array<T> t_moment = on_.template make<T>(rows_ * 4 * kColumns);
    on_.moment(moment_shape(2), at, table_.data(), both.data(), t_moment.data());
    on_.stage("tangent of the descriptor", a * (8 * kColumns + kDescriptor) * t,
              16 * a * kDescriptor);
    std::array<Array<T>, kTypes> t_d, t_energy, d_d;
    for (int k = 0; k < kTypes; ++k) {
      const int64 n = layers_[3 * k].n;
      t_d[k] = on_.template make<T>(n * kDescriptor);
      t_energy[k] = on_.template make<T>(n);
      d_d[k] = on_.template make<T>(n * kDescriptor);
      on_.descriptor_jvp(shape(), part(k), moment_.data(), t_moment.data(), t_d[k].data());
    }
    on_.stage("tangent of the fitting net", a * (kDescriptor + 12 * kFitting) * t, net_flops());
    auto t_hidden = hidden(), d_hidden = hidden(), d_layer = hidden(), d_z = hidden();
    on_.dense_nets_jvp(nets(), inputs(hidden_).data(), inputs(d_layer_).data(), inputs(t_d).data(),
                       list(t_energy).data(), list(t_hidden).data(), list(d_hidden).data());
    on_.stage("fitting net, back again", a * (kDescriptor + 12 * kFitting) * t, net_flops());
    on_.dense_nets_vjp(nets(), inputs(hidden_).data(), inputs(of_energy_).data(),
                       inputs(d_hidden).data(), list(d_d).data(), list(d_layer).data(),
                       list(d_z).data());
    on_.stage("weights of the fitting net", a * (2 * kDescriptor + 18 * kFitting) * t,
              2 * net_flops());
    weights(t_d, t_hidden, d_layer, d_z);
    on_.stage("descriptor, back again", a * (20 * kColumns + 2 * kDescriptor) * t,
              32 * a * kDescriptor);
    Array<T> adjoint = on_.template make<T>(rows_ * 4 * kColumns);
    Array<T> other = on_.template make<T>(rows_ * 4 * kColumns);
    for (int k = 0; k < kTypes; ++k) {
      on_.descriptor_vjp(shape(), part(k), d_d[k].data(), moment_.data(), adjoint.data());
      on_.descriptor_vjp(shape(), part(k), d_descriptor_[k].data(), t_moment.data(), other.data());
    }
    on_.add(static_cast<const T*>(other.data()), other.size(), adjoint.data());
    on_.stage("table of the embedding", p * 13 * t + a * 8 * kColumns * t + 2 * table,
              40 * p * kColumns);
    d_table_[0] = on_.template make<T>(table_.size());
    d_table_[1] = on_.template make<T>(table_.size());
    on_.moment_table(moment_shape(1), of_rows(), env_.data(), adjoint.data(), d_table_[0].data());
    on_.moment_table(moment_shape(2), at, both.data(), adjoint_.data(), d_table_[1].data());
    on_.add(static_cast<const T*>(d_table_[1].data()), table_.size(), d_table_[0].data());
    on_.stage("embedding nets, back", table, 2 * jet_flops());
    embedding_back();
    double size = 0;
    for (const auto& gradient : gradients_) size += double(gradient.size());
    on_.stage("Adam", 7 * size * t, 10 * size);
    adam();
  }

  int64 n_pairs() const { return pairs_.n; }

  // What came out, for comparisons.
  std::vector<std::pair<const char*, std::vector<double>>> results() {
    return {{"energy of O", get(energy_[0])},
            {"energy of H", get(energy_[1])},
            {"force", get(force_)},
            {"virial", get(virial_)}};
  }
  std::vector<std::pair<const char*, std::vector<double>>> training_results() {
    auto all = results();
    std::vector<double> embedding, fitting, after;
    for (std::size_t i = 0; i < gradients_.size(); ++i) {
      const auto found = get(gradients_[i]);
      auto& to = i < 2 * embedding_.matrix.size() ? embedding : fitting;
      to.insert(to.end(), found.begin(), found.end());
    }
    for (auto* const array : variables()) {
      const auto found = get(*array);
      after.insert(after.end(), found.begin(), found.end());
    }
    all.emplace_back("gradient of embedding nets", embedding);
    all.emplace_back("gradient of fitting nets", fitting);
    all.emplace_back("weights after Adam", after);
    return all;
  }

 private:
  using Net = std::array<Array<T>, kTypes>;
  struct Stored {
    std::vector<Array<T>> matrix, bias, idt;
  };

  template <typename N>
  std::vector<double> get(const Array<N>& array) {
    const auto host = on_.get(array);
    return std::vector<double>(host.begin(), host.end());
  }

  void put_all(const Weights& from, Stored* to) {
    for (std::size_t i = 0; i < from.matrix.size(); ++i) {
      to->matrix.push_back(on_.put(as<T>(from.matrix[i])));
      to->bias.push_back(on_.put(as<T>(from.bias[i])));
      to->idt.push_back(on_.put(as<T>(from.idt[i])));
    }
  }

  template <typename List>
  static std::vector<T*> list(const List& arrays) {
    std::vector<T*> found;
    for (const auto& array : arrays) found.push_back(array.data());
    return found;
  }
  template <typename List>
  static std::vector<const T*> inputs(const List& arrays) {
    std::vector<const T*> found;
    for (const auto& array : arrays) found.push_back(array.data());
    return found;
  }
  template <typename List>
  static void drop(List* arrays) {
    for (auto& array : *arrays) array.drop();
  }

  // [n][kFitting] of the hidden layers of both nets.
  std::vector<Array<T>> hidden() {
    std::vector<Array<T>> found;
    for (const auto& layer : layers_) found.push_back(on_.template make<T>(layer.n * layer.n_out));
    return found;
  }

  deepmd::gpu::DenseNets<T> nets() const {
    return {kTypes, kFittingLayers, layers_.data(), last_.data(), last_bias_.data()};
  }
  deepmd::DescriptorShape shape() const { return {kColumns, kAxis}; }
  deepmd::gpu::PartOfFrames part(int k) const {
    return {water_.n_frames, water_.n_atoms, water_.first(k), water_.count(k)};
  }
  deepmd::EnvPairs<T> env_pairs() const {
    return {T(kCutoff),           T(kSmooth),   x_.data(),
            pairs_.center.data(), type_.data(), deviation_.data()};
  }
  deepmd::gpu::EnvSizes env_sizes() const { return {pairs_.n, rows_, kTypes}; }
  deepmd::MomentShape moment_shape(int64 orders) const {
    return {kTypes, kNodes, kColumns, pairs_.n, rows_, kTypes, orders, 0, kSel[0] + kSel[1], 0, 0};
  }
  deepmd::MomentPairs<T> of_rows() const {
    return {range_.data(), env_.data(), 4, splits_.data(), table_of_.data()};
  }
  double net_flops() const {
    return 2.0 * double(rows_) *
           (kDescriptor * kFitting + (kFittingLayers - 1) * kFitting * kFitting + kFitting);
  }
  double jet_flops() const {
    double products = 0;
    for (int l = 0; l < kEmbeddingLayers; ++l) products += double(kNeuron[l] * kNeuron[l + 1]);
    return 6.0 * products * kTypes * kNodes;
  }

  void neighbors() {
    const double a = double(rows_), t = sizeof(T);
    deepmd::Mesh mesh;
    mesh.search = deepmd::Search::periodic;
    deepmd::NeighborQuery<T> query;
    query.n_frames = water_.n_frames;
    query.n_local = query.n_all = water_.n_atoms;
    query.n_types = kTypes;
    query.coord = coord_.data();
    query.type = type_.data();
    query.box = box_.data();
    query.cutoff = float(kCutoff);
    query.sel = kSel;
    query.mesh = &mesh;
    const double about = 0.1002 * 4.18879 * kCutoff * kCutoff * kCutoff * a;
    on_.stage("neighbour list", about * (8 + 3 * t) + a * (3 * t + 12), 8 * about);
    splits_ = on_.template make<std::int32_t>(rows_ * kTypes + 1);
    on_.find_pairs(query, serial(), splits_.data(), &pairs_);
  }

  deepmd::JetShape jet_shape() const { return {kEmbeddingLayers, kNeuron}; }
  std::vector<deepmd::gpu::JetPart<T>> jet_parts(const T* grad, T* jets, T* d_nodes) const {
    std::vector<deepmd::gpu::JetPart<T>> parts;
    for (int64 net = 0; net < kTypes; ++net) {
      const int64 first = net * kNodes * 3 * kColumns;
      parts.push_back({net, kNodes, nodes_.data(), grad == nullptr ? nullptr : grad + first,
                       jets == nullptr ? nullptr : jets + first,
                       d_nodes == nullptr ? nullptr : d_nodes + net * kNodes});
    }
    return parts;
  }
  void make_table() {
    const auto matrix = inputs(embedding_.matrix), bias = inputs(embedding_.bias);
    const std::vector<const T*> idt(matrix.size(), nullptr);
    on_.embedding_jets(
        deepmd::gpu::JetNets<T>{kTypes, jet_shape(), matrix.data(), bias.data(), idt.data()},
        jet_parts(nullptr, table_.data(), nullptr));
  }

  void start_training() {
    if (!gradients_.empty()) return;
    of_force_ = on_.put(numbers<T>(3 * rows_, 31, 0.1));
    of_virial_ = on_.put(numbers<T>(9 * water_.n_frames, 32, 0.01));
    for (int k = 0; k < kTypes; ++k) of_energy_[k] = on_.put(numbers<T>(layers_[3 * k].n, 33 + k));
    for (auto* const array : variables()) {
      gradients_.push_back(on_.template make<T>(array->size()));
      first_.push_back(on_.template zeros<T>(array->size()));
      second_.push_back(on_.template zeros<T>(array->size()));
    }
    d_nodes_ = on_.template make<T>(kTypes * kNodes);
    loss_ = on_.put(std::vector<double>{1});
    power_ = on_.put(std::vector<float>{0.9f, 0.999f});
  }

  // All weights: matrices and biases of the embedding, then of the fitting nets, then timesteps.
  std::vector<Array<T>*> variables() {
    std::vector<Array<T>*> all;
    for (Stored* nets : {&embedding_, &fitting_}) {
      for (auto& array : nets->matrix) all.push_back(&array);
      for (auto& array : nets->bias) all.push_back(&array);
    }
    for (auto& array : fitting_.idt)
      if (array.size() > 0) all.push_back(&array);
    return all;
  }
  T** gradients_of(std::size_t first) {
    pointers_ = list(gradients_);
    return pointers_.data() + first;
  }

  void embedding_back() {
    const auto matrix = inputs(embedding_.matrix), bias = inputs(embedding_.bias);
    const std::vector<const T*> idt(matrix.size(), nullptr);
    std::vector<T*> no_idt(matrix.size(), nullptr);
    T** const d = gradients_of(0);
    on_.embedding_jets_grad(
        deepmd::gpu::JetNets<T>{kTypes, jet_shape(), matrix.data(), bias.data(), idt.data()},
        jet_parts(d_table_[0].data(), nullptr, d_nodes_.data()), d, d + matrix.size(),
        no_idt.data());
  }

  void weights(const Net& t_d, const std::vector<Array<T>>& t_hidden,
               const std::vector<Array<T>>& d_layer, const std::vector<Array<T>>& d_z) {
    const auto joined = [](std::vector<const T*> a, const std::vector<const T*>& b) {
      a.insert(a.end(), b.begin(), b.end());
      return a;
    };
    std::vector<deepmd::DenseLayer<T>> layers = layers_;
    layers.insert(layers.end(), layers_.begin(), layers_.end());
    std::vector<const T*> last = joined(last_, last_);
    const std::vector<int64> idt_of{-1, 0, 1, -1, 2, 3, -1, 4, 5, -1, 6, 7};
    const deepmd::gpu::DenseNets<T> nets{2 * kTypes, kFittingLayers, layers.data(), last.data(),
                                         nullptr};
    const std::size_t first = 2 * embedding_.matrix.size(), n = fitting_.matrix.size();
    T** const d = gradients_of(first);
    std::vector<T*> d_idt(d + 2 * n, d + 2 * n + 4);
    d_idt.insert(d_idt.end(), d + 2 * n, d + 2 * n + 4);
    on_.dense_nets_weights(nets, int64{2}, idt_of.data(), joined(inputs(d_), inputs(t_d)).data(),
                           joined(inputs(hidden_), inputs(t_hidden)).data(),
                           joined(inputs(of_energy_), inputs(d_energy_)).data(),
                           joined(inputs(d_layer), inputs(d_layer_)).data(),
                           joined(inputs(d_z), inputs(d_z_)).data(), d, d + n, d_idt.data());
  }

  void adam() {
    std::vector<deepmd::gpu::AdamUpdate<T>> updates;
    const auto all = variables();
    for (std::size_t i = 0; i < all.size(); ++i)
      updates.push_back({0, all[i]->size(), gradients_[i].data(), nullptr, all[i]->data(),
                         first_[i].data(), second_[i].data()});
    std::vector<deepmd::gpu::AdamUpdate<float>> single;
    std::vector<deepmd::gpu::AdamUpdate<double>> twice;
    if constexpr (sizeof(T) == sizeof(float))
      single = updates;
    else
      twice = updates;
    finite_ = on_.adam_step(deepmd::gpu::AdamSettings{1e-4f, 0.9f, 0.999f, 1e-8f}, loss_.data(),
                            single, twice, power_.data(), power_.data() + 1);
  }

  On& on_;
  const Water& water_;
  const int64 rows_;
  Array<T> coord_, box_, range_, average_, deviation_, nodes_, table_;
  Array<std::int32_t> type_, table_of_, splits_;
  Stored embedding_, fitting_;
  std::vector<deepmd::DenseLayer<T>> layers_;
  std::vector<const T*> last_, last_bias_;

  Pairs pairs_;
  Array<T> x_, env_, moment_, adjoint_, force_, virial_;
  Net d_, d_descriptor_, energy_, d_energy_;
  std::vector<Array<T>> hidden_, d_layer_, d_z_;

  // of training
  Array<T> of_force_, of_virial_, d_table_[2], d_nodes_;
  Net of_energy_;
  std::vector<Array<T>> gradients_, first_, second_;
  std::vector<T*> pointers_;
  Array<double> loss_;
  Array<float> power_;
  bool finite_ = true;

 public:
  // Whether the last step of Adam was one.
  bool finite() const { return finite_; }
};

}  // namespace bench
