# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd.infer import DeepPot``, and what else is in ``deepmd_tf.infer``."""

from deepmd_tf import infer
from deepmd_tf.infer import *  # noqa: F403

__all__ = infer.__all__
