# SPDX-License-Identifier: BSD-3-Clause
"""Fittings of tensors and of densities of states: what every fitting promises, how tensors turn,
and which factor and shift an atom has."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session
from saved_models import small_input

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.environment import ModelInputs
from deepmd_tf.errors import InputError
from deepmd_tf.fitting import DipoleFitting, DosFitting, PolarFitting, make_fitting
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.variables import VariableParameters

from .contract import DIM, FittingContract

WIDTH = DIM // 3


class TensorContract(FittingContract):
    """The descriptor of an atom serves as its directions, too."""

    scalar = False

    def make(self, config: Any) -> Any:
        return make_fitting(config, 2, super().make(config).types, WIDTH)

    def build(self, config: Any, descriptors: Any, *rest: Any, **options: Any) -> Any:
        for part in descriptors:
            part.set_shape([None, None, DIM])
        return super().build(config, descriptors, *rest, turning=descriptors, **options)


class TestDipole(TensorContract):
    fitting = DipoleFitting
    cases: ClassVar = {
        "default": {},
        "selected": {"sel_type": [1], "neuron": [9], "activation_function": "softplus"},
        "float32": {"precision": "float32"},
    }


class TestPolar(TensorContract):
    fitting = PolarFitting
    cases: ClassVar = {
        "diagonal": {"scale": [2.0, 3.0]},
        "matrix": {"fit_diag": False, "sel_type": 0, "resnet_dt": False},
    }


class TestOneNet(TensorContract):
    fitting = PolarFitting
    type_embedding: ClassVar = {"neuron": [3], "seed": 5}
    cases: ClassVar = {"selected": {"sel_type": [1], "scale": [2.0, 3.0]}}


class TestDos(FittingContract):
    fitting, scalar = DosFitting, False
    cases: ClassVar = {
        "default": {"numb_dos": 5},
        "parameters": {"numb_dos": 3, "numb_fparam": 2, "numb_aparam": 1},
    }


def evaluate(
    section: dict[str, Any],
    turning: np.ndarray,
    types: list[int],
    shift: list[float],
    te: Any = None,
) -> np.ndarray:
    """Tensors [n_atoms, size] of atoms with equal descriptors of ones."""
    config = Config.from_dict(small_input(fitting_net=section)).model.fitting_net
    with tf.Graph().as_default(), plain_session() as session:
        inputs = ModelInputs.make_placeholders(2, tf.float64)
        n = len(types)

        def build(parameters: Any) -> tf.Tensor:
            fitting = make_fitting(config, 2, te, WIDTH)
            parts = inputs.split_types(tf.ones([1, n, DIM], tf.float64))
            split = inputs.split_types(tf.constant(turning.reshape(1, n, -1)))
            return fitting.build(parts, inputs, parameters, turning=split).values

        first = VariableParameters()
        build(first)
        session.run(tf.global_variables_initializer())
        weights = session.run(first.variables) | {names.POLAR_SHIFT: np.array(shift)}
        counts = np.bincount(types, minlength=2)
        feed = {
            inputs.placeholders[names.T_TYPE]: types,
            inputs.placeholders[names.T_NATOMS]: [n, n, *counts],
        }
        return session.run(build(ConstantParameters(weights)), feed)[0]


@pytest.mark.parametrize(
    "section",
    [{"type": "dipole"}, {"type": "polar"}, {"type": "polar", "fit_diag": False}],
    ids=["dipole", "diagonal", "matrix"],
)
def test_tensors_turn_with_the_directions(rng, section: dict[str, Any]) -> None:
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turning, types = rng.normal(size=(3, WIDTH, 3)), [0, 0, 1]
    before, after = (
        evaluate(section | {"seed": 1}, t, types, [0.5, 1.5]) for t in (turning, turning @ turn.T)
    )
    if section["type"] == "dipole":
        np.testing.assert_allclose(after, before @ turn.T, atol=1e-12)
        return
    matrices = before.reshape(-1, 3, 3)
    np.testing.assert_allclose(after.reshape(-1, 3, 3), turn @ matrices @ turn.T, atol=1e-12)
    np.testing.assert_allclose(matrices, matrices.swapaxes(1, 2), atol=1e-12)


def test_scale_and_shift_are_those_of_the_position_in_sel_type(rng) -> None:
    """As in DeePMD-kit: the only selected type, 1, has the first entries."""
    turning = rng.normal(size=(2, WIDTH, 3))
    section = {"type": "polar", "sel_type": [1], "seed": 1}
    plain = evaluate(section, turning, [0, 1], [0.0, 0.0])
    found = evaluate(section | {"scale": [2.0, 3.0]}, turning, [0, 1], [10.0, 20.0])
    assert not found[0].any()
    np.testing.assert_allclose(found[1], 2.0 * plain[1] + 10.0 * np.eye(3).ravel(), rtol=1e-12)


def test_a_type_that_does_not_exist() -> None:
    config = Config.from_dict(small_input(fitting_net={"type": "dipole"})).model.fitting_net
    config = config.model_copy(update={"sel_type": [4]})
    with pytest.raises(InputError, match=r"sel_type has the type 4, but there are 2 types"):
        make_fitting(config, 2, None, WIDTH)
