# SPDX-License-Identifier: BSD-3-Clause
"""The processor and the variables of the environment."""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from deepmd_tf.doctor.report import Check
from deepmd_tf.environment_variables import ELSEWHERE, HERE, PLUGIN_PATH


def processor() -> list[Check]:
    """Name, and how many of it this process may use."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = found.group(1) if found else platform.processor() or "unknown"
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} may be used"
    return [Check("processor", f"{name}, {platform.machine()}"), Check("cores", cores)]


def variables(environment: Mapping[str, str]) -> list[Check]:
    """Environment variables that are set and matter, with a note on ``DP_*`` that nobody reads."""
    known = HERE | {name: f"read by {reader}" for name, reader in ELSEWHERE.items()}
    checks = [
        Check(name, f"{environment[name]} ({meaning})")
        for name, meaning in known.items()
        if environment.get(name)
    ]
    for name in sorted(environment):
        if name.startswith(("DP_", "DEEPMD_TF_")) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "it has no effect"
            checks.append(Check(name, environment[name], "note", f"nobody reads it; {hint}"))
    advice = "programs of DeePMD-kit will not start with it; set DP_PLUGIN_PATH anew"
    checks += [
        Check(PLUGIN_PATH, f"names {path}, which does not exist", "broken", advice)
        for path in environment.get(PLUGIN_PATH, "").split(":")
        if "/" in path and not Path(path).exists()
    ]
    return checks or [Check("variables", "none is set that matters")]
