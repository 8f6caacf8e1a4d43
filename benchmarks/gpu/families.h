// SPDX-License-Identifier: BSD-3-Clause
// Functions that the chain does not call, or not with all that they can do: results of each on a
// box of water, on a GPU (OnGpu) or on the processor (OnCpu).
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "chain.h"
#include "naive.h"

namespace bench {

using Results = std::vector<std::pair<std::string, std::vector<double>>>;

template <typename On, typename T>
class Families {
 public:
  using int64 = std::int64_t;
  template <typename N>
  using Array = typename On::template Array<N>;

  Families(On* on, std::int64_t atoms) : on_(*on), water_(1, atoms), rows_(water_.n_rows()) {
    coord_ = on_.put(as<T>(water_.coord));
    box_ = on_.put(as<T>(water_.box));
    type_ = on_.put(water_.type);
    table_of_ = on_.put(water_.table_of);
    splits_ = on_.template make<std::int32_t>(rows_ * kTypes + 1);
    mesh_.search = deepmd::Search::periodic;
    query_.n_frames = 1;
    query_.n_local = query_.n_all = rows_;
    query_.n_types = kTypes;
    query_.coord = coord_.data();
    query_.type = type_.data();
    query_.box = box_.data();
    query_.cutoff = float(kCutoff);
    query_.sel = kSel;
    query_.mesh = &mesh_;
    on_.find_pairs(query_, serial(), splits_.data(), &pairs_);
    n_ = pairs_.n;
    center_ = pairs_.center.data();
    neighbor_ = pairs_.neighbor.data();
    x_ = on_.template make<T>(3 * n_);
    on_.gather_pairs(coord_.data(), center_, neighbor_, pairs_.shift.data(), rows_, int64{3}, n_,
                     x_.data());
  }

  Results neighbors() {
    take("splits", splits_);
    take("center", pairs_.center);
    take("neighbor", pairs_.neighbor);
    take("shift", pairs_.shift);
    for (const bool open : {false, true}) {
      mesh_.search = open ? deepmd::Search::open : deepmd::Search::periodic;
      deepmd::NeighborQuery<T> query = query_;
      const std::int32_t few[kTypes] = {5, -1};
      query.sel = few;
      typename Chain<On, T>::Pairs pairs;
      on_.find_pairs(query, serial(), splits_.data(), &pairs);
      take(open ? "few kept, open: neighbor" : "few kept: neighbor", pairs.neighbor);
    }
    return std::move(results_);
  }

  Results pairs() {
    const auto g = given(3 * n_, 1), w = given(9 * rows_, 2), f = given(3 * rows_, 3);
    const int64 one = 1, three = 3;
    auto out = make(3 * n_);
    take("gather_pairs", x_);
    on_.scatter_pairs(g.data(), center_, neighbor_, n_, three, rows_, result(3 * rows_));
    taken("scatter_pairs");
    on_.pair_virial(g.data(), x_.data(), neighbor_, n_, rows_, result(9 * rows_));
    taken("pair_virial");
    auto force = make(3 * rows_), virial = make(9), atom = make(9 * rows_);
    on_.pair_forces(g.data(), x_.data(), center_, neighbor_, n_, one, rows_, force.data(),
                    virial.data(), atom.data());
    take("pair_forces: force", force);
    take("pair_forces: virial", virial);
    take("pair_forces: virial of atoms", atom);
    on_.pair_forces_vjp(f.data(), w.data(), w.data(), x_.data(), center_, neighbor_, n_, one, rows_,
                        result(3 * n_));
    taken("pair_forces_vjp");
    for (const bool transpose : {false, true}) {
      on_.pair_virial_vjp(w.data(), x_.data(), neighbor_, transpose, n_, rows_, result(3 * n_));
      taken(transpose ? "pair_virial_vjp, transposed" : "pair_virial_vjp");
    }
    return std::move(results_);
  }

