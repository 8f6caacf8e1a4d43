# SPDX-License-Identifier: BSD-3-Clause
"""``import deepmd`` where DeePMD-kit is not installed: what programs ask for, from ``deepmd_tf``.

A module and not a package: where DeePMD-kit is installed beside it, Python takes its folder, and no
file of one is a file of the other. Modules below it are found in the folder ``deepmd_tf_compat``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deepmd_tf

__path__ = [str(Path(__file__).resolve().with_name("deepmd_tf_compat"))]
__version__ = f"3.2.0+deepmd.tf.{deepmd_tf.__version__}"
"""The interface that this is, and the package that is behind it."""


def __getattr__(name: str) -> Any:
    """Names that DeePMD-kit has here, imported when they are first used."""
    if name in ("DeepEval", "DeepPotential"):
        from deepmd_tf import infer

        return getattr(infer, name)
    raise AttributeError(f"module 'deepmd' (of deepmd_tf_compat) has no attribute {name!r}")
