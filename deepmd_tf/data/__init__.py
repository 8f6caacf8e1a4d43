# SPDX-License-Identifier: BSD-3-Clause
"""Data sets: finding systems, reading and checking them, and batches in a reproducible order."""

from __future__ import annotations

from deepmd_tf.data.batch import Batch
from deepmd_tf.data.expand import expand_systems
from deepmd_tf.data.formats.writer import write_system
from deepmd_tf.data.sampling import make_random, random_state, restore_random
from deepmd_tf.data.system import DataSystem
from deepmd_tf.data.systems import DataSystems

__all__ = [
    "Batch",
    "DataSystem",
    "DataSystems",
    "expand_systems",
    "make_random",
    "random_state",
    "restore_random",
    "write_system",
]
