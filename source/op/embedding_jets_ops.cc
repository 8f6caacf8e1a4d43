// SPDX-License-Identifier: BSD-3-Clause
// embedding_jets: embedding nets with two derivatives at the nodes of a table, and its gradient.
#include <algorithm>
#include <memory>
#include <vector>

#include "checks.h"
#include "device.h"
#include "embedding_jets.h"
#include "gpu_embedding_jets.h"
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

// Nodes of a net are handled in chunks of about equal size, of at most so many; on a GPU all nodes
// in one tensor are one.
template <typename Device>
constexpr int64_t kChunk = deepmd::on_gpu<Device> ? int64_t{1} << 40 : 64;

struct EmbeddingJetsIn {
  enum { kNodes };
};

REGISTER_OP("DpEmbeddingJets")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("matrices: int >= 1")
    .Attr("timesteps: int >= 0")
    .Attr("node_sets: int >= 1")
    .Attr("counted: int >= 0 = 0")
    .Input("nodes: node_sets * T")
    .Input("matrix: matrices * T")
    .Input("bias: matrices * T")
    .Input("idt: timesteps * T")
    .Input("counts: counted * int32")
    .Output("jets: node_sets * T")
    .SetShapeFn([](InferenceContext* c) {
      int64_t n;
      ShapeHandle nodes, last;
      TF_RETURN_IF_ERROR(c->GetAttr("matrices", &n));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(c->num_outputs() - 1 + n), 2, &last));
      for (int i = 0; i < c->num_outputs(); ++i) {
        TF_RETURN_IF_ERROR(c->WithRank(c->input(i), 2, &nodes));
        c->set_output(
            i, c->MakeShape({c->Dim(nodes, 0), c->Dim(nodes, 1), c->MakeDim(3), c->Dim(last, 1)}));
      }
      return absl::OkStatus();
    })
    .Doc(R"doc(
Value, first and second derivative of embedding nets, which are functions of one number.

A layer takes x to y = tanh(x W + b), to which x is added where the width stays, and (x, x) where it
doubles; there y may have a factor idt.

nodes: [n_nets, K], where each net is evaluated, in one or more tensors; with counts one of [1, n].
matrix: [n_in, n_out], of all layers of the first net, then of the next; the first n_in is 1. The
  nets have equal widths.
bias: [n_out], likewise.
idt: [1, n_out], likewise, but of layers with a skip connection only; or none at all.
counts: [n_nets], if it is there: how many of the nodes are those of each net, one after the other.
jets: [n_nets, K, 3, last n_out], or [1, n, 3, last n_out], G, G', G''.
)doc");

REGISTER_OP("DpEmbeddingJetsGrad")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("matrices: int >= 1")
    .Attr("timesteps: int >= 0")
    .Attr("node_sets: int >= 1")
    .Attr("counted: int >= 0 = 0")
    .Input("nodes: node_sets * T")
    .Input("matrix: matrices * T")
    .Input("bias: matrices * T")
    .Input("idt: timesteps * T")
    .Input("counts: counted * int32")
    .Input("grad: node_sets * T")
    .Output("d_nodes: node_sets * T")
    .Output("d_matrix: matrices * T")
    .Output("d_bias: matrices * T")
    .Output("d_idt: timesteps * T")
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
counts: [n_nets], or none.
grad: [n_nets, K, 3, last n_out], cotangent of jets.
d_nodes: as nodes.
d_matrix: as matrix.
d_bias: as bias.
d_idt: as idt.
)doc");

