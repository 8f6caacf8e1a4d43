# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import pytest

from deepmd_tf import fields


@pytest.mark.parametrize(
    ("field", "stored", "in_batch"),
    [
        (fields.ENERGY, 1, 1),
        (fields.VIRIAL, 9, 9),
        (fields.FORCE, 3 * 7, 3 * 7),
        (fields.ATOM_PREF, 7, 3 * 7),
        (fields.HESSIAN, (3 * 7) ** 2, (3 * 7) ** 2),
        (fields.FPARAM.with_dof(4), 4, 4),
        (fields.APARAM.with_dof(2), 2 * 7, 2 * 7),
        (fields.DRDQ.with_dof(3 * 5), 3 * 5 * 7, 3 * 5 * 7),
    ],
)
def test_widths_for_seven_atoms(field, stored, in_batch) -> None:
    assert field.stored_width(7) == stored
    assert field.width(7) == in_batch


def test_records_are_listed_under_their_names() -> None:
    records = [
        value
        for value in vars(fields).values()
        if isinstance(value, fields.Field) and value not in (fields.MASK, fields.FRAGMENTS)
    ]
    assert sorted(fields.FIELDS) == sorted(record.name for record in records)
    assert all(fields.FIELDS[record.name] is record for record in records)


def test_requiring_an_item_changes_nothing_else() -> None:
    required = fields.ENERGY.require()
    assert required.required
    assert not fields.ENERGY.required
    assert (required.find_key, required.stems) == ("find_energy", ("energy",))
