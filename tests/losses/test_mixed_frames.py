# SPDX-License-Identifier: BSD-3-Clause
"""A batch of frames with different atoms is what its frames are one by one, without virtual atoms:
loss, gradient in the weights, and displayed errors. Of each measure LossContract says the same for
any outputs; here they are those of a model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import random_statistics, random_weights
from plain_session import plain_session
from saved_models import small_input

from deepmd_tf.config import Config, LossEner
from deepmd_tf.data import Batch
from deepmd_tf.data.batch import FREE_MESH, PERIODIC_MESH, merge, natoms_vector, resize
from deepmd_tf.losses import EnergyLoss, MixedFrames
from deepmd_tf.model import EnergyModel
from deepmd_tf.nn.variables import VariableParameters

LR, START_LR = np.float32(2.5e-4), 1e-3
TYPES = ([0, 0, 1, 1, 1], [1, 1], [0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1, 1])
N_Q = 2
TERMS = ("e", "ae", "f", "v", "pf", "gf")
KEYS = (
    {},
    {"terms": ("f", "ae"), "loss_func": "mae", "f_use_norm": True},
    {"terms": ("e",), "enable_atom_ener_coeff": True},
)
FITTING = {
    "plain": {},
    "parameters": {"numb_fparam": 1, "numb_aparam": 2, "atom_ener": [-3.0, -1.0]},
}


def make_frames(rng, periodic: bool, missing=()) -> list[Batch]:
    """One batch for each frame; ``missing`` are pairs of a frame and an item that it lacks."""
    frames = []
    for index, types in enumerate(TYPES):
        n = len(types)
        arrays = {
            "type": np.array([types], np.int32),
            "coord": rng.uniform(0.0, 5.0, (1, 3 * n)),
            "box": (5.0 * np.eye(3) + rng.uniform(-0.3, 0.3, (3, 3))).reshape(1, 9) * periodic,
            "fparam": rng.normal(size=(1, 1)),
            "aparam": rng.normal(size=(1, 2 * n)),
            "energy": rng.normal(-5.0 * n, 1.0, 1),
            "force": rng.normal(size=(1, 3 * n)),
            "virial": rng.normal(size=(1, 9)),
            "atom_ener": rng.normal(size=(1, n)),
            "atom_pref": np.repeat(rng.uniform(0, 2, (1, n)), 3, axis=1),
            "drdq": rng.normal(size=(1, 3 * n * N_Q)),
            "atom_ener_coeff": rng.choice([-1.0, 1.0, 2.0], (1, n)),
        }
        found = {f"find_{k}": np.float32((index, k) not in missing) for k in arrays}
        mesh = PERIODIC_MESH if periodic else FREE_MESH
        natoms = natoms_vector(arrays["type"], 2)
        frames.append(Batch({**arrays, **found}, natoms, mesh, 0, "set", np.array([index])))
    return frames


def make_loss(terms=TERMS, **keys) -> EnergyLoss:
    prefactors = {}
    for number, term in enumerate((*"efv", "ae", "pf", "gf")):
        used = (0.5 + number, 1.5 + number) if term in terms else (0.0, 0.0)
        prefactors |= {f"start_pref_{term}": used[0], f"limit_pref_{term}": used[1]}
    return EnergyLoss(LossEner(**prefactors, numb_generalized_coord=N_Q * ("gf" in terms), **keys))


class Graph:
    """Model and losses, of ordinary batches or of mixed ones."""

    def __init__(self, script, weights, losses, *, mixed: bool, dialect: str = "native") -> None:
        self.losses, self.mixed = losses, mixed
        self.model = EnergyModel(Config.from_dict(script).model, expected_pairs=1)
        with tf.Graph().as_default() as graph:
            self.inputs = self.model.make_inputs(tf.float64, mixed=mixed)
            parameters = VariableParameters(weights)
            self.outputs = self.model.build(self.inputs, parameters, dialect)
            labels = {item.name for loss in losses for item in loss.labels}
            self.labels = {name: tf.placeholder(tf.float64, [None]) for name in labels}
            sizes = tf.reduce_sum(tf.cast(self.inputs.type >= 0, tf.float64), axis=1)
            ratio = tf.cast(self.inputs.n_loc, tf.float64) / sizes
            self.weights, self.found, built = [], [], []
            for loss in losses:
                self.weights.append(tf.placeholder(tf.float64, [len(loss.terms)]))
                self.found.append(tf.placeholder(tf.float64, [len(loss.terms), None]))
                frames = MixedFrames(ratio, self.found[-1]) if mixed else None
                built.append(loss.build(self.outputs, self.labels, self.weights[-1], mixed=frames))
            totals = tf.stack([one.total for one in built])
            # one graph of derivatives for all losses: which one is asked for is fed
            self.which = tf.placeholder(tf.float64, [len(losses)])
            gradients = tf.gradients(tf.reduce_sum(self.which * totals), parameters.trainable)
            self.gradient = tf.concat([tf.reshape(g, [-1]) for g in gradients], axis=0)
            self.fetches = [totals, [one.values for one in built]]
            self.session = plain_session(graph)
            self.session.run(tf.global_variables_initializer())

    def feed(self, batch: Batch) -> dict:
        arrays, nodes = batch.arrays, self.inputs.placeholders
        feed = {nodes[f"t_{key}"]: arrays[key].ravel() for key in ("coord", "type", "box")}
        feed |= {nodes["t_natoms"]: batch.natoms, nodes["t_mesh"]: batch.mesh}
        parameters = [key for key in ("fparam", "aparam") if f"t_{key}" in nodes]
        feed |= {nodes[f"t_{key}"]: arrays[key].ravel() for key in parameters}
        feed |= {node: arrays[key].ravel() for key, node in self.labels.items()}
        for loss, weights, found in zip(self.losses, self.weights, self.found, strict=True):
            feed |= {weights: loss.weights(LR, START_LR, batch), found: loss.found(batch)}
        return feed

    def run(self, batch: Batch):
        """Of each loss: its value, gradient, displayed errors."""
        feed = self.feed(batch)
        totals, values = self.session.run(self.fetches, feed)
        results = []
        for number, (loss, unit) in enumerate(zip(self.losses, np.eye(len(totals)), strict=True)):
            gradient = self.session.run(self.gradient, {**feed, self.which: unit})
            weights = loss.weights(LR, START_LR, batch)
            shown = loss.displayed(values[number], weights, batch)
            results.append((totals[number], gradient, shown))
        return results


def expected_errors(loss, frames, each):
    """Displayed errors of all frames from those of each."""
    shown = {}
    for term in loss.terms:
        there = [k for k, frame in enumerate(frames) if term.found_in(frame)]
        # energies and virials count by frame, what atoms have by atom
        count = np.array([float(frames[k].natoms[0]) ** term.powers.count for k in there])
        error = np.array([each[k][term.column] for k in there])
        square = term.metric.name == "rmse"
        mean = np.sum(count * error ** (2 if square else 1)) / np.sum(count)
        shown[term.column] = np.sqrt(mean) if square else mean
    return shown


def assert_same(script, weights, losses, frames, dialect="native") -> None:
    """The mixed graph on all frames together, the native ordinary one on each."""
    mixed = Graph(script, weights, losses, mixed=True, dialect=dialect)
    ordinary = Graph(script, weights, losses, mixed=False)
    each = [ordinary.run(frame) for frame in frames]
    for number, (total, gradient, shown) in enumerate(mixed.run(merge(frames))):
        loss, parts = losses[number], [one[number] for one in each]
        expected = np.mean([part[0] for part in parts])
        assert expected > 1e-3
        np.testing.assert_allclose(total, expected, rtol=1e-12)
        wanted = np.mean([part[1] for part in parts], axis=0)
        np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-11 * np.abs(wanted).max())
        for column, error in expected_errors(loss, frames, [part[2] for part in parts]).items():
            np.testing.assert_allclose(shown[column], error, rtol=1e-12, err_msg=column)
        np.testing.assert_allclose(shown["rmse"], np.sqrt(expected), rtol=1e-12)


def make_weights(script, rng):
    return random_weights(script, random_statistics(rng))


def test_every_term(rng):
    """Also where some frames have no label: they do not have the term, and the error is that of the
    others."""
    script = small_input()
    missing = {(0, "virial"), (2, "virial"), (1, "force"), (4, "atom_pref"), (3, "energy")}
    losses = [make_loss(**keys) for keys in KEYS]
    assert_same(script, make_weights(script, rng), losses, make_frames(rng, True, missing))


@pytest.mark.parametrize(
    ("fitting", "periodic", "dialect"),
    [
        ("plain", False, "native"),
        ("plain", True, "reference"),
        ("parameters", True, "native"),
    ],
)
def test_every_model(fitting, periodic, dialect, rng):
    script = small_input(fitting_net=FITTING[fitting])
    losses = [make_loss(("e", "f", "v"))]
    assert_same(script, make_weights(script, rng), losses, make_frames(rng, periodic), dialect)


@pytest.fixture(scope="module")
def mixed():
    """A graph of mixed frames."""
    rng = np.random.default_rng(3)
    script = small_input()
    return Graph(script, make_weights(script, rng), [make_loss()], mixed=True)


def test_virtual_atoms_do_nothing(mixed, rng):
    """More of them: the same bits, and nothing on them."""
    frames = make_frames(rng, True)
    small = merge([frames[1], frames[2]])
    arrays = {
        name: values if np.ndim(values) == 0 else resize(name, values, 3, 7)
        for name, values in small.arrays.items()
    }
    natoms = natoms_vector(arrays["type"], 2)
    large = dataclasses.replace(small, arrays=arrays, natoms=natoms)
    ((total, gradient, shown),), ((total_2, gradient_2, shown_2),) = map(mixed.run, (small, large))
    np.testing.assert_allclose(total_2, total, rtol=1e-14)
    np.testing.assert_allclose(gradient_2, gradient, rtol=0, atol=1e-14 * np.abs(gradient).max())
    np.testing.assert_allclose(list(shown_2.values()), list(shown.values()), rtol=1e-14)

    fetches = [mixed.outputs.force, mixed.outputs.atom_energy]
    (force, energy), (force_2, energy_2) = (
        mixed.session.run(fetches, mixed.feed(batch)) for batch in (small, large)
    )
    np.testing.assert_array_equal(force_2[:, :9], force)
    np.testing.assert_array_equal(energy_2[:, :3], energy)
    assert not force_2[:, 9:].any()
    assert not energy_2[:, 3:].any()
    assert not energy[0, 2:].any()
    assert energy[0, :2].all()


def test_equal_frames_are_an_ordinary_batch(mixed, rng):
    """To rounding, and to the bit in energies and forces."""
    frames = make_frames(rng, True)
    batch = merge([frames[0], frames[4]])
    assert batch.natoms.tolist() == [5, 5, 2, 3]
    weights = mixed.session.run(
        {v.op.name: v for v in mixed.session.graph.get_collection("variables")}
    )
    ordinary = Graph(small_input(), weights, mixed.losses, mixed=False)
    outputs = [
        g.session.run([g.outputs.energy, g.outputs.force], g.feed(batch)) for g in (mixed, ordinary)
    ]
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)
    ((total, gradient, shown),), ((total_2, gradient_2, shown_2),) = (
        g.run(batch) for g in (mixed, ordinary)
    )
    np.testing.assert_allclose(total, total_2, rtol=1e-14)
    np.testing.assert_allclose(gradient, gradient_2, rtol=0, atol=1e-14 * np.abs(gradient).max())
    assert shown.keys() == shown_2.keys()
    np.testing.assert_allclose(list(shown.values()), list(shown_2.values()), rtol=1e-14)


def test_order_of_atoms_does_not_matter(mixed, rng):
    batch = merge(make_frames(rng, True))
    nf, n = batch.arrays["type"].shape
    order = np.array([rng.permutation(n) for _ in range(nf)])
    arrays = dict(batch.arrays)
    for name in ("type", "coord", "force", "atom_ener", "atom_pref", "drdq"):
        atoms = arrays[name].reshape(nf, n, -1)
        arrays[name] = atoms[np.arange(nf)[:, None], order].reshape(nf, -1)
    moved = dataclasses.replace(batch, arrays=arrays)
    for one, other in zip(mixed.run(batch)[0][:2], mixed.run(moved)[0][:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(one).max())
