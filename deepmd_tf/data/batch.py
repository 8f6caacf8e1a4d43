# SPDX-License-Identifier: BSD-3-Clause
"""A batch: frames of one system, ready to be fed."""

from __future__ import annotations

import dataclasses

import numpy as np

PERIODIC_MESH = np.zeros(6, dtype=np.int32)
"""Tells the neighbour list to use the box and to make the images itself."""
FREE_MESH = np.zeros(0, dtype=np.int32)
"""Tells the neighbour list that there is no box."""
PERIODIC_MESH.flags.writeable = False
FREE_MESH.flags.writeable = False


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Frames of one system with the same number of atoms.

    Attributes
    ----------
    arrays
        ``coord`` [nf, 3 nat], ``box`` [nf, 9] (zeros without periodicity), ``type`` int32
        [nf, nat], and of every requested item ``<name>`` [nf, width] (``energy`` is [nf]) and
        ``find_<name>``, float32: 1 if the set has it, 0 if the array holds the default. Units:
        :mod:`deepmd_tf.units`.
    natoms
        int32 [2 + ntypes]: atoms, atoms, then atoms of each type.
    mesh
        int32 [6] if the system is periodic, [0] if not.
    system
        Index of the system in its :class:`~deepmd_tf.data.DataSystems`.
    set_name
        The set that the frames come from.
    frames
        Their indices in the files of that set.
    """

    arrays: dict[str, np.ndarray]
    natoms: np.ndarray
    mesh: np.ndarray
    system: int
    set_name: str
    frames: np.ndarray

    @property
    def nframes(self) -> int:
        """Number of frames."""
        return len(self.frames)

    @property
    def periodic(self) -> bool:
        """Whether the frames have a box."""
        return self.mesh.size > 0
