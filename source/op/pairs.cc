// SPDX-License-Identifier: BSD-3-Clause
// pair_virial, pair_forces and their transposes: linear maps from pairs to atoms and back.
#include "pairs.h"

#include <algorithm>
#include <limits>

#include "checks.h"
#include "device.h"
#include "gpu_pairs.h"
#include "pair_rows.h"
#include "register.h"
#include "row_blocks.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::DimensionHandle;
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct PairVirialIn {
  enum { kG, kX, kNeighbor, kNRows };
};

REGISTER_OP("DpPairVirial")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("g: T")
    .Input("x: T")
    .Input("neighbor: int32")
    .Input("n_rows: int32")
    .Output("virial: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle g, x, neighbor;
      DimensionHandle three, n_pairs, rows;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairVirialIn::kG), 2, &g));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairVirialIn::kX), 2, &x));
      TF_RETURN_IF_ERROR(c->Merge(g, x, &g));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(g, 1), 3, &three));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairVirialIn::kNeighbor), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(g, 0), c->Dim(neighbor, 0), &n_pairs));
      TF_RETURN_IF_ERROR(deepmd::rows_from_input(c, PairVirialIn::kNRows, &rows));
      c->set_output(0, c->Matrix(rows, 9));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Virial per atom, counted on the neighbour: virial[neighbor[p]][3a+b] -= g[p][a] x[p][b], from zero.

Every row is summed in the order of the pairs, whatever the number of threads.

g: [n_pairs, 3], derivative of the energy with respect to x.
x: [n_pairs, 3], from the centre to the neighbour.
neighbor: [n_pairs], row of the neighbour.
n_rows: number of rows of the result.
virial: [n_rows, 9].
)doc");

struct PairForcesIn {
  enum { kG, kX, kCenter, kNeighbor, kFrames };
};

REGISTER_OP("DpPairForces")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("g: T")
    .Input("x: T")
    .Input("center: int32")
    .Input("neighbor: int32")
    .Input("frames: int32")
    .Output("force: T")
    .Output("virial: T")
    .Output("atom_virial: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle g, x, center, neighbor, frames;
      DimensionHandle three, n_pairs, rows;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesIn::kG), 2, &g));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesIn::kX), 2, &x));
      TF_RETURN_IF_ERROR(c->Merge(g, x, &g));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(g, 1), 3, &three));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesIn::kCenter), 1, &center));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesIn::kNeighbor), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(center, neighbor, &center));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(g, 0), c->Dim(center, 0), &n_pairs));
      TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(4, &frames));
      TF_RETURN_IF_ERROR(c->WithRank(frames, 2, &frames));
      TF_RETURN_IF_ERROR(c->Multiply(c->Dim(frames, 0), c->Dim(frames, 1), &rows));
      c->set_output(0, c->Matrix(rows, 3));
      c->set_output(1, c->Matrix(c->Dim(frames, 0), 9));
      c->set_output(2, c->Matrix(rows, 9));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Force on each atom, minus what DpScatterPairs gives, and the virial of each frame and of each atom.

The order of the sums is fixed, whatever the number of threads. The virial of each atom is computed only
if something depends on it.

g: [n_pairs, 3], derivative of the energy with respect to x.
x: [n_pairs, 3], from the centre to the neighbour.
center: [n_pairs], row of the centre.
neighbor: [n_pairs], row of the neighbour.
frames: n_frames, and the number of atoms of each; there are as many rows as atoms in all.
force: [n_rows, 3].
virial: [n_frames, 9], sum of what DpPairVirial gives over the pairs whose centre is in the frame.
atom_virial: [n_rows, 9], counted on the neighbour, as DpPairVirial has it.
)doc");

struct PairForcesVjpIn {
  enum { kF, kW, kX, kCenter, kNeighbor, kAtomW };
};

