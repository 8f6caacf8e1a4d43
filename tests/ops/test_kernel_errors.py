# SPDX-License-Identifier: BSD-3-Clause
"""What a kernel throws, in the caller or in another thread of its loop, is an error of the op."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import tensorflow.compat.v1 as tf

ROOT = Path(__file__).resolve().parents[2]

SOURCE = r"""
#include <atomic>
#include <chrono>
#include <new>
#include <stdexcept>
#include <thread>
#include "register.h"
#include "tensorflow/core/framework/op.h"
#include "workers.h"

using namespace tensorflow;

REGISTER_OP("DpTestThrow").Attr("T: {float, double}").Attr("memory: bool")
    .Input("x: T").Output("y: T").SetIsStateful();

template <typename T>
class ThrowOp : public OpKernel {
 public:
  explicit ThrowOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("memory", &memory_));
  }
  void Compute(OpKernelContext* context) override {
    std::atomic<int> ranges{0};
    deepmd::workers(context)(64, 100000, [&](int64_t, int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      if (++ranges == 5 && memory_) throw std::bad_alloc();
      if (ranges == 5) throw std::runtime_error("five");
    });
    context->set_output(0, context->input(0));
  }

 private:
  bool memory_;
};

DEEPMD_REGISTER_CPU("DpTestThrow", ThrowOp);
"""


@pytest.fixture(scope="module")
def throwing(tmp_path_factory: pytest.TempPathFactory) -> object:
    """The module of an op that throws in a loop."""
    cores = sorted((ROOT / "build").glob("tf*/core/libdeepmd_tf_core.a"))
    if not cores:
        pytest.skip("there is no build tree here")
    folder = tmp_path_factory.mktemp("throwing")
    (folder / "throw.cc").write_text(SOURCE)
    includes = [f"-I{ROOT / 'source' / part}" for part in ("op", "core/include")]
    command = ["g++", "-shared", "-fPIC", "-O1", folder / "throw.cc", "-o", folder / "throw.so"]
    command += [*includes, *tf.sysconfig.get_compile_flags(), cores[0]]
    subprocess.run([*command, *tf.sysconfig.get_link_flags()], check=True)
    return tf.load_op_library(str(folder / "throw.so"))


@pytest.mark.parametrize(
    ("memory", "error", "message"),
    [
        (True, tf.errors.ResourceExhaustedError, "not enough memory for the operation bad"),
        (False, tf.errors.InternalError, "the operation bad has failed: five"),
    ],
)
def test_an_exception_is_an_error_of_the_op(
    throwing: object, memory: bool, error: type[Exception], message: str
) -> None:
    config = tf.ConfigProto(intra_op_parallelism_threads=2)
    with tf.Graph().as_default(), tf.Session(config=config) as session:
        y = throwing.dp_test_throw(x=tf.constant(1.0), memory=memory, name="bad")
        for _ in range(20):
            with pytest.raises(error, match=message):
                session.run(y)
