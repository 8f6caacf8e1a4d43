# SPDX-License-Identifier: BSD-3-Clause
"""What every loss promises, tested for any of them.

A module of tests inherits all of it by a class that names the loss, cases of its section, and what
the model gives for each label::

    class TestEnergyLoss(LossContract):
        loss, cases = EnergyLoss, {"force": {"start_pref_f": 3.0, "limit_pref_f": 7.0}}
        outputs = {"energy": "energy", "atom_ener": "atom_energy", "force": "force"}
"""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from plain_session import plain_session

from deepmd_tf.data import Batch
from deepmd_tf.data.batch import PERIODIC_MESH, merge, natoms_vector, resize
from deepmd_tf.fields import FIELDS, Field
from deepmd_tf.losses import LOSSES, MixedFrames, TermLoss

START_LR, LR = 1e-3, np.float32(2.5e-4)
TYPES = ([0, 0, 1, 1, 1], [1, 1], [0, 1, 1], [0, 0, 1, 1, 1])
SAME = (TYPES[0],) * 4
STEP = 1e-5


class Result(NamedTuple):
    """What a loss gave.

    Attributes
    ----------
    total
        What is minimised.
    gradients
        Its derivative by each output of the model, by the label, as an array of a batch.
    shown
        Displayed errors.
    """

    total: float
    gradients: dict[str, np.ndarray]
    shown: dict[str, float]


class Graph:
    """Losses of predictions that are fed, for ordinary batches or for those of mixed frames."""

    def __init__(
        self,
        losses: dict[str, TermLoss],
        outputs: dict[str, str],
        dtype: tf.DType = tf.float64,
        *,
        mixed: bool = False,
    ) -> None:
        self.losses = losses

        def placeholder(item: Field, shape: Any) -> tf.Tensor:
            return tf.placeholder(tf.float64 if item.numbers.high_precision else dtype, shape)

        with tf.Graph().as_default() as graph:
            self.outputs = {key: placeholder(FIELDS[key], self.shape(key)) for key in outputs}
            items = {item.name: item for loss in losses.values() for item in loss.labels}
            self.labels = {key: placeholder(item, [None]) for key, item in items.items()}
            self.ratio = tf.placeholder(tf.float64, [None])
            self.natoms = tf.placeholder(tf.int32, [])
            self.weights, self.found, self.fetches = {}, {}, {}
            model = SimpleNamespace(
                **{outputs[key]: self.outputs[key] for key in outputs}, natoms=self.natoms
            )
            for case, loss in losses.items():
                self.weights[case] = tf.placeholder(tf.float64, [len(loss.terms)])
                self.found[case] = tf.placeholder(tf.float64, [len(loss.terms), None])
                frames = MixedFrames(self.ratio, self.found[case]) if mixed else None
                built = loss.build(model, self.labels, self.weights[case], mixed=frames)
                slopes = tf.gradients(built.total, list(self.outputs.values()))
                slopes = dict(zip(outputs, slopes, strict=True))
                there = {key: slope for key, slope in slopes.items() if slope is not None}
                self.fetches[case] = built.total, there, built.values
            self.session = plain_session(graph)

    @staticmethod
    def shape(label: str, nframes: Any = None, natoms: Any = None) -> list[Any]:
        """That of the output of the model for a label."""
        if FIELDS[label].kind == "hessian":
            return [nframes] + [natoms and 3 * natoms] * 2
        if FIELDS[label].kind == "atom":
            return [nframes, natoms and FIELDS[label].dof * natoms]
        return [nframes] if FIELDS[label].dof == 1 else [nframes, FIELDS[label].dof]

    def run(self, predicted: Batch, batch: Batch, lr: float = LR) -> dict[str, Result]:
        """Of each case."""
        weights = {case: loss.weights(lr, START_LR, batch) for case, loss in self.losses.items()}
        n = batch.natoms[0]
        feed = {self.ratio: n / batch.sizes, self.natoms: n}
        feed |= {self.weights[case]: weights[case] for case in weights}
        feed |= {self.found[case]: loss.found(batch) for case, loss in self.losses.items()}
        feed |= {node: batch.arrays[key].ravel() for key, node in self.labels.items()}
        for key, node in self.outputs.items():
            feed[node] = predicted.arrays[key].reshape(self.shape(key, batch.nframes, n))
        results = {}
        for case, (total, slopes, values) in self.session.run(self.fetches, feed).items():
            assert total.dtype == np.float64
            slopes = {key: slope.reshape(batch.nframes, -1) for key, slope in slopes.items()}
            shown = self.losses[case].displayed(values, weights[case], batch)
            results[case] = Result(total, slopes, shown)
        return results


