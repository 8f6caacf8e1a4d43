// SPDX-License-Identifier: BSD-3-Clause
// fitting_nets: the fitting nets of all atom types, each for the atoms of its type, and what
// derivatives of energies and forces are made of.
//
// All types go through a layer together, so that threads share one loop for each.
#include <algorithm>
#include <vector>

#include "checks.h"
#include "dense.h"
#include "gemm.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;
using Shapes = std::vector<ShapeHandle>;

constexpr int64_t kOne = 1;

// ---------------------------------------------------------------------------------------------------
// Registration

// Output `name` k has the shape that shape(k) gives.
template <typename F>
absl::Status set_shapes(InferenceContext* c, const char* name, const F& shape) {
  Shapes shapes;
  TF_RETURN_IF_ERROR(c->output(name, &shapes));
  for (size_t k = 0; k < shapes.size(); ++k) shapes[k] = shape(static_cast<int>(k));
  return c->set_output(name, shapes);
}

// Output `name` has the shapes of input `like`.
absl::Status same_shapes(InferenceContext* c, const char* name, const char* like) {
  Shapes shapes;
  TF_RETURN_IF_ERROR(c->input(like, &shapes));
  return c->set_output(name, shapes);
}

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
layer hands on is h idt, to which x is added from the second layer on where the width stays.

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
d_layer: as hidden, cotangent of what each hidden layer hands on.
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

// ---------------------------------------------------------------------------------------------------
// Nets

template <typename T>
const T* data(const Tensor& tensor) {
  return tensor.flat<T>().data();
}

// Sizes of the axes of a tensor.
using Sizes = std::vector<int64_t>;

// One list of inputs, or of outputs.
template <typename T>
struct Arrays {
  std::vector<T*> at;
  T* operator[](int64_t k) const { return at[k]; }
};

// The hidden layers of each net, by net and layer. Of the last one, which is linear: `last` [width].
template <typename T>
struct Nets {
  int64_t n_nets = 0, n_layers = 0;
  std::vector<deepmd::DenseLayer<T>> layers;
  std::vector<const T*> last, last_bias;  // no bias where it has no part
  std::vector<int64_t> idt_of;  // by net and layer, number of its idt, or -1

  const deepmd::DenseLayer<T>& layer(int64_t net, int64_t l) const {
    return layers[net * n_layers + l];
  }
  int64_t width(int64_t net) const { return layer(net, n_layers - 1).n_out; }
  int64_t rows(int64_t net) const { return layer(net, 0).n; }
};

// Calls body(item, begin, end) for parts of the ranges [0, count[item]), shared by the threads.
template <typename Body>
void for_parts(OpKernelContext* context, const std::vector<int64_t>& count, int64_t cost,
               const Body& body) {
  std::vector<int64_t> ends;
  int64_t total = 0;
  for (const int64_t n : count) ends.push_back(total += n);
  deepmd::workers(context)(total, std::max(cost, kOne), [&](int64_t begin, int64_t end) {
    size_t item = std::upper_bound(ends.begin(), ends.end(), begin) - ends.begin();
    for (; begin < end; ++item) {
      const int64_t first = ends[item] - count[item], stop = std::min(end, ends[item]);
      if (stop > begin) body(item, begin - first, stop - first);
      begin = std::max(begin, stop);
    }
  });
}