  Results env_matrix() {
    set_rows();
    take("env_matrix", env_);
    const auto g = given(4 * n_, 1), v = given(3 * n_, 2), u = given(3 * n_, 3);
    on_.env_matrix_vjp(env_pairs(), env_sizes(), g.data(), result(3 * n_));
    taken("env_matrix_vjp");
    on_.env_matrix_jvp(env_pairs(), env_sizes(), v.data(), result(4 * n_));
    taken("env_matrix_jvp");
    on_.env_matrix_hvp(env_pairs(), env_sizes(), g.data(), v.data(), result(3 * n_));
    taken("env_matrix_hvp");
    on_.env_matrix_jvp_of_jvp(env_pairs(), env_sizes(), u.data(), v.data(), result(4 * n_));
    taken("env_matrix_jvp_of_jvp");
    return std::move(results_);
  }

  Results moment() {
    set_rows();
    constexpr int64 columns = kColumns, nodes = 64, per_octave = 4, octaves = 5;
    const auto table = given(kTypes * nodes * 3 * columns, 1);
    const auto adjoint = given(rows_ * 4 * columns, 2), both = given(8 * n_, 3);
    const auto range = on_.put(std::vector<T>{T(-0.6), T(3), T(-0.6), T(2)});
    for (const int64 order : {0, 1}) {
      const int64 orders = 2;
      const deepmd::MomentShape shape{kTypes, nodes, columns, n_,      rows_,     kTypes,
                                      orders, order, 138,     octaves, per_octave};
      const deepmd::MomentPairs<T> at{range.data(), env_.data(), 4, splits_.data(),
                                      table_of_.data()};
      const std::string text = order == 0 ? "" : ", one order higher";
      on_.moment(shape, at, table.data(), both.data(), result(rows_ * 4 * columns));
      taken("moment" + text);
      on_.moment_rows(shape, at, table.data(), adjoint.data(), result(8 * n_));
      taken("moment_rows" + text);
      on_.moment_table(shape, at, both.data(), adjoint.data(), result(table.size()));
      taken("moment_table" + text);
      const auto count = on_.template make<int64>(1);
      on_.moment_outside(shape, at, count.data());
      take("moment_outside" + text, count);
    }
    const deepmd::MomentShape shape{kTypes, nodes, columns, n_,      rows_,     kTypes,
                                    1,      0,     138,     octaves, per_octave};
    const deepmd::MomentPairs<T> at{range.data(), env_.data(), 4, splits_.data(), table_of_.data()};
    on_.moment_of_rows(shape, at, table.data(), env_.data(), adjoint.data(),
                       result(rows_ * 4 * columns));
    taken("moment_of_rows, and a start");
    on_.moment_of_rows_vjp(shape, at, table.data(), env_.data(), adjoint.data(), result(4 * n_));
    taken("moment_of_rows_vjp");
    auto s = make(n_);
    on_.moment_tangent_rows(env_.data(), both.data(), n_, s.data(), result(8 * n_));
    taken("moment_tangent_rows");
    take("moment_tangent_rows: s", s);
    return std::move(results_);
  }

  Results contract() {
    set_rows();
    constexpr int64 columns = kColumns;
    const deepmd::gpu::ContractView view{splits_.data(), columns, n_, rows_, kTypes};
    const auto g = given(n_ * columns, 1), adjoint = given(rows_ * 4 * columns, 2);
    on_.contract(view, env_.data(), g.data(), result(rows_ * 4 * columns));
    taken("contract");
    on_.contract_rows(view, g.data(), adjoint.data(), result(4 * n_));
    taken("contract_rows");
    on_.contract_columns(view, env_.data(), adjoint.data(), result(n_ * columns));
    taken("contract_columns");
    return std::move(results_);
  }

