# SPDX-License-Identifier: BSD-3-Clause
"""Which key or column of an extended XYZ file is which label."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from deepmd_tf.errors import DataError
from deepmd_tf.fields import ENERGY, FIELDS, FORCE, HESSIAN, VIRIAL, Field

STRESS = "stress"
_PREFIX = re.compile(r"(?:ref|reference|dft|qm|label|target)[_-]")
_NAMES = {
    ENERGY.name: {"energy", "free_energy", "total_energy", "potential_energy"},
    FORCE.name: {"force", "forces"},
    VIRIAL.name: {"virial", "virials"},
    STRESS: {"stress"},
}
_OTHERS = {
    name: field
    for name, field in FIELDS.items()
    if name not in (*_NAMES, "coord", "box", HESSIAN.name)
}
ROLES = (*_NAMES, *_OTHERS)
"""Items that a key or column may be chosen for."""
_SYNONYMS = {"forces": FORCE.name}


def is_of_atoms(role: str) -> bool:
    """Whether the label is a column, one row for each atom, or a key of the frame."""
    return role != STRESS and FIELDS[role].kind == "atom"


def parse_choices(words: Collection[str], where: str) -> dict[str, str]:
    """Choices of the form ``energy=REF_energy``, by role; an empty name: no such label.

    Raises
    ------
    DataError
        If one is not of that form.
    """
    chosen: dict[str, str] = {}
    for word in words:
        role, _, name = word.partition("=")
        role = _SYNONYMS.get(role, role)
        if role not in ROLES:
            raise DataError(
                f"{where}: {word!r} does not choose a label; expected one of {', '.join(ROLES)}, "
                "then = and the name of a key or column, for example energy=REF_energy"
            )
        if role in chosen:
            raise DataError(f"{where}: {role} is chosen twice")
        chosen[role] = name
    if chosen.get(VIRIAL.name) and chosen.get(STRESS):
        raise DataError(f"{where}: choose either virial or stress")
    if VIRIAL.name in chosen or STRESS in chosen:
        # who names one of them, or none, does not want the other
        chosen.setdefault(VIRIAL.name, "")
        chosen.setdefault(STRESS, "")
    return chosen


def candidates(role: str, names: Collection[str], chosen: Mapping[str, str]) -> list[str]:
    """Those of `names` that are, or may be, the label `role`."""
    if role in chosen:
        return [name for name in names if name == chosen[role]]
    if role in _NAMES:
        return [name for name in names if _PREFIX.sub("", name.lower(), count=1) in _NAMES[role]]
    field: Field = _OTHERS[role]
    return [name for name in names if name.lower() in field.stems][:1]
