# SPDX-License-Identifier: BSD-3-Clause
"""Environment of a descriptor: cutoff, selection of neighbours, components of their rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

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
    """

    counts: tuple[int, ...]
    by_type: bool = True

    @classmethod
    def total(cls, count: int) -> Selection:
        """At most ``count`` neighbours, of whatever types."""
        return cls((count,), by_type=False)

    @property
    def n_sections(self) -> int:
        """Sections of one atom."""
        return len(self.counts)

    @property
    def n_slots(self) -> int:
        """Slots of one atom, Σ counts."""
        return sum(self.counts)


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
    masked: bool = False

    @property
    def row_width(self) -> int:
        """Length of the padded rows of an atom."""
        return self.components * self.selection.n_slots

    def tile(self, values: np.ndarray) -> np.ndarray:
        """[ntypes, components], the same for all slots: [ntypes, :attr:`row_width`]."""
        return np.tile(values[:, : self.components], (1, self.selection.n_slots))


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
