# SPDX-License-Identifier: BSD-3-Clause
"""Names of environment variables, and who reads them; ``doc/reference/variables.md`` says more."""

from __future__ import annotations

import os
from collections.abc import Sequence

from deepmd_tf.errors import InputError

INTRA_OP_THREADS = (
    "DP_INTRA_OP_PARALLELISM_THREADS",
    "TF_INTRA_OP_PARALLELISM_THREADS",
    "OMP_NUM_THREADS",
)
INTER_OP_THREADS = ("DP_INTER_OP_PARALLELISM_THREADS", "TF_INTER_OP_PARALLELISM_THREADS")
"""The first that is set counts."""
INTERFACE_PRECISION = "DP_INTERFACE_PREC"
BATCH_SIZE = "DP_INFER_BATCH_SIZE"
MISSING_NEIGHBORS = "DP_ON_MISSING_NEIGHBORS"
CLOSE_ATOMS = "DP_ON_CLOSE_ATOMS"
TEST_CHUNK = "DP_TEST_CHUNK_ATOMS"
BACKEND = "DP_BACKEND"
INSTRUCTIONS = "DEEPMD_TF_ISA"
DEVICE = "DEEPMD_TF_DEVICE"
CACHE = "DEEPMD_TF_CACHE"
GPU_RUNTIME = "DEEPMD_TF_GPU_RUNTIME"
MPI = "DEEPMD_TF_MPI"
DEVICE = "DEEPMD_TF_DEVICE"
PLUGIN_PATH = "DP_PLUGIN_PATH"

HERE = {
    INTRA_OP_THREADS[0]: "threads",
    INTRA_OP_THREADS[1]: "threads, where the DP_ variable is not set",
    INTRA_OP_THREADS[2]: "threads, where neither of those is set",
    INTER_OP_THREADS[0]: "operations at a time",
    INTER_OP_THREADS[1]: "operations at a time, where the DP_ variable is not set",
    INTERFACE_PRECISION: "high or low: type of coordinates and forces",
    BATCH_SIZE: "atoms evaluated at once",
    MISSING_NEIGHBORS: "warn, error or ignore: neighbours beyond sel",
    TEST_CHUNK: "atoms that dp test reads at once",
    BACKEND: "only tensorflow",
    INSTRUCTIONS: "no instructions beyond these",
    DEVICE: "cpu or gpu: where operations run",
    CACHE: "folder of kernels that were compiled for a GPU",
    MPI: "off: processes that were started together work each for itself",
    "CUDA_VISIBLE_DEVICES": "graphics processors that TensorFlow sees",
}
"""Variables that this package (or TensorFlow for it) reads at run time."""
_UNUSED = (
    "AUTO_PARALLELIZATION JIT DTYPE_PROMOTION_STRICT LMDB_NUM_WORKERS NODE_TILE CUDA_INFER "
    "ACT_INFER AMP_INFER COMPILE_INFER CUTE_INFER TF32_INFER TRITON_INFER"
)
ELSEWHERE = {
    PLUGIN_PATH: "LAMMPS and other C++ programs of DeePMD-kit",
    CLOSE_ATOMS: "native files in other programs: warn, error or ignore close atoms",
    "DP_BACKEND_PLUGIN_PATH": "C++ programs of DeePMD-kit",
    "DP_PROFILER": "C++ programs of DeePMD-kit",
    GPU_RUNTIME: "tests of this package: a library that stands for a GPU",
    "LD_LIBRARY_PATH": "the dynamic linker",
    **{f"DP_{name}": "DeePMD-kit; without effect here" for name in _UNUSED.split()},
}
"""Variables that other programs read."""


def threads(variables: Sequence[str]) -> int | None:
    """What the first of these that is set says: a number of threads, 0 for automatic; or None.

    Raises
    ------
    InputError
        If that is not a number.
    """
    for name in variables:
        text = os.environ.get(name, "").strip()
        if text.isdecimal():
            return int(text)
        if text:
            raise InputError(
                f'environment variable {name} is "{text}", '
                "it must be a number of threads (0: automatic)"
            )
    return None
