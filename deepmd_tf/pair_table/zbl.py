# SPDX-License-Identifier: BSD-3-Clause
r"""The universal screened repulsion of nuclei, and tables of it.

.. math::

    V(r) = \frac{Z_1 Z_2 e^2}{4\pi\varepsilon_0 r}\, φ(r/a), \qquad
    φ(x) = \sum_k c_k e^{-d_k x}, \qquad
    a = \frac{0.46850\ \mathrm{Å}}{Z_1^{0.23} + Z_2^{0.23}}

J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Matter, Pergamon, New
York, 1985.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

from deepmd_tf.elements import SYMBOLS
from deepmd_tf.errors import InputError
from deepmd_tf.files import require_writable, write_whole
from deepmd_tf.pair_table.reading import TYPES
from deepmd_tf.pair_table.table import PairTable

log = logging.getLogger(__name__)

COULOMB = 14.3996454784
"""e²/(4πε₀), eV Å (CODATA 2018)."""
LENGTH = 0.46850
"""0.88534 Bohr radii, Å."""
SCREENING = (
    (0.18175, 3.19980),
    (0.50986, 0.94229),
    (0.28022, 0.40290),
    (0.02817, 0.20162),
)
"""c and d of the terms of φ."""
MOST_ROWS = 100_000


def repulsion(z1: int, z2: int, r: np.ndarray) -> np.ndarray:
    """V(r) of two nuclei with these atomic numbers, eV; r in Å."""
    x = r * (z1**0.23 + z2**0.23) / LENGTH
    return COULOMB * z1 * z2 / r * sum(c * np.exp(-d * x) for c, d in SCREENING)


def zbl_table(
    elements: Sequence[str], *, rmin: float, rmax: float, step: float, rswitch: float
) -> PairTable:
    """V(r) w(r) for all pairs of elements.

    w is 1 below ``rswitch`` and falls to 0 at ``rmax`` with two continuous derivatives: w = 1 − 10
    u³ + 15 u⁴ − 6 u⁵, u = (r − rswitch)/(rmax − rswitch).

    Parameters
    ----------
    elements
        Symbols of the types, in the order of ``type_map``.
    rmin, rmax
        First and last distance, Å.
    step
        Å between rows.
    rswitch
        Where the switch begins, Å.

    Raises
    ------
    InputError
        For a name that is no element, or distances that make no table.
    """
    unknown = [name for name in elements if name not in SYMBOLS]
    if unknown:
        raise InputError(f"{', '.join(unknown)}: no element; give symbols, such as O H")
    if not (0 < rmin < rmax <= 1000 and 0 < step < rmax - rmin and 0 <= rswitch < rmax):
        raise InputError(
            f"rmin is {rmin:g}, rmax {rmax:g}, step {step:g} and rswitch {rswitch:g} Å; expected "
            "0 < rmin < rmax, a step smaller than their difference, and rswitch below rmax"
        )
    steps = (rmax - rmin) / step  # infinite for the smallest steps
    if steps > MOST_ROWS - 0.5:
        raise InputError(f"{steps + 1:.6g} rows; give a larger step, at most {MOST_ROWS} are made")
    intervals = round(steps)
    if abs(rmin + step * intervals - rmax) > 1e-6 * step:
        raise InputError(
            f"rmax − rmin is {steps:.6g} steps; give distances between which there "
            "is a whole number of them"
        )
    r = rmin + step * np.arange(intervals + 1)
    u = np.clip((r - rswitch) / (rmax - rswitch), 0.0, 1.0)
    switch = 1.0 + u**3 * (-10.0 + u * (15.0 - 6.0 * u))
    switch[-1] = 0.0
    z = [SYMBOLS.index(name) + 1 for name in elements]
    pairs = [(i, j) for i in range(len(z)) for j in range(i, len(z))]
    return PairTable(r, np.stack([switch * repulsion(z[i], z[j], r) for i, j in pairs], axis=1))


def write_zbl_table(
    path: str | os.PathLike[str],
    elements: Sequence[str],
    *,
    rmin: float,
    rmax: float,
    step: float,
    rswitch: float,
) -> None:
    """Write the table of :func:`zbl_table`, with comments that say what it is.

    Raises
    ------
    InputError
        As there, or when the file cannot be written.
    """
    path = require_writable(path, what="table")
    table = zbl_table(elements, rmin=rmin, rmax=rmax, step=step, rswitch=rswitch)
    names = [f"{elements[i]}-{elements[j]}" for i, j in table.pairs()]
    lines = [
        "# ZBL repulsion of nuclei (Ziegler, Biersack, Littmark 1985), switched to zero from "
        f"{rswitch:g} to {rmax:g} Angstrom",
        f"# {TYPES} {' '.join(elements)}",
        "# " + " ".join(["r/Angstrom", *(f"{name}/eV" for name in names)]),
    ]
    lines += [
        " ".join([f"{r:.10g}", *(f"{value:.17g}" for value in values)])
        for r, values in zip(table.distances, table.energies, strict=True)
    ]
    write_whole(path, "\n".join([*lines, ""]))
    log.info("%s: %s", path, table.describe(elements))