// What both ops share: the nets, and the chunks of their nodes.
template <typename Device, typename T>
class JetsOpBase : public OpKernel {
 public:
  explicit JetsOpBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("matrices", &n_matrices_));
    OP_REQUIRES_OK(context, context->GetAttr("timesteps", &n_idt_));
    OP_REQUIRES_OK(context, context->GetAttr("node_sets", &n_nodes_));
    OP_REQUIRES_OK(context, context->GetAttr("counted", &n_counts_));
    DEEPMD_CHECK(context, n_counts_ == 0 || (n_counts_ == 1 && n_nodes_ == 1), "there are ",
                 n_counts_, " counts for ", n_nodes_, " nodes, expected one or none");
  }

 protected:
  // Nodes first ... first + n - 1, counted over all nets, of a tensor of nodes; of one net.
  struct Chunk {
    int64_t net, tensor, first, n;
  };

  // The nets of one call.
  struct Nets {
    int64_t n_nets, n_layers;
    std::vector<int64_t> width;
    std::vector<const T*> matrix, bias, idt;  // by net and layer; idt is null where there is none
    std::vector<Chunk> chunks;   // by net. How nodes are cut depends on their number only.
    std::vector<int64_t> begin;  // of the chunks of each net

    deepmd::JetShape shape() const { return deepmd::JetShape{n_layers, width.data()}; }
    deepmd::JetWeights<T> weights(int64_t net) const {
      const int64_t first = net * n_layers;
      return {&matrix[first], &bias[first], &idt[first]};
    }
    deepmd::gpu::JetNets<T> for_gpu() const {
      return {n_nets, shape(), matrix.data(), bias.data(), idt.data()};
    }
    bool has_skip(int64_t layer) const {
      const int64_t n_in = width[layer], n_out = width[layer + 1];
      return n_out == n_in || n_out == 2 * n_in;
    }
  };

  absl::Status read(OpKernelContext* context, Nets* nets) const {
    using deepmd::check_shape;
    using deepmd::invalid_argument;
    for (int64_t i = 0; i < n_nodes_; ++i) {
      const int64_t rows = i == 0 ? -1 : context->input(EmbeddingJetsIn::kNodes).dim_size(0);
      TF_RETURN_IF_ERROR(check_shape("nodes", context->input(i), {n_counts_ == 1 ? 1 : rows, -1}));
    }
    if (n_counts_ == 1) {
      TF_RETURN_IF_ERROR(cut_counted(context, nets));
    } else {
      cut(context, nets);
    }
    if (nets->n_nets == 0 || n_matrices_ % nets->n_nets != 0) {
      return invalid_argument("there are ", n_matrices_, " matrices for ", nets->n_nets,
                              " nets, expected as many for each");
    }
    nets->n_layers = n_matrices_ / nets->n_nets;
    nets->width = {1};
    for (int64_t i = 0; i < n_matrices_; ++i) {
      const Tensor& matrix = context->input(n_nodes_ + i);
      const int64_t layer = i % nets->n_layers;
      const bool known = i >= nets->n_layers;
      TF_RETURN_IF_ERROR(
          check_shape("matrix", matrix, {nets->width[layer], known ? nets->width[layer + 1] : -1}));
      const int64_t n_out = matrix.dim_size(1);
      if (n_out == 0) return invalid_argument("matrix ", i, " has no column");
      if (!known) nets->width.push_back(n_out);
      TF_RETURN_IF_ERROR(check_shape("bias", context->input(n_nodes_ + n_matrices_ + i), {n_out}));
      nets->matrix.push_back(matrix.flat<T>().data());
      nets->bias.push_back(context->input(n_nodes_ + n_matrices_ + i).flat<T>().data());
    }
    int64_t n_idt = 0;
    for (int64_t i = 0; i < n_matrices_; ++i) {
      const int64_t layer = i % nets->n_layers;
      nets->idt.push_back(nullptr);
      if (n_idt_ == 0 || !nets->has_skip(layer)) continue;
      if (n_idt == n_idt_) return invalid_argument("idt is missing for layer ", i);
      const Tensor& idt = context->input(n_nodes_ + 2 * n_matrices_ + n_idt++);
      TF_RETURN_IF_ERROR(check_shape("idt", idt, {1, nets->width[layer + 1]}));
      nets->idt.back() = idt.flat<T>().data();
    }
    if (n_idt != n_idt_) {
      return invalid_argument("there are ", n_idt_, " idt, expected ", n_idt, " or none");
    }
    return absl::OkStatus();
  }

  // Nodes first ... first + n - 1 of a tensor, which are of one net.
  static void add_chunks(int64_t net, int64_t tensor, int64_t first, int64_t n, Nets* nets) {
    const int64_t chunks = (n + kChunk<Device> - 1) / kChunk<Device>;
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t begin = n * c / chunks;
      nets->chunks.push_back({net, tensor, first + begin, n * (c + 1) / chunks - begin});
    }
  }

  void cut(OpKernelContext* context, Nets* nets) const {
    nets->n_nets = context->input(EmbeddingJetsIn::kNodes).dim_size(0);
    for (int64_t net = 0; net < nets->n_nets; ++net) {
      nets->begin.push_back(nets->chunks.size());
      for (int64_t i = 0; i < n_nodes_; ++i) {
        const int64_t n = context->input(i).dim_size(1);
        add_chunks(net, i, net * n, n, nets);
      }
    }
    nets->begin.push_back(nets->chunks.size());
  }

  absl::Status cut_counted(OpKernelContext* context, Nets* nets) const {
    using deepmd::invalid_argument;
    const Tensor& counts = context->input(n_nodes_ + 2 * n_matrices_ + n_idt_);
    TF_RETURN_IF_ERROR(deepmd::check_shape("counts", counts, {-1}));
    nets->n_nets = counts.NumElements();
    const int64_t n_nodes = context->input(EmbeddingJetsIn::kNodes).dim_size(1);
    int64_t first = 0;
    for (int64_t net = 0; net < nets->n_nets; ++net) {
      const int64_t n = counts.flat<int32_t>()(net);
      if (n < 0 || first + n > n_nodes)
        return invalid_argument("counts[", net, "] = ", n, " does not fit to ", n_nodes, " nodes");
      nets->begin.push_back(nets->chunks.size());
      add_chunks(net, 0, first, n, nets);
      first += n;
    }
    nets->begin.push_back(nets->chunks.size());
    if (first != n_nodes)
      return invalid_argument("there are ", n_nodes, " nodes, expected ", first, " as counts says");
    return absl::OkStatus();
  }

  // All nodes, with jets by tensor or grads and d_nodes by tensor.
  std::vector<deepmd::gpu::JetPart<T>> parts(OpKernelContext* context, const Nets& nets,
                                             const std::vector<T*>& jets,
                                             const std::vector<const T*>& grads,
                                             const std::vector<T*>& d_nodes) const {
    const int64_t jet = 3 * nets.width.back();
    std::vector<deepmd::gpu::JetPart<T>> parts;
    for (const Chunk& chunk : nets.chunks) {
      const int64_t k = chunk.tensor, first = chunk.first;
      parts.push_back({chunk.net, chunk.n, context->input(k).flat<T>().data() + first,
                       grads.empty() ? nullptr : grads[k] + first * jet,
                       jets.empty() ? nullptr : jets[k] + first * jet,
                       d_nodes.empty() ? nullptr : d_nodes[k] + first});
    }
    return parts;
  }

  // Calls body(chunk, its number, its nodes, scratch) for all chunks.
  template <typename Body>
  void for_chunks(OpKernelContext* context, const Nets& nets, const Body& body) const {
    const auto shape = nets.shape();
    int64_t products = 0;
    for (int64_t l = 0; l < nets.n_layers; ++l) products += nets.width[l] * nets.width[l + 1];
    const int64_t size = DEEPMD_PICK(jet_scratch<T>)(shape, kChunk<Device>);
    deepmd::workers(context)(
        nets.chunks.size(), kChunk<Device> * products, [&](int64_t begin, int64_t end) {
          const std::unique_ptr<T[]> scratch(new T[size]);
          for (int64_t i = begin; i < end; ++i) {
            const Chunk& chunk = nets.chunks[i];
            const T* nodes = context->input(chunk.tensor).template flat<T>().data() + chunk.first;
            body(chunk, i, nodes, scratch.get());
          }
        });
  }

  int64_t n_matrices_, n_idt_, n_nodes_, n_counts_;
};

