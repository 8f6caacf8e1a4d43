# SPDX-License-Identifier: BSD-3-Clause
"""A table of pair energies, continued to a cutoff, and its cubic splines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

Coefficients = tuple[np.ndarray, np.ndarray]
"""What model files hold of a table (:meth:`PairTable.coefficients`)."""
NEGLIGIBLE = 1e-3
"""eV: unevenness of a table below this is not worth a warning."""
UNEVEN = 0.2
"""An energy that differs from what its neighbours say by this share of their range."""


@dataclass(frozen=True)
class PairTable:
    """Energies φ(r) of pairs of atoms at equidistant r, for each pair of types.

    Attributes
    ----------
    distances
        float64 [n_rows], Å.
    energies
        float64 [n_rows, ntypes (ntypes + 1) / 2], eV, for the pairs of types (0, 0), (0, 1), …,
        (1, 1), …
    """

    distances: np.ndarray
    energies: np.ndarray

    @property
    def ntypes(self) -> int:
        """Number of types."""
        return (math.isqrt(8 * self.energies.shape[1] + 1) - 1) // 2

    @property
    def step(self) -> float:
        """Å between two rows, those of the first two."""
        return float(self.distances[1] - self.distances[0])

    @property
    def begin(self) -> float:
        """Å, the first distance."""
        return float(self.distances[0])

    @property
    def end(self) -> float:
        """Å, the last distance."""
        return float(self.distances[-1])

    def rows_to(self, rcut: float) -> float:
        """How many rows it has at most once it is :meth:`continued`; not a whole number."""
        return max(float(len(self.distances)), (rcut - self.begin) / self.step + 2)

    def pairs(self) -> Iterator[tuple[int, int]]:
        """The pairs of types, in the order of the columns."""
        return ((i, j) for i in range(self.ntypes) for j in range(i, self.ntypes))

    def describe(self, type_map: Sequence[str]) -> str:
        """Range and order of the columns, in words."""
        known = list(type_map) or [str(i) for i in range(self.ntypes)]
        names = ", ".join(f"{known[i]}-{known[j]}" for i, j in self.pairs())
        return (
            f"{self.begin:g} to {self.end:g} Å in steps of {self.step:g} Å, columns {names} in "
            "this order"
        )

    def continued(self, rcut: float) -> tuple[PairTable, str]:
        """The table up to the cutoff, as DeePMD-kit 3.2 continues it, and a warning or "".

        A last row of zeros goes on as zeros. Otherwise a table that ends before ``rcut`` goes on as
        one cubic to zero, with zero slope there: at the last row but one below ``rcut``, or if that
        is less than two steps away at the last. The cubic begins with the difference of the last
        two rows in eV as its slope in eV/Å. A table that reaches beyond ``rcut`` stays as it is.

        Parameters
        ----------
        rcut
            Cutoff of the neighbours, Å.
        """
        step, last = self.step, len(self.distances) - 1
        at_cutoff = math.ceil(rcut / step - self.begin / step)
        missing = at_cutoff - last
        decays = bool(np.all(self.energies[-1] == 0))
        if rcut <= self.end or missing < 1:
            # the last row up to rcut, whatever rounding made of a distance that is rcut
            reached = math.floor((rcut - self.begin) / step + 1e-6)
            row = min(max(reached, 0), last) if decays else last
            left = float(np.abs(self.energies[row]).max())
            if left == 0:
                return self, ""
            return self, (
                f"the pair potential is not zero at rcut ({rcut:g} Å), up to {left:.3g} eV: "
                "energies jump where two atoms pass this distance; let the table fall to zero "
                "before it"
            )
        added = np.linspace(self.end + step, self.end + step * missing, missing)
        if decays:
            return self._with(added, np.zeros((missing, self.energies.shape[1]))), ""
        zero = -2 if added[-1] / step - self.end / step >= 2 else -1
        values = _cubic_to_zero(
            added,
            self.end,
            float(added[zero]),
            self.energies[-1],
            self.energies[-1] - self.energies[-2],
        )
        end = missing if zero == -1 else missing - 1
        return self._with(added[:end], values[:end]), (
            f"the table of the pair potential ends at {self.end:g} Å, before rcut ({rcut:g} Å), "
            "with energies that are not zero; they are continued by a cubic to zero there, whose "
            "slope differs from that of the table: let the table itself fall to zero"
        )

    def coefficients(self) -> Coefficients:
        """What model files hold of it.

        Each column is a cubic spline with zero slope at both ends.

        Returns
        -------
        info
            float64 [4]: first distance, step, number of intervals n, number of types.
        data
            float64 [ntypes · ntypes · n · 4]: of each ordered pair of types and each interval the
            coefficients a₃, a₂, a₁, a₀ of powers of u = (r − r₀)/step − k.
        """
        from scipy.interpolate import CubicSpline

        n, ntypes = len(self.distances) - 1, self.ntypes
        data = np.zeros((ntypes, ntypes, n, 4))
        for (i, j), v in zip(self.pairs(), self.energies.T, strict=True):
            d = self.step * CubicSpline(self.distances, v, bc_type="clamped")(self.distances, 1)
            rise = v[1:] - v[:-1]
            cubic = d[:-1] + d[1:] - 2 * rise
            square = 3 * rise - 2 * d[:-1] - d[1:]
            data[i, j] = data[j, i] = np.stack([cubic, square, d[:-1], v[:-1]], axis=1)
        return np.array([self.begin, self.step, n, ntypes]), data.ravel()

    def uneven(self) -> tuple[int, int] | None:
        """Row and column of the most uneven energy, or None where the columns are smooth.

        An energy is compared with the cubic through the two before and the two after it; the
        difference counts if it is a good part of their range.
        """
        v = self.energies
        if len(v) < 5:
            return None
        five = np.stack([v[k : len(v) - 4 + k] for k in range(5)])
        expected = (4 * (five[1] + five[3]) - five[0] - five[4]) / 6
        off = np.abs(five[2] - expected)
        spread = five.max(axis=0) - five.min(axis=0)
        share = np.where(off > NEGLIGIBLE, off / np.maximum(spread, NEGLIGIBLE), 0.0)
        row, column = np.unravel_index(int(share.argmax()), share.shape)
        return (int(row) + 2, int(column)) if share[row, column] > UNEVEN else None

    def _with(self, distances: np.ndarray, energies: np.ndarray) -> PairTable:
        return replace(
            self,
            distances=np.concatenate([self.distances, distances]),
            energies=np.concatenate([self.energies, energies]),
        )


def _cubic_to_zero(
    r: np.ndarray, begin: float, end: float, value: np.ndarray, slope: np.ndarray
) -> np.ndarray:
    """Cubics with ``value`` and ``slope`` [n] at ``begin`` and zero value and slope at ``end``, at
    distances r: [len(r), n]."""
    u = ((r - begin) / (end - begin))[:, None]
    return value * (1 + u * u * (2 * u - 3)) + slope * (end - begin) * u * (1 - u) ** 2
