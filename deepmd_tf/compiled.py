# SPDX-License-Identifier: BSD-3-Clause
"""The compiled libraries as files: where they are, and which TensorFlow they were built for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LIBRARY_FOLDER = Path(__file__).parent / "ops" / "lib"
INSTALL_TENSORFLOW = 'pip install "tensorflow-cpu>=2.16,<2.22"'


def library_path(name: str) -> Path:
    """Where a library of operations is, or should be."""
    return LIBRARY_FOLDER / f"lib{name}.so"


def build_record() -> dict[str, Any]:
    """The record that setup.py wrote beside the libraries; empty if it never ran."""
    try:
        return json.loads((LIBRARY_FOLDER / "build.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def series(version: str) -> str:
    """Major and minor number: TensorFlow keeps its C++ interface within these, and only these."""
    return ".".join(version.split(".")[:2])


def rebuild_command() -> str:
    """The command that builds the libraries against the TensorFlow that is installed."""
    checkout = LIBRARY_FOLDER.parents[2]
    if (checkout / "source" / "CMakeLists.txt").exists():
        return f"pip install --no-deps --editable {checkout}"
    return (
        "pip install --force-reinstall --no-deps --no-cache-dir --no-binary deepmd_tf deepmd_tf "
        "(or in a copy of its sources: pip install --force-reinstall --no-deps .)"
    )