template <typename T>
class FittingNetsBase : public OpKernel {
 public:
  explicit FittingNetsBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("nets", &n_nets_));
    OP_REQUIRES_OK(context, context->GetAttr("hidden_layers", &n_hidden_));
    OP_REQUIRES_OK(context, context->GetAttr("matrices", &n_matrices_));
    OP_REQUIRES_OK(context, context->GetAttr("timesteps", &n_idt_));
    if (context->HasAttr("terms")) OP_REQUIRES_OK(context, context->GetAttr("terms", &n_terms_));
    DEEPMD_CHECK(context,
                 n_hidden_ % n_nets_ == 0 && n_nets_ % n_terms_ == 0 &&
                     n_matrices_ * n_terms_ == n_hidden_ + n_nets_,
                 "there are ", n_matrices_, " matrices and ", n_hidden_, " hidden layers for ",
                 n_nets_, " nets, expected as many for each, and one matrix more than layers");
  }

 protected:
  // Numbers of columns: of x of each net, and of each hidden layer by net and layer.
  using Widths = std::vector<std::vector<int64_t>>;

  // The nets, from the list `rows` of one tensor with a row for each atom of a net.
  absl::Status read(OpKernelContext* context, const char* rows, Nets<T>* nets) const {
    OpInputList of_net, matrix, idt;
    TF_RETURN_IF_ERROR(context->input_list(rows, &of_net));
    TF_RETURN_IF_ERROR(context->input_list("matrix", &matrix));
    TF_RETURN_IF_ERROR(context->input_list("idt", &idt));
    Widths widths(n_nets_);
    const int64_t n_layers = n_hidden_ / n_nets_;
    for (int64_t k = 0; k < n_matrices_; ++k) {
      const int64_t net = k / (n_layers + 1), layer = k % (n_layers + 1);
      std::vector<int64_t>& width = widths[net];
      TF_RETURN_IF_ERROR(deepmd::check_shape(
          "matrix", matrix[k], {layer == 0 ? -1 : width.back(), layer == n_layers ? 1 : -1}));
      if (layer == 0) width.push_back(matrix[k].dim_size(0));
      if (layer < n_layers) width.push_back(matrix[k].dim_size(1));
    }
    TF_RETURN_IF_ERROR(make(of_net, widths, idt, nets));
    for (int64_t k = 0; k < n_matrices_; ++k) {
      const int64_t net = k / (n_layers + 1), layer = k % (n_layers + 1);
      if (layer == n_layers)
        nets->last.push_back(data<T>(matrix[k]));
      else
        nets->layers[net * n_layers + layer].matrix = data<T>(matrix[k]);
    }
    return absl::OkStatus();
  }

  // The nets without their matrices.
  absl::Status make(const OpInputList& of_net, const Widths& widths, const OpInputList& idt,
                    Nets<T>* nets) const {
    nets->n_nets = n_nets_;
    nets->n_layers = n_hidden_ / n_nets_;
    int64_t next = 0;
    for (int64_t net = 0; net < n_nets_; ++net) {
      if (of_net[net].dims() == 0)
        return deepmd::invalid_argument("a net is given a scalar, expected a row for each atom");
      for (const int64_t width : widths[net]) {
        if (width == 0)
          return deepmd::invalid_argument("net ", net, " has a layer that no number goes into");
      }
      const int64_t n = of_net[net].dim_size(0);
      for (int64_t l = 0; l < nets->n_layers; ++l) {
        deepmd::DenseLayer<T> layer{n, widths[net][l], widths[net][l + 1], false, nullptr, nullptr,
                                    nullptr};
        layer.skip = l > 0 && layer.n_in == layer.n_out;
        nets->idt_of.push_back(-1);
        if (layer.skip && n_idt_ > 0) {
          if (next == n_idt_)
            return deepmd::invalid_argument("idt is missing for layer ", l, " of net ", net);
          TF_RETURN_IF_ERROR(deepmd::check_shape("idt", idt[next], {layer.n_out}));
          layer.idt = data<T>(idt[next]);
          nets->idt_of.back() = next++;
        }
        nets->layers.push_back(layer);
      }
    }
    if (next != n_idt_)
      return deepmd::invalid_argument("there are ", n_idt_, " idt, expected ", next, " or none");
    return absl::OkStatus();
  }

  // A list with a tensor for each hidden layer: [n, n_out].
  absl::Status read_hidden(OpKernelContext* context, const char* name, const Nets<T>& nets,
                           Arrays<const T>* arrays) const {
    OpInputList list;
    TF_RETURN_IF_ERROR(context->input_list(name, &list));
    for (int k = 0; k < list.size(); ++k) {
      const auto& layer = nets.layers[k];
      TF_RETURN_IF_ERROR(deepmd::check_shape(name, list[k], {layer.n, layer.n_out}));
      arrays->at.push_back(data<T>(list[k]));
    }
    return absl::OkStatus();
  }

  // A list with a tensor for each net: [n], or [n, dim] if `columns`.
  absl::Status read_rows(OpKernelContext* context, const char* name, const Nets<T>& nets,
                         bool columns, Arrays<const T>* arrays) const {
    OpInputList list;
    TF_RETURN_IF_ERROR(context->input_list(name, &list));
    for (int64_t net = 0; net < n_nets_; ++net) {
      const int64_t n = nets.rows(net), dim = nets.layer(net, 0).n_in;
      TF_RETURN_IF_ERROR(columns ? deepmd::check_shape(name, list[net], {n, dim})
                                 : deepmd::check_shape(name, list[net], {n}));
      arrays->at.push_back(data<T>(list[net]));
    }
    return absl::OkStatus();
  }

  // Output `name`, with the sizes of axes that sizes(k) gives, whose product may be too large.
  template <typename F>
  absl::Status allocate(OpKernelContext* context, const char* name, const F& sizes,
                        Arrays<T>* arrays) const {
    OpOutputList list;
    TF_RETURN_IF_ERROR(context->output_list(name, &list));
    for (int k = 0; k < list.size(); ++k) {
      TensorShape shape;
      TF_RETURN_IF_ERROR(TensorShape::BuildTensorShape(sizes(k), &shape));
      Tensor* out = nullptr;
      TF_RETURN_IF_ERROR(list.allocate(k, shape, &out));
      arrays->at.push_back(out->flat<T>().data());
    }
    return absl::OkStatus();
  }

  absl::Status allocate_hidden(OpKernelContext* context, const char* name, const Nets<T>& nets,
                               Arrays<T>* arrays) const {
    const auto sizes = [&](int k) { return Sizes{nets.layers[k].n, nets.layers[k].n_out}; };
    return allocate(context, name, sizes, arrays);
  }

  // Scratch memory for what each hidden layer hands on, where that is not h.
  absl::Status allocate_outputs(OpKernelContext* context, const Nets<T>& nets, Tensor* memory,
                                Arrays<T>* arrays) const {
    int64_t size = 0;
    for (const auto& layer : nets.layers) size += deepmd::changes(layer) ? layer.n * layer.n_out : 0;
    TF_RETURN_IF_ERROR(context->allocate_temp(DataTypeToEnum<T>::value, {size}, memory));
    T* next = memory->flat<T>().data();
    for (const auto& layer : nets.layers) {
      arrays->at.push_back(deepmd::changes(layer) ? next : nullptr);
      next += deepmd::changes(layer) ? layer.n * layer.n_out : 0;
    }
    return absl::OkStatus();
  }

  // Calls body(net, begin, end) for the blocks of a product with each matrix of layer l.
  template <typename Body>
  static void for_blocks(OpKernelContext* context, const Nets<T>& nets, int64_t l,
                         int64_t (*blocks)(const deepmd::DenseLayer<T>&), const Body& body) {
    std::vector<int64_t> count;
    int64_t products = 0, total = 0;
    for (int64_t net = 0; net < nets.n_nets; ++net) {
      const auto& layer = nets.layer(net, l);
      count.push_back(blocks(layer));
      total += count.back();
      products += layer.n * layer.n_in * layer.n_out;
    }
    for_parts(context, count, products / kPerCycle / std::max(total, kOne), body);
  }

  // Through all layers, and then to the energies: of hidden layer `at`, by net and layer, layer(at,
  // what goes into it, begin, end) computes blocks of `hidden` and, where that differs, `outputs`.
  template <typename Layer>
  static void pass(OpKernelContext* context, const Nets<T>& nets, std::vector<const T*> input,
                   const Arrays<T>& hidden, const Arrays<T>& outputs, const Arrays<T>& energy,
                   const Layer& layer) {
    for (int64_t l = 0; l < nets.n_layers; ++l) {
      for_blocks(context, nets, l, DEEPMD_PICK(dense_blocks<T>),
                 [&](int64_t net, int64_t begin, int64_t end) {
                   layer(net * nets.n_layers + l, input[net], begin, end);
                 });
      for (int64_t net = 0; net < nets.n_nets; ++net) {
        const int64_t at = net * nets.n_layers + l;
        input[net] = deepmd::changes(nets.layers[at]) ? outputs[at] : hidden[at];
      }
    }
    const auto last = DEEPMD_PICK(dense_energy<T>);
    for_rows(context, nets, [&](int64_t net, int64_t begin, int64_t end) {
      const T* bias = nets.last_bias.empty() ? nullptr : nets.last_bias[net];
      last(nets.last[net], bias, nets.width(net), input[net], begin, end, energy[net]);
    });
  }

  // Calls body(net, begin, end) for the atoms of each net.
  template <typename Body>
  static void for_rows(OpKernelContext* context, const Nets<T>& nets, const Body& body) {
    std::vector<int64_t> count;
    for (int64_t net = 0; net < nets.n_nets; ++net) count.push_back(nets.rows(net));
    for_parts(context, count, 2 * nets.width(0) / kPerCycle * kVectorCycles, body);
  }

  static constexpr int64_t kPerCycle = 128 / sizeof(T);  // two vectors of 512 bits
  static constexpr int64_t kVectorCycles = 8;            // where memory is what takes time
  int64_t n_nets_, n_hidden_, n_matrices_, n_idt_, n_terms_ = 1;
};

