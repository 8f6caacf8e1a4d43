// SPDX-License-Identifier: BSD-3-Clause
// env_matrix and its derivative maps.
#include "checks.h"
#include "env_matrix_kernels.h"
#include "gpu_env_matrix.h"
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

// Inputs of these operations; `Operands` is 0 for DpEnvMatrix, which alone has avg, otherwise the
// number of rows and displacements (g, u, v) after x.
template <int Operands>
struct EnvMatrixIn {
  enum {
    kX,
    kFirst,
    kSecond,
    kCenter = kX + 1 + Operands,
    kType,
    kAvg,
    kStd = Operands == 0 ? kAvg + 1 : kAvg
  };
};

// Inputs: x [n_pairs, 3], operands [n_pairs, widths...], center [n_pairs], type [n_rows], and
// [ntypes, 4] of avg and std. Output: [n_pairs, out].
template <int... Widths>
absl::Status env_shape(InferenceContext* c, int out) {
  using In = EnvMatrixIn<sizeof...(Widths)>;
  ShapeHandle shape;
  DimensionHandle n_pairs, width;
  TF_RETURN_IF_ERROR(c->WithRank(c->input(In::kX), 2, &shape));
  TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 1), 3, &width));
  n_pairs = c->Dim(shape, 0);
  int operand = In::kFirst;
  for (const int expected : std::initializer_list<int>{Widths...}) {
    TF_RETURN_IF_ERROR(c->WithRank(c->input(operand++), 2, &shape));
    TF_RETURN_IF_ERROR(c->WithValue(c->Dim(shape, 1), expected, &width));
    TF_RETURN_IF_ERROR(c->Merge(n_pairs, c->Dim(shape, 0), &n_pairs));
  }
  TF_RETURN_IF_ERROR(c->WithRank(c->input(In::kCenter), 1, &shape));
  TF_RETURN_IF_ERROR(c->Merge(n_pairs, c->Dim(shape, 0), &n_pairs));
  TF_RETURN_IF_ERROR(c->WithRank(c->input(In::kType), 1, &shape));
  ShapeHandle norm = c->Matrix(InferenceContext::kUnknownDim, 4);
  for (int i = In::kAvg; i <= In::kStd; ++i) TF_RETURN_IF_ERROR(c->Merge(norm, c->input(i), &norm));
  c->set_output(0, c->Matrix(n_pairs, out));
  return absl::OkStatus();
}

REGISTER_OP("DpEnvMatrix")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("rcut: float")
    .Attr("rcut_smth: float")
    .Input("x: T")
    .Input("center: int32")
    .Input("type: int32")
    .Input("avg: T")
    .Input("std: T")
    .Output("rows: T")
    .SetShapeFn([](InferenceContext* c) { return env_shape<>(c, 4); })
    .Doc(R"doc(
Environment rows: rows[p] = (D(x[p]) - avg[c]) / std[c], with c the type of the centre of the pair.

D(x) = w(r)/r (1, x/r, y/r, z/r); w is 1 below rcut_smth, u^3 (-6u^2 + 15u - 10) + 1 with
u = (r - rcut_smth)/(rcut - rcut_smth), and 0 from rcut on. A centre of type -1 has rows of zeros.

x: [n_pairs, 3], from the centre to the neighbour, Angstrom.
center: [n_pairs], row of the centre.
type: [n_rows], -1 or 0 ... ntypes-1.
avg: [ntypes, 4], per type of the centre.
std: [ntypes, 4], positive.
rows: [n_pairs, 4].
rcut: Angstrom; the kernel computes with what float32 makes of it.
rcut_smth: Angstrom, below rcut.
)doc");

REGISTER_OP("DpEnvMatrixVjp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("rcut: float")
    .Attr("rcut_smth: float")
    .Input("x: T")
    .Input("g: T")
    .Input("center: int32")
    .Input("type: int32")
    .Input("std: T")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) { return env_shape<4>(c, 3); })
    .Doc(R"doc(
First derivative of the environment rows (DpEnvMatrix), transposed:
out[p][a] = sum_k g[p][k] d rows_k/d x_a.
x, center, type, std, rcut and rcut_smth are those of DpEnvMatrix.

g: [n_pairs, 4].
out: [n_pairs, 3].
)doc");

REGISTER_OP("DpEnvMatrixJvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("rcut: float")
    .Attr("rcut_smth: float")
    .Input("x: T")
    .Input("v: T")
    .Input("center: int32")
    .Input("type: int32")
    .Input("std: T")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) { return env_shape<3>(c, 4); })
    .Doc(R"doc(
First derivative of the environment rows (DpEnvMatrix): out[p][k] = sum_a v[p][a] d rows_k/d x_a.
x, center, type, std, rcut and rcut_smth are those of DpEnvMatrix.

v: [n_pairs, 3].
out: [n_pairs, 4].
)doc");

