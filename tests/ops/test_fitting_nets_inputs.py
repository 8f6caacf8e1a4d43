# SPDX-License-Identifier: BSD-3-Clause
"""Fitting nets: inputs that do not fit together are refused."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf import ops
from deepmd_tf.ops.library import native

from .nets import Nets

NETS = Nets(
    [np.zeros((4, 3)), np.zeros((5, 2))],
    [np.zeros(shape) for shape in ((3, 6), (6, 6), (6, 1), (2, 6), (6, 6), (6, 1))],
    [np.zeros(n) for n in (6, 6, 1) * 2],
    [np.zeros(6)] * 2,
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_0": np.zeros(())}, "a net is given a scalar"),
        ({"x_0": np.zeros((4, 0)), "matrix_0": np.zeros((0, 6))}, "net 0 has a layer that no"),
        (
            {"matrix_3": np.zeros((2, 0)), "matrix_4": np.zeros((0, 6)), "bias_3": np.zeros(0)},
            "net 1 has a layer that no",
        ),
        (
            {"matrix_1": np.zeros((6, 7)), "bias_1": np.zeros(7), "matrix_2": np.zeros((7, 1))},
            "there are 2 idt, expected 1 or none",
        ),
        ({"grad_0": np.zeros(3)}, r"hidden has shape \[4,6\], expected \[3,6\]"),
        ({"grad_1": np.zeros((5, 1))}, "d_energy has shape"),
    ],
)
def test_wrong_shapes(change: dict[str, np.ndarray], message: str) -> None:
    case = {f"{key}_{k}": a for key, values in NETS._asdict().items() for k, a in enumerate(values)}
    case |= {"grad_0": np.zeros(4), "grad_1": np.zeros(5)}
    with tf.Graph().as_default(), plain_session() as session:
        given = {key: tf.placeholder(tf.float64) for key in case}
        nets = Nets(*([v for k, v in given.items() if k.startswith(f"{f}_")] for f in Nets._fields))
        energy, _ = ops.fitting_nets(*nets)
        found = tf.gradients(energy, nets.x, grad_ys=[given["grad_0"], given["grad_1"]])
        feed = {given[key]: array for key, array in (case | change).items()}
        for target in [found] if "grad" in next(iter(change)) else [energy, found]:
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                session.run(target, feed)


HIDDEN = [np.zeros(shape) for shape in ((4, 6), (4, 6), (5, 6), (5, 6))]
ENERGY = [np.zeros(4), np.zeros(5)]
LISTS: dict[str, dict[str, list[np.ndarray]]] = {
    "dp_fitting_nets": NETS._asdict(),
    "dp_fitting_nets_vjp": {
        "hidden": HIDDEN,
        "matrix": NETS.matrix,
        "idt": NETS.idt,
        "d_energy": ENERGY,
        "d_hidden": HIDDEN,
    },
    "dp_fitting_nets_jvp": {
        "hidden": HIDDEN,
        "matrix": NETS.matrix,
        "idt": NETS.idt,
        "d_layer": HIDDEN,
        "t_x": NETS.x,
    },
    "dp_fitting_nets_weights": {
        "x": NETS.x,
        "hidden": HIDDEN,
        "idt": NETS.idt,
        "d_energy": ENERGY,
        "d_layer": HIDDEN,
        "d_z": HIDDEN,
    },
}
"""Inputs of the operations that fit."""
NUMBERS = {
    "dp_fitting_nets": {"hidden_layers": 4},
    "dp_fitting_nets_weights": {"matrices": 6, "timestep_gradients": 2},
}
"""Lengths of lists that no input tells."""


def call(name: str, change: dict[str, Any]) -> Any:
    """The operation with the lists of :data:`LISTS` and other ones, in placeholders that know
    nothing of shapes."""
    lists = LISTS[name] | {key: value for key, value in change.items() if isinstance(value, list)}
    numbers = NUMBERS.get(name, {}) | {k: v for k, v in change.items() if isinstance(v, int)}
    with tf.Graph().as_default(), plain_session() as session:
        given = {k: [tf.placeholder(tf.float64) for _ in arrays] for k, arrays in lists.items()}
        feed = {h: a for key in lists for h, a in zip(given[key], lists[key], strict=True)}
        return session.run(getattr(native(), name)(**given, **numbers), feed)


@pytest.mark.parametrize("name", LISTS)
def test_lists_that_fit(name: str) -> None:
    for value in itertools.chain.from_iterable(call(name, {})):
        assert not np.any(value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("dp_fitting_nets", {"hidden_layers": 3}, "6 matrices and 3 hidden layers for 2 nets"),
        ("dp_fitting_nets", {"hidden_layers": 5}, "6 matrices and 5 hidden layers for 2 nets"),
        ("dp_fitting_nets", {"hidden_layers": 1}, "6 matrices and 1 hidden layers for 2 nets"),
        (
            "dp_fitting_nets",
            {"hidden_layers": 1000},
            "6 matrices and 1000 hidden layers for 2 nets",
        ),
        (
            "dp_fitting_nets",
            {"matrix": NETS.matrix[:5], "bias": NETS.bias[:5]},
            "5 matrices and 4 hidden layers for 2 nets",
        ),
        ("dp_fitting_nets", {"x": NETS.x[:1]}, "6 matrices and 4 hidden layers for 1 nets"),
        ("dp_fitting_nets", {"x": NETS.x * 3}, "6 matrices and 4 hidden layers for 6 nets"),
        ("dp_fitting_nets", {"idt": NETS.idt[:1]}, "idt is missing for layer 1 of net 1"),
        ("dp_fitting_nets", {"idt": NETS.idt * 2}, "there are 4 idt, expected 2 or none"),
        ("dp_fitting_nets_vjp", {"d_hidden": HIDDEN[:1]}, "there are 1 d_hidden, expected 4 or"),
        ("dp_fitting_nets_vjp", {"d_hidden": HIDDEN * 2}, "there are 8 d_hidden, expected 4 or"),
        ("dp_fitting_nets_vjp", {"d_hidden": HIDDEN[::-1]}, "d_hidden has shape"),
        ("dp_fitting_nets_vjp", {"hidden": HIDDEN[::-1]}, "hidden has shape"),
        (
            "dp_fitting_nets_vjp",
            {"hidden": HIDDEN[:3], "d_hidden": []},
            "6 matrices and 3 hidden layers for 2 nets",
        ),
        ("dp_fitting_nets_vjp", {"d_energy": [np.zeros(())] * 2}, "a net is given a scalar"),
        ("dp_fitting_nets_vjp", {"d_energy": NETS.x}, "hidden has shape|d_energy has shape"),
        ("dp_fitting_nets_vjp", {"matrix": NETS.matrix[:2]}, "2 matrices and 4 hidden layers"),
        ("dp_fitting_nets_vjp", {"matrix": NETS.matrix[::-1]}, "matrix has shape"),
        ("dp_fitting_nets_vjp", {"idt": HIDDEN[:2]}, "idt has shape"),
        ("dp_fitting_nets_jvp", {"hidden": HIDDEN[::-1]}, "hidden has shape"),
        ("dp_fitting_nets_jvp", {"d_layer": HIDDEN[::-1]}, "d_layer has shape"),
        ("dp_fitting_nets_jvp", {"t_x": NETS.x[:1]}, "6 matrices and 4 hidden layers for 1 nets"),
        ("dp_fitting_nets_jvp", {"t_x": HIDDEN[1:3]}, "t_x has shape"),
        ("dp_fitting_nets_jvp", {"t_x": ENERGY}, "t_x has shape"),
        ("dp_fitting_nets_jvp", {"matrix": HIDDEN + NETS.x}, "matrix has shape"),
        ("dp_fitting_nets_jvp", {"idt": NETS.idt * 2}, "there are 4 idt, expected 2 or none"),
        ("dp_fitting_nets_weights", {"matrices": 5}, "5 matrices and 4 hidden layers for 2 nets"),
        (
            "dp_fitting_nets_weights",
            {"matrices": 600},
            "600 matrices and 4 hidden layers for 2 nets",
        ),
        ("dp_fitting_nets_weights", {"x": ENERGY}, "x has shape"),
        ("dp_fitting_nets_weights", {"x": [np.zeros((4, 0)), NETS.x[1]]}, "net 0 has a layer that"),
        ("dp_fitting_nets_weights", {"hidden": ENERGY * 2}, "hidden has shape"),
        ("dp_fitting_nets_weights", {"hidden": HIDDEN[::-1]}, "hidden has shape"),
        ("dp_fitting_nets_weights", {"d_energy": ENERGY[::-1]}, "d_energy has shape"),
        ("dp_fitting_nets_weights", {"d_layer": HIDDEN[::-1]}, "d_layer has shape"),
        ("dp_fitting_nets_weights", {"d_z": HIDDEN[::-1]}, "d_z has shape"),
        ("dp_fitting_nets_weights", {"idt": HIDDEN[:2]}, "idt has shape"),
        (
            "dp_fitting_nets_weights",
            {"idt": NETS.idt[:1], "timestep_gradients": 1},
            "idt is missing for layer 1 of net 1",
        ),
        ("dp_fitting_nets_weights", {"timestep_gradients": 3}, "2 idt for 3 results of 1 terms"),
        ("dp_fitting_nets_weights", {"terms": 2}, "6 matrices and 4 hidden layers for 2 nets"),
        (
            "dp_fitting_nets_weights",
            {"terms": 3, "matrices": 2},
            "2 matrices and 4 hidden layers for 2 nets",
        ),
        ("dp_fitting_nets_weights", {"terms": 2, "matrices": 3}, "2 idt for 2 results of 2 terms"),
        (
            "dp_fitting_nets_weights",
            {"terms": 2, "matrices": 3, "timestep_gradients": 1},
            "the terms have layers of 2 x 6 and 3 x 6 numbers",
        ),
    ],
)
def test_lists_that_do_not_fit(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(name, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": []}, "shorter than minimum length 1"),
        ({"hidden_layers": 0}, "minimum of 1|less than minimum 1"),
    ],
)
def test_there_are_nets_and_layers(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message)):
        call("dp_fitting_nets", change)
