# SPDX-License-Identifier: BSD-3-Clause
"""Find the TensorFlow to build against, without importing it.

The operations must be compiled against the TensorFlow that will load them. Looked up in this order:

1. the environment variable ``DEEPMD_TF_TENSORFLOW`` (the folder that holds TensorFlow's ``include``
   and ``libtensorflow_framework``, that is ``.../site-packages/tensorflow``);
2. the environment that the package is installed into: also inside pip's build isolation, where the
   interpreter is still the one of the target environment though its packages are hidden;
3. the import path, which in a build environment holds what :mod:`backend` asked for.
"""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
from pathlib import Path
from typing import NamedTuple

OVERRIDE = "DEEPMD_TF_TENSORFLOW"
REQUIREMENTS = (
    "tensorflow-cpu>=2.16,<2.22; platform_system == 'Linux' and platform_machine == 'x86_64'",
    "tensorflow>=2.16,<2.22; platform_system != 'Linux' or platform_machine != 'x86_64'",
)


class TensorFlow(NamedTuple):
    """An installed TensorFlow: its folder, version string, and the library to link with."""

    root: Path
    version: str
    library: Path

    @property
    def include(self) -> Path:
        return self.root / "include"


def find(*, target_only: bool = False) -> TensorFlow | None:
    """Return the TensorFlow to build against, or None if there is none.

    ``target_only`` leaves out the import path (step 3 above).
    """
    override = os.environ.get(OVERRIDE)
    if override:
        found = inspect(Path(override))
        if found is None:
            raise SystemExit(
                f"{OVERRIDE}={override} is not a TensorFlow package folder: expected "
                "include/tensorflow and libtensorflow_framework.so.2 in it."
            )
        return found
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    if sys.prefix == sys.base_prefix:
        folders.append(site.getusersitepackages())
    if not target_only:
        folders.extend(sys.path)
    for folder in folders:
        found = inspect(Path(folder) / "tensorflow") if folder else None
        if found is not None:
            return found
    return None


def inspect(root: Path) -> TensorFlow | None:
    """Return what the package folder ``root`` holds, or None if that cannot be built with."""
    libraries = [
        *root.glob("libtensorflow_framework.so.*"),
        *root.glob("libtensorflow_framework.*.dylib"),
    ]
    version = _version(root)
    if not libraries or version is None:
        return None
    return TensorFlow(root.resolve(), version, sorted(libraries)[0].resolve())


def _version(root: Path) -> str | None:
    """Version of the distribution beside the package folder, else of its headers."""
    for info in sorted(root.parent.glob("*.dist-info")):
        match = re.fullmatch(r"(tensorflow|tensorflow_\w+|tf_nightly\w*)-(.+)", info.stem)
        if match and (info / "RECORD").exists():
            record = (info / "RECORD").read_text(encoding="utf-8", errors="replace")
            if "tensorflow/include/" in record:
                return match[2]
    headers = root / "include" / "tensorflow" / "core" / "public"
    for name in ("release_version.h", "version.h"):
        if (headers / name).exists():
            text = (headers / name).read_text(encoding="utf-8")
            numbers = [
                re.search(rf"#define TF_{part}_VERSION (\d+)", text)
                for part in ("MAJOR", "MINOR", "PATCH")
            ]
            if all(numbers):
                return ".".join(number[1] for number in numbers if number)
    return None