REGISTER_OP("DpPairForcesVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("atom_cotangents: int >= 0")
    .Input("f: T")
    .Input("w: T")
    .Input("x: T")
    .Input("center: int32")
    .Input("neighbor: int32")
    .Input("atom_w: atom_cotangents * T")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle f, w, x, center, neighbor;
      DimensionHandle size;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesVjpIn::kF), 2, &f));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesVjpIn::kW), 2, &w));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesVjpIn::kX), 2, &x));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(f, 1), 3, &size));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(w, 1), 9, &size));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(x, 1), 3, &size));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesVjpIn::kCenter), 1, &center));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairForcesVjpIn::kNeighbor), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(center, neighbor, &center));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(x, 0), c->Dim(center, 0), &size));
      if (c->num_inputs() > PairForcesVjpIn::kAtomW) {
        ShapeHandle atom_w;
        TF_RETURN_IF_ERROR(
            c->Merge(c->input(PairForcesVjpIn::kAtomW), c->Matrix(c->Dim(f, 0), 9), &atom_w));
      }
      c->set_output(0, c->Matrix(size, 3));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <f, force> + <w, virial> + <atom_w, atom_virial> of DpPairForces with respect to g.

f: [n_rows, 3].
w: [n_frames, 9].
x: [n_pairs, 3].
center: [n_pairs], row of the centre.
neighbor: [n_pairs], row of the neighbour.
atom_w: [n_rows, 9], or none for 0.
out: [n_pairs, 3].
)doc");

struct PairVirialVjpIn {
  enum { kW, kV, kNeighbor };
};

REGISTER_OP("DpPairVirialVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("transpose: bool = false")
    .Input("w: T")
    .Input("v: T")
    .Input("neighbor: int32")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle w, v, neighbor;
      DimensionHandle size, n_pairs;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairVirialVjpIn::kW), 2, &w));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(w, 1), 9, &size));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairVirialVjpIn::kV), 2, &v));
      TF_RETURN_IF_ERROR(c->WithValue(c->Dim(v, 1), 3, &size));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairVirialVjpIn::kNeighbor), 1, &neighbor));
      TF_RETURN_IF_ERROR(c->Merge(c->Dim(v, 0), c->Dim(neighbor, 0), &n_pairs));
      c->set_output(0, c->Matrix(n_pairs, 3));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <w, DpPairVirial(g, x)>: with respect to g, given v = x; with respect to x, given v = g and
transpose. out[p][a] = - sum_b w[neighbor[p]][3a+b] v[p][b], or w[neighbor[p]][3b+a] if transposed.

w: [n_rows, 9].
v: [n_pairs, 3].
neighbor: [n_pairs], row of the neighbour.
out: [n_pairs, 3].
)doc");

template <typename Device, typename T>
class PairVirialOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& g = context->input(PairVirialIn::kG);
    const Tensor& x = context->input(PairVirialIn::kX);
    const Tensor& neighbor = context->input(PairVirialIn::kNeighbor);
    DEEPMD_SHAPE(context, "g", g, {-1, 3});
    const int64_t n_pairs = g.dim_size(0);
    DEEPMD_SHAPE(context, "x", x, {n_pairs, 3});
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    const int64_t n_rows = deepmd::read_n_rows(context, context->input(PairVirialIn::kNRows));
    if (n_rows < 0) return;
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, n_rows);
    Tensor* virial = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_rows, 9}, &virial));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::pair_virial(deepmd::OpStream(context), g.flat<T>().data(), x.flat<T>().data(),
                               neighbor.flat<int32_t>().data(), n_pairs, n_rows,
                               virial->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(pair_virial<T>);
    deepmd::for_row_blocks(
        deepmd::workers(context), n_rows, n_pairs, 12, [&](int64_t begin, int64_t end) {
          kernel(g.flat<T>().data(), x.flat<T>().data(), neighbor.flat<int32_t>().data(), n_pairs,
                 begin, end, virial->flat<T>().data());
        });
  }
};

