// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <vector>

#include "checks.h"
#include "close_atoms.h"
#include "device.h"
#include "given_rows.h"
#include "gpu_neighbors.h"
#include "missing_neighbors.h"
#include "neighbor_query.h"
#include "neighbors.h"
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

struct NeighborListIn {
  enum { kCoord, kType, kNatoms, kBox, kMesh };
};

struct NeighborListOut {
  enum { kCenter, kNeighbor, kShift, kSplits, kDropped, kMaxFound };
};

REGISTER_OP("DpNeighborList")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("rcut: float")
    .Attr("sel: list(int)")
    .Attr("close: float = 0")
    .Attr("total: int = -1")
    .Input("coord: T")
    .Input("type: int32")
    .Input("natoms: int32")
    .Input("box: T")
    .Input("mesh: int32")
    .Output("center: int32")
    .Output("neighbor: int32")
    .Output("shift: T")
    .Output("splits: int32")
    .Output("dropped: int64")
    .Output("max_found: int32")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle rank;
      const int ranks[] = {2, 2, 1, 2, 1};
      for (int i = 0; i <= NeighborListIn::kMesh; ++i)
        TF_RETURN_IF_ERROR(c->WithRank(c->input(i), ranks[i], &rank));
      std::vector<int32_t> sel;
      TF_RETURN_IF_ERROR(c->GetAttr("sel", &sel));
      const int64_t n_types = static_cast<int64_t>(sel.size());
      DimensionHandle natoms;
      TF_RETURN_IF_ERROR(
          c->WithValue(c->Dim(c->input(NeighborListIn::kNatoms), 0), 2 + n_types, &natoms));
      const DimensionHandle n_pairs = c->UnknownDim();
      c->set_output(0, c->Vector(n_pairs));
      c->set_output(1, c->Vector(n_pairs));
      c->set_output(2, c->Matrix(n_pairs, 3));
      c->set_output(3, c->Vector(InferenceContext::kUnknownDim));
      c->set_output(4, c->Vector(n_types));
      c->set_output(5, c->Vector(n_types));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Pairs of atoms closer than rcut, ordered by (frame, centre, type of the neighbour, distance).

The distance that orders, and that decides which neighbours a full section loses, is computed in float32;
ties are ordered by the index of the neighbour, images after the atoms of the cell.

rcut: cutoff in Angstrom.
sel: per type, the largest number of neighbours kept around one centre (-1: all).
close: Angstrom, half of the smallest distance in the training data; 0: not known.
total: largest number of neighbours of all types together kept around one centre, in place of sel; -1: sel holds.
coord: [n_frames, n_all*3], Angstrom.
type: [n_frames, n_all]; atoms of negative type take no part.
natoms: [2 + n_types]: number of local atoms, of all atoms, of local atoms of each type.
box: [n_frames, 9], rows are the lattice vectors; read for a mesh of length 6 only.
mesh: length 0: not periodic. 6: periodic. 16: list of an engine, by host pointers. More: list in the tensor.
center: [n_pairs], row of the centre in [n_frames * n_all].
neighbor: [n_pairs], row of the neighbour in [n_frames * n_all].
shift: [n_pairs, 3], Angstrom: x = r[neighbor] - r[center] + shift.
splits: [n_frames*n_local*n_types + 1]: where the pairs of each centre and neighbour type begin and end.
dropped: [n_types], neighbours beyond sel, over all centres and frames.
max_found: [n_types], largest number of neighbours around one centre before sel is applied.
  With total the first entries of dropped and max_found are about all types together, the others zero.

Where dropped is connected to nothing, as in a program that only asks for energies and forces, the operation
itself reports dropped neighbours, and atoms that are too close; see missing_neighbors.h and
close_atoms.h.
)doc");

template <typename Device, typename T>
class NeighborListOp : public OpKernel {
 public:
  using In = NeighborListIn;
  using Out = NeighborListOut;

