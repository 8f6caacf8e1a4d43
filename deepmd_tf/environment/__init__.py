# SPDX-License-Identifier: BSD-3-Clause
"""The geometry of local environments: rows of the neighbours of each atom, and forces from the
derivative of an energy with respect to them.

Each dialect of a model graph has its own :class:`~deepmd_tf.environment.base.Environment`. What
descriptors make of the rows is in :mod:`deepmd_tf.descriptors`.
"""

from __future__ import annotations

from deepmd_tf.environment.base import Environment, PairGeometry, PullBack, SlotGeometry
from deepmd_tf.environment.inputs import AtomRange, ModelInputs
from deepmd_tf.environment.spec import (
    ANGULAR,
    RADIAL,
    Cutoff,
    EnvironmentSpec,
    NeighborLimit,
    Selection,
)

__all__ = [
    "ANGULAR",
    "RADIAL",
    "AtomRange",
    "Cutoff",
    "Environment",
    "EnvironmentSpec",
    "ModelInputs",
    "NeighborLimit",
    "PairGeometry",
    "PullBack",
    "Selection",
    "SlotGeometry",
]