template <typename Device, typename T>
class PairForcesOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& g = context->input(PairForcesIn::kG);
    const Tensor& x = context->input(PairForcesIn::kX);
    const Tensor& center = context->input(PairForcesIn::kCenter);
    const Tensor& neighbor = context->input(PairForcesIn::kNeighbor);
    const Tensor& frames = context->input(PairForcesIn::kFrames);
    DEEPMD_SHAPE(context, "g", g, {-1, 3});
    const int64_t n_pairs = g.dim_size(0);
    DEEPMD_SHAPE(context, "x", x, {n_pairs, 3});
    DEEPMD_SHAPE(context, "center", center, {n_pairs});
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    DEEPMD_SHAPE(context, "frames", frames, {2});
    const int64_t n_frames = frames.flat<int32_t>()(0), n_all = frames.flat<int32_t>()(1);
    const int64_t n_rows = n_frames * n_all;
    DEEPMD_CHECK(context, n_frames >= 0 && n_all >= 0 && n_rows <= kMostRows, "frames is ",
                 n_frames, " frames of ", n_all, " atoms, expected 0 or more of each and at most ",
                 kMostRows, " in all");
    DEEPMD_INDICES_ON(Device, context, "center", center, 0, n_rows);
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, n_rows);
    Tensor *force = nullptr, *virial = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_rows, 3}, &force));
    OP_REQUIRES_OK(context, context->allocate_output(1, {n_frames, 9}, &virial));
    if constexpr (deepmd::on_gpu<Device>) {
      Tensor* atom_virial = nullptr;
      if (context->output_required(2))
        OP_REQUIRES_OK(context, context->allocate_output(2, {n_rows, 9}, &atom_virial));
      deepmd::gpu::pair_forces(deepmd::OpStream(context), g.flat<T>().data(), x.flat<T>().data(),
                               center.flat<int32_t>().data(), neighbor.flat<int32_t>().data(),
                               n_pairs, n_frames, n_all, force->flat<T>().data(),
                               virial->flat<T>().data(),
                               atom_virial == nullptr ? nullptr : atom_virial->flat<T>().data());
      return;
    }
    const deepmd::ParallelFor workers = deepmd::workers(context);
    const auto values = [](const Tensor& tensor) { return tensor.flat<T>().data(); };
    const T *const g_of = values(g), *const x_of = values(x);
    const int32_t *const center_of = center.flat<int32_t>().data(), *const neighbor_of =
                                                                        neighbor.flat<int32_t>()
                                                                            .data();

    // Sums over parts of the pairs, as many whatever the number of threads, and then over the
    // parts.
    const int64_t n_parts = std::min<int64_t>(kMostParts, 1 + n_pairs / kLeastPairs);
    const int64_t size = force->NumElements() + virial->NumElements();
    Tensor parts;
    OP_REQUIRES_OK(context,
                   context->allocate_temp(DataTypeToEnum<T>::value, {n_parts, size}, &parts));
    T* const part = parts.flat<T>().data();
    const auto kernel = DEEPMD_PICK(pair_forces<T>);
    workers(n_parts, 8 * (n_pairs / n_parts + n_rows), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        T* const out = part + k * size;
        kernel(g_of, x_of, center_of, neighbor_of, n_frames, n_all, n_pairs * k / n_parts,
               n_pairs * (k + 1) / n_parts, out, out + force->NumElements());
      }
    });
    const auto add_parts = DEEPMD_PICK(add_parts<T>);
    workers(force->NumElements(), n_parts, [&](int64_t begin, int64_t end) {
      add_parts(part, n_parts, size, begin, end, force->flat<T>().data());
    });
    add_parts(part + force->NumElements(), n_parts, size, 0, virial->NumElements(),
              virial->flat<T>().data());

    if (!context->output_required(2)) return;
    Tensor* atom_virial = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(2, {n_rows, 9}, &atom_virial));
    const auto by_neighbor = DEEPMD_PICK(pair_virial<T>);
    deepmd::for_row_blocks(workers, n_rows, n_pairs, 12, [&](int64_t begin, int64_t end) {
      by_neighbor(g_of, x_of, neighbor_of, n_pairs, begin, end, atom_virial->flat<T>().data());
    });
  }

 private:
  static constexpr int64_t kMostRows =
      std::numeric_limits<int32_t>::max();  // that an index reaches
  static constexpr int64_t kMostParts = 8;
  static constexpr int64_t kLeastPairs = 2048;
};

