# SPDX-License-Identifier: BSD-3-Clause
"""Installed packages, found without importing them, and how other programs use this one."""

from __future__ import annotations

import importlib.util
import platform
import re
import shlex
import shutil
import sys
from importlib import metadata
from pathlib import Path

import deepmd_tf
from deepmd_tf.compiled import (
    INSTALL_TENSORFLOW,
    build_record,
    library_path,
    rebuild_command,
    series,
)
from deepmd_tf.doctor.report import Check

TENSORFLOW_PACKAGES = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-gpu",
    "tensorflow-rocm",
    "tensorflow-cpu-aws",
    "tf-nightly",
)
EXTRAS = ("ase", "convert", "phonons")
"""Extras of the package that users want."""
LIBRARIES = {
    "native operations": "deepmd_tf_ops",
    "stock operations": "deepmd_tf_stock_ops",
}
LAMMPS = [
    "units           metal",
    "atom_style      atomic",
    "pair_style      deepmd frozen_model.pb",
    "pair_coeff      * * O H    # names of the atom types 1, 2, … of your data file",
]
"""A native model in LAMMPS: the same lines as for any other."""


def tensorflow_version() -> str | None:
    """Version of the installed TensorFlow by its metadata; None if there is none."""
    return next((v for v in map(_version, TENSORFLOW_PACKAGES) if v), None)


def dependencies() -> tuple[list[str], list[str]]:
    """Names of the packages that this one needs, and of those of its extras.

    TensorFlow is not among them, as the package with its name differs.
    """
    try:
        requirements = metadata.requires("deepmd_tf") or []
    except metadata.PackageNotFoundError:  # sources that were never installed
        requirements = []
    needed: list[str] = []
    wanted: dict[str, None] = {}
    for requirement in requirements:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == [\"'](.+?)[\"']", requirement)
        if extra is None:
            needed.append(name)
        elif extra.group(1) in EXTRAS:
            wanted[name] = None
    return needed, list(wanted)


def packages() -> list[Check]:
    """Python, this package, and what it needs."""
    needed, wanted = dependencies()
    checks = [
        Check("Python", f"{platform.python_version()} ({sys.executable})"),
        Check("deepmd_tf", f"{deepmd_tf.__version__} ({Path(deepmd_tf.__file__).parent})"),
        _tensorflow(),
    ]
    for name in needed:
        version = _version(name)
        checks.append(
            Check(name, version)
            if version
            else Check(name, "not installed", "broken", f"pip install {name}")
        )
    checks += [Check(name, v) for name in wanted if (v := _version(name))]
    return [*checks, _deepmd_kit(), _command()]


def _tensorflow() -> Check:
    found = importlib.util.find_spec("tensorflow")
    if found is None:
        advice = f"{INSTALL_TENSORFLOW}, or activate the environment that has it"
        return Check("TensorFlow", "not installed", "broken", advice)
    where = next(iter(found.submodule_search_locations or ()), found.origin)
    return Check("TensorFlow", f"{tensorflow_version() or 'of unknown version'} ({where})")


def _deepmd_kit() -> Check:
    version = _version("deepmd-kit")
    if version is None:
        return Check("DeePMD-kit", "not in this environment (not needed)")
    return Check(
        "DeePMD-kit",
        f"{version} in the same environment",
        "note",
        "both install a command dp; in one Python process import deepmd before the first "
        "model of deepmd_tf is used",
    )


def _command() -> Check:
    command = shutil.which("dp")
    if command is None:
        advice = f"{sys.executable} -m deepmd_tf does the same"
        return Check("command dp", "not in PATH", "note", advice)
    try:
        ours = "deepmd_tf" in Path(command).read_text(encoding="utf-8")
    except (OSError, ValueError):
        ours = False
    if ours:
        return Check("command dp", command)
    advice = f"it is not that of deepmd_tf; {sys.executable} -m deepmd_tf always is"
    return Check("command dp", command, "note", advice)


def operations() -> list[Check]:
    """The compiled libraries, and whether they were built for the TensorFlow that is here."""
    built, here = build_record().get("tensorflow"), tensorflow_version()
    if not built:
        check = Check("built for", "unknown: never built here", "broken", rebuild_command())
    elif here is None:
        check = Check("built for", f"TensorFlow {built}")
    elif series(built) == series(here):
        check = Check("built for", f"TensorFlow {built}, which fits {here}", "ok")
    else:
        advice = f'{rebuild_command()}; or pip install "tensorflow-cpu=={built}"'
        value = f"TensorFlow {built}, but {here} is installed"
        check = Check("built for", value, "broken", advice)
    paths = {title: library_path(name) for title, name in LIBRARIES.items()}
    return [check] + [
        Check(title, str(path))
        if path.exists()
        else Check(title, f"missing: {path}", "broken", rebuild_command())
        for title, path in paths.items()
    ]


def shell_lines() -> list[str]:
    """Lines for a shell, after which other programs run models with our operations.

    The library takes TensorFlow from the program that loads it, so that no other path is needed.
    """
    path = shlex.quote(str(library_path("deepmd_tf_ops")))
    built = build_record().get("tensorflow")
    version = series(built) if built else "that they were built for"
    return [
        "# operations of native models (dp --tf freeze --native), for LAMMPS and other C++",
        f"# programs of DeePMD-kit, which must be there with TensorFlow {version}",
        f"export DP_PLUGIN_PATH={path}${{DP_PLUGIN_PATH:+:$DP_PLUGIN_PATH}}",
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
