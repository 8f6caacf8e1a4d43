// SPDX-License-Identifier: BSD-3-Clause
// matmul: the product of two matrices.
#include "checks.h"
#include "device.h"
#include "gemm.h"
#include "register.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)

struct MatMulIn {
  enum { kA, kB };
};

REGISTER_OP("DpMatMul")
    .Attr("T: {float32, float64} = DT_DOUBLE")
    .Attr("transpose_a: bool = false")
    .Attr("transpose_b: bool = false")
    .Input("a: T")
    .Input("b: T")
    .Output("product: T")
    .SetShapeFn(shape_inference::MatMulShape)
    .Doc(R"doc(
Product of two matrices, op(a) op(b). Each element is summed in an order that depends on the inner
dimension alone; on a GPU, where cuBLAS does it, on all three.

a: [m, k], or [k, m] if transpose_a.
b: [k, n], or [n, k] if transpose_b.
product: [m, n].
)doc");

template <typename Device, typename T>
class MatMulOp : public OpKernel {
 public:
  explicit MatMulOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transpose_a", &transpose_a_));
    OP_REQUIRES_OK(context, context->GetAttr("transpose_b", &transpose_b_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& a = context->input(MatMulIn::kA);
    const Tensor& b = context->input(MatMulIn::kB);
    DEEPMD_SHAPE(context, "a", a, {-1, -1});
    const int64_t m = a.dim_size(transpose_a_ ? 1 : 0), k = a.dim_size(transpose_a_ ? 0 : 1);
    DEEPMD_SHAPE(context, "b", b, {transpose_b_ ? -1 : k, transpose_b_ ? k : -1});
    const int64_t n = b.dim_size(transpose_b_ ? 0 : 1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {m, n}, &out));
    if (m == 0 || n == 0) return;
    T* c = out->flat<T>().data();
    if constexpr (deepmd::on_gpu<Device>) {
      deepmd::OpStream(context).multiply(m, n, k, transpose_a_, transpose_b_, a.flat<T>().data(),
                                         b.flat<T>().data(), false, c);
      return;
    }
    const deepmd::GemmShape shape{m, n, k, transpose_a_, transpose_b_};
    const int64_t blocks = DEEPMD_PICK(gemm_blocks<T>)(shape);
    const auto kernel = DEEPMD_PICK(gemm<T>);
    deepmd::workers(context)(
        blocks, 1 + m * n * k / kPerCycle / blocks, [&](int64_t begin, int64_t end) {
          kernel(shape, a.flat<T>().data(), b.flat<T>().data(), begin, end, false, c);
        });
  }

 private:
  static constexpr int64_t kPerCycle = 128 / sizeof(T);  // two vectors of 512 bits
  bool transpose_a_, transpose_b_;
};

DEEPMD_REGISTER("DpMatMul", MatMulOp);

}  // namespace
