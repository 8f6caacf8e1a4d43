# SPDX-License-Identifier: BSD-3-Clause
"""Results of ``dp test``, and the interface of their consumers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepmd_tf.data import Batch
from deepmd_tf.metrics import Errors, Evaluated


@dataclass(frozen=True)
class Tested(Evaluated):
    """Frames of a system that were evaluated.

    Predictions of an energy model are ``energy`` [nf, 1], ``force`` [nf, nat, 3], ``virial``
    [nf, 9], and if they were computed ``atom_ener`` [nf, nat, 1], ``hessian`` [nf, 3 nat, 3 nat].

    Attributes
    ----------
    system
        Directory.
    batch
        Frames and labels, atoms in the order of the files. Of a system of the mixed type successive
        frames with the same atoms, without virtual ones.
    types
        int [natoms].
    type_map
        Names of the types; empty when neither model nor data have any.
    """

    system: str
    batch: Batch
    types: np.ndarray
    type_map: tuple[str, ...]


@dataclass(frozen=True)
class SystemErrors:
    """Errors of a system.

    Attributes
    ----------
    system
        Directory; ``"all"`` for the sum over systems.
    frames
        Number of frames tested.
    natoms
        Atoms of a frame; None for the sum, and where frames have different atoms.
    errors
        Over all elements of these frames.
    """

    system: str
    frames: int
    natoms: int | None
    errors: Errors


class Consumer:
    """Writes something about a test; entered before the model is loaded.

    Files that cannot be written are reported on entry. On exit with an exception no files remain.
    """

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        """Let the files appear, or not if there was an exception."""

    def add(self, tested: Tested) -> None:
        """Take frames, in the order in which they are tested."""

    def finish(self, systems: list[SystemErrors]) -> None:
        """Take the errors of each system, the sum over all of them last."""
