# SPDX-License-Identifier: BSD-3-Clause
"""Models of a quantum region and of its pairs with fragments: what they are the sum of."""

from __future__ import annotations

from typing import Any

import fragmented
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import difference
from pairwise_maps import sub_frames
from plain_session import plain_session

from deepmd_tf.config import Config
from deepmd_tf.errors import InputError
from deepmd_tf.model.energy import EnergyModel, ModelOutputs, Statistics
from deepmd_tf.model.hessian import full_hessian, hessian_vector_product, hessian_vector_products
from deepmd_tf.model.kinds import make_model
from deepmd_tf.nn.parameters import ConstantParameters, ModelParameters
from deepmd_tf.nn.variables import VariableParameters

CONFIG = Config.from_dict(fragmented.script()).model
KEYS = ("energy", "force", "virial", "atom_energy", "atom_virial")
Values = dict[str, np.ndarray]


def statistics() -> dict[str, Statistics]:
    rng = np.random.default_rng(5)
    n = len(fragmented.TYPES[:4])
    return {
        scope: Statistics(
            rng.normal(size=(n, 4)) * [0.1, 0, 0, 0] * (scope == "_qm"),
            rng.uniform(0.1, 0.3, (n, 4)),
            rng.normal(size=n),
        )
        for scope in ("_qm", "_qmmm")
    }


@pytest.fixture(scope="module")
def weights() -> Values:
    """Random ones."""
    with tf.Graph().as_default(), plain_session() as session:
        parameters = VariableParameters(None)
        model = make_model(CONFIG)
        model.build(model.make_inputs(tf.float64), parameters, "reference", statistics())
        session.run(tf.global_variables_initializer())
        return session.run(parameters.variables)


def feed(outputs: ModelOutputs, coord: np.ndarray, types: np.ndarray, n_loc: int) -> dict:
    n = coord.shape[1]
    counts = np.bincount(np.maximum(types[0, :n_loc], 0), minlength=4)
    given = {
        "t_coord": coord.reshape(-1),
        "t_type": types.reshape(-1),
        "t_natoms": np.array([n_loc, n, *counts], np.int32),
        "t_box": np.tile(5.0 * np.eye(3).reshape(-1), len(coord)),
        "t_mesh": np.zeros(6, np.int32),
    }
    return {outputs.inputs.placeholders[key]: value for key, value in given.items()}


class Built:
    """The model in a graph of a dialect."""

    def __init__(self, weights: Values, dialect: str = "native") -> None:
        self.graph = tf.Graph()
        with self.graph.as_default():
            self.model: Any = make_model(CONFIG)
            self.parameters = ConstantParameters(weights, "here")
            self.inputs = self.model.make_inputs(tf.float64)
            self.outputs = self.model.build(self.inputs, self.parameters, dialect)
            self.direction = tf.placeholder(tf.float64, [None])
            self.product = None
            if dialect == "native":
                self.product = hessian_vector_product(self.outputs, self.direction)
        self.session = plain_session(self.graph)

    def feed(self, coord: np.ndarray, group: np.ndarray, n_loc: int | None = None) -> dict:
        types = np.tile(fragmented.TYPES, (len(coord), 1))
        fed = feed(self.outputs, coord, types, n_loc or coord.shape[1])
        return fed | {self.inputs.placeholders["t_aparam"]: group.reshape(-1)}

    def __call__(self, *given: Any) -> Values:
        wanted = {key: getattr(self.outputs, key) for key in KEYS}
        return self.session.run(wanted, self.feed(*given))


@pytest.fixture(scope="module")
def native(weights: Values) -> Built:
    return Built(weights)


@pytest.fixture(scope="module")
def stock(weights: Values) -> Built:
    return Built(weights, "stock")


def members(weights: Values, coord: np.ndarray, group: np.ndarray) -> Values:
    """The sum, by evaluating each sub-frame as a frame of its own."""
    (n_frames, n, _), found = coord.shape, {key: 0.0 for key in KEYS}
    found |= {
        "energy": np.zeros(n_frames),
        "force": np.zeros((n_frames, n, 3)),
        "virial": np.zeros((n_frames, 9)),
        "atom_energy": np.zeros((n_frames, n)),
        "atom_virial": np.zeros((n_frames, n, 9)),
    }
    for k, member in enumerate(CONFIG.nets):
        with tf.Graph().as_default(), plain_session() as session:
            model = EnergyModel(member.config, scope=member.scope)
            parameters = ModelParameters.of(ConstantParameters(weights, "here"), member.scope)
            # types of a sub-frame are not sorted
            inputs = model.make_inputs(tf.float64, mixed=True)
            outputs = model.build(inputs, parameters)
            wanted = {key: getattr(outputs, key) for key in KEYS}
            for frame in range(n_frames):
                region, rest = sub_frames(group[frame], n)
                for atoms, _ in [region] if k == 0 else rest:
                    types = fragmented.TYPES[atoms][None]
                    fed = feed(outputs, coord[frame : frame + 1, atoms], types, len(atoms))
                    fed[outputs.inputs.placeholders["t_mesh"]] = np.zeros(0, np.int32)
                    values = session.run(wanted, fed)
                    found["energy"][frame] += values["energy"][0]
                    found["virial"][frame] += values["virial"][0]
                    found["atom_energy"][frame, atoms] += values["atom_energy"][0]
                    found["force"][frame, atoms] += values["force"].reshape(-1, 3)
                    found["atom_virial"][frame, atoms] += values["atom_virial"].reshape(-1, 9)
    return found


