# SPDX-License-Identifier: BSD-3-Clause
"""Arrays of the right number of numbers in another shape: taken frame by frame, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from deepmd_tf import fields
from deepmd_tf.data import DataSystem
from deepmd_tf.errors import DataError
from deepmd_tf.interfaces.conversion import convert_data

ITEMS = (
    fields.ENERGY,
    fields.FORCE,
    fields.VIRIAL,
    fields.HESSIAN,
    fields.FPARAM.with_dof(2),
    fields.APARAM.with_dof(2),
    fields.DRDQ.with_dof(6),
)
N, ATOMS = 4, 5


@pytest.fixture
def path(make, hessians):
    rng = np.random.default_rng(3)
    return make(
        virial=rng.normal(size=(N, 9)),
        hessian=hessians(N, ATOMS),
        fparam=rng.normal(size=(N, 2)),
        aparam=rng.normal(size=(N, ATOMS, 2)),
        drdq=rng.normal(size=(N, ATOMS, 3, 2)),
    )


def opened(path, **options):
    system = DataSystem(path, fields=ITEMS, **options)
    found = [str(finding) for _, _, findings in system.chunks() for finding in findings]
    return system.get_batch(N, np.random.RandomState(1)).arrays, found


def reshape(path, name, shape):
    file = path / f"set.000/{name}.npy"
    np.save(file, np.load(file).reshape(shape))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("aparam", (1, N * ATOMS * 2)),
        ("aparam", (N * ATOMS, 2)),
        ("force", (1, -1)),
        ("force", (N * ATOMS, 3)),
        ("force", (N * ATOMS * 3, 1)),
        ("force", (1, N, ATOMS * 3)),
        ("box", (-1,)),
        ("box", (N * 3, 3)),
        ("virial", (1, N, 3, 3)),
        ("fparam", (N * 2,)),
        ("hessian", (N * ATOMS * 3, ATOMS * 3)),
        ("drdq", (N * ATOMS * 3, 2)),
    ],
)
def test_taken_frame_by_frame(path, name, shape) -> None:
    expected, found = opened(path)
    assert found == []
    reshape(path, name, shape)
    arrays, found = opened(path)
    for key, values in expected.items():
        np.testing.assert_array_equal(arrays[key], values, key)
    (doubt,) = found
    assert f"set.000/{name}.npy: has the shape (" in doubt and "one frame after the other" in doubt


@pytest.mark.parametrize(
    ("name", "shape"),
    [("force", (N, ATOMS, 3)), ("virial", (N, 3, 3)), ("energy", (1, N)), ("energy", (N, 1, 1))],
)
def test_usual_ones_raise_no_doubt(path, name, shape) -> None:
    expected, _ = opened(path)
    reshape(path, name, shape)
    arrays, found = opened(path)
    np.testing.assert_array_equal(arrays[name], expected[name])
    assert found == []


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("force", (ATOMS * 3, N)),
        ("force", (N, 3, ATOMS)),
        ("force", (ATOMS, N, 3)),
        ("coord", (N, 3, ATOMS)),
        ("box", (9, N)),
        ("energy", (2, 2)),
        ("aparam", (N, 2, ATOMS)),
        ("hessian", (N, 3, ATOMS, 3, ATOMS)),
    ],
)
def test_another_order_is_refused(path, name, shape) -> None:
    reshape(path, name, shape)
    with pytest.raises(DataError, match=rf"{name}\.npy: the shape .* not frame after frame") as e:
        DataSystem(path, fields=ITEMS)
    assert f"expected the shape ({N}," in str(e.value)


def test_of_one_frame(make) -> None:
    path = make(nframes=1)
    reshape(path, "force", (3, ATOMS))
    with pytest.raises(DataError, match="not frame after frame and atom after atom"):
        DataSystem(path, fields=ITEMS)


def test_conversion_keeps_the_numbers(path, tmp_path) -> None:
    expected, _ = opened(path, sort_atoms=False)
    for name, shape in (("aparam", (1, -1)), ("fparam", (-1,)), ("force", (-1, 3))):
        reshape(path, name, shape)
    convert_data([str(path)], tmp_path / "converted")
    (found,) = (tmp_path / "converted").glob("*/type.raw")
    arrays, doubts = opened(found.parent, sort_atoms=False)
    for key in ("aparam", "fparam", "force", "drdq"):
        np.testing.assert_array_equal(arrays[key], expected[key], key)
    assert doubts == []
