# SPDX-License-Identifier: BSD-3-Clause
"""Run stock DeePMD-kit, the peer, in its own environment.

``DEEPMD_STOCK_PYTHON`` is the Python of an environment with ``deepmd-kit[cpu]==3.2.0``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PYTHON = os.environ.get("DEEPMD_STOCK_PYTHON", "")

needs_stock = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON, reason="DEEPMD_STOCK_PYTHON is not set"),
]

KEYS = ("energy", "force", "virial", "atom_energy", "atom_virial")

EVAL = """
import sys
import numpy as np
from deepmd.infer import DeepPot
pot = DeepPot(sys.argv[1])
given = np.load(sys.argv[2])
result = {}
for i in range(int(given["n"])):
    coords, types = given[f"{i}_coords"], given[f"{i}_types"]
    cells = given[f"{i}_cells"] if f"{i}_cells" in given else None
    values = pot.eval(coords, cells, types, atomic=True)
    for key, value in zip(sys.argv[4:], values):
        result[f"{i}_{key}"] = value
    result[f"{i}_descriptor"] = pot.eval_descriptor(coords, cells, types)
np.savez(sys.argv[3], **result)
"""

Frames = tuple[np.ndarray, np.ndarray | None, np.ndarray]
"""Coordinates, cells or None, types: arguments of DeepPot.eval."""


def run(arguments: list[str], cwd: Path) -> str:
    """Run the Python of the peer; what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [PYTHON, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dp(arguments: list[str], cwd: Path) -> list[str]:
    """Run ``dp --tf`` of the peer; the messages of its log."""
    program = "import sys; from deepmd.main import main; main(sys.argv[1:])"
    lines = run(["-c", program, "--tf", *arguments], cwd).splitlines()
    return [line.split(" DEEPMD ", 1)[1][8:] for line in lines if " DEEPMD INFO" in line]


def evaluate(model: Path, folder: Path, cases: list[Frames]) -> list[dict[str, np.ndarray]]:
    """:data:`KEYS` and the descriptor of each case, by the peer's DeepPot."""
    given: dict[str, Any] = {"n": len(cases)}
    for i, (coords, cells, types) in enumerate(cases):
        given |= {f"{i}_coords": coords, f"{i}_types": types}
        if cells is not None:
            given[f"{i}_cells"] = cells
    np.savez(folder / "given.npz", **given)
    run(["-c", EVAL, str(model), "given.npz", "result.npz", *KEYS], folder)
    with np.load(folder / "result.npz") as result:
        keys = (*KEYS, "descriptor")
        return [{key: result[f"{i}_{key}"] for key in keys} for i in range(len(cases))]