  // Of the first few centres, as their matrices take long on the host; with other rows, as those
  // near the cutoff have no direction but that of rounding.
  Results attention() {
    const int64 centers = rows_ / 24 + 1, width = 32;
    const auto splits = on_.get(splits_);
    const int64 n = splits[centers * kTypes];
    const auto qkv = given(3 * n * width, 1), u = given(3 * n * width, 2), y = given(n * width, 3);
    const auto weights = on_.put(numbers<T>(n, 4, 0.4, 0.55)), dw = given(n, 5);
    const auto rows = given(4 * n, 6), d_rows = given(4 * n, 7);
    const deepmd::gpu::AttentionSizes sizes{n, centers};
    const deepmd::AttentionPairs<const T> x{qkv.data(), weights.data(), rows.data()};
    const deepmd::AttentionPairs<const T> tangent{u.data(), dw.data(), d_rows.data()};
    for (const bool smooth : {false, true}) {
      const deepmd::AttentionShape shape{width, smooth, true, 138, kTypes, splits_.data()};
      const std::string text = smooth ? ", smooth" : "";
      on_.attention(shape, sizes, x, result(n * width));
      taken("attention" + text);
      auto d_qkv = make(3 * n * width), d_weights = make(n), d_env = make(4 * n);
      const deepmd::AttentionPairs<T> gradient{d_qkv.data(), d_weights.data(), d_env.data()};
      const auto take_all = [&](const std::string& name) {
        take(name + text + ": qkv", d_qkv);
        if (smooth) take(name + text + ": weights", d_weights);
        take(name + text + ": rows", d_env);
      };
      const T* const adjoint = y.data();
      on_.attention_vjp(shape, sizes, x, adjoint, gradient);
      take_all("attention_vjp");
      on_.attention_hvp(shape, sizes, x, tangent, adjoint, gradient, result(n * width));
      taken("attention_hvp" + text);
      take_all("attention_hvp");
    }
    return std::move(results_);
  }

  Results gelu() {
    const int64 n = 10001;
    const auto x = on_.put(numbers<T>(n, 1, 6)), dy = given(n, 2);
    on_.gelu(x.data(), n, result(n));
    taken("gelu");
    on_.gelu_grad(dy.data(), x.data(), n, result(n));
    taken("gelu_grad");
    return std::move(results_);
  }

  Results layer_norm() {
    const int64 n = 501, width = 100;
    const auto x = given(n * width, 1), g = given(n * width, 2), u = given(n * width, 3);
    const T epsilon = T(1e-3);
    on_.layer_norm(x.data(), n, width, epsilon, result(n * width));
    taken("layer_norm");
    on_.layer_norm_vjp(x.data(), g.data(), n, width, epsilon, result(n * width));
    taken("layer_norm_vjp");
    on_.layer_norm_hvp(x.data(), g.data(), u.data(), n, width, epsilon, result(n * width));
    taken("layer_norm_hvp");
    return std::move(results_);
  }

  // Molecules in and around a region: groups of whole numbers, the first the smallest number.
  Results fragments() {
    std::vector<std::int32_t> group(2 * rows_);
    for (int64 i = 0; i < 2 * rows_; ++i) {
      const int64 atom = i % rows_, n = rows_ / 3;
      const int64 molecule = atom < n ? atom : (atom - n) / 2;
      group[i] =
          molecule % 7 == 6 ? -1 : static_cast<std::int32_t>(molecule < 4 ? 0 : molecule % 11);
    }
    const auto maps = on_.fragments(group, 2, rows_, rows_);
    const char* const names[] = {"region, forward", "region, backward", "fragments, forward",
                                 "fragments, backward", "frames"};
    for (std::size_t i = 0; i < maps.size(); ++i)
      results_.emplace_back(names[i], std::vector<double>(maps[i].begin(), maps[i].end()));
    return std::move(results_);
  }

