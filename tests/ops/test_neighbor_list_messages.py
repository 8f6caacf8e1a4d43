# SPDX-License-Identifier: BSD-3-Clause
"""Neighbour list: messages about wrong inputs, and what the graph knows of shapes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import run

from deepmd_tf import ops

PERIODIC = np.zeros(6, np.int32)
OPEN = np.zeros(0, np.int32)
COORD = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0]]])
TYPE = np.array([[0, 1, 1]], np.int32)
BOX = 8 * np.eye(3)[None]
NAN = np.where(np.arange(9).reshape(1, 3, 3) == 4, np.nan, COORD)
SELF = [0, 1, 2], [1, 1, 1], [0, 0, 0]


def inline(centers: list[int], counts: list[int], indices: list[int]) -> np.ndarray:
    return np.array([0] * 16 + centers + counts + indices, np.int32)


@pytest.mark.parametrize(
    ("changes", "mesh", "message"),
    [
        ({}, np.zeros(1, np.int32), "mixed types are not supported"),
        ({}, np.zeros(7, np.int32), "mixed types are not supported"),
        ({}, np.zeros(5, np.int32), "invalid mesh tensor: its length is 5"),
        ({}, np.zeros(16, np.int32), "engine's neighbour list has 0 centres"),
        ({}, np.array([0, 3] + [0] * 14, np.int32), "a pointer of the engine's .* is null"),
        ({}, np.zeros(17, np.int32), "takes at least 22 numbers, got 17"),
        ({}, inline([0, 1, 1], [0, 0, 0], []), "list of centres is 1, expected every number"),
        ({}, inline([0, 1, 3], [0, 0, 0], []), "list of centres is 3"),
        ({}, inline([0, 1, 2], [0, -1, 0], []), "atom 1 has -1 neighbours"),
        ({}, inline([0, 1, 2], [1, 0, 0], []), "ask for 23 numbers in all, got 22"),
        ({}, inline([0, 1, 2], [0, 0, 0], [1]), "ask for 22 numbers in all, got 23"),
        ({}, inline([0, 1, 2], [1, 1, 0], [1, 3]), "frame 0 .* neighbour of atom 1 is 3"),
        ({}, inline([0, 1, 2], [1, 1, 0], [1, -1]), "neighbour of atom 1 is -1"),
        ({}, inline(*SELF), "atom 0 is listed as its own neighbour"),
        ({"box": 0 * BOX}, PERIODIC, "frame 0 has a box of zero volume"),
        ({"box": BOX * np.array([1, 1, 0])[:, None]}, PERIODIC, "box of zero volume"),
        ({"box": np.ones((1, 3, 3))}, PERIODIC, "box of zero volume"),
        ({"box": BOX + np.inf}, PERIODIC, "box that is not finite"),
        ({"box": BOX * 1e-4}, PERIODIC, "box far smaller than the cutoff.*units"),
        ({"box": BOX * [125, 1e-3, 1e-3]}, PERIODIC, "box far smaller than the cutoff.*units"),
        ({"coord": 1.5e308 * np.sign(COORD - 0.5)}, OPEN, "whose distance is larger than any"),
        ({"coord": NAN}, PERIODIC, "frame 0 has atom 1 at a position that is not finite"),
        ({"coord": NAN}, OPEN, "frame 0 has atom 1 at a position that is not finite"),
        ({"coord": COORD * 1e15}, PERIODIC, "atom 1 more than 1e9 lattice vectors away"),
        ({"coord": 0 * COORD}, PERIODIC, "atoms 0 and 1 .* at the same place"),
        ({"coord": 0 * COORD}, OPEN, "atoms 0 and 1 .* at the same place"),
        ({"coord": COORD * [8, 1, 1]}, PERIODIC, "atoms 0 and 1 .* at the same place"),
        ({"type": TYPE + 1}, OPEN, "frame 0 has atom 1 of type 2, expected less than 2"),
        ({"natoms": [3, 4, 0, 0]}, OPEN, r"coord has shape \[1,9\], expected \[1,12\]"),
        ({"natoms": [4, 3, 0, 0]}, OPEN, "natoms starts with 4, 3"),
        ({"natoms": [-1, 3, 0, 0]}, OPEN, "natoms starts with -1, 3"),
        ({"natoms": [2, 3, 0, 0]}, PERIODIC, "takes no ghost atoms"),
        ({"type": np.zeros((2, 3), np.int32)}, OPEN, r"type has shape \[2,3\], expected \[1,3\]"),
        ({"box": np.zeros((2, 9))}, OPEN, r"box has shape \[2,9\], expected \[1,9\]"),
    ],
)
def test_messages(changes: dict, mesh: np.ndarray, message: str) -> None:
    arrays = {"coord": COORD, "type": TYPE, "natoms": [3, 3, 0, 0], "box": BOX} | changes
    arrays["coord"] = arrays["coord"].reshape(1, -1)
    arrays["box"] = arrays["box"].reshape(-1, 9)
    arrays["natoms"] = np.array(arrays["natoms"], np.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(ops.neighbor_list, *arrays.values(), mesh, rcut=3.0, sel=[-1, -1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("cells", [-2, 1, 3])
@pytest.mark.parametrize("x", [0.1, 2.3, 9.7])
def test_atoms_that_are_images_of_each_other(x: float, cells: int, dtype: type) -> None:
    """Wrapping leaves a rounding error between them, which must not pass for a distance."""
    box = 10.1 * np.eye(3)
    coord = np.array([[x, 1.0, 2.0, x + cells * 10.1, 1.0, 2.0]], dtype)
    natoms = np.array([2, 2, 2, 0], np.int32)
    arrays = (coord, np.zeros((1, 2), np.int32), natoms, box.reshape(1, 9).astype(dtype))
    with pytest.raises(tf.errors.InvalidArgumentError, match="atoms 0 and 1"):
        run(ops.neighbor_list, *arrays, PERIODIC, rcut=3.0, sel=[-1, -1])


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"rcut": 0.0, "sel": [1, 1]}, "rcut is 0, expected a positive number"),
        ({"rcut": -2.0, "sel": [1, 1]}, "rcut is -2"),
        ({"rcut": 2.0, "sel": [1, -2]}, "sel has the entry -2"),
    ],
)
def test_messages_of_attributes(keywords: dict, message: str) -> None:
    natoms = np.array([3, 3, 0, 0], np.int32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        run(
            ops.neighbor_list,
            COORD.reshape(1, 9),
            TYPE,
            natoms,
            BOX.reshape(1, 9),
            OPEN,
            **keywords,
        )


def test_static_shapes() -> None:
    with tf.Graph().as_default():
        coord, box = (tf.placeholder(tf.float32, [None, None]) for _ in range(2))
        type = tf.placeholder(tf.int32, [None, None])
        natoms, mesh = tf.placeholder(tf.int32, [4]), tf.placeholder(tf.int32, [None])
        pairs = ops.neighbor_list(coord, type, natoms, box, mesh, rcut=3.0, sel=[4, 5])
        shapes = [output.shape.as_list() for output in pairs]
        assert shapes == [[None], [None], [None, 3], [None], [2], [2]]
        assert pairs.shift.dtype == tf.float32
        with pytest.raises(ValueError, match=r"must be 5 but is 4|must be 4 but is 5"):
            ops.neighbor_list(coord, type, natoms, box, mesh, rcut=3.0, sel=[4, 5, 6])
        with pytest.raises(ValueError, match="must be rank 2"):
            ops.neighbor_list(coord[0], type, natoms, box, mesh, rcut=3.0, sel=[4, 5])