class LossContract:
    """Tests of :attr:`loss` for each of :attr:`cases`, which are keys of its section."""

    loss: ClassVar[type[TermLoss]]
    cases: ClassVar[dict[str, dict[str, Any]]]
    outputs: ClassVar[dict[str, str]]
    """Names of the outputs of the model that residuals read, by the label that each is to be."""

    @classmethod
    def losses(cls) -> dict[str, TermLoss]:
        return {case: cls.loss(cls.loss.config_class(**keys)) for case, keys in cls.cases.items()}

    @pytest.fixture(scope="class")
    @classmethod
    def graph(cls) -> Graph:
        return Graph(cls.losses(), cls.outputs)

    def draw(self, rng: np.random.Generator, item: Field, natoms: int) -> np.ndarray:
        """An item of a frame: numbers of which few are added without rounding, in float32 too."""
        values = rng.integers(-512, 513, (1, item.stored_width(natoms))) / 64
        return np.repeat(
            values if item.numbers.minimum is None else np.abs(values), item.repeat, axis=1
        )

    def predict(self, rng: np.random.Generator, natoms: int) -> dict[str, np.ndarray]:
        """Outputs for a frame, by the label."""
        return {key: self.draw(rng, FIELDS[key], natoms) for key in self.outputs}

    def frames(self, rng, all_types, *, perfect: bool = False) -> list[tuple[Batch, Batch]]:
        """Predictions and labels of each frame; a perfect one takes defaults of what has one."""
        losses = self.losses().values()
        items = {item.name: item for loss in losses for item in loss.labels}
        defaults = {item for loss in losses for term in loss.terms for item in term.defaults}
        frames = []
        for index, types in enumerate(all_types):
            given = np.array([types], np.int32)
            predicted = self.predict(rng, len(types))
            labels = {key: self.draw(rng, item, len(types)) for key, item in items.items()}
            if perfect:
                labels |= {key: predicted[key] for key in labels.keys() & predicted.keys()}
                labels |= {i.name: np.full_like(labels[i.name], i.default) for i in defaults}
            labels |= {FIELDS[key].find_key: np.float32(1.0) for key in items}
            rest = (natoms_vector(given, 2), PERIODIC_MESH, 0, "set", np.array([index]))
            frames.append(tuple(Batch({"type": given, **a}, *rest) for a in (predicted, labels)))
        return frames

    def batch(self, rng, **options: Any) -> tuple[Batch, Batch]:
        """Frames of the same atoms."""
        pairs = zip(*self.frames(rng, SAME, **options), strict=True)
        return tuple(dataclasses.replace(merge(frames), merged=()) for frames in pairs)

    def test_it_is_registered(self) -> None:
        assert LOSSES[self.loss.config_class.model_fields["type"].default] is self.loss

    def test_nothing_is_wrong_with_perfect_predictions(self, rng, graph: Graph) -> None:
        for case, result in graph.run(*self.batch(rng, perfect=True)).items():
            assert result.total == 0.0, case
            assert result.gradients and not any(g.any() for g in result.gradients.values()), case
            assert not any(result.shown.values()), case

    def test_gradient_is_the_slope_of_the_loss(self, rng, graph: Graph) -> None:
        predicted, batch = self.batch(rng)
        along = {key: rng.normal(size=predicted.arrays[key].shape) for key in self.outputs}

        def totals(step: float) -> dict[str, float]:
            moved = {key: predicted.arrays[key] + step * along[key] for key in along}
            results = graph.run(dataclasses.replace(predicted, arrays=moved), batch)
            return {case: result.total for case, result in results.items()}

        ahead, behind = totals(STEP), totals(-STEP)
        for case, result in graph.run(predicted, batch).items():
            slope = sum(np.sum(g * along[key]) for key, g in result.gradients.items())
            difference = (ahead[case] - behind[case]) / (2 * STEP)
            assert slope == pytest.approx(difference, rel=1e-5, abs=1e-7 * result.total), case
            assert result.shown["rmse"] == pytest.approx(np.sqrt(result.total), rel=1e-12), case
            assert tuple(result.shown) == graph.losses[case].columns

    def test_weights_follow_the_learning_rate(self, rng) -> None:
        """From start to limit, in proportion."""
        _, batch = self.batch(rng)
        for case, loss in self.losses().items():
            section = self.loss.config_class(**self.cases[case])
            start, limit = (
                np.array([getattr(section, f"{when}_pref_{t.name}") or 0.0 for t in loss.terms])
                for when in ("start", "limit")
            )
            scale = np.array([float(batch.natoms[0]) ** -term.powers.loss for term in loss.terms])
            for share in (1.0, 0.25, 0.0):
                found = loss.weights(np.float32(share * START_LR), START_LR, batch)
                expected = scale * (limit + (start - limit) * share)
                np.testing.assert_allclose(found, expected, rtol=1e-6, err_msg=case)

    def test_terms_without_labels(self, rng, graph: Graph) -> None:
        """They add nothing and are shown as nan; what has a default is there without a file."""
        predicted, batch = self.batch(rng)
        for name in graph.labels:
            flag = {f"find_{name}": np.float32(0.0)}
            without = dataclasses.replace(batch, arrays=batch.arrays | flag)
            for case, result in graph.run(predicted, without).items():
                terms = graph.losses[case].terms
                missing = [name in [item.name for item in term.labels] for term in terms]
                assert np.isnan([*result.shown.values()][1:]).tolist() == missing, (case, name)
                assert (result.total == 0.0) == all(missing), (case, name)
                if all(missing):
                    assert not any(g.any() for g in result.gradients.values()), (case, name)

    def test_too_few_frames(self, rng, graph: Graph) -> None:
        """What compares frames is not there in a batch of one."""
        for case, result in graph.run(*self.frames(rng, TYPES)[0]).items():
            missing = [term.min_frames > 1 for term in graph.losses[case].terms]
            assert np.isnan([*result.shown.values()][1:]).tolist() == missing, case
            assert (result.total == 0.0) == all(missing), case
            assert all(np.isfinite(g).all() for g in result.gradients.values()), case

    def test_order_of_frames_and_atoms(self, rng, graph: Graph) -> None:
        given = self.batch(rng)
        frames, atoms = rng.permutation(len(SAME)), rng.permutation(len(TYPES[0]))

        def move(name: str, values: np.ndarray) -> np.ndarray:
            if name not in FIELDS:
                return values
            kind, n = FIELDS[name].kind, len(atoms)
            grid = values[frames]
            if kind != "frame":
                grid = grid.reshape(len(frames), n, *((3, n, 3) if kind == "hessian" else (-1,)))
                grid = grid[:, atoms]
            if kind == "hessian":
                grid = grid[:, :, :, atoms]
            return grid.reshape(values.shape)

        moved = (
            dataclasses.replace(one, arrays={k: move(k, a) for k, a in one.arrays.items()})
            for one in given
        )
        before, after = graph.run(*given), graph.run(*moved)
        for case, result in before.items():
            np.testing.assert_allclose(after[case].total, result.total, rtol=1e-13, err_msg=case)
            for key, gradient in result.gradients.items():
                bound = 1e-13 * np.abs(gradient).max()
                np.testing.assert_allclose(
                    after[case].gradients[key], move(key, gradient), rtol=0, atol=bound
                )

    def test_frames_of_different_atoms(self, rng, graph: Graph) -> None:
        """The mean over frames of what each has by itself, without labels nothing; shown is the
        error of all residuals."""
        losses = {
            case: loss
            for case, loss in graph.losses.items()
            if all(term.min_frames == 1 for term in loss.terms)
        }
        frames = self.frames(rng, TYPES)
        for number, name in enumerate(graph.labels):
            frames[number % len(frames)][1].arrays[f"find_{name}"] = np.float32(0.0)
        mixed = Graph(losses, self.outputs, mixed=True)
        each = [graph.run(*frame) for frame in frames]
        for case, result in mixed.run(*map(merge, zip(*frames, strict=True))).items():
            parts = [one[case] for one in each]
            expected = np.mean([part.total for part in parts])
            assert expected > 0, case
            np.testing.assert_allclose(result.total, expected, rtol=1e-12, err_msg=case)
            np.testing.assert_allclose(result.shown["rmse"], np.sqrt(expected), rtol=1e-12)
            for key, gradient in result.gradients.items():
                alone = [
                    resize(key, part.gradients[key], len(types), len(TYPES[0]))
                    for part, types in zip(parts, TYPES, strict=True)
                ]
                wanted = np.concatenate(alone) / len(frames)
                bound = 1e-12 * np.abs(wanted).max()
                np.testing.assert_allclose(gradient, wanted, rtol=0, atol=bound, err_msg=case)
            for term in losses[case].terms:
                self.check_shown(term, [frame[1] for frame in frames], parts, result)

    def check_shown(self, term: Any, batches: list[Batch], parts: list[Result], all_: Result):
        """Energies and virials count by frame, what atoms have by atom."""
        there = [k for k, batch in enumerate(batches) if term.found_in(batch)]
        count = np.array([float(batches[k].natoms[0]) ** term.powers.count for k in there])
        errors = np.array([parts[k].shown[term.column] for k in there])
        p = 2 if term.metric.name == "rmse" else 1
        expected = (np.sum(count * errors**p) / np.sum(count)) ** (1 / p)
        np.testing.assert_allclose(all_.shown[term.column], expected, rtol=1e-12)

    def test_single_precision(self, rng, graph: Graph) -> None:
        given = self.batch(rng)
        single = Graph(graph.losses, self.outputs, tf.float32).run(*given)
        for case, result in graph.run(*given).items():
            np.testing.assert_allclose(single[case].total, result.total, rtol=2e-6, err_msg=case)
            for key, gradient in result.gradients.items():
                found, bound = single[case].gradients[key], 2e-6 * np.abs(gradient).max()
                np.testing.assert_allclose(found, gradient, rtol=0, atol=bound, err_msg=case)
