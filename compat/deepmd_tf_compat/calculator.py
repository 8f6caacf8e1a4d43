# SPDX-License-Identifier: BSD-3-Clause
"""``from deepmd.calculator import DP``."""

from deepmd_tf.interfaces.ase import DP

__all__ = ["DP"]
