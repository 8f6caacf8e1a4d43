# SPDX-License-Identifier: BSD-3-Clause
"""Deep potentials on TensorFlow: training, freezing, testing, inference.

``import deepmd_tf`` does not import TensorFlow; the parts that compute do, when they are used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepmd_tf.inference import DeepPot

__all__ = ["DeepPot", "__version__"]
__version__ = "0.1.0"

# TensorFlow reads these while it is imported, so they must be there before the first import, and
# every import of ours passes through this file. What the user has set stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def __getattr__(name: str) -> Any:
    """``deepmd_tf.DeepPot``, imported when it is first used."""
    if name == "DeepPot":
        from deepmd_tf.inference import DeepPot

        return DeepPot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
