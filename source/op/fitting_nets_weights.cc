// SPDX-License-Identifier: BSD-3-Clause
// fitting_nets_weights: the gradient with respect to the weights of fitting nets.
#include "fitting_nets.h"

namespace {

using namespace deepmd::fitting;  // NOLINT(build/namespaces)
using namespace tensorflow;       // NOLINT(build/namespaces)

REGISTER_OP("DpFittingNetsWeights")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("nets: int >= 1")
    .Attr("hidden_layers: int >= 1")
    .Attr("matrices: int >= 2")
    .Attr("timesteps: int >= 0")
    .Attr("timestep_gradients: int >= 0")
    .Attr("terms: int >= 1 = 1")
    .Input("x: nets * T")
    .Input("hidden: hidden_layers * T")
    .Input("idt: timesteps * T")
    .Input("d_energy: nets * T")
    .Input("d_layer: hidden_layers * T")
    .Input("d_z: hidden_layers * T")
    .Output("d_matrix: matrices * T")
    .Output("d_bias: matrices * T")
    .Output("d_idt: timestep_gradients * T")
    .SetShapeFn([](InferenceContext* c) {
      Shapes x, hidden;
      TF_RETURN_IF_ERROR(c->input("x", &x));
      TF_RETURN_IF_ERROR(c->input("hidden", &hidden));
      for (auto& shape : x) TF_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      for (auto& shape : hidden) TF_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      const int64_t nets = x.size(), layers = std::max<int64_t>(hidden.size() / nets, 1);
      // of what comes out of hidden layer `layer` - 1
      const auto column = [&](int64_t net, int64_t layer) {
        if (layer == 0) return c->Dim(x[net], 1);
        return c->Dim(hidden[std::min<size_t>(net * layers + layer - 1, hidden.size() - 1)], 1);
      };
      const auto width = [&](int64_t net, int64_t layer) {
        return layer == layers ? c->MakeDim(1) : column(net, layer + 1);
      };
      TF_RETURN_IF_ERROR(set_shapes(c, "d_matrix", [&](int64_t k) {
        const int64_t net = std::min(k / (layers + 1), nets - 1), layer = k % (layers + 1);
        return c->Matrix(column(net, layer), width(net, layer));
      }));
      TF_RETURN_IF_ERROR(set_shapes(c, "d_bias", [&](int64_t k) {
        return c->Vector(width(std::min(k / (layers + 1), nets - 1), k % (layers + 1)));
      }));
      Shapes idt;
      TF_RETURN_IF_ERROR(c->input("idt", &idt));
      return set_shapes(c, "d_idt", [&](int k) {
        return static_cast<size_t>(k) < idt.size() ? idt[k] : c->UnknownShape();
      });
    })
    .Doc(R"doc(
Cotangents of the weights of DpFittingNets. With x and hidden replaced by their tangents: those of
matrix and idt in DpFittingNetsVjp, without d_hidden.

With several terms, all inputs are those of the nets of the first term, then of the next, and the results are
sums over the terms, but that of bias, which is of the first term.

x: [n, dim] for each net.
hidden: of DpFittingNets.
idt: [n_out] by net and layer that adds its input, or none.
d_energy: [n] for each net.
d_layer: of DpFittingNetsVjp.
d_z: of DpFittingNetsVjp.
d_matrix: [n_in, n_out] by net and layer.
d_bias: [n_out] by net and layer.
d_idt: as idt.
)doc");

template <typename Device, typename T>
class FittingNetsWeightsOp : public FittingNetsBase<T> {
 public:
  explicit FittingNetsWeightsOp(OpKernelConstruction* context) : FittingNetsBase<T>(context) {
    int64_t n_results;
    OP_REQUIRES_OK(context, context->GetAttr("timestep_gradients", &n_results));
    DEEPMD_CHECK(context, n_results * this->n_terms_ == this->n_idt_, "there are ", this->n_idt_,
                 " idt for ", n_results, " results of ", this->n_terms_, " terms");
  }

