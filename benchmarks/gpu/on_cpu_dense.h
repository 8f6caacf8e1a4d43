// SPDX-License-Identifier: BSD-3-Clause
// Fitting nets by the processor's kernels, as gpu_dense.h has them.
#pragma once

#include <cstdint>
#include <vector>

#include "dense.h"
#include "gemm.h"
#include "gpu_dense.h"

namespace bench {

class DenseOnCpu {
 public:
  template <typename T>
  using Nets = deepmd::gpu::DenseNets<T>;

  template <typename T>
  void dense_nets(const Nets<T>& nets, const T* const* x, T* const* hidden, T* const* energy) {
    each(nets, [&](std::int64_t net, std::int64_t at) {
      const auto& layer = nets.layers[at];
      const T* in = input(nets, net, at, x[net], const_cast<const T* const*>(hidden));
      DEEPMD_PICK(dense<T>)(layer, in, 0, DEEPMD_PICK(dense_blocks<T>)(layer), hidden[at],
                            output(layer, at));
    });
    for (std::int64_t net = 0; net < nets.n_nets; ++net)
      DEEPMD_PICK(dense_energy<T>)(
          nets.last[net], nets.last_bias == nullptr ? nullptr : nets.last_bias[net],
          width(nets, net), behind(nets, net, const_cast<const T* const*>(hidden)), 0,
          rows(nets, net), energy[net]);
  }

  template <typename T>
  void dense_nets_vjp(const Nets<T>& nets, const T* const* hidden, const T* const* d_energy,
                      const T* const* d_hidden, T* const* d_x, T* const* d_layer, T* const* d_z) {
    const std::int64_t n = nets.n_layers;
    const auto slope = [&](std::int64_t at) {
      return deepmd::DenseSlope<T>{hidden[at], d_hidden == nullptr ? nullptr : d_hidden[at],
                                   nets.layers[at].idt, d_z[at]};
    };
    for (std::int64_t net = 0; net < nets.n_nets; ++net) {
      const std::int64_t last = (net + 1) * n - 1;
      DEEPMD_PICK(dense_energy_back<T>)(nets.last[net], width(nets, net), d_energy[net], 0,
                                        rows(nets, net), d_layer[last], slope(last));
      for (std::int64_t at = last; at >= net * n; --at) {
        const auto& layer = nets.layers[at];
        const bool first = at == net * n;
        DEEPMD_PICK(dense_back<T>)(
            layer, d_layer[at], d_z[at], 0, DEEPMD_PICK(dense_back_blocks<T>)(layer),
            first ? d_x[net] : d_layer[at - 1], first ? deepmd::DenseSlope<T>{} : slope(at - 1));
      }
    }
  }

  template <typename T>
  void dense_nets_jvp(const Nets<T>& nets, const T* const* hidden, const T* const* d_layer,
                      const T* const* t_x, T* const* t_energy, T* const* t_hidden,
                      T* const* d_hidden) {
    const auto* const tangents = const_cast<const T* const*>(t_hidden);
    each(nets, [&](std::int64_t net, std::int64_t at) {
      const auto& layer = nets.layers[at];
      DEEPMD_PICK(dense_along<T>)(layer, input(nets, net, at, t_x[net], tangents), hidden[at],
                                  d_layer[at], 0, DEEPMD_PICK(dense_blocks<T>)(layer), t_hidden[at],
                                  output(layer, at), d_hidden[at]);
    });
    for (std::int64_t net = 0; net < nets.n_nets; ++net) {
      const T* const none = nullptr;
      DEEPMD_PICK(dense_energy<T>)(nets.last[net], none, width(nets, net),
                                   behind(nets, net, tangents), 0, rows(nets, net), t_energy[net]);
    }
  }

  template <typename T>
  void dense_nets_weights(const Nets<T>& nets, std::int64_t n_terms, const std::int64_t* idt_of,
                          const T* const* x, const T* const* hidden, const T* const* d_energy,
                          const T* const* d_layer, const T* const* d_z, T* const* d_matrix,
                          T* const* d_bias, T* const* d_idt) {
    const std::int64_t n = nets.n_layers, n_results = nets.n_nets / n_terms;
    each(nets, [&](std::int64_t net, std::int64_t at) {
      const auto& layer = nets.layers[at];
      if (deepmd::changes(layer))
        DEEPMD_PICK(dense_output<T>)(layer, input(nets, net, at, x[net], hidden), hidden[at], 0,
                                     layer.n, output(layer, at));
    });
    const auto sums = DEEPMD_PICK(dense_sums<T>);
    for (std::int64_t net = 0; net < nets.n_nets; ++net) {
      const std::int64_t term = net / n_results, result = net % n_results;
      for (std::int64_t l = 0; l <= n; ++l) {
        const bool last = l == n;
        const std::int64_t at = net * n + l, item = result * (n + 1) + l, k = rows(nets, net);
        const T* const in = last ? behind(nets, net, hidden) : input(nets, net, at, x[net], hidden);
        const T* const d_out = last ? d_energy[net] : d_z[at];
        const std::int64_t m = last ? width(nets, net) : nets.layers[at].n_in;
        const std::int64_t columns = last ? 1 : nets.layers[at].n_out;
        const deepmd::GemmShape shape{m, columns, k, true, false};
        DEEPMD_PICK(gemm<T>)(shape, in, d_out, 0, DEEPMD_PICK(gemm_blocks<T>)(shape), term > 0,
                             d_matrix[item]);
        const T* const none = nullptr;
        if (term == 0) sums(d_out, none, k, columns, false, d_bias[item]);
        if (!last && idt_of[at] >= 0)
          sums(d_layer[at], hidden[at], k, columns, term > 0, d_idt[idt_of[result * n + l]]);
      }
    }
  }

 private:
  // By net, through its layers.
  template <typename T, typename F>
  static void each(const Nets<T>& nets, const F& f) {
    for (std::int64_t at = 0; at < nets.n_nets * nets.n_layers; ++at) f(at / nets.n_layers, at);
  }
  template <typename T>
  static std::int64_t rows(const Nets<T>& nets, std::int64_t net) {
    return nets.layers[net * nets.n_layers].n;
  }
  template <typename T>
  static std::int64_t width(const Nets<T>& nets, std::int64_t net) {
    return nets.layers[(net + 1) * nets.n_layers - 1].n_out;
  }

  // What layers return where that is not h; of the last call.
  template <typename T>
  T* output(const deepmd::DenseLayer<T>& layer, std::int64_t at) {
    if (!deepmd::changes(layer)) return nullptr;
    if (outputs_.size() <= static_cast<std::size_t>(at)) outputs_.resize(at + 1);
    outputs_[at].resize(layer.n * layer.n_out);
    return reinterpret_cast<T*>(outputs_[at].data());
  }
  template <typename T>
  const T* input(const Nets<T>& nets, std::int64_t net, std::int64_t at, const T* x,
                 const T* const* hidden) {
    if (at == net * nets.n_layers) return x;
    return deepmd::changes(nets.layers[at - 1])
               ? reinterpret_cast<const T*>(outputs_[at - 1].data())
               : hidden[at - 1];
  }
  template <typename T>
  const T* behind(const Nets<T>& nets, std::int64_t net, const T* const* hidden) {
    return input(nets, -1, (net + 1) * nets.n_layers, static_cast<const T*>(nullptr), hidden);
  }

  std::vector<std::vector<double>> outputs_;  // with room for float64
};

}  // namespace bench