REGISTER_OP("DpEnvMatrixHvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("rcut: float")
    .Attr("rcut_smth: float")
    .Input("x: T")
    .Input("g: T")
    .Input("v: T")
    .Input("center: int32")
    .Input("type: int32")
    .Input("std: T")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) { return env_shape<4, 3>(c, 3); })
    .Doc(R"doc(
Second derivative of the environment rows (DpEnvMatrix), contracted with a row and a displacement:
out[p][a] = sum_kb g[p][k] v[p][b] d2 rows_k/(d x_a d x_b).
x, center, type, std, rcut and rcut_smth are those of DpEnvMatrix.

g: [n_pairs, 4].
v: [n_pairs, 3].
out: [n_pairs, 3].
)doc");

REGISTER_OP("DpEnvMatrixJvpOfJvp")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("rcut: float")
    .Attr("rcut_smth: float")
    .Input("x: T")
    .Input("u: T")
    .Input("v: T")
    .Input("center: int32")
    .Input("type: int32")
    .Input("std: T")
    .Output("out: T")
    .SetShapeFn([](InferenceContext* c) { return env_shape<3, 3>(c, 4); })
    .Doc(R"doc(
Second derivative of the environment rows (DpEnvMatrix), contracted with two displacements:
out[p][k] = sum_ab u[p][a] v[p][b] d2 rows_k/(d x_a d x_b). Symmetric in u and v.
x, center, type, std, rcut and rcut_smth are those of DpEnvMatrix.

u: [n_pairs, 3].
v: [n_pairs, 3].
out: [n_pairs, 4].
)doc");

// Everything that the five ops share: attributes, checks of the common inputs, the loop.
template <typename Device, typename T, int Operands>
class EnvOp : public OpKernel {
 public:
  using In = EnvMatrixIn<Operands>;

  explicit EnvOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("rcut", &rcut_));
    OP_REQUIRES_OK(context, context->GetAttr("rcut_smth", &rcut_smth_));
    // Written so that a NaN is refused.
    DEEPMD_CHECK(context, rcut_smth_ >= 0 && rcut_ > rcut_smth_ && rcut_ <= 1e6f,
                 "rcut_smth = ", rcut_smth_, " and rcut = ", rcut_,
                 " are no cutoff, expected 0 <= rcut_smth < rcut");
  }

 protected:
  // Sets an error and returns false if anything is wrong.
  bool read(OpKernelContext* context, deepmd::EnvPairs<T>* pairs) const {
    const absl::Status status = check(context);
    if (!status.ok()) {
      context->CtxFailure(status);
      return false;
    }
    pairs->rcut = static_cast<T>(rcut_);
    pairs->rcut_smth = static_cast<T>(rcut_smth_);
    pairs->x = context->input(In::kX).template flat<T>().data();
    pairs->center = context->input(In::kCenter).template flat<int32_t>().data();
    pairs->type = context->input(In::kType).template flat<int32_t>().data();
    pairs->std = context->input(In::kStd).template flat<T>().data();
    return true;
  }

  // Fills a new output of `width` columns: by a map of the GPU or of the processor (see below),
  // given what it takes beside the pairs.
  template <typename Map, typename... A>
  void run(OpKernelContext* context, const deepmd::EnvPairs<T>& pairs, int64_t width,
           const A*... arrays) const {
    const int64_t n_pairs = context->input(In::kX).dim_size(0);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {n_pairs, width}, &out));
    T* data = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      const deepmd::gpu::EnvSizes sizes{n_pairs, context->input(In::kType).dim_size(0),
                                        context->input(In::kStd).dim_size(0)};
      Map::template on_gpu<T>()(deepmd::OpStream(context), pairs, sizes, arrays..., data);
      return;
    }
    const auto kernel = Map::template kernel<T>();
    deepmd::workers(context)(n_pairs, 30, [&](int64_t begin, int64_t end) {
      kernel(pairs, arrays..., begin, end, data);
    });
  }

 private:
  absl::Status check(OpKernelContext* context) const {
    using deepmd::check_indices;
    using deepmd::check_shape;
    const Tensor& x = context->input(In::kX);
    const Tensor& center = context->input(In::kCenter);
    const Tensor& type = context->input(In::kType);
    TF_RETURN_IF_ERROR(check_shape("x", x, {-1, 3}));
    TF_RETURN_IF_ERROR(check_shape("center", center, {x.dim_size(0)}));
    TF_RETURN_IF_ERROR(check_shape("type", type, {-1}));
    const Tensor& std = context->input(In::kStd);
    TF_RETURN_IF_ERROR(check_shape("std", std, {-1, 4}));
    if (deepmd::on_gpu<Device>) return absl::OkStatus();
    TF_RETURN_IF_ERROR(check_indices("center", center, 0, type.dim_size(0)));
    TF_RETURN_IF_ERROR(check_indices("type", type, -1, std.dim_size(0)));
    const T* values = std.flat<T>().data();
    for (int64_t i = 0; i < std.NumElements(); ++i) {
      if (!(values[i] > T(0))) {
        return deepmd::invalid_argument("std[", i / 4, ", ", i % 4, "] = ", values[i],
                                        ", expected a positive number");
      }
    }
    return absl::OkStatus();
  }

  float rcut_, rcut_smth_;
};