template <typename T>
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
    OP_REQUIRES_OK(context, this->allocate(
                                context, "energy",
                                [&](int net) { return Sizes{nets.rows(net)}; }, &energy));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "hidden", nets, &hidden));
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

template <typename T>
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
    OP_REQUIRES_OK(context, this->allocate(context, "d_x", [&](int net) {
      return Sizes{nets.rows(net), nets.layer(net, 0).n_in};
    }, &d_x));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "d_layer", nets, &d_layer));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "d_z", nets, &d_z));
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

template <typename T>
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
                                context, "t_energy",
                                [&](int net) { return Sizes{nets.rows(net)}; }, &t_energy));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "t_hidden", nets, &t_hidden));
    OP_REQUIRES_OK(context, this->allocate_hidden(context, "d_hidden", nets, &d_hidden));
    OP_REQUIRES_OK(context, this->allocate_outputs(context, nets, &memory, &outputs));
    const auto kernel = DEEPMD_PICK(dense_along<T>);
    this->pass(context, nets, t_x.at, t_hidden, outputs, t_energy,
               [&](int64_t at, const T* input, int64_t begin, int64_t end) {
                 kernel(nets.layers[at], input, hidden[at], d_layer[at], begin, end, t_hidden[at],
                        outputs[at], d_hidden[at]);
               });
  }
};

