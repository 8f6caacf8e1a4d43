// SPDX-License-Identifier: BSD-3-Clause
// What the operations of fitting nets share: shapes of lists, the nets of a call, and loops over
// them.
//
// All types go through a layer together, so that threads share one loop for each.
#pragma once

#include <algorithm>
#include <vector>

#include "checks.h"
#include "dense.h"
#include "device.h"
#include "gemm.h"
#include "gpu_dense.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace deepmd {
namespace fitting {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;
using Shapes = std::vector<ShapeHandle>;

constexpr int64_t kOne = 1;

// Output `name` k has the shape that shape(k) gives.
template <typename F>
absl::Status set_shapes(InferenceContext* c, const char* name, const F& shape) {
  Shapes shapes;
  TF_RETURN_IF_ERROR(c->output(name, &shapes));
  for (size_t k = 0; k < shapes.size(); ++k) shapes[k] = shape(static_cast<int>(k));
  return c->set_output(name, shapes);
}

// Output `name` has the shapes of input `like`.
inline absl::Status same_shapes(InferenceContext* c, const char* name, const char* like) {
  Shapes shapes;
  TF_RETURN_IF_ERROR(c->input(like, &shapes));
  return c->set_output(name, shapes);
}

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

// The hidden layers of each net, by net and layer. Of the last one, which is linear: `last`
// [width].
template <typename T>
struct Nets {
  int64_t n_nets = 0, n_layers = 0;
  std::vector<deepmd::DenseLayer<T>> layers;
  std::vector<const T*> last, last_bias;  // no bias where it has no part
  std::vector<int64_t> idt_of;            // by net and layer, number of its idt, or -1

  const deepmd::DenseLayer<T>& layer(int64_t net, int64_t l) const {
    return layers[net * n_layers + l];
  }
  int64_t width(int64_t net) const { return layer(net, n_layers - 1).n_out; }
  int64_t rows(int64_t net) const { return layer(net, 0).n; }
  deepmd::gpu::DenseNets<T> for_gpu() const {
    return {n_nets, n_layers, layers.data(), last.data(),
            last_bias.empty() ? nullptr : last_bias.data()};
  }
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
        deepmd::DenseLayer<T> layer{n,       widths[net][l], widths[net][l + 1], false, nullptr,
                                    nullptr, nullptr};
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

  // Scratch memory for the output of each hidden layer, where that is not h.
  absl::Status allocate_outputs(OpKernelContext* context, const Nets<T>& nets, Tensor* memory,
                                Arrays<T>* arrays) const {
    int64_t size = 0;
    for (const auto& layer : nets.layers)
      size += deepmd::changes(layer) ? layer.n * layer.n_out : 0;
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

}  // namespace fitting
}  // namespace deepmd
