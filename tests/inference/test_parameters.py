# SPDX-License-Identifier: BSD-3-Clause
"""Frame and atomic parameters on the way from a checkpoint into files and out of DeepPot."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from evaluation import Frames, evaluate
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf import names
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.testing import run_test

SCRIPT = small_input(fitting_net={"numb_fparam": 2, "numb_aparam": 1})
DEFAULT = [0.25, -0.5]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("model"), SCRIPT)


@pytest.fixture(scope="module", params=["checkpoint", "stock", "native"])
def pot(request, saved, tmp_path_factory):
    path = saved[0]
    if request.param != "checkpoint":
        output = tmp_path_factory.mktemp(request.param) / "model.pb"
        path = freeze(path, output, dialect=request.param).path
    with DeepPot(path) as pot:
        yield pot


@pytest.fixture(scope="module")
def with_default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    options = {"numb_fparam": 2, "default_fparam": DEFAULT}
    prefix, _ = save_checkpoint(folder, small_input(fitting_net=options))
    return freeze(prefix, folder / "model.pb").path


def make(rng, n_frames=2):
    coords, cells, types = water_like(rng, n_frames=n_frames)
    return coords, cells, types, rng.normal(size=(n_frames, 2)), rng.normal(size=(n_frames, 24, 1))


def test_against_the_reference_graph(saved, pot, rng):
    coords, cells, types, fparam, aparam = make(rng, 3)
    energy, force, virial = pot.eval(coords, cells, types, fparam=fparam, aparam=aparam)
    frames = Frames(coords, cells, types, fparam=fparam, aparam=aparam)
    expected = evaluate(SCRIPT, saved[1], frames, "reference")
    back = np.argsort(np.argsort(types, kind="stable"))
    np.testing.assert_allclose(energy[:, 0], expected["energy"], rtol=1e-11)
    np.testing.assert_allclose(
        force, expected["force"].reshape(3, 24, 3)[:, back], rtol=0, atol=1e-10
    )
    np.testing.assert_allclose(virial, expected["virial"], rtol=0, atol=1e-9)


def assert_same(one, other):
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


def test_parameters_go_with_their_atoms(pot, rng):
    coords, cells, types, fparam, aparam = make(rng)
    expected = pot.eval(coords, cells, types, True, fparam, aparam)
    order = rng.permutation(24)
    got = pot.eval(coords[:, order], cells, types[order], True, fparam, aparam[:, order])
    back = np.argsort(order)
    assert_same([got[0], got[1][:, back], got[2], *(a[:, back] for a in got[3:])], expected)


def test_parameters_go_with_their_frames(saved, rng):
    coords, cells, types, fparam, aparam = make(rng, 5)
    with DeepPot(saved[0], auto_batch_size=48) as pot:
        together = pot.eval(coords, cells, types, fparam=fparam, aparam=aparam)
        for i in range(5):
            alone = pot.eval(coords[i], cells[i], types, fparam=fparam[i], aparam=aparam[i])
            assert_same(alone, [values[i : i + 1] for values in together])


def test_shapes_of_arguments(saved, rng):
    coords, cells, types, fparam, aparam = make(rng)
    with DeepPot(saved[0]) as pot:
        for one, all_ in ((fparam[0], np.tile(fparam[0], (2, 1))), (fparam.ravel(), fparam)):
            got = pot.eval(coords, cells, types, fparam=one, aparam=aparam)
            assert_same(got, pot.eval(coords, cells, types, fparam=all_, aparam=aparam))
        for one in (aparam[0], aparam[0].ravel(), aparam[0, 0], float(aparam[0, 0, 0])):
            all_ = np.broadcast_to(np.reshape(one, (-1, 1)), (2, 24, 1))
            got = pot.eval(coords, cells, types, fparam=fparam, aparam=one)
            assert_same(got, pot.eval(coords, cells, types, fparam=fparam, aparam=all_))


def test_frames_of_other_composition_and_virtual_atoms(saved, rng):
    coords, cells, types, fparam, aparam = make(rng, 3)
    mixed = np.stack([types, rng.permutation(types), np.where(types == 0, -1, types)])
    with DeepPot(saved[0]) as pot:
        got = pot.eval(coords, cells, mixed, False, fparam, aparam, mixed_type=True)
        for i, row in enumerate(mixed):
            real = row >= 0
            alone = pot.eval(
                coords[i, real], cells[i], row[real], fparam=fparam[i], aparam=aparam[i, real]
            )
            expected = got[0][i : i + 1], got[1][i : i + 1, real], got[2][i : i + 1]
            assert_same(alone, expected)


def test_what_the_model_says_of_itself(pot, with_default):
    assert (pot.get_dim_fparam(), pot.get_dim_aparam()) == (2, 1)
    assert not pot.has_default_fparam()
    assert pot.get_default_fparam() is None
    with DeepPot(with_default) as other:
        assert other.has_default_fparam()
        assert other.get_default_fparam() == DEFAULT


def test_missing_parameters(pot, rng):
    coords, cells, types, fparam, aparam = make(rng)
    with pytest.raises(InputError, match=r"fparam.*2 numbers"):
        pot.eval(coords, cells, types, aparam=aparam)
    with pytest.raises(InputError, match=r"aparam.*1 number"):
        pot.eval(coords, cells, types, fparam=fparam)


def test_default_parameters(with_default, rng):
    coords, cells, types, fparam, _ = make(rng)
    with DeepPot(with_default) as pot:
        expected = pot.eval(coords, cells, types, fparam=DEFAULT)
        assert_same(pot.eval(coords, cells, types), expected)
        other = pot.eval(coords, cells, types, fparam=fparam)
        assert np.abs(other[0] - expected[0]).min() > 1e-6


def test_default_is_kept_where_stock_programs_do_not_look(with_default, tmp_path):
    """They refuse the key in the script, and ignore a constant that they do not know."""
    graph = tf.GraphDef.FromString(with_default.read_bytes())
    nodes = {node.name: node for node in graph.node}
    script = json.loads(tf.make_ndarray(nodes[names.TRAINING_SCRIPT].attr["value"].tensor).item())
    assert "default_fparam" not in script["model"]["fitting_net"]
    node = tf.make_ndarray(nodes[names.DEFAULT_FPARAM].attr["value"].tensor)
    np.testing.assert_array_equal(node, DEFAULT)
    assert read_model(with_default).model.fitting_net.default_fparam == DEFAULT
    again = freeze(with_default, tmp_path / "again.pb", dialect="native").path
    assert read_model(again).model.fitting_net.default_fparam == DEFAULT


def test_atomic_parameters_that_are_not_used_may_be_left_out(tmp_path, rng):
    options = {"numb_aparam": 1, "use_aparam_as_mask": True}
    prefix, _ = save_checkpoint(tmp_path, small_input(fitting_net=options))
    path = freeze(prefix, tmp_path / "model.pb").path
    graph = tf.GraphDef.FromString(path.read_bytes())
    # C++ runtimes feed it all the same
    assert names.T_APARAM in {node.name for node in graph.node}
    coords, cells, types, _, aparam = make(rng)
    with DeepPot(path) as pot:
        assert pot.get_dim_aparam() == 1
        assert_same(pot.eval(coords, cells, types), pot.eval(coords, cells, types, aparam=aparam))


@pytest.mark.parametrize(
    "options",
    [
        {"numb_fparam": 2, "numb_aparam": 1, "default_fparam": DEFAULT},
        {"numb_aparam": 1, "use_aparam_as_mask": True},
    ],
)
def test_compressed_file(tmp_path, rng, options):
    """Its graph is run as it is, with the same arguments."""
    prefix, _ = save_checkpoint(tmp_path, small_input(fitting_net=options))
    path = compress(prefix, tmp_path / "model.pb").path
    coords, cells, types, fparam, aparam = make(rng)
    given = [{"aparam": aparam}]
    given.append({"aparam": aparam, "fparam": fparam} if "numb_fparam" in options else {})
    with DeepPot(prefix) as original, DeepPot(path) as pot:
        assert pot.get_dim_aparam() == 1
        assert pot.get_default_fparam() == options.get("default_fparam")
        for parameters in given:
            expected = original.eval(coords, cells, types, **parameters)
            got = pot.eval(coords, cells, types, **parameters)
            np.testing.assert_allclose(got[0], expected[0], rtol=1e-9)
            np.testing.assert_allclose(got[1], expected[1], rtol=0, atol=1e-7)


@pytest.fixture
def labelled(saved, tmp_path, rng):
    """A system whose labels are the predictions of the model."""
    coords, cells, types, fparam, aparam = make(rng, 4)
    with DeepPot(saved[0]) as pot:
        energy, force, virial = pot.eval(coords, cells, types, fparam=fparam, aparam=aparam)
    return write_system(
        tmp_path / "system",
        types=types,
        type_map=["O", "H"],
        coord=coords,
        box=cells,
        frames_per_set=2,
        energy=energy,
        force=force,
        virial=virial,
        fparam=fparam,
        aparam=aparam,
    )


def test_dp_test_takes_the_parameters_of_the_data(saved, labelled):
    errors = run_test(saved[0], [str(labelled)])
    assert errors.by_name["energy"].mae < 1e-10
    assert errors.by_name["force"].mae < 1e-10
    (labelled / "set.001" / "aparam.npy").unlink()
    with pytest.raises(DataError, match=r"aparam.npy: not found,"):
        run_test(saved[0], [str(labelled)])


def test_dp_test_with_default_parameters(with_default, tmp_path, rng, caplog):
    coords, cells, types, fparam, _ = make(rng, 4)
    fparam[2:] = DEFAULT
    with DeepPot(with_default) as pot:
        energy = pot.eval(coords, cells, types, fparam=fparam)[0]
    items = {"types": types, "coord": coords, "box": cells, "energy": energy, "fparam": fparam}
    path = write_system(tmp_path / "system", frames_per_set=2, **items)
    caplog.set_level(logging.INFO, "deepmd_tf")
    assert run_test(with_default, [str(path)]).by_name["energy"].mae < 1e-10
    assert "of the model" not in caplog.text
    (path / "set.001" / "fparam.npy").unlink()
    assert run_test(with_default, [str(path)]).by_name["energy"].mae < 1e-10
    assert "[0.25, -0.5] is used, the default of the" in caplog.text
