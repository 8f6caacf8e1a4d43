# SPDX-License-Identifier: BSD-3-Clause
"""Arguments of an evaluation: accepted shapes, refusals that say what is wrong, grouping."""

from __future__ import annotations

import numpy as np
import pytest

from deepmd_tf.errors import InputError
from deepmd_tf.fields import ParameterInputs
from deepmd_tf.inference.frames import VIRTUAL, Signature, group_frames

TYPES = [1, 0, 1, 0]
COORDS = np.arange(24.0).reshape(2, 4, 3)
CELLS = np.tile(9 * np.eye(3), (2, 1, 1))


def check(coords=COORDS, cells=CELLS, types=TYPES, **kwargs):
    parameters = {key: kwargs.pop(key) for key in ParameterInputs._fields if key in kwargs}
    signature = Signature(2, ["O", "H"], ParameterInputs(**parameters))
    return signature.frames(coords, cells, types, **kwargs)


@pytest.mark.parametrize(
    ("coords", "cells"),
    [
        (COORDS, CELLS),
        (COORDS.reshape(2, 12), CELLS.reshape(2, 9)),
        (COORDS.reshape(-1), CELLS.reshape(-1)),
        (COORDS.tolist(), CELLS.tolist()),
        (COORDS.astype(np.float32), CELLS.astype(int)),
    ],
)
def test_shapes_that_mean_the_same(coords, cells):
    frames = check(coords, cells)
    np.testing.assert_array_equal(frames.coords, COORDS)
    np.testing.assert_array_equal(frames.cells, CELLS.reshape(2, 9))
    np.testing.assert_array_equal(frames.types, [TYPES, TYPES])
    assert (frames.n_frames, frames.n_atoms) == (2, 4)


def test_no_cell_stays_no_cell():
    assert check(cells=None).cells is None


def test_open_directions():
    """Extent of real atoms, cutoff and margin; without open directions nothing is changed."""
    np.testing.assert_array_equal(check(pbc=[1, 1, 1]).cells, CELLS.reshape(2, 9))
    assert check(pbc=False).cells is None
    assert check(cells=None, pbc=[False] * 3).cells is None
    extent = np.ptp(COORDS[0, [0, 1, 2], 2])
    found = check(types=[1, 0, 1, -1], pbc=[True, True, False]).cells[0].reshape(3, 3)
    np.testing.assert_allclose(found, np.diag([9, 9, extent + 51]))
    skew = np.array([[3.0, 0, 4], [1, 2, 3], [0, 0.1, 0]])
    for pbc in np.ndindex(2, 2, 2):
        if 0 < sum(pbc) < 3:
            cell = check(cells=[9 * np.eye(3), skew], pbc=pbc).cells[1].reshape(3, 3)
            open_ = np.array(pbc) == 0
            assert np.linalg.det(cell) > 0
            np.testing.assert_array_equal(cell[~open_], skew[~open_])
            np.testing.assert_allclose(cell[open_] @ cell[~open_].T, 0, atol=1e-12)


def test_one_frame_without_frame_axis():
    assert check(COORDS[0], CELLS[0]).n_frames == 1