def assert_close(found: Values, expected: Values, frames: Any = slice(None)) -> None:
    for key in KEYS:
        want = np.asarray(expected[key])[frames]
        value = found[key].reshape(want.shape)
        np.testing.assert_allclose(value, want, rtol=0, atol=1e-11, err_msg=key)


DIALECTS = ["native", pytest.param("stock", marks=pytest.mark.slow)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_sum_over_sub_frames(weights, dialect, request):
    """Without periodic images, whatever the cell; several frames as each by itself."""
    built = request.getfixturevalue(dialect)
    case = fragmented.frames(3)
    coord, group = case["coord"], case["aparam"]
    # any numbers will do, the smallest is that of the region
    group[2] = np.where(group[2] == 0, 7, group[2] + 20)
    expected = members(weights, coord, group)
    found = built(coord, group)
    assert_close(found, expected)
    for frame in range(4):
        one = slice(frame, frame + 1)
        assert_close(built(coord[one], group[one]), expected, one)
    assert not found["force"].reshape(coord.shape)[group < 0].any()


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["native", "stock"])
def test_region_alone(weights, dialect, request):
    """A frame without fragments, by itself and beside others."""
    built = request.getfixturevalue(dialect)
    case = fragmented.frames(4, 2)
    coord, group = case["coord"], case["aparam"]
    group[0, 3:] = -1
    expected = members(weights, coord, group)
    assert_close(built(coord, group), expected)
    assert_close(built(coord[:1], group[:1]), expected, slice(1))


def test_ghosts(native, stock):
    """Ghosts are neighbours with a fragment, and have no energy: the same in both dialects; what
    they get of force and virial is what they would get as atoms of a larger frame.
    """
    case = fragmented.frames(6, 2)
    coord, group, n_loc = case["coord"], case["aparam"], 9
    found = native(coord, group, n_loc)
    assert_close(stock(coord, group, n_loc), found)
    whole = native(coord, group)
    assert found["atom_energy"].shape == (2, n_loc)
    np.testing.assert_allclose(found["atom_energy"], whole["atom_energy"][:, :n_loc], atol=1e-12)
    # the energy of the local atoms alone, whose derivative is the force on all
    rng = np.random.default_rng(1)
    along = rng.normal(size=coord.shape)
    slope = difference(lambda t: native(coord + t * along, group, n_loc)["energy"])
    work = (found["force"].reshape(coord.shape) * along).sum(axis=(1, 2))
    np.testing.assert_allclose(-work, slope, atol=1e-8)


def test_derivatives(native):
    """Forces, virials and products with the Hessian are derivatives."""
    case = fragmented.frames(5, 2)
    coord, group = case["coord"], case["aparam"]
    rng = np.random.default_rng(2)
    along, strain = rng.normal(size=coord.shape), rng.normal(size=(3, 3))
    found = native(coord, group)
    slope = difference(lambda t: native(coord + t * along, group)["energy"])
    work = (found["force"].reshape(coord.shape) * along).sum(axis=(1, 2))
    np.testing.assert_allclose(-work, slope, atol=1e-8)
    slope = difference(lambda t: native(coord @ (np.eye(3) + t * strain).T, group)["energy"])
    np.testing.assert_allclose(-found["virial"] @ strain.reshape(9), slope, atol=1e-8)
    fed = native.feed(coord, group) | {native.direction: along.reshape(-1)}
    product = native.session.run(native.product, fed)
    bend = difference(lambda t: -native(coord + t * along, group)["force"])
    np.testing.assert_allclose(product, bend, atol=1e-7)
    with native.graph.as_default():
        directions = tf.constant(along.reshape(2, 1, -1))
        several = hessian_vector_products(
            native.model, native.outputs, native.parameters, directions
        )
    again = native.session.run(several, fed)
    np.testing.assert_allclose(again[:, 0], product, atol=1e-11)


def test_whole_hessians_are_refused(native):
    with native.graph.as_default(), pytest.raises(InputError, match="no second derivatives of its"):
        full_hessian(native.model, native.outputs, native.parameters)


def test_one_type_embedding(weights, native):
    """Both models take it; everything else is of one of them."""
    shared = {name for name in weights if not name.partition("/")[0].endswith(("_qm", "_qmmm"))}
    assert shared - {"layer_0_qm/matrix"} == {"type_embed_net/matrix_1"}
    assert native.model.type_embeddings == ["t_typeebd"]
