# SPDX-License-Identifier: BSD-3-Clause
"""Chemical elements, and the electron configurations of their atoms in the ground state; names of
types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SYMBOLS = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
    Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
    Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es
    Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
_SUBSHELLS = "1s 2s 2p 3s 3p 3d 4s 4p 4d 4f 5s 5p 5d 5f 6s 6p 6d 7s 7p"

SYMBOLS = tuple(_SYMBOLS.split())
"""By atomic number, from 1."""
SUBSHELLS = tuple(_SUBSHELLS.split())
"""Those that are occupied in some element, by n and l."""

MOVED = {
    "Cr": "4s 3d",
    "Cu": "4s 3d",
    "Nb": "5s 4d",
    "Mo": "5s 4d",
    "Ru": "5s 4d",
    "Rh": "5s 4d",
    "Pd": "5s 4d 5s 4d",
    "Ag": "5s 4d",
    "La": "4f 5d",
    "Ce": "4f 5d",
    "Gd": "4f 5d",
    "Pt": "6s 5d",
    "Au": "6s 5d",
    "Ac": "5f 6d",
    "Th": "5f 6d 5f 6d",
    "Pa": "5f 6d",
    "U": "5f 6d",
    "Np": "5f 6d",
    "Cm": "5f 6d",
    "Ds": "7s 6d",
    "Rg": "7s 6d",
}
"""Electrons that are not where the rule of n + l has them: from, to, one after the other. Lr, Ds
and Rg, of which there are no spectra, are as in DeePMD-kit."""


def electron_configuration(symbol: str) -> dict[str, int]:
    """Number of electrons in each of :data:`SUBSHELLS` of a neutral atom.

    Subshells are filled in the order of n + l, and of n where that is equal (Madelung), except for
    :data:`MOVED`.
    """
    left = SYMBOLS.index(symbol) + 1
    found = dict.fromkeys(SUBSHELLS, 0)
    for shell in sorted(SUBSHELLS, key=lambda s: (int(s[0]) + _angular(s), int(s[0]))):
        found[shell] = min(left, 2 * _orbitals(shell))
        left -= found[shell]
    moved = MOVED.get(symbol, "").split()
    for source, target in zip(moved[::2], moved[1::2], strict=True):
        found[source] -= 1
        found[target] += 1
    return found


def spin_orbitals(symbol: str) -> np.ndarray:
    """int [118], the spin orbitals of a neutral atom: 1 where there is an electron, −1 elsewhere.

    Subshells are in the order of :data:`SUBSHELLS`; each orbital of one has two numbers, of which
    the second is that of the spin that is occupied first (Hund's first rule).
    """
    parts = []
    for shell, electrons in electron_configuration(symbol).items():
        n = _orbitals(shell)
        first = np.arange(n) < electrons
        second = np.arange(n) < electrons - n
        parts.append(np.stack([second, first], axis=1).ravel())
    return np.where(np.concatenate(parts), 1, -1)


def _angular(shell: str) -> int:
    return "spdf".index(shell[1])


def _orbitals(shell: str) -> int:
    return 2 * _angular(shell) + 1


SPIN_OF = "spin of "
"""Begins the name of a type of virtual atoms; with its blank no name in a file can be one."""


def names_of_types(type_map: Sequence[str], ntypes: int) -> list[str]:
    """Names of all types of a model: those of ``type_map``, and behind them, up to ``ntypes``,
    those of the virtual atoms of the first ones; empty where ``type_map`` is.
    """
    return [*type_map, *(SPIN_OF + name for name in type_map[: max(ntypes - len(type_map), 0)])]


def virtual_types(names: Sequence[str]) -> int:
    """How many of the types with these names are of virtual atoms: the last ones."""
    return sum(name.startswith(SPIN_OF) for name in names)