  explicit NeighborListOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("rcut", &cutoff_));
    OP_REQUIRES_OK(context, context->GetAttr("sel", &sel_));
    OP_REQUIRES(context, cutoff_ > 0,
                absl::InvalidArgumentError(
                    absl::StrCat("rcut is ", cutoff_, ", expected a positive number")));
    for (const int32_t n : sel_) {
      OP_REQUIRES(context, n >= -1,
                  absl::InvalidArgumentError(absl::StrCat("sel has the entry ", n,
                                                          ", expected 0 or more, or -1 for all")));
    }
    OP_REQUIRES_OK(context, context->GetAttr("total", &total_));
    DEEPMD_CHECK(context, total_ >= -1, "total is ", total_, ", expected 0 or more, or -1");
    OP_REQUIRES_OK(context, missing_.configure());
    float close = 0;
    OP_REQUIRES_OK(context, context->GetAttr("close", &close));
    OP_REQUIRES_OK(context, close_.configure(close));
  }

  void Compute(OpKernelContext* context) override {
    deepmd::Mesh mesh;
    deepmd::NeighborQuery<T> query;
    OP_REQUIRES_OK(context,
                   deepmd::read_query(context->input(In::kCoord), context->input(In::kType),
                                      context->input(In::kNatoms), context->input(In::kBox),
                                      context->input(In::kMesh), cutoff_, sel_, &mesh, &query));
    query.total = total_;
    const deepmd::ParallelFor parallel_for = deepmd::workers(context);
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      deepmd::RowsOnDevice given;
      OP_REQUIRES_OK(context, rows_.copy(context, stream, context->input(In::kMesh), mesh, &given));
      Tensor* splits = nullptr;
      const int64_t n_sections = query.n_frames * query.n_local * query.n_types;
      OP_REQUIRES_OK(context, context->allocate_output(Out::kSplits, {n_sections + 1}, &splits));
      deepmd::gpu::NeighborList<T> list(stream);
      const std::string wrong =
          list.build(query, given.get(), parallel_for, splits->flat<int32_t>().data());
      DEEPMD_CHECK(context, wrong.empty(), wrong);
      write(context, list, parallel_for,
            [&](const deepmd::NeighborOutput<T>& pairs) { return list.closest_pair(pairs); });
      return;
    }
    deepmd::NeighborList<T> list;
    const std::string wrong = list.build(query, parallel_for);
    DEEPMD_CHECK(context, wrong.empty(), wrong);
    copy_out(context, Out::kSplits, list.splits());
    write(context, list, parallel_for, [&](const deepmd::NeighborOutput<T>& pairs) {
      return deepmd::closest_pair(query, list.splits(), pairs);
    });
  }

 private:
  // All outputs but splits; closest(pairs) finds the closest pair.
  template <typename List, typename F>
  void write(OpKernelContext* context, const List& list, const deepmd::ParallelFor& parallel_for,
             const F& closest) {
    Tensor *center = nullptr, *neighbor = nullptr, *shift = nullptr;
    const int64_t n_pairs = list.n_pairs();
    const bool nobody_counts = !context->output_required(Out::kDropped);
    if (nobody_counts)
      OP_REQUIRES_OK(context, missing_.tell(total_ < 0 ? sel_ : std::vector<int32_t>{total_},
                                            list.dropped(), list.max_found(), total_ < 0));
    OP_REQUIRES_OK(context, context->allocate_output(Out::kCenter, {n_pairs}, &center));
    OP_REQUIRES_OK(context, context->allocate_output(Out::kNeighbor, {n_pairs}, &neighbor));
    OP_REQUIRES_OK(context, context->allocate_output(Out::kShift, {n_pairs, 3}, &shift));
    const deepmd::NeighborOutput<T> pairs = {
        center->flat<int32_t>().data(), neighbor->flat<int32_t>().data(), shift->flat<T>().data()};
    list.write(pairs, parallel_for);
    if (nobody_counts && close_.watches())
      OP_REQUIRES_OK(context, close_.tell(closest(pairs), static_cast<int64_t>(sel_.size())));
    copy_out(context, Out::kDropped, list.dropped());
    copy_out(context, Out::kMaxFound, list.max_found());
  }

  template <typename V>
  static void copy_out(OpKernelContext* context, int index, const std::vector<V>& values) {
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context,
                   context->allocate_output(index, {static_cast<int64_t>(values.size())}, &out));
    std::copy(values.begin(), values.end(), out->flat<V>().data());
  }

  float cutoff_;
  int32_t total_ = -1;
  std::vector<int32_t> sel_;
  deepmd::MissingNeighbors missing_;
  deepmd::CloseAtoms close_;
  deepmd::RowsOfEngine rows_;
};

DEEPMD_REGISTER(
    "DpNeighborList", NeighborListOp,
    .HostMemory("natoms").HostMemory("mesh").HostMemory("dropped").HostMemory("max_found"));

}  // namespace