  Results mask_rows() {
    const int64 n = rows_ < 30 ? rows_ : 30, frames = 2;
    std::vector<std::int32_t> mask(frames * n), type(frames * n);
    for (int64 i = 0; i < frames * n; ++i) {
      mask[i] = i % 5 != 3;
      type[i] = static_cast<std::int32_t>(i % n * kTypes / n);
    }
    const auto coord = on_.put(numbers<T>(3 * frames * n, 1, 4));
    const auto masks = on_.put(mask), types = on_.put(type);
    const int64 slots = frames * n * n;
    auto rows = make(4 * slots), derivative = make(12 * slots), x = make(3 * slots);
    const auto nlist = on_.template make<std::int32_t>(slots);
    on_.mask_rows(coord.data(), types.data(), masks.data(), frames, n, rows.data(),
                  derivative.data(), x.data(), nlist.data());
    take("mask_rows", rows);
    take("mask_rows: derivative", derivative);
    take("mask_rows: x", x);
    take("mask_rows: nlist", nlist);
    return std::move(results_);
  }

  Results padded_rows() {
    const int64 slots = kSel[0] + kSel[1], all = rows_ * slots;
    for (const int64 components : {1, 4}) {
      const auto avg = on_.put(numbers<T>(kTypes * components * slots, 1, 0.1));
      const auto std = on_.put(numbers<T>(kTypes * components * slots, 2, 0.1, 0.5));
      deepmd::PaddedQuery<T> query;
      query.rcut = T(kCutoff);
      query.rcut_smth = T(kSmooth);
      query.components = components;
      query.n_types = kTypes;
      query.n_slots = slots;
      query.sel = kSel;
      query.n_local = query.n_all = rows_;
      query.coord = coord_.data();
      query.type = type_.data();
      query.splits = splits_.data();
      query.neighbor = neighbor_;
      query.shift = pairs_.shift.data();
      query.avg = avg.data();
      query.std = std.data();
      auto rows = make(all * components), derivative = make(all * components * 3);
      auto x = make(all * 3);
      const auto nlist = on_.template make<std::int32_t>(all);
      on_.padded_env_rows(
          query, rows_,
          deepmd::PaddedRows<T>{rows.data(), derivative.data(), x.data(), nlist.data()});
      const std::string text = components == 1 ? ", radial" : "";
      take("padded_env_rows" + text, rows);
      take("padded_env_rows: derivative" + text, derivative);
      take("padded_env_rows: x" + text, x);
      take("padded_env_rows: nlist" + text, nlist);
      if (components == 1) continue;
      const auto found = on_.template make<std::int32_t>(all),
                 merged = on_.template make<std::int32_t>(rows_);
      const auto filled = on_.template make<unsigned char>(all);
      on_.template slot_types<T>(nlist.data(), type_.data(), 1, all, rows_, kTypes, found.data(),
                                 reinterpret_cast<bool*>(filled.data()));
      take("slot_types", found);
      take("slot_types: filled", filled);
      on_.template merge_types<T>(type_.data(), rows_, kTypes, merged.data());
      take("merge_types", merged);
    }
    return std::move(results_);
  }

  Results pair_spline() {
    const int intervals = 50;
    const auto table = on_.put(random_numbers(kTypes * kTypes * intervals * 4, 1));
    const auto r = on_.put(numbers<T>(n_, 2, 2.9, 3.5));
    const deepmd::gpu::PairTable spline{0.5, 0.11, intervals, kTypes, table.data()};
    for (std::int32_t order = 0; order < 3; ++order) {
      on_.pair_spline(spline, order, r.data(), center_, neighbor_, type_.data(), n_, rows_,
                      result(n_));
      taken("pair_spline, order " + std::to_string(order));
    }
    return std::move(results_);
  }

