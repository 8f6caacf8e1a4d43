# SPDX-License-Identifier: BSD-3-Clause
"""Frame and atomic parameters in stock DeePMD-kit: training, files both ways, LAMMPS."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import stock_lammps
import stock_wheel
import tensorflow.compat.v1 as tf
from saved_models import save_checkpoint, small_input, water_like
from small_training import INPUT, TYPES, add_parameters, write_all_data, write_script
from stock_lammps import Case
from water_model import PLUGIN

from deepmd_tf import names
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

STEPS = 6
BOTH = {"numb_fparam": 1, "numb_aparam": 2}
KINDS = {
    "both": BOTH | {"atom_ener": [-1.0, None]},
    "mask": BOTH | {"use_aparam_as_mask": True},
}


def variables(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module", params=KINDS)
def trained(request, tmp_path_factory):
    """Folder with the same input trained here (``ours``) and by the peer (``stock``)."""
    folder = tmp_path_factory.mktemp(request.param)
    write_all_data(folder)
    add_parameters(folder)
    keys = {"numb_steps": STEPS, "disp_freq": 3, "save_freq": STEPS}
    fitting = INPUT["model"]["fitting_net"] | KINDS[request.param]
    path = write_script(folder, model={"fitting_net": fitting}, training=keys)
    path.write_text(path.read_text().replace('"data/', f'"{folder}/data/'))
    for name in ("ours", "stock"):
        (folder / name).mkdir()
        shutil.copy(path, folder / name)
    stock_wheel.dp(["train", "input.json"], folder / "stock")
    stock_wheel.dp(["freeze", "-o", "model.pb"], folder / "stock")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "ours")
        assert train("input.json") == 0
        freeze("model.ckpt", "model.pb")
    return folder


def test_training(trained):
    """Initial weights, statistics, every row of the learning curve."""
    curves = [(trained / name / "lcurve.out").read_text() for name in ("ours", "stock")]
    assert curves[0] == curves[1]
    ours, stock = (variables(trained / name / f"model.ckpt-{STEPS}") for name in ("ours", "stock"))
    assert set(ours) == set(stock)
    assert names.FPARAM_AVG in ours
    for name, value in ours.items():
        exact = name in (names.FPARAM_AVG, names.FPARAM_ISTD, names.APARAM_AVG, names.APARAM_ISTD)
        kwargs = {"rtol": 1e-12} if exact else {"rtol": 1e-6, "atol": 1e-7}
        np.testing.assert_allclose(value, stock[name], err_msg=name, **kwargs)


def load(trained, name):
    array = np.load(trained / f"data/valid/cell/set.001/{name}.npy")
    return array.reshape(len(array), -1)


def test_files_in_both_directions(trained):
    """Both files in stock's DeepPot and in ours; atoms are not sorted by type."""
    coords, cells, fparam, aparam = (load(trained, k) for k in ("coord", "box", "fparam", "aparam"))
    coords = coords.reshape(len(coords), -1, 3)
    case = (coords, cells, TYPES, fparam, aparam)
    for name in ("ours", "stock"):
        path = trained / name / "model.pb"
        (theirs,) = stock_wheel.evaluate(path, trained, [case])
        with DeepPot(path) as pot:
            values = pot.eval(coords, cells, TYPES, True, fparam, aparam)
            assert (pot.get_dim_fparam(), pot.get_dim_aparam()) == (1, 2)
        for key, value in zip(stock_wheel.KEYS, values, strict=True):
            scale = np.abs(value).max()
            got = theirs[key].reshape(value.shape)
            np.testing.assert_allclose(got, value, rtol=0, atol=1e-10 * scale, err_msg=key)


def test_dp_test_of_stock(trained):
    """Our file, tested by the peer with the parameters of the data."""
    system = str(trained / "data/valid/cell")
    model = str(trained / "ours" / "model.pb")
    stock_wheel.dp(["test", "-m", model, "-s", system, "-d", "stock"], trained)
    run_test(model, [system], detail_prefix=trained / "ours_detail")
    for kind in ("e", "f", "v"):
        ours, stock = (np.loadtxt(trained / f"{p}.{kind}.out") for p in ("ours_detail", "stock"))
        np.testing.assert_allclose(ours, stock, rtol=0, atol=1e-10 * np.abs(stock).max())


