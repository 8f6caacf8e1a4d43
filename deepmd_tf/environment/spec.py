# SPDX-License-Identifier: BSD-3-Clause
"""Environment of a descriptor: cutoff, selection of neighbours, components of their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from deepmd_tf.elements import names_of_types

ANGULAR = 4
"""Components of rows with directions, (s, s x/r, s y/r, s z/r)."""
RADIAL = 1
"""Components of rows without, (s)."""


@dataclass(frozen=True)
class Cutoff:
    """How far an atom sees, and how the weight of a neighbour is switched off.

    Attributes
    ----------
    rcut
        Neighbours are closer than this, Å. Graphs carry it as float32, so it is rounded to float32
        here, once, for every dialect.
    rcut_smth
        The switch w(r) is 1 below this distance, Å; rounded likewise.
    """

    rcut: float
    rcut_smth: float
    given: tuple[float, float] = field(init=False, compare=False)
    """Both as they were given, for messages, keys and statistics."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "given", (self.rcut, self.rcut_smth))
        object.__setattr__(self, "rcut", float(np.float32(self.rcut)))
        object.__setattr__(self, "rcut_smth", float(np.float32(self.rcut_smth)))

    @property
    def width(self) -> float:
        """rcut − rcut_smth, Å, subtracted in float32 as DeePMD-kit does."""
        return float(np.float32(self.rcut) - np.float32(self.rcut_smth))

    def inverse_distance(self, r: float) -> float:
        """s(r) = w(r)/r, 1/Å."""
        u = min(max((r - self.rcut_smth) / self.width, 0.0), 1.0)
        return (u**3 * (-6.0 * u**2 + 15.0 * u - 10.0) + 1.0) / r


@dataclass(frozen=True)
class Selection:
    """How many of the neighbours within the cutoff are kept: the nearest ones.

    The neighbours of an atom are stored in sections: one for each type of the neighbour, or one
    for all types together.

    Attributes
    ----------
    counts
        Largest number of neighbours in each section.
    by_type
        Whether there is a section for each type.
    typed
        Whether padded rows come with a tensor of the types of the neighbours. With one selection
        for all types flat pair lists then have the neighbours that are kept in sections by type.
    """

    counts: tuple[int, ...]
    by_type: bool = True
    typed: bool = False

    @classmethod
    def total(cls, count: int) -> Selection:
        """At most ``count`` neighbours, of whatever types."""
        return cls((count,), by_type=False)

    @classmethod
    def mixed(cls, count: int) -> Selection:
        """At most ``count`` neighbours, of whatever types, which are known."""
        return cls((count,), by_type=False, typed=True)

    @property
    def mixes(self) -> bool:
        """Whether neighbours of all types share slots, and their types are known."""
        return self.typed and not self.by_type

    @property
    def n_sections(self) -> int:
        """Sections of one atom."""
        return len(self.counts)

    @property
    def n_slots(self) -> int:
        """Slots of one atom, Σ counts."""
        return sum(self.counts)


class NeighborLimit(NamedTuple):
    """How many neighbours of a type are kept.

    Attributes
    ----------
    key
        Where the number stands in the section of the descriptor: ``sel[1]``, ``list[0].sel[1]``.
    type
        Type of the neighbours; None: all types together.
    most
        The number.
    """

    key: str
    type: int | None
    most: int

    def label(self, names: Sequence[str]) -> str:
        """Name of the type, from those of all types, or its number; with the descriptor, where
        there are several.
        """
        if self.type is None:
            known = "neighbours of all types"
        else:
            known = names_of_types(names, self.type + 1)[self.type] if names else str(self.type)
        path = self.key.rpartition("sel")[0].rstrip(".")
        return f"{known} in {path}" if path else known


@dataclass(frozen=True)
class EnvironmentSpec:
    """One environment of a descriptor.

    Attributes
    ----------
    cutoff, selection
        Who is a neighbour.
    ntypes
        Number of atom types.
    components
        :data:`ANGULAR` or :data:`RADIAL`: numbers in the row of a neighbour.
    scope
        Suffix of the names of averages and attributes: "" for a descriptor with one environment,
        "_0", "_1" … for one with several.
    exclude_types
        Pairs of types whose rows count as zero when averages are taken.
    zero_mean
        Whether the rows are normalised without subtracting their mean.
    normalised
        Whether the rows have averages; of an environment for functions of distances nothing takes
        the rows.
    masked
        Whether the neighbours are all atoms that the atomic parameter leaves in, without periodic
        images; their rows are not normalised.
    """

    cutoff: Cutoff
    selection: Selection
    ntypes: int
    components: int = ANGULAR
    scope: str = ""
    exclude_types: tuple[tuple[int, int], ...] = ()
    zero_mean: bool = False
    normalised: bool = True
    masked: bool = False

    @property
    def pair_sections(self) -> int:
        """Sections of one atom in a flat pair list."""
        return self.ntypes if self.selection.mixes else self.selection.n_sections

    @property
    def row_width(self) -> int:
        """Length of the padded rows of an atom."""
        return self.components * self.selection.n_slots

    @property
    def has_averages(self) -> bool:
        """Whether averages are taken of its rows."""
        return self.normalised and not self.masked

    def limits(self, path: str = "") -> Iterator[NeighborLimit]:
        """Of each type, as :class:`~deepmd_tf.environment.Environment` counts neighbours; ``path``
        is that of the descriptor, in front of its keys.
        """
        if not self.selection.by_type:
            yield NeighborLimit(f"{path}sel", None, self.selection.n_slots)
            return
        for atom_type, count in enumerate(self.selection.counts):
            yield NeighborLimit(f"{path}sel[{atom_type}]", atom_type, count)

    def tile(self, values: np.ndarray) -> np.ndarray:
        """[ntypes, components], the same for all slots: [ntypes, :attr:`row_width`]."""
        return np.tile(values[:, : self.components], (1, self.selection.n_slots))


def largest_of_type(limits: Iterable[NeighborLimit], ntypes: int) -> tuple[int, ...]:
    """Largest of the numbers of each type; one number, where all are of all types together."""
    limits = list(limits)
    if all(limit.type is None for limit in limits):
        return (max(limit.most for limit in limits),)
    found = [0] * ntypes
    for limit in limits:
        if limit.type is not None:
            found[limit.type] = max(found[limit.type], limit.most)
    return tuple(found)


def is_tiled(values: np.ndarray, components: int) -> bool:
    """Whether averages [ntypes, components · slots] are the same in every slot, so that the first
    stands for all.

    DeePMD-kit gives slots that come in with a larger ``sel`` a standard deviation of 1.
    """
    # an array of another shape is told where the model is built
    if values.ndim != 2 or values.shape[1] % components:
        return True
    slots = values.reshape(len(values), -1, components)
    return np.array_equal(slots, np.broadcast_to(slots[:, :1], slots.shape))


def with_absent_types(values: np.ndarray, value: float) -> np.ndarray:
    """Averages [ntypes, components · slots] with ``value`` for types whose rows are NaN.

    DeePMD-kit has 0/0 where the training data of se_e2_r or se_e3 have no atoms of a type.
    """
    if values.ndim != 2:
        return values
    absent = np.isnan(values).all(axis=1, keepdims=True) & (values.shape[1] > 0)
    return np.where(absent, values.dtype.type(value), values)
