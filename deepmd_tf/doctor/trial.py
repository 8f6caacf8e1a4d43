# SPDX-License-Identifier: BSD-3-Clause
"""All that needs TensorFlow, in a process of its own: a crash is reported too.

The process writes one line of JSON for each step, so that what came before a crash is known.
:func:`run` starts it and reads the lines.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import deepmd_tf
from deepmd_tf.errors import DeepmdError

SECONDS = 600
"""After that long the process is taken for hanging."""
STEPS = ("import", "native", "stock", "numbers", "time")
"""What is tried, in this order."""


def run() -> tuple[dict[str, Any], str]:
    """Try everything.

    Returns
    -------
    dict
        Result of each step of :data:`STEPS` that was reached: a dictionary, with "error" where it
        failed.
    str
        How the process ended, if not by itself; else empty.
    """
    path = [str(Path(deepmd_tf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    with tempfile.TemporaryDirectory() as folder:  # nothing there that could be imported
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
            )
            output, ended = done.stdout, _ending(done.returncode, done.stderr)
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode(errors="replace")
            ended = f"nothing happened for {SECONDS} s"
    found = {}
    for line in output.splitlines():
        if line.startswith("{"):
            found |= json.loads(line)
    return found, ended


def _ending(status: int, errors: str) -> str:
    if status == 0:
        return ""
    if status < 0:
        number = -status
        known = number in {s.value for s in signal.Signals}
        return f"the process was ended by {signal.Signals(number).name if known else number}"
    last = (errors.strip().splitlines() or ["no message"])[-1]
    return f"the process ended with status {status}: {last}"


def _import() -> dict[str, Any]:
    from deepmd_tf.ops.library import tensorflow

    tf = tensorflow()
    from deepmd_tf.graph.session import session_config

    config = session_config()
    return {
        "gpus": [gpu.name for gpu in tf.config.list_physical_devices("GPU")],
        "cuda": bool(tf.test.is_built_with_cuda()),
        "threads": config.intra_op_parallelism_threads,
        "operations": config.inter_op_parallelism_threads,
    }


def _try(step: str) -> dict[str, Any]:
    if step == "import":
        return _import()
    if step in ("native", "stock"):
        from deepmd_tf.ops import library

        getattr(library, step)()
        return {"isa": library.instruction_set()} if step == "native" else {}
    from deepmd_tf.doctor import selftest

    if step == "numbers":
        return {"measures": [measure._asdict() for measure in selftest.measures()]}
    return {"milliseconds": selftest.milliseconds()}


def main() -> None:
    """Try step by step, until one fails."""
    for step in STEPS:
        try:
            result = _try(step)
        except DeepmdError as error:
            result = {"error": str(error)}
        except Exception as error:  # whatever it is, it is what the user needs to know
            text = (str(error).strip().splitlines() or [""])[0]
            result = {"error": f"{type(error).__name__}: {text}"}
        print(json.dumps({step: result}), flush=True)
        if "error" in result:
            return


if __name__ == "__main__":
    main()