  // Tables of stock's compressed models, with points in all of their parts and beyond.
  Results tabulate() {
    const int64 n = 40, slots = 37, columns = 20, table_rows = 10;
    const deepmd::TableGrid<T> grid{T(0), T(0.5), T(1), T(0.1), T(0.1), T(0), 0, 5, 9, table_rows};
    const auto table = given(table_rows * 6 * columns, 1), t = given(n * slots * columns, 4);
    const auto s = on_.put(numbers<T>(n * slots, 2, 0.7, 0.5)), rows = given(n * slots * 4, 3);
    const auto y = given(n * 4 * columns, 5), factor = given(n * slots, 6);
    const deepmd::TabulateQuery<T> query{grid, table.data(), columns, slots, s.data(), rows.data()};
    const T *const types = t.data(), *const adjoint = y.data();
    auto ds = make(n * slots), d_rows = make(4 * n * slots), dt = make(n * slots * columns);
    on_.tabulate(query, n, result(n * 4 * columns));
    taken("tabulate");
    on_.tabulate_grad(query, adjoint, n, ds.data(), d_rows.data());
    take("tabulate_grad: s", ds);
    take("tabulate_grad: rows", d_rows);
    on_.tabulate_types(query, types, n, result(n * 4 * columns));
    taken("tabulate_types");
    on_.tabulate_types_grad(query, types, adjoint, n, ds.data(), d_rows.data(), dt.data());
    take("tabulate_types_grad: s", ds);
    take("tabulate_types_grad: rows", d_rows);
    take("tabulate_types_grad: t", dt);
    const deepmd::TabulatePoints<T> points{grid, table.data(), columns, s.data()};
    on_.tabulate_points(points, n * slots, result(n * slots * columns));
    taken("tabulate_points");
    on_.tabulate_points_grad(points, types, n * slots, ds.data());
    take("tabulate_points_grad", ds);
    const deepmd::TabulateSum<T> sum{points, slots, factor.data()};
    on_.tabulate_sum(sum, n, result(n * columns));
    taken("tabulate_sum");
    auto d_factor = make(n * slots);
    on_.tabulate_sum_grad(sum, adjoint, n, ds.data(), d_factor.data());
    take("tabulate_sum_grad: s", ds);
    take("tabulate_sum_grad: factor", d_factor);
    return std::move(results_);
  }

  Results angles() {
    const int64 centers = rows_ / 12 + 1, columns = 20, octaves = 5, per_octave = 8;
    const auto splits = on_.get(splits_);
    const int64 n = splits[centers * kTypes];
    int64 most = 0;
    for (int64 c = 0; c < centers; ++c)
      most = std::max<int64>(most, splits[(c + 1) * kTypes] - splits[c * kTypes]);
    const auto rows = on_.put(numbers<T>(4 * n, 1, 1.5)), u = given(4 * n, 2), v = given(4 * n, 3);
    const auto empty = given(4 * centers, 4), adjoint = given(centers * columns, 5);
    const auto count = on_.put(std::vector<T>(centers * kTypes, T(2)));
    const auto table_of = on_.put(std::vector<std::int32_t>{0, 1, -1, 2});
    for (int64 tangents = 0; tangents < 3; ++tangents) {
      const deepmd::AngleShape shape{3,       octaves, per_octave, columns, n,
                                     centers, kTypes,  most,       tangents};
      const deepmd::AnglePairs<T> pairs{
          rows.data(),    {tangents > 0 ? u.data() : nullptr, tangents > 1 ? v.data() : nullptr},
          splits_.data(), empty.data(),
          count.data(),   table_of.data()};
      const auto table = given(3 * deepmd::angle_nodes(shape) * 3 * columns, 6);
      const std::string text = ", " + std::to_string(tangents) + " tangents";
      const T *const values = table.data(), *const y = adjoint.data();
      on_.angle_sums(shape, pairs, values, result(centers * columns));
      taken("angle_sums" + text);
      on_.angle_table(shape, pairs, y, result(table.size()));
      taken("angle_table" + text);
      if (tangents > 1) continue;
      on_.angle_rows(shape, pairs, values, y, result(4 * n));
      taken("angle_rows" + text);
    }
    return std::move(results_);
  }

