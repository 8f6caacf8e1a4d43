// SPDX-License-Identifier: BSD-3-Clause
// embedding_jets: embedding nets with two derivatives at the nodes of a table, and its gradient.
#include <algorithm>
#include <memory>
#include <vector>

#include "checks.h"
#include "embedding_jets.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

// Nodes of a net are handled in chunks of about equal size, of at most so many.
constexpr int64_t kChunk = 64;

REGISTER_OP("DpEmbeddingJets")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("N: int >= 1")
    .Attr("M: int >= 0")
    .Input("nodes: T")
    .Input("matrix: N * T")
    .Input("bias: N * T")
    .Input("idt: M * T")
    .Output("jets: T")
    .SetShapeFn([](InferenceContext* c) {
      int64_t n;
      ShapeHandle nodes, last;
      TF_RETURN_IF_ERROR(c->GetAttr("N", &n));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &nodes));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(n), 2, &last));
      c->set_output(0, c->MakeShape({c->Dim(nodes, 0), c->Dim(nodes, 1), c->MakeDim(3),
                                     c->Dim(last, 1)}));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Value, first and second derivative of embedding nets, which are functions of one number.

A layer takes x to y = tanh(x W + b), to which x is added where the width stays, and (x, x) where it
doubles; there y may have a factor idt.

nodes: [n_nets, K], where each net is evaluated.
matrix: [n_in, n_out], of all layers of the first net, then of the next; the first n_in is 1. The
  nets have equal widths.
bias: [n_out], likewise.
idt: [1, n_out], likewise, but of layers with a skip connection only; or none at all.
jets: [n_nets, K, 3, last n_out], G, G', G''.
)doc");

REGISTER_OP("DpEmbeddingJetsGrad")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("N: int >= 1")
    .Attr("M: int >= 0")
    .Input("nodes: T")
    .Input("matrix: N * T")
    .Input("bias: N * T")
    .Input("idt: M * T")
    .Input("grad: T")
    .Output("d_nodes: T")
    .Output("d_matrix: N * T")
    .Output("d_bias: N * T")
    .Output("d_idt: M * T")
    .SetShapeFn([](InferenceContext* c) {
      for (int i = 0; i < c->num_outputs(); ++i) c->set_output(i, c->input(i));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Cotangents of all inputs of DpEmbeddingJets. The result does not depend on the number of threads.

nodes: [n_nets, K].
matrix: [n_in, n_out] by net and layer.
bias: [n_out] by net and layer.
idt: [1, n_out] by net and layer with a skip connection, or none.
grad: [n_nets, K, 3, last n_out], cotangent of jets.
d_nodes: as nodes.
d_matrix: as matrix.
d_bias: as bias.
d_idt: as idt.
)doc");

// What both ops share: the nets, and the chunks of their nodes.
template <typename T>
class JetsOpBase : public OpKernel {
 public:
  explicit JetsOpBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("N", &n_matrices_));
    OP_REQUIRES_OK(context, context->GetAttr("M", &n_idt_));
  }

 protected:
  // The nets of one call.
  struct Nets {
    int64_t n_nets, n_nodes, n_layers, n_chunks;
    std::vector<int64_t> width;
    std::vector<const T*> matrix, bias, idt;  // by net and layer; idt is null where there is none
    const T* nodes;

    deepmd::JetShape shape() const { return deepmd::JetShape{n_layers, width.data()}; }
    deepmd::JetWeights<T> weights(int64_t net) const {
      const int64_t first = net * n_layers;
      return {&matrix[first], &bias[first], &idt[first]};
    }
    bool has_skip(int64_t layer) const {
      const int64_t n_in = width[layer], n_out = width[layer + 1];
      return n_out == n_in || n_out == 2 * n_in;
    }
    // First node of a chunk. How nodes are cut depends on their number only.
    int64_t first_node(int64_t chunk) const { return n_nodes * chunk / n_chunks; }
  };

  absl::Status read(OpKernelContext* context, Nets* nets) const {
    using deepmd::check_shape;
    using deepmd::invalid_argument;
    const Tensor& nodes = context->input(0);
    TF_RETURN_IF_ERROR(check_shape("nodes", nodes, {-1, -1}));
    nets->nodes = nodes.flat<T>().data();
    nets->n_nets = nodes.dim_size(0);
    nets->n_nodes = nodes.dim_size(1);
    if (nets->n_nets == 0 || n_matrices_ % nets->n_nets != 0) {
      return invalid_argument("there are ", n_matrices_, " matrices for ", nets->n_nets,
                              " nets, expected as many for each");
    }
    nets->n_layers = n_matrices_ / nets->n_nets;
    nets->n_chunks = std::max<int64_t>(1, (nets->n_nodes + kChunk - 1) / kChunk);
    nets->width = {1};
    for (int64_t i = 0; i < n_matrices_; ++i) {
      const Tensor& matrix = context->input(1 + i);
      const int64_t layer = i % nets->n_layers;
      const bool known = i >= nets->n_layers;
      TF_RETURN_IF_ERROR(check_shape("matrix", matrix,
                                     {nets->width[layer], known ? nets->width[layer + 1] : -1}));
      const int64_t n_out = matrix.dim_size(1);
      if (n_out == 0) return invalid_argument("matrix ", i, " has no column");
      if (!known) nets->width.push_back(n_out);
      TF_RETURN_IF_ERROR(check_shape("bias", context->input(1 + n_matrices_ + i), {n_out}));
      nets->matrix.push_back(matrix.flat<T>().data());
      nets->bias.push_back(context->input(1 + n_matrices_ + i).flat<T>().data());
    }
    int64_t n_idt = 0;
    for (int64_t i = 0; i < n_matrices_; ++i) {
      const int64_t layer = i % nets->n_layers;
      nets->idt.push_back(nullptr);
      if (n_idt_ == 0 || !nets->has_skip(layer)) continue;
      if (n_idt == n_idt_) return invalid_argument("idt is missing for layer ", i);
      const Tensor& idt = context->input(1 + 2 * n_matrices_ + n_idt++);
      TF_RETURN_IF_ERROR(check_shape("idt", idt, {1, nets->width[layer + 1]}));
      nets->idt.back() = idt.flat<T>().data();
    }
    if (n_idt != n_idt_) {
      return invalid_argument("there are ", n_idt_, " idt, expected ", n_idt, " or none");
    }
    return absl::OkStatus();
  }

  // Calls body(unit, net, first node, number of nodes, scratch) for all chunks of all nets.
  template <typename Body>
  void for_chunks(OpKernelContext* context, const Nets& nets, const Body& body) const {
    const auto shape = nets.shape();
    int64_t products = 0;
    for (int64_t l = 0; l < nets.n_layers; ++l) products += nets.width[l] * nets.width[l + 1];
    const int64_t most = nets.n_nodes / nets.n_chunks + 1;
    const int64_t size = DEEPMD_PICK(jet_scratch<T>)(shape, most);
    deepmd::workers(context)(
        nets.n_nets * nets.n_chunks, most * products, [&](int64_t begin, int64_t end) {
          const std::unique_ptr<T[]> scratch(new T[size]);
          for (int64_t unit = begin; unit < end; ++unit) {
            const int64_t net = unit / nets.n_chunks, chunk = unit % nets.n_chunks;
            const int64_t first = nets.first_node(chunk);
            body(unit, net, net * nets.n_nodes + first, nets.first_node(chunk + 1) - first,
                 scratch.get());
          }
        });
  }

  int64_t n_matrices_, n_idt_;
};

