# SPDX-License-Identifier: BSD-3-Clause
"""Programs on several processes, started by the MPI of the environment."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

PATIENCE = 120.0
_started: list[subprocess.Popen[str]] = []
THREADS = {"DP_INTRA_OP_PARALLELISM_THREADS": "1", "TF_INTER_OP_PARALLELISM_THREADS": "1"}


def launcher() -> list[str]:
    """The ``mpiexec`` beside this Python, and options that let it start many on few processors.

    A test that asks for it is skipped where there is none, or no mpi4py.
    """
    pytest.importorskip("mpi4py", reason="mpi4py is not installed (extra mpi)")
    found = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if found is None:
        pytest.skip("there is no mpiexec")
    asked = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if "Open MPI" in asked.stdout or "prterun" in asked.stdout or "PRTE" in asked.stdout:
        return [found, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
    return [found]


def start(
    folder: Path, ranks: int, *arguments: str, options: Sequence[str] = (), **environment: str
) -> subprocess.Popen[str]:
    """Start ``dp`` on so many processes (0: without a launcher) in a folder.

    ``options`` are those of the launcher, ``environment`` are variables.
    """
    paths = os.pathsep.join(path for path in sys.path if path)
    starts = [*launcher(), *options, "-n", str(ranks)] if ranks else []
    process = subprocess.Popen(
        [*starts, sys.executable, "-m", "deepmd_tf", *arguments],
        cwd=folder,
        env=os.environ | THREADS | {"PYTHONPATH": paths} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    _started.append(process)
    return process


def stop_all() -> None:
    """Kill what is left of what was started."""
    for process in _started:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    _started.clear()


def run(folder: Path, ranks: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """Status and words of ``dp`` on so many processes."""
    process = start(folder, ranks, *arguments, **environment)
    said, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, said


def train(folder: Path, ranks: int, *arguments: str, **environment: str) -> str:
    """Words of ``dp train input.json`` on so many processes, which must end well."""
    status, said = run(folder, ranks, "train", "input.json", *arguments, **environment)
    assert status == 0, said
    return said
