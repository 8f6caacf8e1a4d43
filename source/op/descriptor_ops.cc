// SPDX-License-Identifier: BSD-3-Clause
// descriptor, descriptor_jvp, descriptor_vjp: a quadratic form of the moments and its derivatives.
#include "descriptor.h"

#include <algorithm>
#include <vector>

#include "checks.h"
#include "gpu_descriptor.h"
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

// Shape of a moment, [n, 4, n_columns], at this input.
absl::Status infer_moment(InferenceContext* c, int input, ShapeHandle* moment) {
  DimensionHandle four;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(input), 3, moment));
  return c->WithValue(c->Dim(*moment, 1), 4, &four);
}

// Shape of one of its `parts` descriptors, [n, n_columns * n_axis].
absl::Status infer_descriptor(InferenceContext* c, ShapeHandle moment, size_t parts,
                              ShapeHandle* descriptor) {
  int64_t n_axis;
  DimensionHandle size;
  TF_RETURN_IF_ERROR(c->GetAttr("n_axis", &n_axis));
  TF_RETURN_IF_ERROR(c->Multiply(c->Dim(moment, 2), n_axis, &size));
  *descriptor = c->Matrix(parts == 1 ? c->Dim(moment, 0) : c->UnknownDim(), size);
  return absl::OkStatus();
}

absl::Status set_descriptors(InferenceContext* c, ShapeHandle moment) {
  std::vector<ShapeHandle> shapes;
  TF_RETURN_IF_ERROR(c->output("descriptor", &shapes));
  ShapeHandle one;
  TF_RETURN_IF_ERROR(infer_descriptor(c, moment, shapes.size(), &one));
  for (auto& shape : shapes) shape = one;
  return c->set_output("descriptor", shapes);
}

struct DescriptorIn {
  enum { kMoment, kCounts };
};

REGISTER_OP("DpDescriptor")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("n_axis: int >= 1")
    .Attr("parts: int >= 1 = 1")
    .Attr("count_lists: int >= 0 = 0")
    .Input("moment: T")
    .Input("counts: count_lists * int32")
    .Output("descriptor: parts * T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle moment;
      TF_RETURN_IF_ERROR(infer_moment(c, DescriptorIn::kMoment, &moment));
      return set_descriptors(c, moment);
    })
    .Doc(R"doc(
Products of the columns of each moment: descriptor[i][m1][m2] = sum_a moment[i][a][m1]
moment[i][a][m2], m2 < n_axis.

moment: [n, 4, n_columns].
counts: one [parts], of frames of equal atoms: the atoms of each part in a frame, one part after the
  other; or none, where there is one part.
descriptor: [n, n_columns * n_axis] of the atoms of each part, frame by frame.
n_axis: at most n_columns.
)doc");

struct DescriptorJvpIn {
  enum { kMoment, kTangent, kCounts };
};

REGISTER_OP("DpDescriptorJvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("n_axis: int >= 1")
    .Attr("parts: int >= 1 = 1")
    .Attr("count_lists: int >= 0 = 0")
    .Input("moment: T")
    .Input("tangent: T")
    .Input("counts: count_lists * int32")
    .Output("descriptor: parts * T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle moment, tangent;
      TF_RETURN_IF_ERROR(infer_moment(c, DescriptorJvpIn::kMoment, &moment));
      TF_RETURN_IF_ERROR(infer_moment(c, DescriptorJvpIn::kTangent, &tangent));
      TF_RETURN_IF_ERROR(c->Merge(moment, tangent, &moment));
      return set_descriptors(c, moment);
    })
    .Doc(R"doc(
Derivative of DpDescriptor along a tangent, symmetric in both: descriptor[i][m1][m2] = sum_a
moment[i][a][m1] tangent[i][a][m2] + tangent[i][a][m1] moment[i][a][m2].

moment: [n, 4, n_columns].
tangent: [n, 4, n_columns].
counts: as in DpDescriptor.
descriptor: [n, n_columns * n_axis] of the atoms of each part.
n_axis: at most n_columns.
)doc");

struct DescriptorVjpIn {
  enum { kAdjoint };
};

