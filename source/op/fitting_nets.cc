// SPDX-License-Identifier: BSD-3-Clause
// fitting_nets: the fitting nets of all atom types, each for the atoms of its type, and what
// derivatives of energies and forces are made of.
//
#include "fitting_nets.h"

namespace {

using namespace deepmd::fitting;  // NOLINT(build/namespaces)
using namespace tensorflow;       // NOLINT(build/namespaces)

REGISTER_OP("DpFittingNets")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("nets: int >= 1")
    .Attr("hidden_layers: int >= 1")
    .Attr("matrices: int >= 2")
    .Attr("timesteps: int >= 0")
    .Input("x: nets * T")
    .Input("matrix: matrices * T")
    .Input("bias: matrices * T")
    .Input("idt: timesteps * T")
    .Output("energy: nets * T")
    .Output("hidden: hidden_layers * T")
    .SetShapeFn([](InferenceContext* c) {
      Shapes x, matrix, hidden;
      TF_RETURN_IF_ERROR(c->input("x", &x));
      TF_RETURN_IF_ERROR(c->input("matrix", &matrix));
      int64_t n_hidden;
      TF_RETURN_IF_ERROR(c->GetAttr("hidden_layers", &n_hidden));
      for (auto& shape : x) TF_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      for (auto& shape : matrix) TF_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      TF_RETURN_IF_ERROR(
          set_shapes(c, "energy", [&](int p) { return c->Vector(c->Dim(x[p], 0)); }));
      const int64_t nets = x.size(), layers = std::max(n_hidden / nets, kOne);
      return set_shapes(c, "hidden", [&](int64_t k) {
        const int64_t net = std::min(k / layers, nets - 1);
        const size_t at = std::min<size_t>(net * (layers + 1) + k % layers, matrix.size() - 1);
        return c->Matrix(c->Dim(x[net], 0), c->Dim(matrix[at], 1));
      });
    })
    .Doc(R"doc(
Fitting nets: h = tanh(x W + b) in the hidden layers, and a last layer x W + b of one column. What a
layer returns is h idt, to which x is added from the second layer on where the width stays.

x: [n, dim] for each net, its atoms.
matrix: [n_in, n_out] of all layers of the first net, then of the next; as many layers for each.
bias: [n_out], likewise.
idt: [n_out], likewise, but of layers that add x only; or none at all, which stands for 1.
energy: [n] for each net.
hidden: h of the hidden layers, [n, n_out], of the first net, then of the next.
)doc");

REGISTER_OP("DpFittingNetsVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("nets: int >= 1")
    .Attr("hidden_layers: int >= 1")
    .Attr("matrices: int >= 2")
    .Attr("timesteps: int >= 0")
    .Attr("hidden_cotangents: int >= 0")
    .Input("hidden: hidden_layers * T")
    .Input("matrix: matrices * T")
    .Input("idt: timesteps * T")
    .Input("d_energy: nets * T")
    .Input("d_hidden: hidden_cotangents * T")
    .Output("d_x: nets * T")
    .Output("d_layer: hidden_layers * T")
    .Output("d_z: hidden_layers * T")
    .SetShapeFn([](InferenceContext* c) {
      Shapes matrix, energy;
      TF_RETURN_IF_ERROR(c->input("matrix", &matrix));
      TF_RETURN_IF_ERROR(c->input("d_energy", &energy));
      for (auto& shape : matrix) TF_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      for (auto& shape : energy) TF_RETURN_IF_ERROR(c->WithRank(shape, 1, &shape));
      const size_t layers = std::max<size_t>(matrix.size() / energy.size(), 1);
      TF_RETURN_IF_ERROR(set_shapes(c, "d_x", [&](int64_t p) {
        const size_t first = std::min<size_t>(p * layers, matrix.size() - 1);
        return c->Matrix(c->Dim(energy[p], 0), c->Dim(matrix[first], 0));
      }));
      TF_RETURN_IF_ERROR(same_shapes(c, "d_layer", "hidden"));
      return same_shapes(c, "d_z", "hidden");
    })
    .Doc(R"doc(
Cotangents of what lies inside of DpFittingNets, from those of its outputs.

hidden: of DpFittingNets.
matrix: [n_in, n_out] by net and layer.
idt: [n_out] by net and layer that adds its input, or none.
d_energy: [n] for each net, cotangent of energy.
d_hidden: cotangent of hidden, or none for 0.
d_x: [n, dim] for each net, cotangent of x.
d_layer: as hidden, cotangent of the output of each hidden layer.
d_z: as hidden, cotangent of the argument of tanh.
)doc");

REGISTER_OP("DpFittingNetsJvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("nets: int >= 1")
    .Attr("hidden_layers: int >= 1")
    .Attr("matrices: int >= 2")
    .Attr("timesteps: int >= 0")
    .Input("hidden: hidden_layers * T")
    .Input("matrix: matrices * T")
    .Input("idt: timesteps * T")
    .Input("d_layer: hidden_layers * T")
    .Input("t_x: nets * T")
    .Output("t_energy: nets * T")
    .Output("t_hidden: hidden_layers * T")
    .Output("d_hidden: hidden_layers * T")
    .SetShapeFn([](InferenceContext* c) {
      Shapes x;
      TF_RETURN_IF_ERROR(c->input("t_x", &x));
      for (auto& shape : x) TF_RETURN_IF_ERROR(c->WithRank(shape, 2, &shape));
      TF_RETURN_IF_ERROR(
          set_shapes(c, "t_energy", [&](int p) { return c->Vector(c->Dim(x[p], 0)); }));
      TF_RETURN_IF_ERROR(same_shapes(c, "t_hidden", "hidden"));
      return same_shapes(c, "d_hidden", "hidden");
    })
    .Doc(R"doc(
Tangents of the outputs of DpFittingNets along one of x, and the cotangent of hidden in the transpose
of DpFittingNetsVjp without d_hidden.

hidden: of DpFittingNets.
matrix: [n_in, n_out] by net and layer.
idt: [n_out] by net and layer that adds its input, or none.
d_layer: of DpFittingNetsVjp.
t_x: [n, dim] for each net, tangent of x and cotangent of d_x.
t_energy: [n] for each net.
t_hidden: as hidden.
d_hidden: as hidden; through the slope of tanh in DpFittingNetsVjp.
)doc");

template <typename Device, typename T>
class FittingNetsOp : public FittingNetsBase<T> {
 public:
  using FittingNetsBase<T>::FittingNetsBase;

  void Compute(OpKernelContext* context) override {
    Nets<T> nets;
    Arrays<const T> x;
    Arrays<T> energy, hidden, outputs;
    Tensor memory;
    OP_REQUIRES_OK(context, this->read(context, "x", &nets));
    OP_REQUIRES_OK(context, this->read_rows(context, "x", nets, true, &x));
    OP_REQUIRES_OK(context, read_bias(context, &nets));
    OP_REQUIRES_OK(
        context,
        this->allocate(context, "energy", [&](int net) { return Sizes{nets.rows(net)}; }, &energy));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "hidden", nets, &hidden));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::dense_nets(deepmd::OpStream(context), nets.for_gpu(), x.at.data(),
                              hidden.at.data(), energy.at.data());
      return;
    }
    OP_REQUIRES_OK(context, this->allocate_outputs(context, nets, &memory, &outputs));
    const auto kernel = DEEPMD_PICK(dense<T>);
    this->pass(context, nets, x.at, hidden, outputs, energy,
               [&](int64_t at, const T* input, int64_t begin, int64_t end) {
                 kernel(nets.layers[at], input, begin, end, hidden[at], outputs[at]);
               });
  }

