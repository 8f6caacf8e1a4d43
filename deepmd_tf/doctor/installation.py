# SPDX-License-Identifier: BSD-3-Clause
"""What is installed, found without importing any of it."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import deepmd_tf
from deepmd_tf.compiled import LIBRARY_FOLDER, build_record, rebuild_command, series
from deepmd_tf.doctor.report import Finding

TENSORFLOW_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-gpu",
    "tensorflow-rocm",
    "tensorflow-cpu-aws",
    "tf-nightly",
)
NEEDED = ("numpy", "h5py", "pydantic", "PyYAML", "rich")
OPTIONAL = ("ase", "dpdata")
LIBRARIES = {
    "native operations": "deepmd_tf_ops",
    "stock operations": "deepmd_tf_stock_ops",
}


def library_path(name: str) -> Path:
    """Where a library of operations is, or should be."""
    return LIBRARY_FOLDER / f"lib{name}.so"


def tensorflow_version() -> str | None:
    """Version of the installed TensorFlow by its metadata; None if there is none."""
    return next((v for v in map(_version, TENSORFLOW_PACKAGES) if v), None)


def packages() -> list[Finding]:
    """Python, this package, and what it needs."""
    findings = [
        Finding("Python", f"{platform.python_version()} ({sys.executable})"),
        Finding("deepmd_tf", f"{deepmd_tf.__version__} ({Path(deepmd_tf.__file__).parent})"),
        _tensorflow(),
    ]
    for name in NEEDED:
        version = _version(name)
        findings.append(
            Finding(name, version)
            if version
            else Finding(name, "not installed", "broken", f"pip install {name}")
        )
    findings += [Finding(name, v) for name in OPTIONAL if (v := _version(name))]
    return [*findings, *_stock()]


def _tensorflow() -> Finding:
    found = importlib.util.find_spec("tensorflow")
    version = tensorflow_version()
    if found is None:
        return Finding(
            "TensorFlow",
            "not installed",
            "broken",
            'pip install "tensorflow-cpu>=2.16,<2.22", or activate the environment that has it',
        )
    where = next(iter(found.submodule_search_locations or ()), found.origin)
    return Finding("TensorFlow", f"{version or 'of unknown version'} ({where})")


def _stock() -> list[Finding]:
    version = _version("deepmd-kit")
    findings = [
        Finding(
            "DeePMD-kit",
            f"{version} in the same environment",
            "note",
            "both install a command dp; in one Python process import deepmd before the first "
            "model of deepmd_tf is used",
        )
        if version
        else Finding("DeePMD-kit", "not in this environment (not needed)")
    ]
    command = shutil.which("dp")
    if command is None:
        advice = f"{sys.executable} -m deepmd_tf does the same"
        return [*findings, Finding("command dp", "not in PATH", "note", advice)]
    try:
        ours = "deepmd_tf" in Path(command).read_text(encoding="utf-8")
    except (OSError, ValueError):
        ours = False
    if ours:
        return [*findings, Finding("command dp", command)]
    advice = f"it is not that of deepmd_tf; {sys.executable} -m deepmd_tf always is"
    return [*findings, Finding("command dp", command, "note", advice)]


def operations() -> list[Finding]:
    """The compiled libraries, and whether they were built for the TensorFlow that is here."""
    built, here = build_record().get("tensorflow"), tensorflow_version()
    findings = []
    if not built:
        findings.append(
            Finding("built for", "unknown: never built here", "broken", rebuild_command())
        )
    elif here is None:
        findings.append(Finding("built for", f"TensorFlow {built}"))
    elif series(built) == series(here):
        findings.append(Finding("built for", f"TensorFlow {built}, which fits {here}", "ok"))
    else:
        findings.append(
            Finding(
                "built for",
                f"TensorFlow {built}, but {here} is installed",
                "broken",
                f'{rebuild_command()}; or pip install "tensorflow-cpu=={built}"',
            )
        )
    for title, name in LIBRARIES.items():
        path = library_path(name)
        findings.append(
            Finding(title, str(path))
            if path.exists()
            else Finding(title, f"missing: {path}", "broken", rebuild_command())
        )
    return findings


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
