// SPDX-License-Identifier: BSD-3-Clause
#include <atomic>
#include <vector>

#include "pair_spline.h"
#include "register.h"
#include "slot_distances.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)
using shape_inference::InferenceContext;
using shape_inference::ShapeHandle;

struct PairTabIn {
  enum { kTableInfo, kTableData, kType, kRij, kNlist, kNatoms, kScale };
};

REGISTER_OP("PairTab")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Input("table_info: double")
    .Input("table_data: double")
    .Input("type: int32")
    .Input("rij: T")
    .Input("nlist: int32")
    .Input("natoms: int32")
    .Input("scale: T")
    .Output("atom_energy: T")
    .Output("force: T")
    .Output("atom_virial: T")
    .Attr("sel_a: list(int)")
    .Attr("sel_r: list(int)")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle type;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(PairTabIn::kType), 2, &type));
      for (int i = 0; i < 3; ++i) {
        c->set_output(i, c->Matrix(c->Dim(type, 0), InferenceContext::kUnknownDim));
      }
      return absl::OkStatus();
    })
    .Doc(R"doc(
Energies of atoms by a tabulated pair potential, and scaled forces, in the layout of DeePMD-kit.

atom_energy[i] = 1/2 sum_j phi(r_ij), not scaled; force and virial are those of
sum_i scale[i] atom_energy[i] at fixed scale. The type of a neighbour is that of the section of its
slot. Where two atoms are closer than the table begins an error, on a GPU NaN.

sel_a: slots of each type; sel_r: the same of rows without directions. One of them is zeros.
table_info, table_data: see DpPairSpline.
type: [n_frames, n_all].
rij: [n_frames, n_local*n_slots*3], from the centre to the neighbour.
nlist: [n_frames, n_local*n_slots], neighbour in its frame, or -1.
natoms: [2 + n_types]: number of local atoms, of all atoms, of local atoms of each type.
scale: [n_frames, n_local].
atom_energy: [n_frames, n_local].
force: [n_frames, n_all*3].
atom_virial: [n_frames, n_all*9], half of each pair on either of its atoms.
)doc");

