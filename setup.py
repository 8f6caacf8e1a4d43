# SPDX-License-Identifier: BSD-3-Clause
"""Build of the compiled operations; everything else about the package is in pyproject.toml.

    pip install ".[cpu]"                 installs TensorFlow too; "[gpu]" for the CUDA build of it
    pip install -e . --no-build-isolation          development; then, after a change in source/:
    python setup.py build_ops --inplace            rebuild what changed (CMake tree in build/)

Environment variables:

    DEEPMD_TF_TENSORFLOW   TensorFlow package folder to build against (default: the target
                           environment's; see build_support/find_tensorflow.py)
    CMAKE_BUILD_PARALLEL_LEVEL   number of compile jobs (default: the number of processors)
    CXX, CXXFLAGS, CMAKE_ARGS    as CMake reads them; CMAKE_ARGS is passed to its configure step
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Command, Distribution, setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "build_support"))

from find_tensorflow import OVERRIDE, find  # noqa: E402

LIBRARIES = ("deepmd_tf_ops", "deepmd_tf_stock_ops")


class BuildOps(Command):
    """Compile source/ with CMake and put the libraries into deepmd_tf/ops/lib."""

    description = "build the TensorFlow operations with CMake"
    user_options = [  # noqa: RUF012 (setuptools insists on a list)
        ("build-lib=", None, "folder to build into"),
        ("inplace", "i", "put the libraries beside the Python sources"),
    ]
    boolean_options = ["inplace"]  # noqa: RUF012
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = None
        self.inplace = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def get_source_files(self) -> list[str]:
        return [str(p.relative_to(ROOT)) for p in (ROOT / "source").rglob("*") if p.is_file()]

    def get_outputs(self) -> list[str]:
        names = [*(f"lib{name}.so" for name in LIBRARIES), "build.json"]
        return [str(self._target / name) for name in names]

    def get_output_mapping(self) -> dict[str, str]:
        return {}

    @property
    def _target(self) -> Path:
        top = ROOT if self.inplace or self.editable_mode else Path(self.build_lib)
        return top / "deepmd_tf" / "ops" / "lib"

    def run(self) -> None:
        tensorflow = find()
        if tensorflow is None:
            raise SystemExit(
                "deepmd_tf: there is no TensorFlow to build the operations against. Install one "
                'first (pip install "tensorflow-cpu>=2.16,<2.22"), or build with isolation, or '
                f"set {OVERRIDE} to the folder of the tensorflow package."
            )
        print(f"deepmd_tf: building against TensorFlow {tensorflow.version} in {tensorflow.root}")
        tag = f"tf{tensorflow.version}-py{sys.version_info.major}{sys.version_info.minor}"
        tree = ROOT / "build" / f"{tag}-{platform.machine()}"
        tree.mkdir(parents=True, exist_ok=True)
        self._target.mkdir(parents=True, exist_ok=True)
        with open(tree / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two builds in one checkout wait for each other
            self._cmake(tree, tensorflow)
            for name in LIBRARIES:
                _replace(tree / f"lib{name}.so", self._target / f"lib{name}.so")
            record = {
                "tensorflow": tensorflow.version,
                "stock_ops": _registered(ROOT / "source" / "op" / "stock"),
            }
            (tree / "build.json").write_text(json.dumps(record, indent=1) + "\n")
            _replace(tree / "build.json", self._target / "build.json")

    def _cmake(self, tree: Path, tensorflow) -> None:
        cmake = _tool("cmake")
        if cmake is None:
            raise SystemExit("deepmd_tf: CMake is missing: pip install cmake ninja")
        ninja = _tool("ninja")
        configure = [
            cmake,
            "-S",
            str(ROOT / "source"),
            "-B",
            str(tree),
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DTENSORFLOW_INCLUDE={tensorflow.include}",
            f"-DTENSORFLOW_LIBRARY={tensorflow.library}",
        ]
        if ninja is not None and not (tree / "Makefile").exists():
            configure += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
        configure += shlex.split(os.environ.get("CMAKE_ARGS", ""))
        _configure(configure, tree)
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", str(os.cpu_count() or 1))
        subprocess.run([cmake, "--build", str(tree), "--parallel", jobs], check=True)


def _configure(command: list[str], tree: Path) -> None:
    """Run CMake's configure step; start over once if the tree was made with tools that are gone.

    An isolated build leaves a tree whose cache names programs of a folder that pip has deleted.
    """
    if subprocess.run(command).returncode == 0:
        return
    (tree / "CMakeCache.txt").unlink(missing_ok=True)
    shutil.rmtree(tree / "CMakeFiles", ignore_errors=True)
    subprocess.run(command, check=True)


def _tool(name: str) -> str | None:
    """A program of this environment (also one that is not activated) or of the PATH."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), sysconfig.get_path("scripts")])
    return shutil.which(name, path=path)


def _registered(folder: Path) -> list[str]:
    """Names of the operations that the sources in ``folder`` register."""
    names: set[str] = set()
    for source in folder.glob("*.cc"):
        names.update(re.findall(r'REGISTER_OP\(\s*"(\w+)"', source.read_text(encoding="utf-8")))
    return sorted(names)


def _replace(source: Path, target: Path) -> None:
    """Copy so that a process that has the old file mapped keeps it, and no half file is seen."""
    scratch = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.copyfile(source, scratch)
    os.replace(scratch, target)


class Build(build):
    sub_commands = (*build.sub_commands, ("build_ops", None))


class BinaryDistribution(Distribution):
    """The wheel holds compiled code though setuptools knows no extension module."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    cmdclass={"build": Build, "build_ops": BuildOps},
    distclass=BinaryDistribution,
)