  Results slot_pairs() {
    const int64 n_slots = 25, frames = 2, n_local = 20, n_all = 31,
                all = frames * n_local * n_slots;
    std::vector<std::int32_t> list(all), type(frames * n_all), slot_type(n_slots, 0);
    for (int64 p = 0; p < all; ++p)
      list[p] = p % n_slots > 21 ? -1 : static_cast<std::int32_t>((p * 7 + p / n_slots) % n_all);
    for (int64 i = 0; i < frames * n_all; ++i) type[i] = i % n_all % kTypes;
    for (int64 k = n_slots / 2; k < n_slots; ++k) slot_type[k] = 1;
    const auto nlist = on_.put(list), types = on_.put(type);
    const deepmd::gpu::Slots slots{frames, n_local, n_all, n_slots, nlist.data()};
    const auto derivative = given(12 * all, 1), net = given(4 * all, 2);
    const auto du = given(frames * n_local, 3), rij = on_.put(numbers<T>(3 * all, 4, 2, 2.5));
    for (const int64 components : {1, 4}) {
      on_.padded_pull(net.data(), derivative.data(), components, all, result(3 * all));
      taken("padded_pull, " + std::to_string(components));
    }
    on_.scaled_pull(slots, du.data(), derivative.data(), result(3 * all));
    taken("scaled_pull");
    const T *const pull = derivative.data(), *const x = rij.data();
    on_.slot_forces(slots, pull, result(3 * frames * n_all));
    taken("slot_forces");
    for (const bool halves : {false, true}) {
      on_.slot_virials(slots, pull, x, halves, result(9 * frames * n_all));
      taken(halves ? "slot_virials, halves" : "slot_virials");
    }
    const auto virial = given(9 * frames * 2000, 5);
    on_.sum_virials(virial.data(), frames, int64{2000}, result(9 * frames));
    taken("sum_virials");
    const int intervals = 60;
    const auto table = on_.put(random_numbers(kTypes * kTypes * intervals * 4, 6));
    auto energy = make(frames * n_local), out = make(3 * all);
    on_.pair_tab(deepmd::gpu::PairTable{0.1, 0.15, intervals, kTypes, table.data()}, slots,
                 slot_type.data(), types.data(), x, du.data(), energy.data(), out.data());
    take("pair_tab: energy", energy);
    take("pair_tab: pull", out);
    on_.soft_min(slots, deepmd::SoftMin{0.5, 1, 5}, x, energy.data(), out.data());
    take("soft_min", energy);
    take("soft_min: derivative", out);
    return std::move(results_);
  }

 private:
  Array<T> make(int64 n) { return on_.template make<T>(n); }
  Array<T> given(int64 n, unsigned seed) { return on_.put(numbers<T>(n, seed)); }
  T* result(int64 n) {
    result_ = make(n);
    return result_.data();
  }
  void taken(const std::string& name) { take(name, result_); }
  template <typename N>
  void take(const std::string& name, const Array<N>& array) {
    const auto host = on_.get(array);
    results_.emplace_back(name, std::vector<double>(host.begin(), host.end()));
  }

  void set_rows() {
    std::vector<T> average, deviation;
    for (int i = 0; i < 4 * kTypes; ++i) {
      average.push_back(i % 4 == 0 ? T(kAverage) : T(0));
      deviation.push_back(T(kDeviation[i % 4]));
    }
    average_ = on_.put(average);
    deviation_ = on_.put(deviation);
    env_ = make(4 * n_);
    on_.env_matrix(env_pairs(), env_sizes(), average_.data(), env_.data());
  }
  deepmd::EnvPairs<T> env_pairs() const {
    return {T(kCutoff), T(kSmooth), x_.data(), center_, type_.data(), deviation_.data()};
  }
  deepmd::gpu::EnvSizes env_sizes() const { return {n_, rows_, kTypes}; }

  On& on_;
  Water water_;
  const int64 rows_;
  int64 n_ = 0;
  deepmd::Mesh mesh_;
  deepmd::NeighborQuery<T> query_;
  Array<T> coord_, box_, x_, env_, average_, deviation_, result_;
  Array<std::int32_t> type_, table_of_, splits_;
  typename Chain<On, T>::Pairs pairs_;
  const std::int32_t *center_ = nullptr, *neighbor_ = nullptr;
  Results results_;
};

}  // namespace bench