def test_nothing_to_do():
    assert check(np.zeros((0, 12)), np.zeros((0, 9))).n_frames == 0
    assert check(np.zeros((3, 0)), np.tile(np.eye(3), (3, 1, 1)), []).n_frames == 3


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"pbc": [True, False]}, ["pbc is", "three"]),
        ({"pbc": "TTF"}, ["pbc is", "three"]),
        ({"cells": None, "pbc": True}, ["pbc is", "cells is None"]),
        ({"cells": [0] * 18, "pbc": [1, 1, 0]}, ["frame 0", "no extent where it is periodic"]),
        ({"coords": np.zeros(13)}, ["coords", "(13,)", "4 atoms", "(n_frames, 12)"]),
        ({"coords": "water"}, ["coords", "not an array of numbers", "float: 'water'"]),
        ({"coords": [[0.0, 1.0], [2.0]]}, ["coords", "not an array of numbers"]),
        ({"types": [[0, 1], [0]]}, ["atom_types", "whole numbers"]),
        ({"coords": COORDS + 0j}, ["coords", "complex"]),
        ({"types": np.array(TYPES, complex)}, ["atom_types", "whole numbers"]),
        ({"coords": np.full((2, 12), np.nan)}, ["coords", "atom 0", "frame 0", "not finite"]),
        ({"cells": np.eye(3)}, ["cells", "(3, 3)", "(2, 9)"]),
        ({"cells": np.zeros((2, 9))}, ["cells", "frame 0", "no volume", "cells=None"]),
        ({"cells": np.full((2, 9), np.inf)}, ["cells", "frame 0", "not finite"]),
        ({"types": [0, 1, 2, 1]}, ["atom 2", "type 2", "0 O, 1 H"]),
        ({"types": [0, 1, -2, 1]}, ["atom 2", "type -2"]),
        ({"types": [0, 1, 0.5, 1]}, ["whole numbers"]),
        ({"types": ["O", "H", "O", "H"]}, ["whole numbers"]),
        ({"types": TYPES, "mixed_type": True}, ["(4,)", "mixed_type"]),
        ({"types": [TYPES] * 3}, ["3 rows", "2 frames"]),
        ({"types": [[[0]]]}, ["(1, 1, 1)"]),
        ({"fparam": [1.0]}, ["fparam", "the model has none"]),
        ({"dim_fparam": 2}, ["fparam is missing", "2 numbers", "frame"]),
        ({"dim_fparam": 2, "fparam": [1, 2, 3]}, ["fparam", "(3,)", "(2, 2) or (2,)"]),
        ({"dim_aparam": 1}, ["aparam is missing", "1 numbers", "atom"]),
        ({"dim_aparam": 2, "aparam": np.zeros(5)}, ["aparam", "(5,)", "(2, 4, 2)"]),
        ({"dim_fparam": 1, "fparam": [np.nan]}, ["fparam", "not finite"]),
    ],
)
def test_refusals_name_the_culprit(kwargs, words):
    with pytest.raises(InputError) as caught:
        check(**kwargs)
    for word in words:
        assert word in str(caught.value)


def test_position_of_a_number_that_is_not_finite():
    coords = COORDS.copy()
    coords[1, 2, 0] = np.inf
    with pytest.raises(InputError, match="atom 2 in frame 1"):
        check(coords)


def test_coordinates_of_virtual_atoms_do_not_matter():
    coords = COORDS.copy()
    coords[:, 2] = np.nan
    assert check(coords, types=[1, 0, VIRTUAL, 0]).n_atoms == 4


@pytest.mark.parametrize("given", [[1.0, 2.0], [[1.0, 2.0], [1.0, 2.0]]])
def test_frame_parameters_for_all_or_each(given):
    frames = check(dim_fparam=2, fparam=given)
    np.testing.assert_array_equal(frames.fparam, [[1.0, 2.0], [1.0, 2.0]])


@pytest.mark.parametrize("given", [7.0, [7.0], np.array(7.0), [[7.0], [7.0]]])
def test_one_frame_parameter(given):
    np.testing.assert_array_equal(check(dim_fparam=1, fparam=given).fparam, [[7.0], [7.0]])


def test_defaults_stand_in_for_what_is_not_given():
    kwargs = {"dim_fparam": 2, "dim_aparam": 1, "default_fparam": [1, 2], "default_aparam": [3]}
    frames = check(**kwargs)
    np.testing.assert_array_equal(frames.fparam, [[1.0, 2.0]] * 2)
    np.testing.assert_array_equal(frames.aparam, np.full((2, 4, 1), 3.0))
    frames = check(**kwargs, fparam=[5, 6], aparam=7.0)
    np.testing.assert_array_equal(frames.fparam, [[5.0, 6.0]] * 2)
    np.testing.assert_array_equal(frames.aparam, np.full((2, 4, 1), 7.0))


@pytest.mark.parametrize("shape", [(1,), (4, 1), (2, 4, 1), (8,)])
def test_atomic_parameters_for_all_or_each(shape):
    frames = check(dim_aparam=1, aparam=np.ones(shape))
    np.testing.assert_array_equal(frames.aparam, np.ones((2, 4, 1)))


def test_groups_are_sorted_by_type_and_keep_the_order_within():
    (group,) = group_frames(check(types=[1, 0, VIRTUAL, 0]))
    np.testing.assert_array_equal(group.frames, [0, 1])
    np.testing.assert_array_equal(group.order, [1, 3, 0])
    np.testing.assert_array_equal(group.types, [0, 0, 1])
    np.testing.assert_array_equal(group.natoms(3), [3, 3, 2, 1, 0])


def test_frames_of_other_composition_form_other_groups(rng):
    types = rng.integers(-1, 2, (20, 4))
    frames = check(np.zeros((20, 12)), None, types, mixed_type=True)
    groups = list(group_frames(frames))
    assert sorted(np.concatenate([g.frames for g in groups])) == list(range(20))
    for group in groups:
        for frame in group.frames:
            np.testing.assert_array_equal(types[frame][group.order], group.types)
            assert np.count_nonzero(types[frame] != VIRTUAL) == len(group.order)