 private:
  absl::Status read_bias(OpKernelContext* context, Nets<T>* nets) const {
    OpInputList bias;
    TF_RETURN_IF_ERROR(context->input_list("bias", &bias));
    for (int64_t k = 0; k < bias.size(); ++k) {
      const int64_t net = k / (nets->n_layers + 1), l = k % (nets->n_layers + 1);
      const bool last = l == nets->n_layers;
      TF_RETURN_IF_ERROR(
          deepmd::check_shape("bias", bias[k], {last ? 1 : nets->layer(net, l).n_out}));
      if (last)
        nets->last_bias.push_back(data<T>(bias[k]));
      else
        nets->layers[net * nets->n_layers + l].bias = data<T>(bias[k]);
    }
    return absl::OkStatus();
  }
};

template <typename Device, typename T>
class FittingNetsVjpOp : public FittingNetsBase<T> {
 public:
  explicit FittingNetsVjpOp(OpKernelConstruction* context) : FittingNetsBase<T>(context) {
    int64_t n_given;
    OP_REQUIRES_OK(context, context->GetAttr("hidden_cotangents", &n_given));
    DEEPMD_CHECK(context, n_given == 0 || n_given == this->n_hidden_, "there are ", n_given,
                 " d_hidden, expected ", this->n_hidden_, " or none");
  }

