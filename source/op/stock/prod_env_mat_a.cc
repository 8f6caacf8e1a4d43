// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <vector>

#include "checks.h"
#include "device.h"
#include "given_rows.h"
#include "gpu_neighbors.h"
#include "gpu_padded_rows.h"
#include "neighbor_query.h"
#include "neighbors.h"
#include "padded.h"
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct ProdEnvMatAIn {
  enum { kCoord, kType, kNatoms, kBox, kMesh, kDavg, kDstd };
};

absl::Status env_mat_shapes(InferenceContext* c, int n_outputs) {
  ShapeHandle coord;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(ProdEnvMatAIn::kCoord), 2, &coord));
  for (int i = 0; i < n_outputs; ++i) {
    c->set_output(i, c->Matrix(c->Dim(coord, 0), InferenceContext::kUnknownDim));
  }
  return absl::OkStatus();
}

#define ENV_MAT_INPUTS                       \
  .Attr("T: {float32, float64} = DT_DOUBLE") \
      .Input("coord: T")                     \
      .Input("type: int32")                  \
      .Input("natoms: int32")                \
      .Input("box: T")                       \
      .Input("mesh: int32")                  \
      .Input("davg: T")                      \
      .Input("dstd: T")                      \
      .Output("descrpt: T")                  \
      .Output("descrpt_deriv: T")            \
      .Output("rij: T")                      \
      .Output("nlist: int32")

#define ENV_MAT_SIGNATURE \
  ENV_MAT_INPUTS.SetShapeFn([](InferenceContext* c) { return env_mat_shapes(c, 4); })

#define ANGULAR_ATTRIBUTES        \
  .Attr("rcut_a: float")          \
      .Attr("rcut_r: float")      \
      .Attr("rcut_r_smth: float") \
      .Attr("sel_a: list(int)")   \
      .Attr("sel_r: list(int)")

REGISTER_OP("ProdEnvMatA")
ENV_MAT_SIGNATURE ANGULAR_ATTRIBUTES.Doc(R"doc(
Smooth environment matrix in the padded layout of DeePMD-kit, with its derivative and neighbour list.

Per centre and slot: (s, s x/r, s y/r, s z/r) with s = w(r)/r, less davg, divided by dstd, rows of the type
of the centre. Empty slots hold -davg/dstd; a centre of negative type has zeros.

rcut_a: not used.
rcut_r: cutoff in Angstrom.
rcut_r_smth: where the switch w begins to fall from 1.
sel_a: per type, number of slots.
sel_r: zeros.
coord: [n_frames, n_all*3], Angstrom.
type: [n_frames, n_all]; atoms of negative type take no part.
natoms: [2 + n_types]: number of local atoms, of all atoms, of local atoms of each type.
box: [n_frames, 9], rows are the lattice vectors; read for a mesh of length 6 only.
mesh: length 0: not periodic. 6: periodic. 16: list of an engine, by host pointers. More: list in the tensor.
davg: [n_types, n_slots*4].
dstd: [n_types, n_slots*4].
descrpt: [n_frames, n_local*n_slots*4].
descrpt_deriv: [n_frames, n_local*n_slots*4*3], by the position of the centre.
rij: [n_frames, n_local*n_slots*3], from the centre to the neighbour; zero in empty slots.
nlist: [n_frames, n_local*n_slots], neighbour in its frame; -1 in empty slots.
)doc");

REGISTER_OP("DescrptSeA") ENV_MAT_SIGNATURE ANGULAR_ATTRIBUTES.Doc("Older name of ProdEnvMatA.");

REGISTER_OP("DescrptNorot") ENV_MAT_SIGNATURE ANGULAR_ATTRIBUTES.Doc("Older name of ProdEnvMatA.");

REGISTER_OP("ProdEnvMatR")
ENV_MAT_SIGNATURE.Attr("rcut: float").Attr("rcut_smth: float").Attr("sel: list(int)").Doc(R"doc(
As ProdEnvMatA, with s = w(r)/r alone in each slot.

rcut: cutoff in Angstrom.
rcut_smth: where the switch w begins to fall from 1.
sel: per type, number of slots.
coord: as in ProdEnvMatA, as are type, natoms, box and mesh.
davg: [n_types, n_slots].
dstd: [n_types, n_slots].
descrpt: [n_frames, n_local*n_slots].
descrpt_deriv: [n_frames, n_local*n_slots*3], by the position of the centre.
rij: [n_frames, n_local*n_slots*3], from the centre to the neighbour; zero in empty slots.
nlist: [n_frames, n_local*n_slots], neighbour in its frame; -1 in empty slots.
)doc");

