# SPDX-License-Identifier: BSD-3-Clause
"""Put the page together; run what needs TensorFlow in a process of its own, which may crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import deepmd_tf
from deepmd_tf.doctor import installation, machine, trial
from deepmd_tf.doctor.report import Check, Examination

SECONDS = 600
"""After that long the process is taken for hanging."""


def examine() -> Examination:
    """Look at everything; takes some seconds, most of them for starting TensorFlow."""
    sections = {
        "Installed": installation.packages(),
        "Operations": installation.operations(),
        "Machine": machine.processor(),
        "Environment": machine.variables(os.environ),
        "Self-test": [],
    }
    for section, check in interpret(*run()):
        sections[section].append(check)
    if not sections["Self-test"]:
        check = Check("self-test", "not reached", "broken", "mend what is said above")
        sections["Self-test"].append(check)
    return Examination(sections, installation.shell_lines(), installation.LAMMPS)


def run() -> tuple[str, str]:
    """Output of :mod:`deepmd_tf.doctor.trial`, and how it ended, if not by itself; else empty."""
    path = [str(Path(deepmd_tf.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "PYTHONIOENCODING": "utf-8",
    }
    with tempfile.TemporaryDirectory() as folder:  # nothing there that could be imported
        try:
            done = subprocess.run(
                [sys.executable, "-m", trial.__name__],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode(errors="replace")
            return output, f"nothing happened for {SECONDS} s"
    return done.stdout, _ending(done.returncode, done.stderr)


def interpret(output: str, ended: str) -> list[tuple[str, Check]]:
    """Sections and checks of the steps that were reached, and of the one in which it ended."""
    checks, left = [], list(trial.STEPS)
    for line in output.splitlines():
        if line.startswith("["):
            step, found = json.loads(line)
            left.remove(step)
            checks += [(section, Check(**check)) for section, check in found]
    if ended and left:
        advice = trial.REPORT_IT
        if len(left) == len(trial.STEPS):
            advice = "TensorFlow does not run on this machine: try another release of it"
        checks.append((trial.STEPS[left[0]][0], Check(left[0], ended, "broken", advice)))
    return checks


def _ending(status: int, errors: str) -> str:
    if status == 0:
        return ""
    if status < 0:
        number = -status
        known = number in {s.value for s in signal.Signals}
        return f"the process was ended by {signal.Signals(number).name if known else number}"
    last = (errors.strip().splitlines() or ["no message"])[-1]
    return f"the process ended with status {status}: {last}"