  void Compute(OpKernelContext* context) override {
    Nets<T> nets;
    Arrays<const T> x, hidden, d_energy, d_layer, d_z;
    Arrays<T> d_matrix, d_bias, d_idt, outputs;
    Tensor memory;
    OP_REQUIRES_OK(context, read_widths(context, &nets));
    OP_REQUIRES_OK(context, this->read_rows(context, "x", nets, true, &x));
    OP_REQUIRES_OK(context, this->read_hidden(context, "hidden", nets, &hidden));
    OP_REQUIRES_OK(context, this->read_rows(context, "d_energy", nets, false, &d_energy));
    OP_REQUIRES_OK(context, this->read_hidden(context, "d_layer", nets, &d_layer));
    OP_REQUIRES_OK(context, this->read_hidden(context, "d_z", nets, &d_z));
    const int64_t n_layers = nets.n_layers;

    const int64_t n_results = nets.n_nets / this->n_terms_;  // nets of one term
    std::vector<deepmd::GemmShape> shapes;
    OP_REQUIRES_OK(context, read_shapes(nets, n_results, &shapes));
    OP_REQUIRES_OK(context, this->allocate(
                                context, "d_matrix",
                                [&](int k) { return Sizes{shapes[k].m, shapes[k].n}; }, &d_matrix));
    OP_REQUIRES_OK(
        context,
        this->allocate(context, "d_bias", [&](int k) { return Sizes{shapes[k].n}; }, &d_bias));
    OpInputList idt;
    OP_REQUIRES_OK(context, context->input_list("idt", &idt));
    OP_REQUIRES_OK(
        context,
        this->allocate(context, "d_idt", [&](int k) { return Sizes{idt[k].dim_size(0)}; }, &d_idt));

    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::dense_nets_weights(deepmd::OpStream(context), nets.for_gpu(), this->n_terms_,
                                      nets.idt_of.data(), x.at.data(), hidden.at.data(),
                                      d_energy.at.data(), d_layer.at.data(), d_z.at.data(),
                                      d_matrix.at.data(), d_bias.at.data(), d_idt.at.data());
      return;
    }
    OP_REQUIRES_OK(context, this->allocate_outputs(context, nets, &memory, &outputs));
    const auto output = [&](int64_t at) {
      return deepmd::changes(nets.layers[at]) ? static_cast<const T*>(outputs[at]) : hidden[at];
    };
    const auto input = [&](int64_t net, int64_t l) {
      return l == 0 ? x[net] : output(net * n_layers + l - 1);
    };
    const auto hand_on = DEEPMD_PICK(dense_output<T>);
    this->for_rows(context, nets, [&](int64_t net, int64_t begin, int64_t end) {
      for (int64_t l = 0; l < n_layers; ++l) {
        const int64_t at = net * n_layers + l;
        if (deepmd::changes(nets.layers[at]))
          hand_on(nets.layers[at], input(net, l), hidden[at], begin, end, outputs[at]);
      }
    });

    const auto sums = DEEPMD_PICK(dense_sums<T>);
    std::vector<int64_t> count;
    int64_t products = 0, total = 0;
    for (size_t item = 0; item < d_matrix.at.size(); ++item) {
      count.push_back(DEEPMD_PICK(gemm_blocks<T>)(shapes[item]));
      total += count.back();
    }
    for (const auto& shape : shapes) products += shape.m * shape.n * shape.k;
    const auto kernel = DEEPMD_PICK(gemm<T>);
    for_parts(context, count, products / this->kPerCycle / std::max(total, kOne),
              [&](int64_t item, int64_t begin, int64_t end) {
                for (int64_t term = 0; term < this->n_terms_; ++term) {
                  const int64_t net = item / (n_layers + 1) + term * n_results;
                  const int64_t l = item % (n_layers + 1), at = net * n_layers + l;
                  const bool last = l == n_layers;
                  const T* d_out = last ? d_energy[net] : d_z[at];
                  const deepmd::GemmShape& shape = shapes[item + term * d_matrix.at.size()];
                  kernel(shape, input(net, l), d_out, begin, end, term > 0, d_matrix[item]);
                  if (begin > 0) continue;
                  if (term == 0) sums(d_out, nullptr, shape.k, shape.n, false, d_bias[item]);
                  if (!last && nets.idt_of[at] >= 0)
                    sums(d_layer[at], hidden[at], shape.k, shape.n, term > 0,
                         d_idt[nets.idt_of[at] % d_idt.at.size()]);
                }
              });
  }

 private:
  // A product for each matrix: of the input of the layer and the cotangent of its output.
  absl::Status read_shapes(const Nets<T>& nets, int64_t n_results,
                           std::vector<deepmd::GemmShape>* shapes) const {
    for (int64_t net = 0; net < nets.n_nets; ++net) {
      for (int64_t l = 0; l < nets.n_layers; ++l) {
        const auto& layer = nets.layer(net, l);
        const auto& first = nets.layer(net % n_results, l);
        if (layer.n_in != first.n_in || layer.n_out != first.n_out)
          return deepmd::invalid_argument("the terms have layers of ", layer.n_in, " x ",
                                          layer.n_out, " and ", first.n_in, " x ", first.n_out,
                                          " numbers, expected the same");
        shapes->push_back({layer.n_in, layer.n_out, layer.n, true, false});
      }
      shapes->push_back({nets.width(net), 1, nets.rows(net), true, false});
    }
    return absl::OkStatus();
  }

  // There are no matrices here to tell the widths.
  absl::Status read_widths(OpKernelContext* context, Nets<T>* nets) const {
    OpInputList x, hidden, idt;
    TF_RETURN_IF_ERROR(context->input_list("x", &x));
    TF_RETURN_IF_ERROR(context->input_list("hidden", &hidden));
    TF_RETURN_IF_ERROR(context->input_list("idt", &idt));
    const int64_t n_layers = this->n_hidden_ / this->n_nets_;
    typename FittingNetsBase<T>::Widths widths(this->n_nets_);
    for (int64_t net = 0; net < this->n_nets_; ++net) {
      TF_RETURN_IF_ERROR(deepmd::check_shape("x", x[net], {-1, -1}));
      widths[net].push_back(x[net].dim_size(1));
      for (int64_t l = 0; l < n_layers; ++l) {
        const Tensor& h = hidden[net * n_layers + l];
        TF_RETURN_IF_ERROR(deepmd::check_shape("hidden", h, {-1, -1}));
        widths[net].push_back(h.dim_size(1));
      }
    }
    return this->make(x, widths, idt, nets);
  }
};

DEEPMD_REGISTER("DpFittingNetsWeights", FittingNetsWeightsOp);

}  // namespace