template <typename Device, typename T>
class EmbeddingJetsOp : public JetsOpBase<Device, T> {
 public:
  using JetsOpBase<Device, T>::JetsOpBase;

  void Compute(OpKernelContext* context) override {
    typename JetsOpBase<Device, T>::Nets nets;
    OP_REQUIRES_OK(context, this->read(context, &nets));
    const int64_t jet = 3 * nets.width.back();
    std::vector<T*> jets;
    for (int64_t i = 0; i < this->n_nodes_; ++i) {
      Tensor* out = nullptr;
      const Tensor& nodes = context->input(i);
      OP_REQUIRES_OK(context,
                     context->allocate_output(
                         i, {nodes.dim_size(0), nodes.dim_size(1), 3, nets.width.back()}, &out));
      jets.push_back(out->flat<T>().data());
    }
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::embedding_jets(deepmd::OpStream(context), nets.for_gpu(),
                                  this->parts(context, nets, jets, {}, {}));
      return;
    }
    const auto kernel = DEEPMD_PICK(embedding_jets<T>);
    this->for_chunks(context, nets, [&](const auto& chunk, int64_t, const T* nodes, T* scratch) {
      kernel(nets.shape(), nets.weights(chunk.net), nodes, chunk.n, scratch,
             jets[chunk.tensor] + chunk.first * jet);
    });
  }
};