REGISTER_OP("DpDescriptorVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("n_axis: int >= 1")
    .Attr("parts: int >= 1 = 1")
    .Attr("count_lists: int >= 0 = 0")
    .Input("adjoint: parts * T")
    .Input("moment: T")
    .Input("counts: count_lists * int32")
    .Output("gradient: T")
    .SetShapeFn([](InferenceContext* c) {
      ShapeHandle moment, descriptor, merged;
      std::vector<ShapeHandle> adjoint;
      TF_RETURN_IF_ERROR(c->input("adjoint", &adjoint));
      TF_RETURN_IF_ERROR(infer_moment(c, static_cast<int>(adjoint.size()), &moment));
      TF_RETURN_IF_ERROR(infer_descriptor(c, moment, adjoint.size(), &descriptor));
      for (const auto& shape : adjoint) TF_RETURN_IF_ERROR(c->Merge(shape, descriptor, &merged));
      c->set_output(0, moment);
      return absl::OkStatus();
    })
    .Doc(R"doc(
Derivative of <adjoint, DpDescriptor> with respect to moment: gradient[i][a][m] = sum_m2
moment[i][a][m2] adjoint[i][m][m2], and for m < n_axis also + sum_m1 moment[i][a][m1]
adjoint[i][m1][m].

adjoint: [n, n_columns * n_axis] of the atoms of each part.
moment: [n, 4, n_columns].
counts: as in DpDescriptor.
gradient: [n, 4, n_columns].
n_axis: at most n_columns.
)doc");

// Atoms of a part that are together both in the moments and in the descriptors.
struct Run {
  int64_t part;
  int64_t atom;  // the first, among all
  int64_t row;   // and among those of the part
  int64_t n;
};

class AxisOp : public OpKernel {
 public:
  explicit AxisOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("n_axis", &n_axis_));
    OP_REQUIRES_OK(context, context->GetAttr("parts", &n_parts_));
    int64_t n_counts;
    OP_REQUIRES_OK(context, context->GetAttr("count_lists", &n_counts));
    DEEPMD_CHECK(context, n_counts == 1 || (n_counts == 0 && n_parts_ == 1), "there are ", n_counts,
                 " counts for ", n_parts_, " parts, expected one");
  }

 protected:
  // Where the atoms of the parts are.
  struct Atoms {
    int64_t n_frames = 1;
    std::vector<int64_t> ends;  // of the parts in a frame

    int64_t count(int64_t part) const { return ends[part] - (part == 0 ? 0 : ends[part - 1]); }
    int64_t in_frame() const { return ends.back(); }
    int64_t rows(int64_t part) const { return n_frames * count(part); }
    deepmd::gpu::PartOfFrames on_gpu(int64_t part) const {
      return {n_frames, in_frame(), ends[part] - count(part), count(part)};
    }
  };

  absl::Status check_moment(const Tensor& moment) const {
    TF_RETURN_IF_ERROR(deepmd::check_shape("moment", moment, {-1, 4, -1}));
    if (moment.dim_size(2) >= n_axis_) return absl::OkStatus();
    return deepmd::invalid_argument("moment has ", moment.dim_size(2),
                                    " columns, expected at least n_axis = ", n_axis_);
  }

  // From counts, which is the last input where there is one.
  absl::Status read_atoms(OpKernelContext* context, const Tensor& moment, Atoms* atoms) const {
    const int64_t n = moment.dim_size(0);
    OpInputList counts;
    TF_RETURN_IF_ERROR(context->input_list("counts", &counts));
    if (counts.size() == 0) {
      atoms->ends = {n};
      return absl::OkStatus();
    }
    TF_RETURN_IF_ERROR(deepmd::check_shape("counts", counts[0], {n_parts_}));
    int64_t end = 0;
    for (int64_t part = 0; part < n_parts_; ++part) {
      const int64_t count = counts[0].flat<int32_t>().data()[part];
      if (count < 0) return deepmd::invalid_argument("counts[", part, "] = ", count);
      atoms->ends.push_back(end += count);
    }
    atoms->n_frames = end == 0 ? 0 : n / end;
    if (atoms->n_frames * end == n) return absl::OkStatus();
    return deepmd::invalid_argument("moment has ", n, " atoms, expected frames of ", end,
                                    ", the sum of counts");
  }

  // Output `descriptor`.
  template <typename T>
  absl::Status allocate(OpKernelContext* context, const Tensor& moment, const Atoms& atoms,
                        std::vector<T*>* descriptors) const {
    OpOutputList list;
    TF_RETURN_IF_ERROR(context->output_list("descriptor", &list));
    for (int part = 0; part < list.size(); ++part) {
      Tensor* out = nullptr;
      TF_RETURN_IF_ERROR(
          list.allocate(part, {atoms.rows(part), moment.dim_size(2) * n_axis_}, &out));
      descriptors->push_back(out->flat<T>().data());
    }
    return absl::OkStatus();
  }

  // Calls kernel(shape, run) for all atoms.
  template <typename Kernel>
  void run(OpKernelContext* context, const Tensor& moment, const Atoms& atoms,
           const Kernel& kernel) const {
    const deepmd::DescriptorShape shape = shape_of(moment);
    const int64_t cost = 100 + 2 * shape.n_columns * shape.n_axis;
    deepmd::workers(context)(moment.dim_size(0), cost, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t frame = begin / atoms.in_frame(), at = begin % atoms.in_frame();
        const int64_t part =
            std::upper_bound(atoms.ends.begin(), atoms.ends.end(), at) - atoms.ends.begin();
        const int64_t n = std::min(end - begin, atoms.ends[part] - at);
        const int64_t first = atoms.ends[part] - atoms.count(part);
        kernel(shape, Run{part, begin, frame * atoms.count(part) + at - first, n});
        begin += n;
      }
    });
  }

  deepmd::DescriptorShape shape_of(const Tensor& moment) const {
    return {moment.dim_size(2), n_axis_};
  }
  int64_t size_moment(const Tensor& moment) const { return 4 * moment.dim_size(2); }
  int64_t size_descriptor(const Tensor& moment) const { return moment.dim_size(2) * n_axis_; }

  int64_t n_axis_, n_parts_;
};