#define MIXED_SIGNATURE                                                                            \
  ENV_MAT_INPUTS.Output("ntype: int32").Output("nmask: bool").SetShapeFn([](InferenceContext* c) { \
    return env_mat_shapes(c, 6);                                                                   \
  })

REGISTER_OP("ProdEnvMatAMix")
MIXED_SIGNATURE ANGULAR_ATTRIBUTES.Doc(R"doc(
As ProdEnvMatA, with slots for neighbours of all types together, nearest first, and their types.

The atoms of a frame may have any order, and each frame its own types.

rcut_a: not used.
rcut_r: cutoff in Angstrom.
rcut_r_smth: where the switch w begins to fall from 1.
sel_a: one number, that of slots.
sel_r: one zero.
coord: [n_frames, n_all*3], Angstrom.
type: [n_frames, n_all]; atoms of negative type take no part.
natoms: [2 + n_types]: number of local atoms, of all atoms; the rest is not used.
box: [n_frames, 9], rows are the lattice vectors; read for a mesh of length 6 or 7 only.
mesh: as in ProdEnvMatA; lengths 1 and 7 are the same as 0 and 6.
davg: [n_types, n_slots*4].
dstd: [n_types, n_slots*4].
descrpt: [n_frames, n_local*n_slots*4].
descrpt_deriv: [n_frames, n_local*n_slots*4*3], by the position of the centre.
rij: [n_frames, n_local*n_slots*3], from the centre to the neighbour; zero in empty slots.
nlist: [n_frames, n_local*n_slots], neighbour in its frame; -1 in empty slots.
ntype: [n_frames, n_local*n_slots], type of the neighbour; n_types in empty slots.
nmask: [n_frames, n_local*n_slots], whether there is a neighbour.
)doc");

