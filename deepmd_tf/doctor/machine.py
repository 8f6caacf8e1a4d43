# SPDX-License-Identifier: BSD-3-Clause
"""The processor and the variables of the environment."""

from __future__ import annotations

import difflib
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

from deepmd_tf.doctor.report import Finding

HERE = {
    "DP_INTRA_OP_PARALLELISM_THREADS": "threads",
    "TF_INTRA_OP_PARALLELISM_THREADS": "threads, where the DP_ variable is not set",
    "OMP_NUM_THREADS": "threads, where neither of those is set",
    "DP_INTER_OP_PARALLELISM_THREADS": "operations at a time",
    "TF_INTER_OP_PARALLELISM_THREADS": "operations at a time, where the DP_ variable is not set",
    "DP_INTERFACE_PREC": "high or low: type of coordinates and forces",
    "DP_INFER_BATCH_SIZE": "atoms evaluated at once",
    "DP_ON_MISSING_NEIGHBORS": "warn, error or ignore: neighbours beyond sel",
    "DP_TEST_CHUNK_ATOMS": "atoms that dp test reads at once",
    "DP_BACKEND": "only tensorflow",
    "DEEPMD_TF_ISA": "no instructions beyond these",
    "CUDA_VISIBLE_DEVICES": "graphics processors that TensorFlow sees",
}
"""What this package (or TensorFlow for it) reads."""
ELSEWHERE = {
    "DP_PLUGIN_PATH": "LAMMPS and other C++ programs of DeePMD-kit",
    "DP_BACKEND_PLUGIN_PATH": "C++ programs of DeePMD-kit",
    "DP_PROFILER": "C++ programs of DeePMD-kit",
    "LD_LIBRARY_PATH": "the dynamic linker",
    **dict.fromkeys(
        (
            "DP_AUTO_PARALLELIZATION",
            "DP_JIT",
            "DP_DTYPE_PROMOTION_STRICT",
            "DP_LMDB_NUM_WORKERS",
            "DP_CUDA_INFER",
            "DP_ACT_INFER",
            "DP_AMP_INFER",
            "DP_COMPILE_INFER",
            "DP_CUTE_INFER",
            "DP_TF32_INFER",
            "DP_TRITON_INFER",
            "DP_NODE_TILE",
        ),
        "DeePMD-kit; without effect here",
    ),
}
"""What other programs read."""


def processor() -> list[Finding]:
    """Name, and how many of it this process may use."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    name = found.group(1) if found else platform.processor() or "unknown"
    usable, total = len(os.sched_getaffinity(0)), os.cpu_count()
    return [
        Finding("processor", f"{name}, {platform.machine()}"),
        Finding("cores", f"{usable} of {total} may be used"),
    ]


def variables(environment: Mapping[str, str]) -> list[Finding]:
    """What is set of the variables that matter; ``DP_*`` that nobody reads are remarked on."""
    findings = []
    known = HERE | ELSEWHERE
    for name, meaning in known.items():
        if not environment.get(name):
            continue
        reader = meaning if name in HERE else f"read by {meaning}"
        findings.append(Finding(name, f"{environment[name]} ({reader})"))
    for name in sorted(environment):
        if name.startswith(("DP_", "DEEPMD_TF_")) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "it has no effect"
            findings.append(Finding(name, environment[name], "note", f"nobody reads it; {hint}"))
    findings += _plugins(environment.get("DP_PLUGIN_PATH", ""))
    return findings or [Finding("variables", "none is set that matters")]


def _plugins(value: str) -> list[Finding]:
    advice = "programs of DeePMD-kit will not start with it; set DP_PLUGIN_PATH anew"
    return [
        Finding("DP_PLUGIN_PATH", f"names {path}, which does not exist", "broken", advice)
        for path in filter(None, value.split(":"))
        if "/" in path and not Path(path).exists()
    ]
