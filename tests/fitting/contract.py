# SPDX-License-Identifier: BSD-3-Clause
"""What every fitting promises, tested for any of them.

A module of tests inherits all of it by a class that names the fitting and cases of its section::

    class TestEnergyFitting(FittingContract):
        fitting, cases = EnergyFitting, {"default": {}, "parameters": {"numb_fparam": 2}}
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import Kept, content, plain_session
from saved_models import small_input

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.config.type_embedding import TypeEmbeddingConfig
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting import FITTINGS, Fitting, make_fitting
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.type_embedding import TypeEmbedding
from deepmd_tf.nn.variables import VariableParameters

Arrays = dict[str, np.ndarray]
N_FRAMES, DIM = 3, 6
COUNTS = (1, 6, 4)
"""Virtual atoms, atoms of type 0 and of type 1 in each frame."""
STEP = 1e-5
_kept = Kept()


class Result(NamedTuple):
    """What a graph gave.

    Attributes
    ----------
    kinds
        Types of its operations.
    values
        Of the atoms, [n_frames, n, ...].
    slope
        Derivative of S = Σ sin(k) value_k by the descriptors, [n_frames, n, DIM].
    product
        Derivative of ⟨slope, along⟩ by the descriptors.
    gradients
        Gradient of Σ value² + Σ slope² by each trained weight, if they were wanted.
    """

    kinds: set[str]
    values: np.ndarray
    slope: np.ndarray
    product: np.ndarray
    gradients: Arrays


class FittingContract:
    """Tests of :attr:`fitting` for each of :attr:`cases`, which are keys of its section."""

    fitting: ClassVar[type[Fitting]]
    cases: ClassVar[dict[str, dict[str, Any]]]
    type_embedding: ClassVar[dict[str, Any] | None] = None
    """Section ``type_embedding``, if the model has one."""
    scalar: ClassVar[bool] = True
    """Whether there is one value for each atom, so that there is a curvature."""

    def config(self, case: str) -> Any:
        keys = {"type": self.fitting.config_class.model_fields["type"].default, **self.cases[case]}
        return Config.from_dict(small_input(fitting_net=keys)).model.fitting_net

    def make(self, config: Any) -> Fitting:
        types = None
        if self.type_embedding is not None:
            types = TypeEmbedding(TypeEmbeddingConfig(**self.type_embedding), 2)
        return make_fitting(config, 2, types)

    def build(self, config: Any, descriptors: Any, *rest: Any, **options: Any) -> Any:
        """The fitting in the graph."""
        return self.make(config).build(descriptors, *rest, **options)

    def arrays(self, rng: np.random.Generator, config: Any, counts=COUNTS) -> Arrays:
        """What to feed, by the name of the node."""
        n = sum(counts)
        types = np.tile(np.repeat([-1, 0, 1], counts), (N_FRAMES, 1))
        return {
            "x": rng.normal(size=(N_FRAMES, n, DIM)),
            "along": rng.normal(size=(N_FRAMES, n, DIM)) * (types >= 0)[..., None],
            names.T_TYPE: types,
            names.T_NATOMS: np.array([n, n, counts[0] + counts[1], counts[2]]),
            names.T_FPARAM: rng.normal(size=(N_FRAMES, config.numb_fparam)),
            names.T_APARAM: rng.normal(size=(N_FRAMES, n, config.numb_aparam)),
        }

    def weights(self, rng: np.random.Generator, config: Any) -> Arrays:
        """First weights; random bias, means and deviations."""

        def open_first() -> tuple[tf.Session, Arrays, set[str]]:
            with tf.Graph().as_default() as graph:
                parameters = VariableParameters()
                parts = [tf.placeholder(tf.float64, [None, None, DIM]) for _ in range(2)]
                self.build(config, parts, self.inputs(config), parameters)
                session = plain_session(graph)
                session.run(tf.global_variables_initializer())
            found = session.run(parameters.variables)
            return session, found, {variable.op.name for variable in parameters.trainable}

        _, found, trained = _kept.get((type(self).__name__, "first", repr(config)), open_first)
        return {
            name: array if name in trained else rng.uniform(0.5, 1.5, array.shape)
            for name, array in found.items()
        }

    def inputs(self, config: Any, mixed: bool = False) -> ModelInputs:
        dims = {"dim_fparam": config.numb_fparam, "dim_aparam": config.numb_aparam}
        return ModelInputs.make_placeholders(2, tf.float64, mixed=mixed, **dims)

    def evaluate(
        self,
        config: Any,
        arrays: Arrays,
        weights: Arrays,
        *,
        native: bool = True,
        mixed: bool = False,
        constant: bool = False,
        train: bool = False,
    ) -> Result:
        key = (type(self).__name__, repr(config), content(weights), native, mixed, constant)
        session, kinds, *fetches, named = _kept.get(
            key, lambda: self._open(config, weights, native, mixed, constant)
        )
        feed = {f"{name}:0": array for name, array in arrays.items() if array.size}
        for name in (names.T_TYPE, names.T_FPARAM, names.T_APARAM):
            if f"{name}:0" in feed:
                feed[f"{name}:0"] = arrays[name].ravel()
        return Result(kinds, *session.run((*fetches, named if train else {}), feed))

    def _open(
        self, config: Any, weights: Arrays, native: bool, mixed: bool, constant: bool
    ) -> tuple[Any, ...]:
        """A session, types of operations, and the other fields of :class:`Result` as tensors."""
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float64, [None, None, DIM], name="x")
            along = tf.placeholder(tf.float64, [None, None, DIM], name="along")
            inputs = self.inputs(config, mixed)
            parameters = ConstantParameters(weights) if constant else VariableParameters(weights)
            fitted = self.build(config, inputs.split_types(x), inputs, parameters, native=native)
            values = fitted.values
            flat = tf.reshape(values, [-1])
            factors = tf.sin(tf.cast(tf.range(tf.size(flat)), tf.float64))
            (slope,) = tf.gradients(tf.reduce_sum(factors * flat), x)
            (product,) = tf.gradients(slope, x, along, unconnected_gradients="zero")
            loss = tf.reduce_sum(values**2) + tf.reduce_sum(slope**2)
            trained = [] if constant else parameters.trainable
            gradients = tf.gradients(loss, trained)
            named = {v.op.name: g for v, g in zip(trained, gradients, strict=True)}
            session = plain_session(graph)
            session.run(tf.global_variables_initializer())
        kinds = {op.type for op in graph.get_operations()}
        return session, kinds, values, slope, product, named

    def tolerance(self, config: Any) -> float:
        return 2e-5 if config.precision == "float32" else 1e-13

    def test_it_is_registered(self) -> None:
        kind = self.fitting.config_class.model_fields["type"].default
        assert FITTINGS[kind] is self.fitting

    def test_shape_and_virtual_atoms(self, rng, case: str) -> None:
        config = self.config(case)
        arrays = self.arrays(rng, config)
        found = self.evaluate(config, arrays, self.weights(rng, config))
        assert found.values.shape[:2] == (N_FRAMES, sum(COUNTS))
        assert (found.values.ndim == 2) == self.scalar
        virtual = arrays[names.T_TYPE] < 0
        assert not found.values[virtual].any() and not found.slope[virtual].any()
        having = config.selected(2) if hasattr(config, "selected") else (0, 1)
        there = np.isin(arrays[names.T_TYPE], having)
        assert found.values[there].all() and not found.values[~there].any()

    @pytest.mark.parametrize("mixed", [False, True])
    def test_native_operations_are_the_same_nets(self, rng, case: str, mixed: bool) -> None:
        config = self.config(case)
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        got = self.evaluate(config, arrays, weights, mixed=mixed, train=True)
        # types are sorted, so that it is the same whether they might be mixed
        expected = self.evaluate(config, arrays, weights, native=False, train=True)
        assert not [kind for kind in expected.kinds if kind.startswith("Dp")]
        assert [kind for kind in got.kinds if kind.startswith("Dp")]
        assert got.gradients.keys() == expected.gradients.keys() > set()
        pairs = {key: (getattr(got, key), getattr(expected, key)) for key in Result._fields[1:4]}
        pairs |= {key: (got.gradients[key], expected.gradients[key]) for key in got.gradients}
        for key, (value, true) in pairs.items():
            # a weight may have no part in anything
            scale = max(np.abs(true).max(), 1.0)
            bound = self.tolerance(config) * scale
            np.testing.assert_allclose(value, true, rtol=0, atol=bound, err_msg=key)

    def test_an_atom_counts_by_itself(self, rng, case: str) -> None:
        """Frames in another order of the atoms of each type, and frames with fewer atoms."""
        config = self.config(case)
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        whole = self.evaluate(config, arrays, weights)
        for order in (
            [0, *(1 + rng.permutation(6)), *(7 + rng.permutation(4))],
            [2, 5, 8],
        ):
            types = arrays[names.T_TYPE][:, order]
            n, virtual_and_first = len(order), int(np.sum(types[0] < 1))
            part = arrays | {key: arrays[key][:, order] for key in ("x", "along", names.T_APARAM)}
            part[names.T_TYPE] = types
            part[names.T_NATOMS] = np.array([n, n, virtual_and_first, n - virtual_and_first])
            found = self.evaluate(config, part, weights)
            bound = self.tolerance(config) * max(np.abs(whole.values).max(), 1.0)
            np.testing.assert_allclose(found.values, whole.values[:, order], rtol=0, atol=bound)

    def test_frames_of_different_atoms(self, rng, case: str) -> None:
        config = self.config(case)
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        sorted_values = self.evaluate(config, arrays, weights).values
        order = np.argsort(rng.random(size=arrays[names.T_TYPE].shape), axis=1)
        frame = np.arange(N_FRAMES)[:, None]
        shuffled = {key: arrays[key][frame, order] for key in ("x", "along", names.T_TYPE)}
        shuffled[names.T_APARAM] = arrays[names.T_APARAM][frame, order]
        bound = self.tolerance(config) * max(np.abs(sorted_values).max(), 1.0)
        for native in (True, False):
            options = {"mixed": True, "native": native, "constant": not native}
            found = self.evaluate(config, arrays | shuffled, weights, **options).values
            np.testing.assert_allclose(found, sorted_values[frame, order], rtol=0, atol=bound)

    def test_derivatives_are_those_of_the_values(self, rng, case: str) -> None:
        config = self.config(case)
        if config.precision == "float32":
            pytest.skip("the digits of float32 are too few for differences")
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        found = self.evaluate(config, arrays, weights)
        ahead, behind = (
            self.evaluate(config, arrays | {"x": arrays["x"] + step * arrays["along"]}, weights)
            for step in (STEP, -STEP)
        )
        factors = np.sin(np.arange(found.values.size)).reshape(found.values.shape)
        difference = np.sum(factors * (ahead.values - behind.values)) / (2 * STEP)
        assert np.sum(found.slope * arrays["along"]) == pytest.approx(difference, rel=1e-6)
        bend = (ahead.slope - behind.slope) / (2 * STEP)
        np.testing.assert_allclose(found.product, bend, rtol=0, atol=1e-7 * np.abs(bend).max())

    @pytest.mark.parametrize("native", [True, False])
    def test_curvature(self, rng, case: str, native: bool) -> None:
        """E'' along two directions of each frame, by derivatives of derivatives."""
        if not self.scalar:
            pytest.skip("of scalars only")
        config = self.config(case)
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        directions = rng.normal(size=(N_FRAMES, 2, sum(COUNTS), DIM))
        directions[:, :, : COUNTS[0]] = 0.0
        with tf.Graph().as_default(), plain_session() as session:
            x = tf.constant(arrays["x"])
            inputs = self.inputs(config)
            fitted = self.build(
                config, inputs.split_types(x), inputs, ConstantParameters(weights), native=native
            )
            tangents = tf.constant(directions)
            curvature = fitted.curvature(inputs.split_tangents(tangents, 2))
            (slope,) = tf.gradients(tf.reduce_sum(fitted.values), x)
            # that of a linear net is zero
            products = [
                tf.gradients(slope, x, tangents[:, k], unconnected_gradients="zero")[0]
                for k in range(2)
            ]
            expected = tf.einsum("fanx,fbnx->fab", tangents, tf.stack(products, axis=1))
            feed = {f"{name}:0": arrays[name].ravel() for name in arrays if name[:2] == "t_"}
            feed = {name: array for name, array in feed.items() if array.size}
            got, true = session.run((curvature, expected), feed)
        bound = 100 * self.tolerance(config) * np.abs(true).max()
        np.testing.assert_allclose(got, true, rtol=0, atol=bound)

    def test_parameters_enter_normalised(self, rng, case: str) -> None:
        config = self.config(case)
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        found = self.evaluate(config, arrays, weights)
        for item, average, inverse, used in (
            (names.T_FPARAM, names.FPARAM_AVG, names.FPARAM_ISTD, config.numb_fparam),
            (names.T_APARAM, names.APARAM_AVG, names.APARAM_ISTD, config.net_aparam),
        ):
            changed = self.evaluate(config, arrays | {item: arrays[item] + 1.0}, weights)
            assert (changed.values != found.values).any() == bool(used)
            if used:
                normalised = (arrays[item] - weights[average]) * weights[inverse]
                plain = weights | {
                    average: np.zeros_like(weights[average]),
                    inverse: np.ones_like(weights[inverse]),
                }
                same = self.evaluate(config, arrays | {item: normalised}, plain)
                bound = self.tolerance(config) * max(np.abs(found.values).max(), 1.0)
                np.testing.assert_allclose(same.values, found.values, rtol=0, atol=bound)

    @classmethod
    def results(cls) -> list[np.ndarray]:
        """Of each case, for atoms that several threads share: for ``test_threads.py``."""
        one, rng = cls(), np.random.default_rng(1)
        found = []
        for config in map(one.config, cls.cases):
            arrays = one.arrays(rng, config, counts=(1, 60, 41))
            result = one.evaluate(config, arrays, one.weights(rng, config), train=True)
            found += [result.values, result.slope, result.product, *result.gradients.values()]
        return found

    def test_weights_are_all_that_a_finished_model_needs(self, rng, case: str) -> None:
        """Restarted training and frozen models give the same bits."""
        config = self.config(case)
        arrays, weights = self.arrays(rng, config), self.weights(rng, config)
        trained = self.evaluate(config, arrays, weights)
        finished = self.evaluate(config, arrays, weights, constant=True)
        for name in ("values", "slope"):
            np.testing.assert_array_equal(getattr(finished, name), getattr(trained, name))
