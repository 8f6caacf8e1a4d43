# SPDX-License-Identifier: BSD-3-Clause
"""Files in the stock dialect, evaluated by the stock wheel, give our numbers; and the reverse."""

from __future__ import annotations

import numpy as np
import pytest
import stock_wheel
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf import names
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.ops.library import LIBRARY_FOLDER

pytestmark = stock_wheel.needs_stock

TOLERANCE = 1e-10
MODELS = {
    "two-sided": {},
    "one-sided": {"descriptor": {"type_one_side": True, "resnet_dt": True}},
    "excluded": {"descriptor": {"exclude_types": [[0, 0]]}},
    "one-sided excluded": {"descriptor": {"exclude_types": [[0, 1]], "type_one_side": True}},
    "sel too small": {"descriptor": {"sel": [3, 5]}},
    "other activations": {
        "descriptor": {"activation_function": "gelu"},
        "fitting_net": {"activation_function": "softplus", "resnet_dt": False},
    },
    "atom_ener": {"fitting_net": {"atom_ener": [-2.0, -0.5]}},
    "rcut no float32": {"descriptor": {"rcut": 4.1, "rcut_smth": 0.7}},
}


def cases(rng):
    """Frames in a triclinic cell, without one, outside of it, in one smaller than the cutoff."""
    coords, cells, types = water_like(rng, n_frames=2)
    yield "triclinic", (coords, cells, types)
    yield "open", (coords, None, types)
    shift = rng.integers(-1, 2, (2, 24, 3)) @ cells[0].reshape(3, 3)
    yield "images", (coords + shift, cells, types)
    # few enough atoms for sel: which of two equally far images is dropped is nobody's business
    coords, _, types = water_like(rng, n_atoms=3, n_frames=1, length=3.3)
    yield "small cell", (coords, 3.3 * np.eye(3).reshape(1, 9), types)


def assert_same(got, expected, label):
    for key in stock_wheel.KEYS:
        want = expected[key].reshape(got[key].shape)
        error = np.abs(got[key] - want).max() / np.abs(want).max()
        assert error < TOLERANCE, f"{label}, {key}: relative difference {error:.1e}"


@pytest.mark.parametrize("name", MODELS)
def test_our_file_in_the_stock_wheel(tmp_path, rng, name):
    prefix, _ = save_checkpoint(tmp_path, small_input(**MODELS[name]))
    path = freeze(prefix, tmp_path / "model.pb").path
    labels, arguments = zip(*cases(rng), strict=True)
    results = stock_wheel.evaluate(path, tmp_path, arguments)
    with DeepPot(prefix) as pot:
        for label, frames, stock in zip(labels, arguments, results, strict=True):
            ours = dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))
            assert_same(ours, stock, f"{name}, {label}")
            descriptor = pot.eval_descriptor(*frames)
            np.testing.assert_allclose(descriptor, stock["descriptor"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("dialect", ["stock", "native"])
@pytest.mark.parametrize("name", ["two-sided", "one-sided excluded"])
def test_our_files_in_the_stock_cpp_runtime(tmp_path, rng, dialect, name):
    """The runtime of LAMMPS; native files need our operations as its plugin."""
    prefix, _ = save_checkpoint(tmp_path, small_input(**MODELS[name]))
    path = freeze(prefix, tmp_path / "model.pb", dialect=dialect).path
    plugin = LIBRARY_FOLDER / "libdeepmd_tf_ops.so" if dialect == "native" else None
    labels, arguments = zip(*cases(rng), strict=True)
    results = stock_wheel.evaluate(path, tmp_path, arguments, cpp=True, plugin=plugin)
    with DeepPot(prefix) as pot:
        for label, frames, stock in zip(labels, arguments, results, strict=True):
            ours = dict(zip(stock_wheel.KEYS, pot.eval(*frames, atomic=True), strict=True))
            assert_same(ours, stock, f"{dialect}, {name}, {label}")


@pytest.mark.parametrize(
    "name",
    [
        names.MODEL_VERSION,
        names.MODEL_TYPE,
        names.RCUT,
        names.NTYPES,
        names.DFPARAM,
        names.DAPARAM,
        names.O_ATOM_VIRIAL,
    ],
)
def test_nodes_that_the_cpp_runtime_needs(tmp_path, rng, name):
    """Each of them is there for a reason: without it, the runtime refuses the file."""
    prefix, _ = save_checkpoint(tmp_path)
    path = freeze(prefix, tmp_path / "model.pb").path
    graph = tf.GraphDef.FromString(path.read_bytes())
    kept = tf.GraphDef(node=[n for n in graph.node if n.name != name], versions=graph.versions)
    path.write_bytes(kept.SerializeToString())
    with pytest.raises(AssertionError, match=name.rpartition("/")[2]):
        stock_wheel.evaluate(path, tmp_path, [water_like(rng)], cpp=True)


def test_float32_interface_in_the_stock_wheel(tmp_path, rng, monkeypatch):
    monkeypatch.setenv("DP_INTERFACE_PREC", "low")
    prefix, _ = save_checkpoint(tmp_path)
    path = freeze(prefix, tmp_path / "model.pb").path
    frames = water_like(rng)
    with DeepPot(prefix) as pot:
        ours = pot.eval(*frames)
    (stock,) = stock_wheel.evaluate(path, tmp_path, [frames])
    for key, value in zip(stock_wheel.KEYS, ours, strict=False):
        scale = np.abs(stock[key]).max()
        np.testing.assert_allclose(value, stock[key], rtol=0, atol=1e-5 * scale)


def test_files_with_a_hessian_in_the_stock_runtime(tmp_path, rng):
    """Its further nodes are of our library and of TensorFlow, and nobody fetches them."""
    prefix, _ = save_checkpoint(tmp_path)
    path = freeze(prefix, tmp_path / "hessian.pb", hessian=True).path
    labels, arguments = zip(*cases(rng), strict=True)
    plugin = LIBRARY_FOLDER / "libdeepmd_tf_ops.so"
    results = stock_wheel.evaluate(path, tmp_path, arguments, cpp=True, plugin=plugin)
    with DeepPot(path) as pot:
        for label, case, expected in zip(labels, arguments, results, strict=True):
            got = dict(zip(stock_wheel.KEYS, pot.eval(*case, atomic=True), strict=True))
            assert_same(got, expected, label)