template <typename Device, typename T>
class PairTabOp : public OpKernel {
 public:
  explicit PairTabOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, sections_.read(context));
    section_type_ = sections_.types();
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& rij = context->input(PairTabIn::kRij);
    const Tensor& type = context->input(PairTabIn::kType);
    const Tensor& scale = context->input(PairTabIn::kScale);
    deepmd::PairSpline table;
    OP_REQUIRES_OK(context, table.read(context->input(PairTabIn::kTableInfo),
                                       context->input(PairTabIn::kTableData)));
    const auto n_sections = static_cast<int64_t>(sections_.with_directions.size());
    DEEPMD_CHECK(context,
                 n_sections == table.n_types() &&
                     static_cast<int64_t>(sections_.without.size()) == n_sections,
                 "the table has pairs of ", table.n_types(), " types and the neighbours are in ",
                 n_sections,
                 " sections; PairTab takes the type of a neighbour from its section, so that "
                 "energies would be those of other pairs");
    const auto n_slots = static_cast<int64_t>(section_type_.size());
    deepmd::SlotPairs<Device, T> pairs;
    OP_REQUIRES_OK(context,
                   deepmd::read_distances(context, type, rij, context->input(PairTabIn::kNlist),
                                          context->input(PairTabIn::kNatoms), n_slots, &pairs));
    DEEPMD_SHAPE(context, "scale", scale, {pairs.n_frames, pairs.n_local});
    DEEPMD_INDICES_ON(Device, context, "type", type, -1, table.n_types());
    Tensor *energy = nullptr, *force = nullptr, *virial = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {pairs.n_frames, pairs.n_local}, &energy));
    OP_REQUIRES_OK(context, context->allocate_output(1, {pairs.n_frames, pairs.n_all * 3}, &force));
    OP_REQUIRES_OK(context,
                   context->allocate_output(2, {pairs.n_frames, pairs.n_all * 9}, &virial));
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      const deepmd::gpu::Slots slots = pairs.slots();
      T* const pull = pairs.pull.template flat<T>().data();
      deepmd::gpu::pair_tab<T>(stream, table.on_gpu(), slots, section_type_.data(),
                               type.flat<int32_t>().data(), rij.flat<T>().data(),
                               scale.flat<T>().data(), energy->flat<T>().data(), pull);
      const deepmd::gpu::Places places = deepmd::gpu::slot_places(stream, slots);
      deepmd::gpu::slot_forces<T>(stream, slots, places, pull, force->flat<T>().data());
      deepmd::gpu::slot_virials<T>(stream, slots, places, pull, rij.flat<T>().data(),
                                   /*halves=*/true, virial->flat<T>().data());
      return;
    }

    std::atomic<int64_t> first{pairs.n_pairs};  // of the pairs that are too close
    pairs.for_centers(context, 30, [&](int64_t c) {
      const int64_t row = c / pairs.n_local * pairs.n_all + c % pairs.n_local;
      energy->flat<T>()(c) = atom(table, rij.flat<T>().data(), type.flat<int32_t>()(row),
                                  scale.flat<T>()(c), c * n_slots, &pairs, &first);
    });
    if (const int64_t p = first.load(); p < pairs.n_pairs) {
      context->CtxFailure(table.too_close(
          pairs.center[p] / pairs.n_all, pairs.center[p] % pairs.n_all,
          pairs.neighbor[p] % pairs.n_all, deepmd::length(rij.flat<T>().data() + 3 * p)));
      return;
    }
    pairs.forces(context, force->flat<T>().data());
    share_virials(context, pairs, rij.flat<T>().data(), virial);
  }

 private:
  // Energy of an atom whose first slot is `begin`; the pulls of its slots.
  T atom(const deepmd::PairSpline& table, const T* rij, int32_t type, T scale, int64_t begin,
         deepmd::SlotPairs<Device, T>* pairs, std::atomic<int64_t>* first) const {
    T* pull = pairs->pull.template flat<T>().data();
    double sum = 0;
    for (std::size_t slot = 0; slot < section_type_.size(); ++slot) {
      const int64_t p = begin + static_cast<int64_t>(slot);
      T* const f = pull + 3 * p;
      f[0] = f[1] = f[2] = 0;
      if (pairs->neighbor[p] < 0 || type < 0) continue;
      const T* x = rij + 3 * p;
      const double r = deepmd::length(x);
      if (!table.reaches(r)) {
        int64_t known = first->load();
        while (p < known && !first->compare_exchange_weak(known, p)) {
        }
        continue;
      }
      sum += 0.5 * table.derivative(0, r, type, section_type_[slot]);
      const double slope = -0.5 * scale * table.derivative(1, r, type, section_type_[slot]) / r;
      for (int a = 0; a < 3; ++a) f[a] = static_cast<T>(slope * x[a]);
    }
    return static_cast<T>(sum);
  }

  static void share_virials(OpKernelContext* context, const deepmd::SlotPairs<Device, T>& pairs,
                            const T* rij, Tensor* virial) {
    Tensor of_centers;
    OP_REQUIRES_OK(context,
                   context->allocate_temp(DataTypeToEnum<T>::value, virial->shape(), &of_centers));
    T *half = of_centers.flat<T>().data(), *out = virial->flat<T>().data();
    pairs.virials(context, pairs.neighbor, rij, out);
    pairs.virials(context, pairs.center, rij, half);
    for (int64_t k = 0; k < virial->NumElements(); ++k) {
      out[k] = static_cast<T>(0.5) * (out[k] + half[k]);
    }
  }

  deepmd::SlotSections sections_;
  std::vector<int32_t> section_type_;
};

DEEPMD_REGISTER("PairTab", PairTabOp, .HostMemory("table_info").HostMemory("natoms"));

}  // namespace
