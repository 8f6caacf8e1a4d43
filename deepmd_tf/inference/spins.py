# SPDX-License-Identifier: BSD-3-Clause
"""Frames of a model with spins, which are virtual atoms: are there the right ones?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deepmd_tf.data.checks.spins import ORDER, misplaced, wrong_counts
from deepmd_tf.graph.refusals import FrameError
from deepmd_tf.inference.frames import Frames, group_frames


def require_spins(frames: Frames, real: int, names: Sequence[str]) -> None:
    """Refuse the first frame without one virtual atom for each atom with a spin, near that atom.

    Parameters
    ----------
    frames
        For the model.
    real
        Number of its types that are not of virtual atoms.
    names
        Of all types.

    Raises
    ------
    FrameError
        With frame and atoms.
    """
    for group in group_frames(frames):
        first = int(group.frames[0])
        if wrong := wrong_counts(group.types, real, names):
            raise FrameError(
                first, wrong, "give one for each atom with a spin, behind those of the last type"
            )
        cells = None if frames.cells is None else frames.cells[group.frames].reshape(-1, 3, 3)
        coord = np.asarray(frames.coords)[group.frames[:, None], group.order]
        for found in misplaced(coord, cells, group.types, real, len(names)):
            atoms = (int(group.order[atom]) for atom in (found.atom, found.own, found.other))
            raise FrameError(int(group.frames[found.frame]), found.describe(*atoms), ORDER)
