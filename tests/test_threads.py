# SPDX-License-Identifier: BSD-3-Clause
"""Operations, descriptors and fittings: threads change no bit, kernels of other instruction sets
nothing but rounding.

What is compared is ``results()`` of every class that inherits a contract, and of a module that has
such a function. TensorFlow makes its
worker threads once per process, for the first session, and kernels are chosen once, hence
processes: in one process there is nothing to compare.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[3])
import numpy as np
from deepmd_tf.graph.session import start_threads
from test_threads import evaluate
start_threads()
np.savez(sys.argv[1], **evaluate(sys.argv[2].split()))
"""
ROUNDING = {
    # Second derivatives between nodes of random numbers, for products of rows that are rounded:
    # half a unit in the last place of the rows alone changes them by 480.
    "ops test_angles TestAlongTangents": 1000,
}
"""By which instruction sets may differ in units of ``eps`` of the largest number, if not 100."""


def evaluate(folders: list[str]) -> dict[str, np.ndarray]:
    """Results of what is tested by a contract in these folders, by folder, class and number."""
    found = {}
    for folder in folders:
        for path in sorted((HERE / folder).glob("test_*.py")):
            module = importlib.import_module(f"{folder}.{path.stem}")
            members = {name: one for name, one in vars(module).items() if name.startswith("Test")}
            for name, member in {**members, "": module}.items():
                results = member.results() if hasattr(member, "results") else []
                found |= {f"{folder} {path.stem} {name} {i}": a for i, a in enumerate(results)}
    return found


def test_threads_and_instruction_sets(tmp_path: Path) -> None:
    """The same bits by one thread and by three, and the same numbers on other processors."""

    def start(threads: int, isa: str, folders: str) -> tuple[subprocess.Popen, Path]:
        out = tmp_path / f"{threads}{isa}.npz"
        given = {"DP_INTRA_OP_PARALLELISM_THREADS": str(threads), "DEEPMD_TF_ISA": isa}
        command = [sys.executable, "-c", SCRIPT, out, folders, HERE]
        # away from the checkout, which is not what is installed
        return subprocess.Popen(command, env=os.environ | given, cwd=tmp_path), out

    def values(out: Path) -> dict[str, np.ndarray]:
        with np.load(out) as result:
            return dict(result)

    everything = "ops descriptors fitting"
    given = ((1, "", everything), (3, "", everything), (3, "avx2", "ops"), (3, "baseline", "ops"))
    started = [start(*how) for how in given]
    assert [process.wait(timeout=250) for process, _ in started] == [0] * 4
    one, three, *others = (values(out) for _, out in started)
    assert {key.split()[0] for key in one} == set(everything.split())
    assert one.keys() == three.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(three[key], value, err_msg=key)
    for other in others:
        for key, same in other.items():
            value = one[key]
            eps = np.finfo(value.dtype).eps if value.dtype.kind == "f" else 0
            bound = ROUNDING.get(key.rpartition(" ")[0], 100) * eps * np.abs(value).max(initial=0)
            np.testing.assert_allclose(same, value, atol=bound, rtol=0, err_msg=key)
