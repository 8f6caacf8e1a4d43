# SPDX-License-Identifier: BSD-3-Clause
"""Run stock DeePMD-kit, the peer, in its own environment.

``DEEPMD_STOCK_PYTHON`` is the Python of the environment that ``interop/make_peer.sh`` makes,
``DEEPMD_STOCK2_PYTHON`` that of DeePMD-kit 2, from ``interop/make_peer_2.sh``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PYTHON = os.environ.get("DEEPMD_STOCK_PYTHON", "")

PYTHON_2 = os.environ.get("DEEPMD_STOCK2_PYTHON", "")

needs_stock_2 = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON_2, reason="DEEPMD_STOCK2_PYTHON is not set"),
]
needs_stock = [
    pytest.mark.peer,
    pytest.mark.skipif(not PYTHON, reason="DEEPMD_STOCK_PYTHON is not set"),
]

KEYS = ("energy", "force", "virial", "atom_energy", "atom_virial")

# Commands are forked after the imports, which take longer than most of them.
COMMANDS = """
import json, os, sys
import deepmd.tf.entrypoints.main
from deepmd.main import main
for arguments in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        main(["--tf", *arguments])
        sys.exit()
    if os.waitpid(child, 0)[1]:
        sys.exit(f"failed: {arguments}")
"""

EVAL = """
import json, sys
import numpy as np
from deepmd.infer import DeepPot
given = np.load(sys.argv[2])
result = {}
for file, model in enumerate(json.loads(sys.argv[1])):
    pot = DeepPot(model)
    try:
        types_of_model = pot.eval_typeebd()
    except KeyError:
        types_of_model = None
    for i in range(int(given["n"])):
        coords, types = given[f"{i}_coords"], given[f"{i}_types"]
        cells = given[f"{i}_cells"] if f"{i}_cells" in given else None
        known = {k: given[f"{i}_{k}"] for k in ("fparam", "aparam") if f"{i}_{k}" in given}
        values = pot.eval(coords, cells, types, atomic=True, **known)
        for key, value in zip(sys.argv[4:], values):
            result[f"{file}_{i}_{key}"] = value
        try:
            result[f"{file}_{i}_descriptor"] = pot.eval_descriptor(coords, cells, types, **known)
        except TypeError:  # files of several models have none
            pass
        if types_of_model is not None:
            result[f"{file}_{i}_types"] = types_of_model
np.savez(sys.argv[3], **result)
"""

# The C interface runs what LAMMPS runs. It finds TensorFlow's libraries once they are loaded.
EVAL_CPP = """
import ctypes, json, sys
from importlib.util import find_spec
from pathlib import Path
import numpy as np
tensorflow = Path(find_spec("tensorflow").origin).parent
for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
    ctypes.CDLL(str(tensorflow / name), ctypes.RTLD_GLOBAL)
lib = ctypes.CDLL(str(Path(find_spec("deepmd").origin).parent / "lib" / "libdeepmd_c.so"))
lib.DP_NewDeepPot.restype = lib.DP_DeepPotCheckOK.restype = ctypes.c_void_p
lib.DP_NewDeepPot.argtypes = [ctypes.c_char_p]
lib.DP_DeepPotCheckOK.argtypes = [ctypes.c_void_p]
lib.DP_DeepPotCompute2.argtypes = [ctypes.c_void_p] + 2 * [ctypes.c_int] + 10 * [ctypes.c_void_p]

def check(pot):
    message = ctypes.string_at(lib.DP_DeepPotCheckOK(pot)).decode()
    if message:
        sys.exit(message)