template <typename Device, typename T, typename Map>
class EnvMatrixOp : public EnvOp<Device, T, 0> {
 public:
  using EnvOp<Device, T, 0>::EnvOp;
  using In = EnvMatrixIn<0>;

  void Compute(OpKernelContext* context) override {
    deepmd::EnvPairs<T> pairs;
    if (!this->read(context, &pairs)) return;
    const Tensor& avg = context->input(In::kAvg);
    DEEPMD_SHAPE(context, "avg", avg, {context->input(In::kStd).dim_size(0), 4});
    this->template run<Map>(context, pairs, 4, avg.flat<T>().data());
  }
};

// The maps with one operand (g or v) of `Width` columns.
template <typename Device, typename T, int Width, int Out, typename Map>
class EnvMapOp : public EnvOp<Device, T, 1> {
 public:
  using EnvOp<Device, T, 1>::EnvOp;
  using In = EnvMatrixIn<1>;

  void Compute(OpKernelContext* context) override {
    const Tensor& operand = context->input(In::kFirst);
    deepmd::EnvPairs<T> pairs;
    if (!this->read(context, &pairs)) return;
    DEEPMD_SHAPE(context, Width == 4 ? "g" : "v", operand,
                 {context->input(In::kX).dim_size(0), Width});
    this->template run<Map>(context, pairs, Out, operand.flat<T>().data());
  }
};

// The maps with two operands, the first of `Width` columns (g or u), the second one v.
template <typename Device, typename T, int Width, int Out, typename Map>
class EnvMap2Op : public EnvOp<Device, T, 2> {
 public:
  using EnvOp<Device, T, 2>::EnvOp;
  using In = EnvMatrixIn<2>;

  void Compute(OpKernelContext* context) override {
    const Tensor& first = context->input(In::kFirst);
    const Tensor& second = context->input(In::kSecond);
    deepmd::EnvPairs<T> pairs;
    if (!this->read(context, &pairs)) return;
    const int64_t n_pairs = context->input(In::kX).dim_size(0);
    DEEPMD_SHAPE(context, Width == 4 ? "g" : "u", first, {n_pairs, Width});
    DEEPMD_SHAPE(context, "v", second, {n_pairs, 3});
    this->template run<Map>(context, pairs, Out, first.flat<T>().data(), second.flat<T>().data());
  }
};

// A map for both devices.
#define ENV_MAP(Name, function)         \
  struct Name {                         \
    template <typename T>               \
    static auto kernel() {              \
      return DEEPMD_PICK(function<T>);  \
    }                                   \
    template <typename T>               \
    static constexpr auto on_gpu() {    \
      return &deepmd::gpu::function<T>; \
    }                                   \
  }
ENV_MAP(Rows, env_matrix);
ENV_MAP(Vjp, env_matrix_vjp);
ENV_MAP(Jvp, env_matrix_jvp);
ENV_MAP(Hvp, env_matrix_hvp);
ENV_MAP(JvpOfJvp, env_matrix_jvp_of_jvp);

template <typename Device, typename T>
using EnvMatrixRowsOp = EnvMatrixOp<Device, T, Rows>;
template <typename Device, typename T>
using EnvMatrixVjpOp = EnvMapOp<Device, T, 4, 3, Vjp>;
template <typename Device, typename T>
using EnvMatrixJvpOp = EnvMapOp<Device, T, 3, 4, Jvp>;
template <typename Device, typename T>
using EnvMatrixHvpOp = EnvMap2Op<Device, T, 4, 3, Hvp>;
template <typename Device, typename T>
using EnvMatrixJvpOfJvpOp = EnvMap2Op<Device, T, 3, 4, JvpOfJvp>;

DEEPMD_REGISTER("DpEnvMatrix", EnvMatrixRowsOp);
DEEPMD_REGISTER("DpEnvMatrixVjp", EnvMatrixVjpOp);
DEEPMD_REGISTER("DpEnvMatrixJvp", EnvMatrixJvpOp);
DEEPMD_REGISTER("DpEnvMatrixHvp", EnvMatrixHvpOp);
DEEPMD_REGISTER("DpEnvMatrixJvpOfJvp", EnvMatrixJvpOfJvpOp);

}  // namespace