template <typename T>
class EmbeddingJetsOp : public JetsOpBase<T> {
 public:
  using JetsOpBase<T>::JetsOpBase;

  void Compute(OpKernelContext* context) override {
    typename JetsOpBase<T>::Nets nets;
    OP_REQUIRES_OK(context, this->read(context, &nets));
    const int64_t jet = 3 * nets.width.back();
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, {nets.n_nets, nets.n_nodes, 3, nets.width.back()}, &out));
    T* jets = out->flat<T>().data();
    const auto kernel = DEEPMD_PICK(embedding_jets<T>);
    this->for_chunks(context, nets,
                     [&](int64_t, int64_t net, int64_t first, int64_t n, T* scratch) {
                       kernel(nets.shape(), nets.weights(net), nets.nodes + first, n, scratch,
                              jets + first * jet);
                     });
  }
};

template <typename T>
class EmbeddingJetsGradOp : public JetsOpBase<T> {
 public:
  using JetsOpBase<T>::JetsOpBase;

  void Compute(OpKernelContext* context) override {
    typename JetsOpBase<T>::Nets nets;
    OP_REQUIRES_OK(context, this->read(context, &nets));
    const Tensor& grad = context->input(context->num_inputs() - 1);
    DEEPMD_SHAPE(context, "grad", grad, {nets.n_nets, nets.n_nodes, 3, nets.width.back()});
    std::vector<T*> outputs;
    for (int i = 0; i < context->num_outputs(); ++i) {
      Tensor* out = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i).shape(), &out));
      outputs.push_back(out->flat<T>().data());
    }
    int64_t n_weights = 0;
    for (int64_t l = 0; l < nets.n_layers; ++l)
      n_weights += (nets.width[l] + 2) * nets.width[l + 1];
    Tensor parts;  // cotangents of the weights, by net and chunk
    OP_REQUIRES_OK(context, context->allocate_temp(DataTypeToEnum<T>::value,
                                                   {nets.n_nets, nets.n_chunks, n_weights},
                                                   &parts));
    T* d_weights = parts.flat<T>().data();
    const int64_t jet = 3 * nets.width.back();
    const T* g = grad.flat<T>().data();
    const auto kernel = DEEPMD_PICK(embedding_jets_grad<T>);
    this->for_chunks(context, nets,
                     [&](int64_t unit, int64_t net, int64_t first, int64_t n, T* scratch) {
                       kernel(nets.shape(), nets.weights(net), nets.nodes + first,
                              g + first * jet, n, scratch, outputs[0] + first,
                              d_weights + unit * n_weights);
                     });
    // The chunks are joined in order.
    T* const* d_idt = outputs.data() + 1 + 2 * this->n_matrices_;
    for (int64_t i = 0; i < this->n_matrices_; ++i) {
      const int64_t net = i / nets.n_layers, layer = i % nets.n_layers;
      if (layer == 0) d_weights = parts.flat<T>().data() + net * nets.n_chunks * n_weights;
      const int64_t n_out = nets.width[layer + 1], n_matrix = nets.width[layer] * n_out;
      const auto join = [&](const T* part, int64_t n, T* out) {
        std::copy(part, part + n, out);
        for (int64_t chunk = 1; chunk < nets.n_chunks; ++chunk) {
          part += n_weights;
          for (int64_t j = 0; j < n; ++j) out[j] += part[j];
        }
      };
      join(d_weights, n_matrix, outputs[1 + i]);
      join(d_weights + n_matrix, n_out, outputs[1 + this->n_matrices_ + i]);
      if (nets.idt[i] != nullptr) join(d_weights + n_matrix + n_out, n_out, *d_idt++);
      d_weights += n_matrix + 2 * n_out;
    }
  }
};

DEEPMD_REGISTER_CPU("DpEmbeddingJets", EmbeddingJetsOp);
DEEPMD_REGISTER_CPU("DpEmbeddingJetsGrad", EmbeddingJetsGradOp);

}  // namespace