@pytest.fixture(scope="module")
def with_default(tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    options = {"numb_fparam": 1, "default_fparam": [0.5]}
    return freeze(
        save_checkpoint(folder, small_input(fitting_net=options))[0], folder / "a.pb"
    ).path


def test_default_parameters_in_stock_programs(with_default, rng):
    """They know nothing of the default: compression works, and the parameter must be given."""
    folder = with_default.parent
    stock_wheel.dp(["compress", "-i", "a.pb", "-o", "compressed.pb"], folder)
    coords, cells, types = water_like(rng)
    given = (coords, cells, types, np.array([0.5]))
    with DeepPot(with_default) as pot:
        expected = pot.eval(coords, cells, types)
    for path, tolerance in ((with_default, 1e-10), (folder / "compressed.pb", 1e-6)):
        (theirs,) = stock_wheel.evaluate(path, folder, [given])
        got = theirs["force"].reshape(expected[1].shape)
        np.testing.assert_allclose(got, expected[1], rtol=0, atol=tolerance)
    with pytest.raises(AssertionError, match="AssertionError"):
        stock_wheel.evaluate(with_default, folder, [given[:3]])
    with DeepPot(folder / "compressed.pb") as pot:
        assert not pot.has_default_fparam()


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("dialect", ["stock", "native"])
def test_lammps(tmp_path, rng, dialect, ranks):
    """Numbers in the line of the pair style, and from computes, which differ between atoms."""
    cases, parameters = {}, {}
    coords, cells, types = water_like(rng, n_frames=1)
    for kind, options in KINDS.items():
        folder = tmp_path / f"model_{kind}"
        folder.mkdir()
        prefix, _ = save_checkpoint(folder, small_input(fitting_net=options))
        path = freeze(prefix, folder / "model.pb", dialect=dialect).path
        case = Case(path, coords[0], cells[0].reshape(3, 3), types)
        cases[kind] = replace(case, options="fparam 0.7 aparam 0.2 -0.4")
        parameters[kind] = prefix, [0.7], [0.2, -0.4]
    aparam = rng.normal(size=(24, 2))
    lines = ["fix P all property/atom d_a d_b"]
    lines += [f"set atom {i} d_a {a!r} d_b {b!r}" for i, (a, b) in enumerate(aparam.tolist(), 1)]
    lines += ["compute A all property/atom d_a d_b", "compute F all reduce ave c_A[1]"]
    computed = "fparam_from_compute F aparam_from_compute A"
    cases["computes"] = replace(cases["both"], options=computed, commands="\n".join(lines))
    parameters["computes"] = parameters["both"][0], [aparam[:, 0].mean()], aparam
    variables = PLUGIN if dialect == "native" else {}
    results = stock_lammps.evaluate(cases, tmp_path, ranks, **variables)
    for name, (prefix, fparam, atomic) in parameters.items():
        with DeepPot(prefix) as pot:
            values = pot.eval(coords, cells, types, True, fparam, atomic)
        expected = {k: v[0] for k, v in zip(stock_wheel.KEYS, values, strict=True)}
        errors = stock_lammps.relative_error(results[name], expected)
        assert max(errors.values()) < 1e-10, (name, errors)


def test_lammps_without_parameters(with_default):
    """The default is not known there, and LAMMPS says what is missing."""
    folder = with_default.parent
    coords, cells, types = water_like(np.random.default_rng(1), n_frames=1)
    case = Case(with_default, coords[0], cells[0].reshape(3, 3), types)
    case.write_data(folder / "a.data")
    done = stock_lammps.start(case.start("a") + "run 0\n", folder)
    assert done.returncode != 0
    assert "the dim of frame parameter provided is not consistent" in done.stdout + done.stderr
