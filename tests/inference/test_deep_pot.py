# SPDX-License-Identifier: BSD-3-Clause
"""DeepPot: the numbers of the reference graph, in the order and shape in which atoms came."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import Frames, evaluate
from saved_models import INPUT, save_checkpoint, small_input, water_like

import deepmd_tf
from deepmd_tf import names
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.nn import table

TOLERANCE = 1e-10


@pytest.fixture(scope="module")
def saved(checkpoint):
    """Prefix and variables."""
    return checkpoint


@pytest.fixture(scope="module")
def pot(saved):
    with DeepPot(saved[0]) as pot:
        yield pot


def assert_close(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


def reference(weights, coords, cells, types, script=INPUT):
    """What eval(atomic=True) should return, from the reference graph."""
    frames = Frames(coords, cells, types)
    result = evaluate(script, weights, frames, "reference")
    nf, n = coords.shape[:2]
    back = np.argsort(np.argsort(types, kind="stable"))
    return (
        result["energy"].reshape(nf, 1),
        result["force"].reshape(nf, n, 3)[:, back],
        result["virial"],
        result["atom_energy"].reshape(nf, n, 1)[:, back],
        result["atom_virial"].reshape(nf, n, 9)[:, back],
    )


def test_opening_that_takes_long_is_told(saved, monkeypatch, caplog):
    monkeypatch.setattr("deepmd_tf.log.SLOW", 0.0)
    with caplog.at_level(logging.INFO, "deepmd_tf"):
        DeepPot(saved[0]).close()
    for what in ("reading", "preparing"):
        assert f"{what} {saved[0]} took" in caplog.text


@pytest.mark.parametrize("periodic", [True, False])
def test_against_the_reference_graph(saved, pot, rng, periodic):
    coords, cells, types = water_like(rng, n_frames=3)
    cells = cells if periodic else None
    results = pot.eval(coords, cells, types, atomic=True)
    assert [r.shape for r in results] == [(3, 1), (3, 24, 3), (3, 9), (3, 24, 1), (3, 24, 9)]
    assert all(r.dtype == np.float64 for r in results)
    assert_close(results, reference(saved[1], coords, cells, types))
    assert_close(pot.eval(coords, cells, types), results[:3])


def test_shapes_of_arguments(pot, rng):
    coords, cells, types = water_like(rng)
    expected = pot.eval(coords, cells, types)
    assert_close(pot.eval(coords.reshape(2, 72), cells.reshape(2, 3, 3), types.tolist()), expected)
    assert_close(pot.eval(coords.reshape(-1), cells.reshape(-1), types), expected)


def test_order_of_atoms(pot, rng):
    coords, cells, types = water_like(rng)
    expected = pot.eval(coords, cells, types, atomic=True)
    order = rng.permutation(24)
    got = pot.eval(coords[:, order], cells, types[order], atomic=True)
    back = np.argsort(order)
    assert_close([got[0], got[1][:, back], got[2], got[3][:, back], got[4][:, back]], expected)


def test_images_of_atoms(pot, rng):
    coords, cells, types = water_like(rng)
    shift = rng.integers(-2, 3, (2, 24, 3)) @ cells[0].reshape(3, 3)
    assert_close(pot.eval(coords + shift, cells, types), pot.eval(coords, cells, types))


def test_frames_are_independent(pot, rng):
    coords, cells, types = water_like(rng, n_frames=4)
    together = pot.eval(coords, cells, types, atomic=True)
    for i in range(4):
        alone = pot.eval(coords[i], cells[i], types, atomic=True)
        assert_close(alone, [r[i : i + 1] for r in together])


@pytest.mark.parametrize("size", [False, 24, 60])
def test_size_of_batches_does_not_matter(saved, pot, rng, size):
    coords, cells, types = water_like(rng, n_frames=5)
    with DeepPot(saved[0], auto_batch_size=size) as other:
        assert_close(other.eval(coords, cells, types), pot.eval(coords, cells, types))


def test_virtual_atoms_are_as_if_absent(pot, rng):
    coords, cells, types = water_like(rng)
    there = rng.permutation(np.arange(30) < 24)
    filled = rng.normal(size=(2, 30, 3))
    filled[:, there] = coords
    with_virtual = np.full(30, -1)
    with_virtual[there] = types
    expected = pot.eval(coords, cells, types, atomic=True)
    got = pot.eval(filled, cells, with_virtual, atomic=True)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        if i in (1, 3, 4):
            assert not a[:, ~there].any()
            a = a[:, there]
        np.testing.assert_array_equal(a, b)


def test_frames_of_different_atoms(pot, rng):
    coords, cells, types = water_like(rng, n_frames=3)
    mixed = np.stack([types, 1 - types, types])
    mixed[2, :5] = -1
    got = pot.eval(coords, cells, mixed, atomic=True, mixed_type=True)
    for i in range(3):
        alone = pot.eval(coords[i], cells[i], mixed[i], atomic=True)
        assert_close([r[i : i + 1] for r in got], alone)


def test_nothing_to_evaluate(pot):
    energy, force, virial = pot.eval(np.zeros((0, 6)), None, [0, 1])
    assert (energy.shape, force.shape, virial.shape) == ((0, 1), (0, 2, 3), (0, 9))
    energy, force, _ = pot.eval(np.zeros((2, 3)), None, [-1])
    assert not energy.any() and force.shape == (2, 1, 3)


def test_a_single_atom_has_the_energy_of_its_type(pot, saved):
    energy, force, virial, atom_energy, _ = pot.eval(np.zeros(3), None, [1], atomic=True)
    assert energy[0, 0] == pytest.approx(atom_energy[0, 0, 0])
    assert not force.any() and not virial.any()


def test_descriptor(pot, saved, rng):
    coords, cells, types = water_like(rng)
    descriptor = pot.eval_descriptor(coords, cells, types)
    assert descriptor.shape == (2, 24, 24)
    order = rng.permutation(24)
    np.testing.assert_allclose(
        pot.eval_descriptor(coords[:, order], cells, types[order]), descriptor[:, order], atol=1e-13
    )
    # invariant under rotation
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turned = pot.eval_descriptor(coords @ turn, (cells.reshape(2, 3, 3) @ turn), types)
    np.testing.assert_allclose(turned, descriptor, atol=1e-13)


@pytest.mark.parametrize("dialect", ["stock", "native"])
def test_frozen_files_give_what_the_checkpoint_gives(saved, pot, rng, tmp_path, dialect):
    path = freeze(saved[0], tmp_path / "m.pb", dialect=dialect).path
    coords, cells, types = water_like(rng)
    with DeepPot(path) as other:
        for a, b in zip(
            other.eval(coords, cells, types, True),
            pot.eval(coords, cells, types, True),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)


def test_sel_was_changed_after_the_first_training(saved, rng, tmp_path):
    """Moments stay divided by the first Σ sel, m of them; the descriptor is quadratic in them."""
    path = freeze(saved[0], tmp_path / "model.pb").path
    graph = tf.GraphDef.FromString(path.read_bytes())
    for node in graph.node:
        if node.name == names.ORIGINAL_SEL:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto([10, 20], tf.int32))
    path.write_bytes(graph.SerializeToString())
    again = freeze(path, tmp_path / "again.pb").path
    weights = dict(saved[1])
    for name in ("layer_0_type_0/matrix", "layer_0_type_1/matrix"):
        weights[name] = weights[name] * (40 / 30) ** 2
    frames = water_like(rng)
    expected = reference(weights, *frames)
    for file in (path, again):
        with DeepPot(file) as pot:
            assert_close(pot.eval(*frames, atomic=True), expected)


def test_properties(pot):
    assert pot.get_rcut() == 4.0
    assert pot.get_ntypes() == 2
    assert pot.get_type_map() == ["O", "H"]
    assert pot.get_sel() == [14, 26]
    assert pot.get_sel_type() == []
    assert (pot.get_dim_fparam(), pot.get_dim_aparam(), pot.get_ntypes_spin()) == (0, 0, 0)
    assert pot.get_model_def_script()["descriptor"]["neuron"] == [4, 8]
    size = pot.get_model_size()
    assert size["total"] == size["descriptor"] + size["fitting-net"] == 4 * 48 + 2 * 381
    assert pot.get_observed_types() == {"type_num": 2, "observed_type": ["O", "H"]}
    assert not (pot.has_efield or pot.has_spin or pot.use_spin or pot.has_hessian)
    assert not (pot.has_chg_spin_ebd() or pot.has_default_chg_spin() or pot.has_default_fparam())


def test_lazy_name():
    assert deepmd_tf.DeepPot is DeepPot
    with pytest.raises(AttributeError, match="DeepPott"):
        _ = deepmd_tf.DeepPott


def test_neighbors_beyond_sel_are_reported_once(tmp_path, rng, caplog):
    prefix, weights = save_checkpoint(tmp_path, script := small_input(descriptor={"sel": [3, 26]}))
    coords, cells, types = water_like(rng)
    with DeepPot(prefix) as pot, caplog.at_level(logging.WARNING, "deepmd_tf"):
        got = pot.eval(coords, cells, types, atomic=True)
        pot.eval(coords, cells, types)
    (record,) = (r for r in caplog.records if "neighbours" in r.getMessage())
    assert "O: " in record.getMessage() and "sel is 3" in record.getMessage()
    assert "H: " not in record.getMessage()
    assert_close(got, reference(weights, coords, cells, types, script))


def test_atoms_closer_than_the_tables_reach_are_evaluated_exactly(saved, pot, rng, caplog):
    coords, _, types = water_like(rng, n_frames=1)
    coords[0, 1] = coords[0, 0] + [0.0, 0.0, 0.15]
    with caplog.at_level(logging.WARNING, "deepmd_tf"):
        got = pot.eval(coords, None, types, atomic=True)
    assert "closer than any in the training data" in caplog.text
    assert_close(got, reference(saved[1], coords, None, types))


@pytest.mark.parametrize("precision", ["low", "high"])
def test_interface_precision(saved, pot, rng, monkeypatch, precision):
    monkeypatch.setenv("DP_INTERFACE_PREC", precision)
    coords, cells, types = water_like(rng)
    expected = pot.eval(coords, cells, types)
    with DeepPot(saved[0]) as other:
        energy, force, virial = other.eval(coords, cells, types)
        descriptor = other.eval_descriptor(coords, cells, types)
    assert energy.dtype == force.dtype == virial.dtype == np.float64
    assert descriptor.dtype == (np.float32 if precision == "low" else np.float64)
    tolerance = 1e-5 if precision == "low" else TOLERANCE
    for a, b in zip((energy, force, virial), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def test_closed(saved):
    pot = DeepPot(saved[0])
    pot.close()
    pot.close()
    with pytest.raises(ModelFileError, match="closed"):
        pot.eval(np.zeros(3), None, [0])


def test_refusals(saved, pot):
    with pytest.raises(InputError, match="efield"):
        pot.eval(np.zeros(3), None, [0], efield=np.zeros(3))
    assert len(pot.eval(np.zeros(3), None, [0], efield=None)) == 3
    with pytest.raises(InputError, match="neighbor_list"):
        DeepPot(saved[0], neighbor_list=object())
    with pytest.raises(InputError, match="type 2"):
        pot.eval(np.zeros(3), None, [2])


def test_a_missing_weight_is_named(saved, tmp_path):
    from saved_models import constants_graph

    weights = {n: a for n, a in saved[1].items() if n != names.fitting_bias(None, 1)}
    path = tmp_path / "m.pb"
    path.write_bytes(constants_graph(weights).SerializeToString())
    with pytest.raises(ModelFileError, match="final_layer_type_1/bias"):
        DeepPot(path)


@pytest.mark.parametrize("size", [False, 24])
def test_atoms_in_the_same_place_are_named_as_the_caller_counts(saved, rng, size):
    coords, cells, types = water_like(rng, n_frames=4)
    first, last = np.flatnonzero(types == 1)[2], np.flatnonzero(types == 0)[3]
    coords[2, last] = coords[2, first] - cells[2, :3]
    low, high = sorted((first, last))
    message = rf"^frame 2 has atoms {low} and {high} \(counted from 0\) at the same place$"
    with DeepPot(saved[0], auto_batch_size=size) as pot:
        with pytest.raises(InputError, match=message):
            pot.eval(coords, cells, types)
        mixed = np.stack([types, 1 - types, types, 1 - types])
        with pytest.raises(InputError, match=message):
            pot.eval(coords, cells, mixed, mixed_type=True)


def test_an_atom_too_far_away_is_named(pot, rng):
    coords, cells, types = water_like(rng)
    coords[1, 7, 0] = 1e15
    with pytest.raises(InputError, match=r"frame 1.*atom 7.*1e9"):
        pot.eval(coords, cells, types)


def test_a_model_that_no_table_represents(saved, pot, rng, tmp_path, monkeypatch):
    """It is evaluated net by net, and a native file of it has no count of pairs outside."""
    monkeypatch.setattr(table, "CONSTANT_TOLERANCE", dict.fromkeys(table.TOLERANCE, 1e-30))
    coords, cells, types = water_like(rng)
    expected = pot.eval(coords, cells, types, atomic=True)
    path = freeze(saved[0], tmp_path / "m.pb", dialect="native").path
    nodes = {node.name for node in tf.GraphDef.FromString(path.read_bytes()).node}
    assert {name for name in names.DIAGNOSTICS.values() if name in nodes} == {
        names.DIAGNOSTICS[key] for key in ("dropped", "max_found")
    }
    for model in (saved[0], path):
        with DeepPot(model) as other:
            assert_close(other.eval(coords, cells, types, atomic=True), expected)
