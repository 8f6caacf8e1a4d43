# SPDX-License-Identifier: BSD-3-Clause
"""What every descriptor must fulfil. A test class inherits :class:`DescriptorContract` and names
the descriptor; it then has all of these tests.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import QUANTITIES, Frames, evaluate_graph, random_statistics, random_weights
from plain_session import plain_session
from saved_models import save_checkpoint, small_input, water_like
from scipy.spatial.transform import Rotation
from small_training import add_hessians, write_all_data, write_script

from deepmd_tf.config import AnyDescriptorConfig, Config, DescriptorConfig
from deepmd_tf.descriptors import DESCRIPTORS, Descriptor, make_descriptor, register
from deepmd_tf.environment import AtomRange
from deepmd_tf.errors import InputError
from deepmd_tf.export.freeze import build_graph, freeze
from deepmd_tf.graph.frozen import read_checkpoint, read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.model import EnergyModel
from deepmd_tf.model.hessian import full_hessian, hessian_part, hessian_vector_product
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.spline import SplineOptions
from deepmd_tf.training.entrypoint import train

TABLE = 1e-9
"""Relative error of forces that tables may make in a small model."""
SPLINES = SplineOptions(smallest_distance=0.6, step=0.002)


class Model:
    """A model with random weights, in graphs that are built once."""

    def __init__(self, section: dict[str, Any], keys: Mapping[str, Any] | None = None) -> None:
        script = small_input()
        script["model"] |= {**(keys or {}), "descriptor": section}
        rng = np.random.default_rng(8)
        self.script = script
        config = Config.from_dict(script).model
        types = config.embedding_of_types
        if types is not None and types.seed is None:
            # the embedding that the model has without a section has other weights in each run
            script["model"]["type_embedding"] = types.to_dict() | {"seed": 5}
        descriptor = make_descriptor(config.descriptor, config.known_ntypes)
        self.dialects = descriptor.dialects
        statistics = random_statistics(rng)
        if all(spec.zero_mean for spec in descriptor.environments()):
            statistics.avg[:] = 0.0
        self.weights = random_weights(script, statistics)
        coord, box, types = water_like(rng, n_frames=1)
        self.frames = Frames(coord, box, types)
        coord, box, types = water_like(rng, n_atoms=5, n_frames=1, length=4.5)
        self.few = Frames(coord, box, types)
        self._runs: dict[Any, Any] = {}

    def build(self, dialect: str, **options: Any) -> Any:
        """Model, parameters and outputs in the present graph."""
        model = EnergyModel(Config.from_dict(self.script).model, **options)
        parameters = ConstantParameters(self.weights)
        inputs = model.make_inputs(tf.float64)
        return model, parameters, model.build(inputs, parameters, dialect)

    def run(self, frames: Frames, dialect: str = "native", **options: Any) -> dict[str, np.ndarray]:
        """All quantities."""
        key = (dialect, *options)
        if key not in self._runs:
            with tf.Graph().as_default() as graph:
                outputs = self.build(dialect, **options)[2]
                fetches = {name: getattr(outputs, name) for name in QUANTITIES}
                self._runs[key] = plain_session(graph), outputs, fetches
        session, outputs, fetches = self._runs[key]
        return session.run(fetches, frames.feed(outputs.inputs))


def assert_same(got: dict, expected: dict, tolerance: float) -> None:
    for key in QUANTITIES:
        scale = np.abs(expected[key]).max()
        assert scale > 0, key
        error = np.abs(got[key] - expected[key]).max()
        assert error <= tolerance * scale, (key, error, scale)


def automatic(section: dict[str, Any]) -> dict[str, Any]:
    """The same with numbers of neighbours from the data."""
    if "list" in section:
        return {**section, "list": [automatic(member) for member in section["list"]]}
    return {**section, "sel": "auto"}


class DescriptorContract:
    """Tests of a descriptor with a small model of two types."""

    descriptor: ClassVar[type[Descriptor]]
    section: ClassVar[dict[str, Any]]
    """The section ``descriptor``; ``sel`` is large enough for every neighbour."""
    model_keys: ClassVar[dict[str, Any]] = {}
    """Other keys of the section ``model``."""
    variant: ClassVar[bool] = False
    """Whether trainings, files and Hessians are slow tests, as others have those of this
    descriptor."""
    hessians_in_short: ClassVar[bool] = False
    """Whether the training on Hessians is one of the default tests: formulas, products, refusal."""
    of_first_sel: ClassVar[bool] = True
    """Whether sums are divided by ``sel`` of the first training, so that it may grow later."""

    rounding: ClassVar[float] = 1e-12
    """Relative difference between dialects of the same formulas."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def registered(cls) -> Iterator[None]:
        """The descriptor is known during the tests of the class."""
        registries = (
            DESCRIPTORS,
            AnyDescriptorConfig.registered,
            DescriptorConfig.registered,
        )
        before = [dict(registry) for registry in registries]
        register(cls.descriptor)
        yield
        for registry, entries in zip(registries, before, strict=True):
            registry.clear()
            registry.update(entries)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, registered: None) -> Model:
        return Model(cls.section, cls.model_keys)

    @classmethod
    def results(cls) -> list[np.ndarray]:
        """All quantities of the model, for ``test_threads.py``."""
        register(cls.descriptor)
        model = Model(cls.section, cls.model_keys)
        return list(model.run(model.frames).values())

    def test_translation(self, model):
        frames = model.frames
        moved = Frames(frames.coord + np.array([11.3, -27.1, 3.9]), frames.box, frames.types)
        before, after = model.run(frames), model.run(moved)
        np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
        np.testing.assert_allclose(after["force"], before["force"], atol=1e-10)
        np.testing.assert_allclose(before["force"].reshape(-1, 3).sum(axis=0), 0, atol=1e-12)

    @pytest.mark.parametrize("mirror", [False, True])
    def test_rotation(self, model, mirror):
        frames = model.frames
        turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.2]).as_matrix()
        box = frames.box.reshape(3, 3)
        if mirror:
            turn = turn @ np.diag([1.0, 1.0, -1.0])
            box = box[[1, 0, 2]]  # right-handed again
        turned = Frames(frames.coord @ turn.T, (box @ turn.T).reshape(1, 9), frames.types)
        before, after = model.run(frames), model.run(turned)
        np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
        force, virial = before["force"].reshape(-1, 3), before["virial"].reshape(3, 3)
        np.testing.assert_allclose(after["force"].reshape(-1, 3), force @ turn.T, atol=1e-11)
        np.testing.assert_allclose(
            after["virial"].reshape(3, 3), turn @ virial @ turn.T, atol=1e-10
        )

    def test_permutation_of_equal_atoms(self, model):
        frames, rng = model.frames, np.random.default_rng(0)
        oxygen, n = int((frames.types == 0).sum()), len(frames.types)
        order = np.concatenate([rng.permutation(oxygen), oxygen + rng.permutation(n - oxygen)])
        shuffled = Frames(frames.coord[:, order], frames.box, frames.types)
        before, after = model.run(frames), model.run(shuffled)
        np.testing.assert_allclose(after["energy"], before["energy"], rtol=1e-12)
        force = before["force"].reshape(-1, 3)[order]
        np.testing.assert_allclose(after["force"].reshape(-1, 3), force, atol=1e-11)

    def test_periodic_images(self, model):
        """Atoms may be in any cell, and a larger cell is as many of the small one."""
        frames, rng = model.frames, np.random.default_rng(0)
        box = frames.box.reshape(3, 3)
        cells = rng.integers(-3, 4, size=(len(frames.types), 3)) @ box
        before = model.run(frames)
        after = model.run(Frames(frames.coord + cells, frames.box, frames.types))
        for key in ("energy", "force", "virial"):
            np.testing.assert_allclose(after[key], before[key], atol=1e-10, err_msg=key)
        copies = [frames.coord[0] + i * box[0] + j * box[2] for i in range(2) for j in range(2)]
        large = (box * [[2], [1], [2]]).reshape(1, 9)
        four = model.run(Frames(np.concatenate(copies)[None], large, np.tile(frames.types, 4)))
        np.testing.assert_allclose(four["energy"], 4 * before["energy"], rtol=1e-12)
        np.testing.assert_allclose(four["virial"], 4 * before["virial"], atol=1e-10)

    def test_frames_do_not_see_each_other(self, model):
        coord = model.frames.coord * np.array([1.0, 1.1, 1.3])[:, None, None]
        box = model.frames.box * np.array([[1.0], [1.1], [1.3]])
        together = model.run(Frames(coord, box, model.frames.types))
        for i in range(3):
            alone = model.run(Frames(coord[i], box[i : i + 1], model.frames.types))
            for key in ("energy", "force", "virial", "atom_virial"):
                np.testing.assert_allclose(together[key][i], alone[key][0], rtol=1e-11, atol=1e-12)

    def test_smooth_at_the_cutoff(self, model):
        """Two atoms: energy and force are continuous where a neighbour enters, and so is the slope
        of the force; beyond the largest cutoff nothing changes.
        """
        config = Config.from_dict(model.script).model.descriptor
        cutoffs = [spec.cutoff.rcut for spec in make_descriptor(config, 2).environments()]
        for rcut in cutoffs:
            coord = np.zeros((4, 2, 3))
            coord[:, 1, 0] = rcut + np.array([-1e-2, -1e-4, 1e-4, 0.5])
            result = model.run(Frames(coord, None, [0, 1]))
            force, energy = result["force"].reshape(4, 2, 3)[:, 1, 0], result["energy"]
            if rcut == max(cutoffs):
                assert energy[2] == energy[3]
                assert force[2] == force[3] == 0
                # w = O((rcut − r)³); products of two neighbours are w², and below rounding
                rounding = 4 * np.finfo(float).eps * abs(energy[2])
                assert abs(energy[1] - energy[2]) < 1e-5 * abs(energy[0] - energy[2]) + rounding
                assert abs(force[1]) < 1e-3 * abs(force[0])
            else:
                assert abs(force[1] - force[2]) < 1e-2 * max(abs(force[0]), 1e-12)

    def test_dialects_agree(self, model):
        expected = model.run(model.frames, "reference")
        for dialect in {*model.dialects} - {"reference", "compressed"}:
            tolerance = TABLE if dialect == "native" else self.rounding
            assert_same(model.run(model.frames, dialect), expected, tolerance)
        assert_same(model.run(model.frames, use_table=False), expected, self.rounding)

    def test_force_and_virial_are_derivatives(self, model):
        frames = model.few
        n, h = frames.coord.size, 1e-4
        steps = h * np.concatenate([np.eye(n), -np.eye(n)])
        moved = Frames(
            frames.coord.reshape(1, n) + steps, np.tile(frames.box, (2 * n, 1)), frames.types
        )
        strain = np.eye(3) + h * np.concatenate([np.eye(9), -np.eye(9)]).reshape(18, 3, 3)
        # x'_a = x_a + ε_ab x_b for atoms and for lattice vectors
        strained = Frames(
            np.einsum("fab,nb->fna", strain, frames.coord[0]),
            np.einsum("fab,nb->fna", strain, frames.box.reshape(3, 3)).reshape(-1, 9),
            frames.types,
        )
        for dialect in {*model.dialects} - {"compressed"}:
            result = model.run(frames, dialect)
            energy = model.run(moved, dialect)["energy"]
            expected = -(energy[:n] - energy[n:]) / (2 * h)
            np.testing.assert_allclose(result["force"][0], expected, atol=1e-6)
            energy = model.run(strained, dialect)["energy"]
            expected = -(energy[:9] - energy[9:]) / (2 * h)
            np.testing.assert_allclose(result["virial"][0], expected, atol=1e-5)
            parts = result["atom_virial"].reshape(-1, 9).sum(axis=0)
            np.testing.assert_allclose(parts, result["virial"][0], atol=1e-11)

    def test_hessian_is_the_derivative_of_the_force(self, model):
        frames = model.few
        n, h = frames.coord.size, 1e-4
        full = make_descriptor(Config.from_dict(model.script).model.descriptor, 2).second_order()
        with tf.Graph().as_default(), plain_session() as session:
            energy_model, parameters, outputs = model.build("native")
            direction = tf.placeholder(tf.float64, [None, n])
            product = hessian_vector_product(outputs, direction)
            many = Frames(
                np.tile(frames.coord, (n, 1, 1)), np.tile(frames.box, (n, 1)), frames.types
            )
            feed = {**many.feed(outputs.inputs), direction: np.eye(n)}
            columns = session.run(product, feed)
            if full:
                matrix = full_hessian(energy_model, outputs, parameters)
                (whole,) = session.run(matrix, frames.feed(outputs.inputs))
                np.testing.assert_allclose(whole, columns, atol=1e-9 * np.abs(columns).max())
            else:
                with pytest.raises(InputError, match="has no second derivatives"):
                    full_hessian(energy_model, outputs, parameters)
            atoms = AtomRange(tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, []))
            part = hessian_part(energy_model, outputs, parameters, atoms)
            feed = frames.feed(outputs.inputs)
            (whole,) = sum(
                session.run(part, {**feed, atoms.begin: begin, atoms.end: end})
                for begin, end in ((0, 2), (2, 5))
            )
            np.testing.assert_allclose(whole, columns, atol=1e-9 * np.abs(columns).max())
        steps = h * np.concatenate([np.eye(n), -np.eye(n)])
        moved = Frames(
            frames.coord.reshape(1, n) + steps, np.tile(frames.box, (2 * n, 1)), frames.types
        )
        force = model.run(moved)["force"]
        scale = np.abs(columns).max()
        np.testing.assert_allclose(columns, -(force[:n] - force[n:]) / (2 * h), atol=1e-5 * scale)
        np.testing.assert_allclose(columns, columns.T, atol=1e-10 * scale)

    def test_freeze_and_read_back(self, model, tmp_path):
        """The graph of a file of each dialect, and DeepPot by the weights in it, give what the
        model gives. Files are in the reference dialect only where there is no stock form.
        """
        prefix, _ = save_checkpoint(tmp_path, model.script, weights=model.weights)
        frames = model.frames
        expected = model.run(frames, "reference")
        exchanged = "stock" if "stock" in model.dialects else "reference"
        for dialect in sorted({"native", exchanged} & {*model.dialects}):
            path = freeze(prefix, tmp_path / f"{dialect}.pb", dialect=dialect).path
            assert_same(evaluate_graph(path, frames), expected, TABLE)
            with DeepPot(path) as pot:
                found = pot.eval(frames.coord, frames.box, frames.types)
                np.testing.assert_allclose(found[0].ravel(), expected["energy"], rtol=1e-10)
                np.testing.assert_allclose(found[1].ravel(), expected["force"].ravel(), atol=1e-9)
        if self.of_first_sel:
            self.check_first_sel(tmp_path, prefix, exchanged, frames, expected)
        if "stock" not in model.dialects:
            with pytest.raises(InputError, match="does not exist in the stock dialect"):
                freeze(prefix, tmp_path / "stock.pb")

    def check_first_sel(self, tmp_path, prefix, dialect, frames, expected):
        """Files keep ``sel`` of the first training, and the model depends on it."""
        saved = read_checkpoint(prefix)
        first = {scope: tuple(2 * n for n in sel) for scope, sel in saved.original_sel.items()}
        graph, _ = build_graph(replace(saved, original_sel=first), dialect)
        (tmp_path / "first.pb").write_bytes(graph.SerializeToString())
        assert read_model(tmp_path / "first.pb").original_sel == first
        moved = evaluate_graph(tmp_path / "first.pb", frames)["energy"]
        assert np.abs(moved - expected["energy"]).max() > 1e-6

    def test_compressed(self, model):
        if "compressed" not in model.dialects:
            with pytest.raises(InputError, match="does not exist in the"):
                model.run(model.frames, "stock", splines=SPLINES)
            return
        expected = model.run(model.frames, "reference")
        assert_same(model.run(model.frames, "stock", splines=SPLINES), expected, 1e-7)

    def test_restart_to_the_bit(self, tmp_path, monkeypatch):
        """Trained from the input script; a training that goes on gives the same numbers."""
        monkeypatch.chdir(tmp_path)
        write_all_data(tmp_path)
        script = small_input()["model"] | self.model_keys
        script["descriptor"] = automatic(self.section)
        short = {"numb_steps": 4, "save_freq": 2, "disp_freq": 1}
        training = {
            "training_data": {"systems": "data/train"},
            "validation_data": {"systems": "data/valid"},
            "seed": 7,
        }
        path = write_script(tmp_path, model=script, training=training | short)
        assert train(path) == 0
        curve = (tmp_path / "lcurve.out").read_text()
        saved = read_checkpoint(tmp_path / "model.ckpt-4")
        os.remove(tmp_path / "lcurve.out")
        assert train(path, restart=str(tmp_path / "model.ckpt-2")) == 0
        again = read_checkpoint(tmp_path / "model.ckpt-4")
        rows = [row for row in curve.splitlines() if not row.startswith("#")]
        assert (tmp_path / "lcurve.out").read_text().splitlines()[-2:] == rows[-2:]
        assert saved.weights.keys() == again.weights.keys()
        for name, values in saved.weights.items():
            np.testing.assert_array_equal(values, again.weights[name], err_msg=name)

    def test_training_on_hessians(self, model, tmp_path, monkeypatch, caplog):
        """By whole matrices, or by products where there are no formulas; errors are over whole ones
        in both cases. What is not possible is said before data are read."""
        monkeypatch.chdir(tmp_path)
        caplog.set_level("INFO")
        script = small_input()["model"] | self.model_keys
        script["descriptor"] = automatic(self.section)
        training = {"training_data": {"systems": "data/train"}, "numb_steps": 1, "disp_freq": 1}
        loss = {"start_pref_h": 1.0, "limit_pref_h": 1.0}
        sections = {"model": script, "training": training | {"validation_data": None}}
        descriptor = make_descriptor(Config.from_dict(model.script).model.descriptor, 2)
        full = descriptor.second_order()
        if not descriptor.trains_on_hessians:
            for dry_run in (False, True):
                with pytest.raises(InputError, match="cannot be trained on Hessians"):
                    train(write_script(tmp_path, **sections, loss=loss), dry_run=dry_run)
            return
        if not full:
            path = write_script(tmp_path, **sections, loss=loss | {"hessian_mode": "full"})
            for dry_run in (False, True):
                with pytest.raises(InputError, match="has no second derivatives"):
                    train(path, dry_run=dry_run)
        write_all_data(tmp_path)
        add_hessians(tmp_path)
        assert train(write_script(tmp_path, **sections, loss=loss)) == 0
        assert f"hessian_mode is {'full' if full else 'probe:1'} (auto" in caplog.text
        head, *_, last = (tmp_path / "lcurve.out").read_text().splitlines()
        error = dict(zip(head.lstrip("#").split(), last.split(), strict=True))["rmse_h_trn"]
        assert np.isfinite(float(error))