template <typename T>
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

    // A product for each matrix: of what goes into the layer and the cotangent of what comes out.
    const int64_t n_results = nets.n_nets / this->n_terms_;  // nets of one term
    std::vector<deepmd::GemmShape> shapes;
    for (int64_t net = 0; net < nets.n_nets; ++net) {
      for (int64_t l = 0; l < n_layers; ++l) {
        const auto& layer = nets.layer(net, l);
        const auto& first = nets.layer(net % n_results, l);
        DEEPMD_CHECK(context, layer.n_in == first.n_in && layer.n_out == first.n_out,
                     "the terms have layers of ", layer.n_in, " x ", layer.n_out, " and ",
                     first.n_in, " x ", first.n_out, " numbers, expected the same");
        shapes.push_back({layer.n_in, layer.n_out, layer.n, true, false});
      }
      shapes.push_back({nets.width(net), 1, nets.rows(net), true, false});
    }
    OP_REQUIRES_OK(context, this->allocate(context, "d_matrix", [&](int k) {
      return Sizes{shapes[k].m, shapes[k].n};
    }, &d_matrix));
    OP_REQUIRES_OK(context, this->allocate(context, "d_bias", [&](int k) {
      return Sizes{shapes[k].n};
    }, &d_bias));
    OpInputList idt;
    OP_REQUIRES_OK(context, context->input_list("idt", &idt));
    OP_REQUIRES_OK(context, this->allocate(context, "d_idt", [&](int k) {
      return Sizes{idt[k].dim_size(0)};
    }, &d_idt));

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

DEEPMD_REGISTER_CPU("DpFittingNets", FittingNetsOp);
DEEPMD_REGISTER_CPU("DpFittingNetsVjp", FittingNetsVjpOp);
DEEPMD_REGISTER_CPU("DpFittingNetsJvp", FittingNetsJvpOp);
DEEPMD_REGISTER_CPU("DpFittingNetsWeights", FittingNetsWeightsOp);

}  // namespace
