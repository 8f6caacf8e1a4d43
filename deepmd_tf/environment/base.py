# SPDX-License-Identifier: BSD-3-Clause
"""What every dialect gives to descriptors and to the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.environment.inputs import ModelInputs
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.table import EmbeddingTable


@dataclass(frozen=True)
class Cutoff:
    """Who is a neighbour, and how its weight is switched off.

    Attributes
    ----------
    rcut
        Neighbours are closer than this, Å. Graphs carry it as float32, so it is rounded to float32
        here, once, for every dialect.
    rcut_smth
        The switch w(r) is 1 below this distance, Å; rounded likewise.
    sel
        At most this many nearest neighbours of each type.
    original_sel
        ``sel`` of the first training of the model, which moments stay normalised by when ``sel``
        is changed later; None: ``sel``.
    """

    rcut: float
    rcut_smth: float
    sel: tuple[int, ...]
    original_sel: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rcut", float(np.float32(self.rcut)))
        object.__setattr__(self, "rcut_smth", float(np.float32(self.rcut_smth)))

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.sel)

    @property
    def n_slots(self) -> int:
        """Σ sel, slots of one atom."""
        return sum(self.sel)

    @property
    def normalization(self) -> int:
        """Number that moments are divided by."""
        return sum(self.sel if self.original_sel is None else self.original_sel)

    @property
    def width(self) -> float:
        """rcut − rcut_smth, Å, subtracted in float32 as DeePMD-kit does."""
        return float(np.float32(self.rcut) - np.float32(self.rcut_smth))

    def inverse_distance(self, r: float) -> float:
        """s(r) = w(r)/r, 1/Å."""
        u = min(max((r - self.rcut_smth) / self.width, 0.0), 1.0)
        return (u**3 * (-6.0 * u**2 + 15.0 * u - 10.0) + 1.0) / r


class PullBack(NamedTuple):
    """Derivatives of the energy with respect to the atoms.

    Attributes
    ----------
    force
        [n_frames, n_all * 3], eV/Å, minus the derivative with respect to coordinates.
    virial
        [n_frames, 9], eV, minus the derivative with respect to the strain ε of x'_a = x_a + ε_ab
        x_b.
    atom_virial
        [n_frames, n_all * 9], eV, the contribution of each pair at its neighbour.
    """

    force: tf.Tensor
    virial: tf.Tensor
    atom_virial: tf.Tensor


@dataclass
class Environment(ABC):
    """The neighbours of each local atom.

    A neighbour at x (from the centre, Å) has the row R = s (1, x/r, y/r, z/r), s = w(r)/r,
    normalised by centre type as (R − avg)/std. Slots up to ``sel`` that have no neighbour hold the
    row of R = 0.

    Attributes
    ----------
    inputs
        Inputs of the graph.
    cutoff
        Who is a neighbour.
    avg, std
        [ntypes, 4 Σ sel], tiled over the slots.
    diagnostics
        Counts that say whether the model is used as it was made: ``dropped`` (int64 [ntypes],
        neighbours beyond ``sel``), ``max_found`` (int32 [ntypes], most neighbours of a type),
        ``outside`` (int64, s beyond the table). Only those that the dialect knows.
    table
        The embedding table, where the dialect has one, once :meth:`moment` was called.
    """

    native: ClassVar[bool] = False
    """Whether graphs of this dialect may hold operations that only this package has."""

    inputs: ModelInputs
    cutoff: Cutoff
    avg: tf.Tensor
    std: tf.Tensor
    diagnostics: dict[str, tf.Tensor] = field(default_factory=dict)
    table: EmbeddingTable | None = field(default=None, init=False)

    @abstractmethod
    def moment(self, nets: EmbeddingNets) -> tf.Tensor:
        """Σ over slots of R ⊗ G(s), divided by ``cutoff.normalization``: [n_frames * n_loc, 4, M1].

        s is component 0 of the row.
        """

    def descriptors(self, moment: tf.Tensor, n_axis: int) -> list[tf.Tensor]:
        """Products of the columns of each moment A, Aᵀ A[:, :n_axis], for the atoms of each type as
        :meth:`ModelInputs.split_types` cuts them: [n_frames, n, M1 * n_axis].

        ``moment`` is that of all local atoms, [n_frames * n_loc, 4, M1].
        """
        width = moment.shape.as_list()[-1]
        framed = tf.reshape(moment, [-1, self.inputs.n_loc, 4, width])
        found = []
        # What is cut is the moments, since descriptors are n_axis / 4 times as large.
        for part in self.inputs.split_types(framed):
            product = self._squares(tf.reshape(part, [-1, 4, width]), n_axis)
            shape = tf.concat([tf.shape(part)[:2], [width * n_axis]], axis=0)
            found.append(tf.reshape(product, shape))
        return found

    def _squares(self, moment: tf.Tensor, n_axis: int) -> tf.Tensor:
        """The same of atoms [n, 4, M1], in any shape."""
        return tf.matmul(moment, moment[:, :, :n_axis], transpose_a=True)

    @abstractmethod
    def pull_back(self, moment: tf.Tensor, adjoint: tf.Tensor) -> PullBack:
        """Force and virial of an energy, from its derivative ``adjoint`` by what :meth:`moment`
        gave."""
