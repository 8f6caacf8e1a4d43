// SPDX-License-Identifier: BSD-3-Clause
// Another kernel for TensorFlow's MatMul, taken by the nodes that ask for it by attr _kernel:
// TensorFlow's own does not use the widest vectors of a processor for float64.
#include <algorithm>

#include "checks.h"
#include "gemm.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "workers.h"

namespace {

using namespace tensorflow;  // NOLINT(build/namespaces)

template <typename T>
class MatMulOp : public OpKernel {
 public:
  explicit MatMulOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transpose_a", &transpose_a_));
    OP_REQUIRES_OK(context, context->GetAttr("transpose_b", &transpose_b_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& a = context->input(0);
    const Tensor& b = context->input(1);
    DEEPMD_SHAPE(context, "a", a, {-1, -1});
    const int64_t m = a.dim_size(transpose_a_ ? 1 : 0), k = a.dim_size(transpose_a_ ? 0 : 1);
    DEEPMD_SHAPE(context, "b", b, {transpose_b_ ? -1 : k, transpose_b_ ? k : -1});
    const int64_t n = b.dim_size(transpose_b_ ? 0 : 1);
    Tensor* out = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, {m, n}, &out));
    if (m == 0 || n == 0) return;
    T* c = out->flat<T>().data();
    if (k == 0) {
      std::fill(c, c + m * n, T(0));
      return;
    }
    const deepmd::GemmShape shape{m, n, k, transpose_a_, transpose_b_};
    const int64_t blocks = DEEPMD_PICK(gemm_blocks<T>)(shape);
    const auto kernel = DEEPMD_PICK(gemm<T>);
    deepmd::workers(context)(blocks, 1 + m * n * k / 16 / blocks, [&](int64_t begin, int64_t end) {
      kernel(shape, a.flat<T>().data(), b.flat<T>().data(), begin, end, c);
    });
  }

 private:
  bool transpose_a_, transpose_b_;
};

REGISTER_KERNEL_BUILDER(
    Name("MatMul").Device(DEVICE_CPU).TypeConstraint<double>("T").Label("deepmd_tf"),
    MatMulOp<double>);

}  // namespace