template <typename Device, typename T>
class EmbeddingJetsGradOp : public JetsOpBase<Device, T> {
 public:
  using JetsOpBase<Device, T>::JetsOpBase;

  void Compute(OpKernelContext* context) override {
    typename JetsOpBase<Device, T>::Nets nets;
    OP_REQUIRES_OK(context, this->read(context, &nets));
    std::vector<const T*> grads;
    for (int64_t i = 0; i < this->n_nodes_; ++i) {
      const Tensor& grad = context->input(context->num_outputs() + this->n_counts_ + i);
      const Tensor& nodes = context->input(i);
      DEEPMD_SHAPE(context, "grad", grad,
                   {nodes.dim_size(0), nodes.dim_size(1), 3, nets.width.back()});
      grads.push_back(grad.flat<T>().data());
    }
    std::vector<T*> outputs;
    for (int i = 0; i < context->num_outputs(); ++i) {
      Tensor* out = nullptr;
      OP_REQUIRES_OK(context, context->allocate_output(i, context->input(i).shape(), &out));
      outputs.push_back(out->flat<T>().data());
    }
    T* const* d_matrix = outputs.data() + this->n_nodes_;
    T* const* d_bias = d_matrix + this->n_matrices_;
    T* const* d_idt = d_bias + this->n_matrices_;
    if constexpr (deepmd::on_gpu<Device>) {
      std::vector<T*> by_layer;
      for (const T* idt : nets.idt) by_layer.push_back(idt == nullptr ? nullptr : *d_idt++);
      deepmd::gpu::embedding_jets_grad(deepmd::OpStream(context), nets.for_gpu(),
                                       this->parts(context, nets, {}, grads, outputs), d_matrix,
                                       d_bias, by_layer.data());
      return;
    }
    int64_t n_weights = 0;
    for (int64_t l = 0; l < nets.n_layers; ++l)
      n_weights += (nets.width[l] + 2) * nets.width[l + 1];
    Tensor parts;  // cotangents of the weights, by chunk
    const int64_t n_parts = nets.chunks.size();
    OP_REQUIRES_OK(context,
                   context->allocate_temp(DataTypeToEnum<T>::value, {n_parts, n_weights}, &parts));
    T* d_weights = parts.flat<T>().data();
    const int64_t jet = 3 * nets.width.back();
    const auto kernel = DEEPMD_PICK(embedding_jets_grad<T>);
    this->for_chunks(context, nets, [&](const auto& chunk, int64_t i, const T* nodes, T* scratch) {
      kernel(nets.shape(), nets.weights(chunk.net), nodes, grads[chunk.tensor] + chunk.first * jet,
             chunk.n, scratch, outputs[chunk.tensor] + chunk.first, d_weights + i * n_weights);
    });
    // The chunks of a net are joined in order.
    for (int64_t i = 0; i < this->n_matrices_; ++i) {
      const int64_t net = i / nets.n_layers, layer = i % nets.n_layers;
      if (layer == 0) d_weights = parts.flat<T>().data() + nets.begin[net] * n_weights;
      const int64_t n_out = nets.width[layer + 1], n_matrix = nets.width[layer] * n_out;
      const int64_t chunks = nets.begin[net + 1] - nets.begin[net];
      const auto join = [&](const T* part, int64_t n, T* out) {
        std::fill(out, out + n, T(0));
        for (int64_t chunk = 0; chunk < chunks; ++chunk, part += n_weights) {
          for (int64_t j = 0; j < n; ++j) out[j] += part[j];
        }
      };
      join(d_weights, n_matrix, d_matrix[i]);
      join(d_weights + n_matrix, n_out, d_bias[i]);
      if (nets.idt[i] != nullptr) join(d_weights + n_matrix + n_out, n_out, *d_idt++);
      d_weights += n_matrix + 2 * n_out;
    }
  }
};

DEEPMD_REGISTER("DpEmbeddingJets", EmbeddingJetsOp, .HostMemory("counts"));
DEEPMD_REGISTER("DpEmbeddingJetsGrad", EmbeddingJetsGradOp, .HostMemory("counts"));

}  // namespace