template <typename Device, typename T>
class DescriptorOp : public AxisOp {
 public:
  using AxisOp::AxisOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& moment = context->input(DescriptorIn::kMoment);
    Atoms atoms;
    std::vector<T*> out;
    OP_REQUIRES_OK(context, check_moment(moment));
    OP_REQUIRES_OK(context, read_atoms(context, moment, &atoms));
    OP_REQUIRES_OK(context, allocate(context, moment, atoms, &out));
    const T* a = moment.flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      for (int64_t part = 0; part < n_parts_; ++part)
        deepmd::gpu::descriptor(stream, shape_of(moment), atoms.on_gpu(part), a, out[part]);
      return;
    }
    const auto kernel = DEEPMD_PICK(descriptor<T>);
    run(context, moment, atoms, [&](const deepmd::DescriptorShape& shape, const Run& r) {
      kernel(shape, a + r.atom * size_moment(moment), 0, r.n,
             out[r.part] + r.row * size_descriptor(moment));
    });
  }
};

template <typename Device, typename T>
class DescriptorJvpOp : public AxisOp {
 public:
  using AxisOp::AxisOp;

  void Compute(OpKernelContext* context) override {
    const Tensor& moment = context->input(DescriptorJvpIn::kMoment);
    const Tensor& tangent = context->input(DescriptorJvpIn::kTangent);
    Atoms atoms;
    std::vector<T*> out;
    OP_REQUIRES_OK(context, check_moment(moment));
    OP_REQUIRES_OK(context, read_atoms(context, moment, &atoms));
    DEEPMD_SHAPE(context, "tangent", tangent, {moment.dim_size(0), 4, moment.dim_size(2)});
    OP_REQUIRES_OK(context, allocate(context, moment, atoms, &out));
    const T* a = moment.flat<T>().data();
    const T* b = tangent.flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      for (int64_t part = 0; part < n_parts_; ++part)
        deepmd::gpu::descriptor_jvp(stream, shape_of(moment), atoms.on_gpu(part), a, b, out[part]);
      return;
    }
    const auto kernel = DEEPMD_PICK(descriptor_jvp<T>);
    run(context, moment, atoms, [&](const deepmd::DescriptorShape& shape, const Run& r) {
      const int64_t at = r.atom * size_moment(moment);
      kernel(shape, a + at, b + at, 0, r.n, out[r.part] + r.row * size_descriptor(moment));
    });
  }
};

template <typename Device, typename T>
class DescriptorVjpOp : public AxisOp {
 public:
  using AxisOp::AxisOp;

  void Compute(OpKernelContext* context) override {
    OpInputList adjoint;
    OP_REQUIRES_OK(context, context->input_list("adjoint", &adjoint));
    const Tensor& moment = context->input(adjoint.size());
    Atoms atoms;
    OP_REQUIRES_OK(context, check_moment(moment));
    OP_REQUIRES_OK(context, read_atoms(context, moment, &atoms));
    std::vector<const T*> y;
    for (int part = 0; part < adjoint.size(); ++part) {
      DEEPMD_SHAPE(context, "adjoint", adjoint[part], {atoms.rows(part), size_descriptor(moment)});
      y.push_back(adjoint[part].flat<T>().data());
    }
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, moment.shape(), &out));
    const T* a = moment.flat<T>().data();
    T* gradient = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::OpStream stream(context);
      for (int64_t part = 0; part < n_parts_; ++part)
        deepmd::gpu::descriptor_vjp(stream, shape_of(moment), atoms.on_gpu(part), y[part], a,
                                    gradient);
      return;
    }
    const auto kernel = DEEPMD_PICK(descriptor_vjp<T>);
    run(context, moment, atoms, [&](const deepmd::DescriptorShape& shape, const Run& r) {
      const int64_t at = r.atom * size_moment(moment);
      kernel(shape, y[r.part] + r.row * size_descriptor(moment), a + at, 0, r.n, gradient + at);
    });
  }
};

DEEPMD_REGISTER("DpDescriptor", DescriptorOp, .HostMemory("counts"));
DEEPMD_REGISTER("DpDescriptorJvp", DescriptorJvpOp, .HostMemory("counts"));
DEEPMD_REGISTER("DpDescriptorVjp", DescriptorVjpOp, .HostMemory("counts"));

}  // namespace