template <typename Device, typename T>
class PairForcesVjpOp : public OpKernel {
 public:
  explicit PairForcesVjpOp(OpKernelConstruction* context) : OpKernel(context) {
    int64_t n_given;
    OP_REQUIRES_OK(context, context->GetAttr("atom_cotangents", &n_given));
    DEEPMD_CHECK(context, n_given <= 1, "there are ", n_given, " atom_w, expected one or none");
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& f = context->input(PairForcesVjpIn::kF);
    const Tensor& w = context->input(PairForcesVjpIn::kW);
    const Tensor& x = context->input(PairForcesVjpIn::kX);
    const Tensor& center = context->input(PairForcesVjpIn::kCenter);
    const Tensor& neighbor = context->input(PairForcesVjpIn::kNeighbor);
    DEEPMD_SHAPE(context, "f", f, {-1, 3});
    DEEPMD_SHAPE(context, "w", w, {-1, 9});
    DEEPMD_SHAPE(context, "x", x, {-1, 3});
    const int64_t n_pairs = x.dim_size(0), n_rows = f.dim_size(0), n_frames = w.dim_size(0);
    DEEPMD_SHAPE(context, "center", center, {n_pairs});
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    DEEPMD_CHECK(context, n_frames == 0 ? n_rows == 0 : n_rows % n_frames == 0, "f has ", n_rows,
                 " rows and w has ", n_frames, ", expected as many atoms for each frame");
    DEEPMD_INDICES_ON(Device, context, "center", center, 0, n_rows);
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, n_rows);
    const T* atom_w = nullptr;
    if (context->num_inputs() > PairForcesVjpIn::kAtomW) {
      DEEPMD_SHAPE(context, "atom_w", context->input(PairForcesVjpIn::kAtomW), {n_rows, 9});
      atom_w = context->input(PairForcesVjpIn::kAtomW).flat<T>().data();
    }
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, 3}, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::pair_forces_vjp(
          deepmd::OpStream(context), f.flat<T>().data(), w.flat<T>().data(), atom_w,
          x.flat<T>().data(), center.flat<int32_t>().data(), neighbor.flat<int32_t>().data(),
          n_pairs, n_frames, n_frames == 0 ? 0 : n_rows / n_frames, out->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(pair_forces_vjp<T>);
    deepmd::workers(context)(n_pairs, 20, [&](int64_t begin, int64_t end) {
      kernel(f.flat<T>().data(), w.flat<T>().data(), atom_w, x.flat<T>().data(),
             center.flat<int32_t>().data(), neighbor.flat<int32_t>().data(), n_rows / n_frames,
             begin, end, out->flat<T>().data());
    });
  }
};

template <typename Device, typename T>
class PairVirialVjpOp : public OpKernel {
 public:
  explicit PairVirialVjpOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transpose", &transpose_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& w = context->input(PairVirialVjpIn::kW);
    const Tensor& v = context->input(PairVirialVjpIn::kV);
    const Tensor& neighbor = context->input(PairVirialVjpIn::kNeighbor);
    DEEPMD_SHAPE(context, "w", w, {-1, 9});
    DEEPMD_SHAPE(context, "v", v, {-1, 3});
    const int64_t n_pairs = v.dim_size(0);
    DEEPMD_SHAPE(context, "neighbor", neighbor, {n_pairs});
    DEEPMD_INDICES_ON(Device, context, "neighbor", neighbor, 0, w.dim_size(0));
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, 3}, &out));
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::gpu::pair_virial_vjp(deepmd::OpStream(context), w.flat<T>().data(),
                                   v.flat<T>().data(), neighbor.flat<int32_t>().data(), transpose_,
                                   n_pairs, w.dim_size(0), out->flat<T>().data());
      return;
    }
    const auto kernel = DEEPMD_PICK(pair_virial_vjp<T>);
    deepmd::workers(context)(n_pairs, 12, [&](int64_t begin, int64_t end) {
      kernel(w.flat<T>().data(), v.flat<T>().data(), neighbor.flat<int32_t>().data(), transpose_,
             begin, end, out->flat<T>().data());
    });
  }

 private:
  bool transpose_;
};

DEEPMD_REGISTER("DpPairVirial", PairVirialOp, .HostMemory("n_rows"));
DEEPMD_REGISTER("DpPairVirialVjp", PairVirialVjpOp);
DEEPMD_REGISTER("DpPairForces", PairForcesOp, .HostMemory("frames"));
DEEPMD_REGISTER("DpPairForcesVjp", PairForcesVjpOp);

}  // namespace