  void Compute(OpKernelContext* context) override {
    Nets<T> nets;
    Arrays<const T> hidden, d_energy, d_hidden;
    Arrays<T> d_x, d_layer, d_z;
    OP_REQUIRES_OK(context, this->read(context, "d_energy", &nets));
    OP_REQUIRES_OK(context, this->read_hidden(context, "hidden", nets, &hidden));
    OP_REQUIRES_OK(context, this->read_rows(context, "d_energy", nets, false, &d_energy));
    OP_REQUIRES_OK(context, this->read_hidden(context, "d_hidden", nets, &d_hidden));
    OP_REQUIRES_OK(
        context,
        this->allocate(
            context, "d_x", [&](int net) { return Sizes{nets.rows(net), nets.layer(net, 0).n_in}; },
            &d_x));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "d_layer", nets, &d_layer));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "d_z", nets, &d_z));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::dense_nets_vjp(deepmd::OpStream(context), nets.for_gpu(), hidden.at.data(),
                                  d_energy.at.data(),
                                  d_hidden.at.empty() ? nullptr : d_hidden.at.data(), d_x.at.data(),
                                  d_layer.at.data(), d_z.at.data());
      return;
    }
    const auto slope = [&](int64_t at) {
      return deepmd::DenseSlope<T>{hidden[at], d_hidden.at.empty() ? nullptr : d_hidden[at],
                                   nets.layers[at].idt, d_z[at]};
    };
    const auto last = DEEPMD_PICK(dense_energy_back<T>);
    this->for_rows(context, nets, [&](int64_t net, int64_t begin, int64_t end) {
      const int64_t at = (net + 1) * nets.n_layers - 1;
      last(nets.last[net], nets.width(net), d_energy[net], begin, end, d_layer[at], slope(at));
    });
    const auto kernel = DEEPMD_PICK(dense_back<T>);
    for (int64_t l = nets.n_layers - 1; l >= 0; --l) {
      this->for_blocks(context, nets, l, DEEPMD_PICK(dense_back_blocks<T>),
                       [&](int64_t net, int64_t begin, int64_t end) {
                         const int64_t at = net * nets.n_layers + l;
                         kernel(nets.layers[at], d_layer[at], d_z[at], begin, end,
                                l == 0 ? d_x[net] : d_layer[at - 1],
                                l == 0 ? deepmd::DenseSlope<T>{} : slope(at - 1));
                       });
    }
  }
};

template <typename Device, typename T>
class FittingNetsJvpOp : public FittingNetsBase<T> {
 public:
  using FittingNetsBase<T>::FittingNetsBase;

  void Compute(OpKernelContext* context) override {
    Nets<T> nets;
    Arrays<const T> hidden, d_layer, t_x;
    Arrays<T> t_energy, t_hidden, d_hidden, outputs;
    Tensor memory;
    OP_REQUIRES_OK(context, this->read(context, "t_x", &nets));
    OP_REQUIRES_OK(context, this->read_hidden(context, "hidden", nets, &hidden));
    OP_REQUIRES_OK(context, this->read_hidden(context, "d_layer", nets, &d_layer));
    OP_REQUIRES_OK(context, this->read_rows(context, "t_x", nets, true, &t_x));
    OP_REQUIRES_OK(context, this->allocate(
                                context, "t_energy", [&](int net) { return Sizes{nets.rows(net)}; },
                                &t_energy));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "t_hidden", nets, &t_hidden));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "d_hidden", nets, &d_hidden));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::dense_nets_jvp(deepmd::OpStream(context), nets.for_gpu(), hidden.at.data(),
                                  d_layer.at.data(), t_x.at.data(), t_energy.at.data(),
                                  t_hidden.at.data(), d_hidden.at.data());
      return;
    }
    OP_REQUIRES_OK(context, this->allocate_outputs(context, nets, &memory, &outputs));
    const auto kernel = DEEPMD_PICK(dense_along<T>);
    this->pass(context, nets, t_x.at, t_hidden, outputs, t_energy,
               [&](int64_t at, const T* input, int64_t begin, int64_t end) {
                 kernel(nets.layers[at], input, hidden[at], d_layer[at], begin, end, t_hidden[at],
                        outputs[at], d_hidden[at]);
               });
  }
};

DEEPMD_REGISTER("DpFittingNets", FittingNetsOp);
DEEPMD_REGISTER("DpFittingNetsVjp", FittingNetsVjpOp);
DEEPMD_REGISTER("DpFittingNetsJvp", FittingNetsJvpOp);

}  // namespace