// kMixed: slots for all types together, whose types are outputs.
template <typename Device, typename T, int kComponents, bool kMixed = false>
class ProdEnvMatOp : public OpKernel {
 public:
  explicit ProdEnvMatOp(OpKernelConstruction* context) : OpKernel(context) {
    constexpr bool angular = kComponents == 4;
    const char *rcut = angular ? "rcut_r" : "rcut", *sel = angular ? "sel_a" : "sel";
    const char* rcut_smth = angular ? "rcut_r_smth" : "rcut_smth";
    OP_REQUIRES_OK(context, context->GetAttr(rcut, &rcut_));
    OP_REQUIRES_OK(context, context->GetAttr(rcut_smth, &rcut_smth_));
    OP_REQUIRES_OK(context, context->GetAttr(sel, &sel_));
    DEEPMD_CHECK(context, rcut_ > 0, rcut, " is ", rcut_, ", expected a positive number");
    DEEPMD_CHECK(context, rcut_smth_ < rcut_, rcut_smth, " is ", rcut_smth_,
                 ", expected less than ", rcut, ", which is ", rcut_);
    for (const int32_t count : sel_) {
      DEEPMD_CHECK(context, count >= 0, sel, " has the entry ", count, ", expected 0 or more");
      n_slots_ += count;
    }
    DEEPMD_CHECK(context, !kMixed || sel_.size() == 1, sel, " has ", sel_.size(),
                 " entries, expected one for all types");
    if (!angular) return;
    std::vector<int32_t> sel_r;
    OP_REQUIRES_OK(context, context->GetAttr("sel_r", &sel_r));
    DEEPMD_CHECK(context, sel_r.size() == sel_.size(), "sel_r has ", sel_r.size(),
                 " entries, expected ", sel_.size(), " as in sel_a");
    for (const int32_t count : sel_r) {
      DEEPMD_CHECK(context, count == 0, "sel_r has the entry ", count,
                   ": radial-only slots are not supported");
    }
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& avg = context->input(ProdEnvMatAIn::kDavg);
    const Tensor& std = context->input(ProdEnvMatAIn::kDstd);
    deepmd::Mesh mesh;
    deepmd::NeighborQuery<T> query;
    const Tensor& natoms = context->input(ProdEnvMatAIn::kNatoms);
    const int64_t given = kMixed ? std::max<int64_t>(natoms.NumElements() - 2, 0) : 0;
    const std::vector<int32_t> all(given, -1);
    OP_REQUIRES_OK(context, deepmd::read_query(context->input(ProdEnvMatAIn::kCoord),
                                               context->input(ProdEnvMatAIn::kType), natoms,
                                               context->input(ProdEnvMatAIn::kBox),
                                               context->input(ProdEnvMatAIn::kMesh), rcut_,
                                               kMixed ? all : sel_, &mesh, &query, kMixed));
    DEEPMD_SHAPE(context, "davg", avg, {query.n_types, kComponents * n_slots_});
    DEEPMD_SHAPE(context, "dstd", std, {query.n_types, kComponents * n_slots_});
    const int64_t n_types = query.n_types;
    const int32_t* type = query.type;
    if (kMixed) {
      // Of one type for the neighbour list, which orders by distance alone.
      query.n_types = 1;
      query.sel = sel_.data();
    }
    Tensor *rows = nullptr, *derivative = nullptr, *x = nullptr, *nlist = nullptr;
    Tensor *types = nullptr, *mask = nullptr;
    const int64_t width = query.n_local * n_slots_;
    const int64_t row_width = width * kComponents;
    OP_REQUIRES_OK(context, context->allocate_output(0, {query.n_frames, row_width}, &rows));
    OP_REQUIRES_OK(context,
                   context->allocate_output(1, {query.n_frames, row_width * 3}, &derivative));
    OP_REQUIRES_OK(context, context->allocate_output(2, {query.n_frames, width * 3}, &x));
    OP_REQUIRES_OK(context, context->allocate_output(3, {query.n_frames, width}, &nlist));
    if (kMixed) {
      OP_REQUIRES_OK(context, context->allocate_output(4, nlist->shape(), &types));
      OP_REQUIRES_OK(context, context->allocate_output(5, nlist->shape(), &mask));
    }

    deepmd::PaddedQuery<T> padded;
    padded.rcut = rcut_;
    padded.rcut_smth = rcut_smth_;
    padded.components = kComponents;
    padded.n_types = query.n_types;
    padded.n_slots = n_slots_;
    padded.sel = sel_.data();
    padded.n_local = query.n_local;
    padded.n_all = query.n_all;
    padded.coord = query.coord;
    padded.type = type;
    padded.avg = avg.flat<T>().data();
    padded.std = std.flat<T>().data();
    const deepmd::PaddedRows<T> out = {rows->flat<T>().data(), derivative->flat<T>().data(),
                                       x->flat<T>().data(), nlist->flat<int32_t>().data()};
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      OP_REQUIRES_OK(context, on_gpu(context, stream, n_types, mesh, query, padded, out));
      if (kMixed)
        deepmd::gpu::slot_types<T>(stream, out.nlist, type, query.n_frames, width, query.n_all,
                                   n_types, types->flat<int32_t>().data(),
                                   mask->flat<bool>().data());
      return;
    }
    OP_REQUIRES_OK(context, on_cpu(context, n_types, query, padded, out));
    if (kMixed) write_types(query.n_all, n_types, type, *nlist, types, mask);
  }

 private:
  // Rows and neighbours, on the processor.
  absl::Status on_cpu(OpKernelContext* context, int64_t n_types, deepmd::NeighborQuery<T> query,
                      deepmd::PaddedQuery<T> padded, const deepmd::PaddedRows<T>& out) const {
    const int32_t* type = padded.type;
    std::vector<int32_t> real;
    if (kMixed) {
      TF_RETURN_IF_ERROR(check_types(query, n_types, type));
      real.resize(query.n_frames * query.n_all);
      for (std::size_t i = 0; i < real.size(); ++i) real[i] = std::min(type[i], 0);
      query.type = real.data();
    }
    const deepmd::ParallelFor parallel_for = deepmd::workers(context);
    deepmd::NeighborList<T> list;
    const std::string wrong = list.build(query, parallel_for);
    if (!wrong.empty()) return absl::InvalidArgumentError(wrong);

    Tensor neighbor, shift;
    TF_RETURN_IF_ERROR(allocate_pairs(context, list.n_pairs(), &neighbor, &shift));
    list.write({nullptr, neighbor.flat<int32_t>().data(), shift.flat<T>().data()}, parallel_for);
    padded.splits = list.splits().data();
    padded.neighbor = neighbor.flat<int32_t>().data();
    padded.shift = shift.flat<T>().data();
    const auto kernel = DEEPMD_PICK(padded_env_rows<T>);
    parallel_for(query.n_frames * query.n_local, 50 * n_slots_,
                 [&](int64_t begin, int64_t end) { kernel(padded, begin, end, out); });
    return absl::OkStatus();
  }

  // type: of all atoms, on the host.
  static absl::Status check_types(const deepmd::NeighborQuery<T>& query, int64_t n_types,
                                  const int32_t* type) {
    for (int64_t i = 0; i < query.n_frames * query.n_all; ++i) {
      if (type[i] < n_types) continue;
      return deepmd::invalid_argument("frame ", i / query.n_all, " has atom ", i % query.n_all,
                                      " of type ", type[i], ", expected less than ", n_types,
                                      " (or negative for a virtual atom)");
    }
    return absl::OkStatus();
  }

  static absl::Status allocate_pairs(OpKernelContext* context, int64_t n_pairs, Tensor* neighbor,
                                     Tensor* shift) {
    TF_RETURN_IF_ERROR(context->allocate_temp(DT_INT32, {n_pairs}, neighbor));
    return context->allocate_temp(DataTypeToEnum<T>::value, {n_pairs, 3}, shift);
  }

  absl::Status on_gpu(OpKernelContext* context, const deepmd::gpu::Stream& stream, int64_t n_types,
                      const deepmd::Mesh& mesh, deepmd::NeighborQuery<T> query,
                      deepmd::PaddedQuery<T> padded, const deepmd::PaddedRows<T>& out) {
    const int64_t n_rows = query.n_frames * query.n_all;
    if (kMixed) {
      auto* const merged = stream.scratch<int32_t>(n_rows);
      deepmd::gpu::merge_types<T>(stream, query.type, n_rows, n_types, merged);
      query.type = merged;
    }
    deepmd::RowsOnDevice given;
    TF_RETURN_IF_ERROR(
        given_.copy(context, stream, context->input(ProdEnvMatAIn::kMesh), mesh, &given));
    auto* const splits =
        stream.scratch<int32_t>(query.n_frames * query.n_local * query.n_types + 1);
    const deepmd::ParallelFor parallel_for = deepmd::workers(context);
    deepmd::gpu::NeighborList<T> list(stream);
    const std::string wrong = list.build(query, given.get(), parallel_for, splits);
    if (!wrong.empty() && kMixed) {
      std::vector<int32_t> type(n_rows);
      stream.read(padded.type, n_rows, type.data());
      TF_RETURN_IF_ERROR(check_types(query, n_types, type.data()));
    }
    if (!wrong.empty()) return deepmd::invalid_argument(wrong);
    Tensor neighbor, shift;
    TF_RETURN_IF_ERROR(allocate_pairs(context, list.n_pairs(), &neighbor, &shift));
    list.write({nullptr, neighbor.flat<int32_t>().data(), shift.flat<T>().data()}, parallel_for);
    padded.splits = splits;
    padded.neighbor = neighbor.flat<int32_t>().data();
    padded.shift = shift.flat<T>().data();
    deepmd::gpu::padded_env_rows(stream, padded, query.n_frames * query.n_local, out);
    return absl::OkStatus();
  }

  static void write_types(int64_t n_all, int64_t n_types, const int32_t* type, const Tensor& nlist,
                          Tensor* types, Tensor* mask) {
    const int32_t* neighbor = nlist.flat<int32_t>().data();
    int32_t* found = types->flat<int32_t>().data();
    bool* filled = mask->flat<bool>().data();
    for (int64_t f = 0; f < nlist.dim_size(0); ++f) {
      for (int64_t k = f * nlist.dim_size(1); k < (f + 1) * nlist.dim_size(1); ++k) {
        filled[k] = neighbor[k] >= 0;
        found[k] = filled[k] ? type[f * n_all + neighbor[k]] : static_cast<int32_t>(n_types);
      }
    }
  }

  float rcut_, rcut_smth_;
  std::vector<int32_t> sel_;
  int64_t n_slots_ = 0;
  deepmd::RowsOfEngine given_;
};

template <typename Device, typename T>
using ProdEnvMatAOp = ProdEnvMatOp<Device, T, 4>;
template <typename Device, typename T>
using ProdEnvMatROp = ProdEnvMatOp<Device, T, 1>;
template <typename Device, typename T>
using ProdEnvMatAMixOp = ProdEnvMatOp<Device, T, 4, true>;

#define ENV_MAT_ON_HOST .HostMemory("natoms").HostMemory("mesh")

DEEPMD_REGISTER("ProdEnvMatA", ProdEnvMatAOp, ENV_MAT_ON_HOST);
DEEPMD_REGISTER("ProdEnvMatR", ProdEnvMatROp, ENV_MAT_ON_HOST);
DEEPMD_REGISTER("ProdEnvMatAMix", ProdEnvMatAMixOp, ENV_MAT_ON_HOST);
DEEPMD_REGISTER("DescrptSeA", ProdEnvMatAOp, ENV_MAT_ON_HOST);
DEEPMD_REGISTER("DescrptNorot", ProdEnvMatAOp, ENV_MAT_ON_HOST);

}  // namespace
