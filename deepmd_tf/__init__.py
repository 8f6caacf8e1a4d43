# SPDX-License-Identifier: BSD-3-Clause
"""Deep potentials on TensorFlow: training, freezing, testing, inference.

``import deepmd_tf`` does not import TensorFlow; the parts that compute do, when they are used.
"""

from __future__ import annotations

import os

__version__ = "0.1.0"

# TensorFlow reads these while it is imported, so they must be there before the first import, and
# every import of ours passes through this file. What the user has set stays.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