given = np.load(sys.argv[2])
result = {}
for file, model in enumerate(json.loads(sys.argv[1])):
    pot = lib.DP_NewDeepPot(model.encode())
    check(pot)
    for i in range(int(given["n"])):
        coords = np.ascontiguousarray(given[f"{i}_coords"], float)
        types = np.ascontiguousarray(given[f"{i}_types"], np.int32)
        nf, n = coords.shape[:2]
        sizes = (1, 3 * n, 9, n, 9 * n)
        values = [np.zeros((nf, size)) for size in sizes]
        cells = np.ascontiguousarray(given[f"{i}_cells"]) if f"{i}_cells" in given else None
        for f in range(nf):
            cell = None if cells is None else cells[f].ctypes.data
            outputs = [value[f].ctypes.data for value in values]
            aparam = None
            if f"{i}_aparam" in given:
                parameters = np.ascontiguousarray(given[f"{i}_aparam"][f], float)
                aparam = parameters.ctypes.data
            lib.DP_DeepPotCompute2(
                pot, 1, n, coords[f].ctypes.data, types.ctypes.data, cell, None, aparam, *outputs
            )
            check(pot)
        result |= {f"{file}_{i}_{key}": value for key, value in zip(sys.argv[4:], values)}
np.savez(sys.argv[3], **result)
"""

Frames = tuple[np.ndarray | None, ...]
"""Coordinates, cells or None, types, and of models that have them for stock's Python fparam and
aparam: arguments of DeepPot.eval."""


def run(arguments: list[str], cwd: Path, python: str = PYTHON, **variables: str) -> str:
    """Run the Python of the peer; what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment |= variables
    done = subprocess.run(
        [python, *arguments],
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
    return log_lines(run(["-c", program, "--tf", *arguments], cwd))


def dp_each(commands: list[list[str]], cwd: Path) -> None:
    """Run several ``dp --tf`` of the peer, one after the other, which import once together."""
    run(["-c", COMMANDS, json.dumps(commands)], cwd)


def log_lines(output: str) -> list[str]:
    """Messages of level INFO in what ``dp`` printed, the peer's or ours."""
    lines = output.splitlines()
    return [line.split(" DEEPMD ", 1)[1][8:] for line in lines if " DEEPMD INFO" in line]


def evaluate(
    model: Path, folder: Path, cases: list[Frames], **options: Any
) -> list[dict[str, np.ndarray]]:
    """Results of the peer for each case: :func:`evaluate_files` with one file."""
    return evaluate_files([model], folder, cases, **options)[0]


def evaluate_files(
    models: list[Path],
    folder: Path,
    cases: list[Frames],
    cpp: bool = False,
    plugin: Path | None = None,
    python: str = PYTHON,
) -> list[list[dict[str, np.ndarray]]]:
    """Results of the peer for each file and case, flat for each frame, by one process.

    Parameters
    ----------
    models
        Frozen files.
    folder
        Where arrays are exchanged.
    cases
        What to evaluate.
    cpp
        By the C++ runtime, the one of LAMMPS; otherwise by the Python DeepPot.
    plugin
        Library with further operations, for the C++ runtime.
    python
        Which peer.

    Returns
    -------
    list of list of dict
        :data:`KEYS`, and from Python "descriptor" and the vectors of "types" where there are any.
    """
    given: dict[str, Any] = {"n": len(cases)}
    for i, case in enumerate(cases):
        named = zip(("coords", "cells", "types", "fparam", "aparam"), case, strict=False)
        given |= {f"{i}_{key}": array for key, array in named if array is not None}
    np.savez(folder / "given.npz", **given)
    variables = {} if plugin is None else {"DP_PLUGIN_PATH": str(plugin)}
    program, files = EVAL_CPP if cpp else EVAL, json.dumps([str(model) for model in models])
    run(["-c", program, files, "given.npz", "result.npz", *KEYS], folder, python, **variables)
    results: list[list[dict[str, np.ndarray]]] = [[{} for _ in cases] for _ in models]
    with np.load(folder / "result.npz") as arrays:
        for name, array in arrays.items():
            file, position, key = name.split("_", 2)
            results[int(file)][int(position)][key] = array
    return results
