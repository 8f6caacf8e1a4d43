# SPDX-License-Identifier: BSD-3-Clause
"""Each term of the loss is trained, and what it is for gets better than without it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from evaluation import Frames, evaluate
from small_training import EDGE, INPUT, TYPES, pair_potential, write_data, write_script

from deepmd_tf.data import DataSystem
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.inference import DeepPot
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train

from .checkpoints import variables

pytestmark = pytest.mark.usefixtures("without_rewriting")

STEPS = 100
OFF = {f"{when}_pref_{term}": 0.0 for term in "efv" for when in ("start", "limit")}
ORDER = np.argsort(TYPES, kind="stable")
"""Atoms as the model has them."""
TERMS = ("e", "ae", "f", "v", "pf", "gf", "de")


def rms(x):
    return np.sqrt(np.mean(np.square(x)))


def constant(**prefactors):
    """A loss with prefactors that do not change, and nothing else."""
    both = {f"{when}_pref_{k}": v for k, v in prefactors.items() for when in ("start", "limit")}
    return OFF | both


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two periodic systems for training, which is the working directory."""
    for seed, name in enumerate(("a", "b")):
        write_data(tmp_path / "data" / "train" / name, seed, 16, EDGE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sets(folder, system="*"):
    """Folder and coordinates of each set of training data."""
    for path in sorted(folder.glob(f"data/train/{system}/set.*")):
        yield path, np.load(path / "coord.npy").reshape(-1, len(TYPES), 3)


def atom_energy(coord):
    """Half the energy of the pairs of each atom, eV."""
    x = coord[:, None, :, :] - coord[:, :, None, :]
    x -= EDGE * np.round(x / EDGE)
    pair = np.exp(-0.5 * np.sum(x**2, axis=-1)) * (1 - np.eye(coord.shape[1]))
    return 0.5 * pair.sum(axis=2)


def learn(folder, loss, steps=STEPS, **options):
    """Train, and compare with the truth in frames that were not trained on.

    Returns predictions and truth: energy, force, virial, atom_energy.
    """
    training = {
        "training_data": {"systems": "data/train", "batch_size": 4},
        "validation_data": None,
        "numb_steps": steps,
        "disp_freq": steps,
        "save_freq": steps,
    }
    write_script(folder, training=training, loss=loss | options)
    assert train("input.json", skip_neighbor_stat=True) == 0
    weights = variables(folder / "model.ckpt")
    write_data(folder / "unseen", 99, 20, EDGE)
    parts = sorted(folder.glob("unseen/set.*/coord.npy"))
    coord = np.concatenate([np.load(path) for path in parts])
    frames = Frames(coord, np.tile(EDGE * np.eye(3).ravel(), (len(coord), 1)), TYPES)
    found = evaluate(INPUT, weights, frames, expected_pairs=1)
    truth = pair_potential(frames.coord, EDGE)
    truth["atom_energy"] = atom_energy(frames.coord)
    return found, truth


def test_relative_energy(folder):
    """Energies of the two systems have different zeros."""
    for system, shift in (("a", 20.0), ("b", -20.0)):
        for path, _ in sets(folder, system):
            np.save(path / "energy.npy", np.load(path / "energy.npy") + shift)

    def spread(result):
        return np.std(result[0]["energy"] - result[1]["energy"])

    errors = [spread(learn(folder, constant(**{term: 1.0}), steps=250)) for term in ("e", "de")]
    assert errors[1] < 0.6 * errors[0]


@pytest.mark.slow
def test_reaction_energy(folder):
    rng = np.random.default_rng(5)
    for path, coord in sets(folder):
        coefficients = rng.choice([-1.0, 1.0], coord.shape[:2])
        np.save(path / "atom_ener_coeff.npy", coefficients)
        np.save(path / "energy.npy", np.sum(coefficients * atom_energy(coord), axis=1))
    signs = rng.choice([-1.0, 1.0], len(TYPES))

    def reaction_error(result):
        found, truth = result
        return rms((found["atom_energy"] - truth["atom_energy"]) @ signs)

    errors = [
        reaction_error(learn(folder, constant(e=1.0), enable_atom_ener_coeff=enabled))
        for enabled in (False, True)
    ]
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.slow
def test_default_prefactor(folder):
    """One system has weights, those of hydrogen are zero; the other one has none."""
    for path, coord in sets(folder, "a"):
        np.save(path / "atom_pref.npy", np.tile(np.where(TYPES == 0, 1.0, 0.0), (len(coord), 1)))

    def hydrogen(result):
        difference = (result[0]["force"] - result[1]["force"]).reshape(-1, len(TYPES), 3)
        return rms(difference[:, TYPES[ORDER] == 1])

    errors = [
        hydrogen(learn(folder, constant(pf=1.0), use_default_pf=default))
        for default in (False, True)
    ]
    assert errors[1] < 0.5 * errors[0]


def write_labels(folder):
    rng = np.random.default_rng(8)
    drdq = rng.normal(size=(len(TYPES), 3, 2))
    for path, coord in sets(folder):
        n = len(coord)
        np.save(path / "atom_ener.npy", atom_energy(coord))
        np.save(path / "atom_pref.npy", np.tile(np.where(TYPES == 0, 5.0, 0.1), (n, 1)))
        np.save(path / "drdq.npy", np.tile(drdq.ravel(), (n, 1)))
    return drdq[ORDER].reshape(-1, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantity", "without", "term", "factor"),
    [
        ("energy", {"f": 1.0}, {"e": 1.0}, 0.5),
        ("force", {"e": 1.0}, {"f": 10.0}, 0.8),
        ("virial", {"e": 1.0}, {"v": 10.0}, 0.7),
        ("atom_energy", {"e": 1.0}, {"ae": 10.0}, 0.5),
        ("generalised", {"e": 1.0}, {"gf": 10.0}, 0.9),
        ("oxygen", {"f": 1.0}, {"pf": 10.0}, 0.93),
    ],
)
def test_term_improves_what_it_is_for(folder, quantity, without, term, factor):
    drdq = write_labels(folder)

    def errors(result):
        found, truth = result
        difference = (found["force"] - truth["force"]).reshape(-1, len(TYPES), 3)
        return {
            **{key: rms(found[key] - truth[key]) for key in truth},
            "generalised": rms(difference.reshape(-1, 3 * len(TYPES)) @ drdq),
            "oxygen": rms(difference[:, TYPES[ORDER] == 0]),
        }[quantity]

    options = {"numb_generalized_coord": 2}
    before = errors(learn(folder, constant(**without), steps=300, **options))
    after = errors(learn(folder, constant(**without | term), steps=300, **options))
    assert after < factor * before


@pytest.mark.slow
def test_relative_force(folder):
    """The error relative to the force, where forces differ in size."""

    def relative(result):
        found, truth = (part["force"].reshape(-1, 3) for part in result)
        size = np.linalg.norm(truth, axis=1)
        return np.mean(np.linalg.norm(found - truth, axis=1) / (size + 0.02))

    errors = [
        relative(learn(folder, constant(f=1.0), steps=300, **options))
        for options in ({}, {"relative_f": 0.02})
    ]
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.slow
def test_outliers(folder):
    """Labels of which some are far off: mean absolute errors of the truth."""
    rng = np.random.default_rng(4)
    for path, _ in sets(folder):
        force = np.load(path / "force.npy")
        wrong = rng.random(force.shape) < 0.1
        np.save(path / "force.npy", force + wrong * rng.normal(scale=3.0, size=force.shape))

    def mean_absolute(result):
        return np.mean(np.abs(result[0]["force"] - result[1]["force"]))

    cases = {
        "mse": {},
        "mae": {"loss_func": "mae"},
        "norm": {"loss_func": "mae", "f_use_norm": True},
        "huber": {"use_huber": True, "huber_delta": [0.1, 0.02, 0.1]},
        "huber norm": {"use_huber": True, "huber_delta": 0.02, "f_use_norm": True},
    }
    found = {
        name: mean_absolute(learn(folder, constant(f=1.0), steps=200, **options))
        for name, options in cases.items()
    }
    assert max(value for name, value in found.items() if name != "mse") < 0.7 * found["mse"]


def every_term(**options):
    return constant(**dict.fromkeys(TERMS, 1.0)) | {"numb_generalized_coord": 2} | options


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"relative_f": 0.5, "enable_atom_ener_coeff": True}, id="mse"),
        pytest.param({"loss_func": "mae", "f_use_norm": True}, id="mae", marks=pytest.mark.slow),
        pytest.param(
            {"use_huber": True, "f_use_norm": True, "use_default_pf": True},
            id="huber",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_restart_with_every_term(folder, options):
    """The gradient of each measure is the same to the last bit each time."""
    write_labels(folder)
    for path, coord in sets(folder):
        np.save(path / "atom_ener_coeff.npy", np.full(coord.shape[:2], 0.5))
    keys = {"training_data": {"systems": "data/train", "batch_size": 4}, "numb_steps": 10}
    write_script(folder, training=keys | {"validation_data": None}, loss=every_term(**options))
    assert train("input.json", skip_neighbor_stat=True) == 0
    curve, last = (folder / "lcurve.out").read_text(), variables("model.ckpt-10")
    assert np.isfinite(np.genfromtxt(folder / "lcurve.out")).all()
    name = "mae" if options.get("loss_func") == "mae" else "rmse"
    expected = ["#", "step", "rmse_trn", *(f"{name}_{term}_trn" for term in TERMS), "lr"]
    assert curve.splitlines()[0].split() == expected
    assert train("input.json", restart="model.ckpt-5") == 0
    assert (folder / "lcurve.out").read_text() == curve
    again = variables("model.ckpt-10")
    assert [key for key in last if last[key].tobytes() != again[key].tobytes()] == []
    # DeePMD-kit, which reads the files of models, does not know the relative energy
    assert json.loads((folder / "out.json").read_text())["loss"]["start_pref_de"] == 1.0
    meta = (folder / "model.ckpt-10.meta").read_bytes()
    assert b"limit_pref_f" in meta
    assert b"pref_de" not in meta


def test_restart_with_another_loss(folder):
    """The batch that comes next was drawn without the labels that are needed now."""
    write_labels(folder)
    keys = {"training_data": {"systems": "data/train"}, "validation_data": None, "disp_freq": 1}
    for steps, loss, restart in ((2, constant(e=1), None), (4, constant(ae=1, v=1), "model.ckpt")):
        write_script(folder, training=keys | {"numb_steps": steps}, loss=loss)
        assert train("input.json", restart=restart, skip_neighbor_stat=True) == 0
    lines = (folder / "lcurve.out").read_text().splitlines()
    assert lines[-4].split()[2:] == ["rmse_trn", "rmse_ae_trn", "rmse_v_trn", "lr"]
    assert [line.split()[0] for line in lines[-2:]] == ["3", "4"]
    assert np.isfinite([float(word) for word in lines[-1].split()]).all()


@pytest.mark.parametrize(
    ("loss", "files", "message"),
    [
        ({"ae": 1}, (), r"pref_ae .*atom_ener\.npy \(or atomic_en"),
        ({"pf": 1}, (), r"pref_pf .*atom_pref\.npy"),
        ({"gf": 1}, ("atom_pref",), r"pref_gf .*drdq\.npy"),
    ],
)
def test_labels_that_no_system_has(folder, loss, files, message):
    write_labels(folder)
    for path, _ in sets(folder):
        for name in {"atom_ener", "atom_pref", "drdq"} - set(files):
            (path / f"{name}.npy").unlink()
    with pytest.raises(InputError, match=message):
        learn(folder, constant(e=1, **loss), numb_generalized_coord=2)


def test_coefficients_that_no_system_has(folder):
    with pytest.raises(InputError, match=r"enable_atom_ener_coeff.*atom_ener_coeff\.npy"):
        learn(folder, constant(e=1), enable_atom_ener_coeff=True)


def test_systems_without_coefficients_are_told(folder, caplog):
    caplog.set_level("INFO")
    for path, coord in sets(folder, "a"):
        np.save(path / "atom_ener_coeff.npy", np.ones(coord.shape[:2]))
    learn(folder, constant(e=1), steps=1, enable_atom_ener_coeff=True)
    assert "1 of 2 systems have no atom_ener_coeff.npy" in caplog.text


def test_negative_weights(folder):
    for path, coord in sets(folder, "a"):
        weights = np.ones(coord.shape[:2])
        weights[1, 3] = -0.5
        np.save(path / "atom_pref.npy", weights)
    with pytest.raises(DataError, match=r"atom_pref\.npy: frame 1, atom 3.*-0\.5"):
        learn(folder, constant(pf=1))


def test_errors_of_reaction_energies(folder, monkeypatch):
    """Full validation and dp test compare what was fitted; here it is nothing but a sign."""
    write_data(folder / "data" / "valid", 5, 4, EDGE)
    for path in folder.glob("data/*/**/set.*"):
        energy = np.load(path / "energy.npy")
        shape = (len(energy), len(TYPES))
        np.save(path / "atom_ener_coeff.npy", np.full(shape, -1.0))
        np.save(path / "energy.npy", -energy)
    keys = {
        "training_data": {"systems": "data/train", "batch_size": 4},
        "validation_data": {"systems": "data/valid", "batch_size": 4},
        "numb_steps": 2,
        "disp_freq": 2,
    }
    validating = {"full_validation": True, "validation_freq": 2, "full_val_start": 0}
    loss = constant(e=1) | {"enable_atom_ener_coeff": True}
    write_script(folder, training=keys, loss=loss, validating=validating)
    assert train("input.json", skip_neighbor_stat=True) == 0
    frozen = freeze(folder / "model.ckpt", folder / "frozen.pb").path
    found = run_test(frozen, ["data/valid"], detail_prefix="detail")
    per_atom = np.loadtxt("detail.e_peratom.out")
    with DeepPot(frozen) as pot:
        data = DataSystem("data/valid", pot.get_type_map(), sort_atoms=False)
        (arrays,) = (batch.arrays for batch in data.batches(max_atoms=10**6))
        energy, _, _ = pot.eval(arrays["coord"], arrays["box"], data.types)
    np.testing.assert_allclose(per_atom[:, 1], -energy[:, 0] / len(TYPES), rtol=1e-12)
    error = rms(np.diff(per_atom, axis=1))
    assert found.by_name["energy_per_atom"].rmse == pytest.approx(error, rel=1e-10)
    assert np.loadtxt("val.log", ndmin=2)[-1, 2] == pytest.approx(1000 * error, rel=1e-4)
    last = np.genfromtxt("lcurve.out", names=True)[-1]
    assert last["rmse_e_val"] == pytest.approx(error, rel=5e-3)


def test_labels_that_are_never_together(folder):
    write_labels(folder)
    for path, _ in sets(folder):
        (path / ("force.npy" if "/a/" in str(path) else "atom_pref.npy")).unlink()
    with pytest.raises(InputError, match=r"force\.npy.*atom_pref\.npy"):
        learn(folder, constant(pf=1))


def test_batches_of_one_frame_have_no_relative_energy(folder, caplog):
    write_data(folder / "data" / "valid", 3, 4, EDGE)
    data = {"systems": "data/train", "batch_size": "auto:6"}
    write_script(folder, training={"training_data": data}, loss=constant(de=1))
    message = r"data/train/a/set\.000 \(6 atoms, batch_size \"auto:6\"\) has only 1; take a batch"
    with pytest.raises(InputError, match=message):
        train("input.json")
    keys = {"training_data": data | {"batch_size": 2}, "numb_steps": 1, "disp_freq": 1}
    keys["validation_data"] = {"systems": "data/valid", "batch_size": 1}
    write_script(folder, training=keys, loss=constant(de=1, e=1))
    assert train("input.json", skip_neighbor_stat=True) == 0
    assert "data/valid have only 1 frame; rmse_de_val compares frames" in caplog.text
    table = np.genfromtxt(folder / "lcurve.out", names=True, skip_header=0)
    assert np.isnan(table["rmse_de_val"]).all()
    assert np.isfinite(table["rmse_de_trn"]).all()
    assert np.isfinite(table["rmse_e_val"]).all()


def test_system_without_a_label(folder, caplog):
    """It adds nothing to the loss, and its column is nan."""
    write_labels(folder)
    for path, _ in sets(folder, "b"):
        (path / "atom_ener.npy").unlink()
    keys = {"training_data": {"systems": "data/train"}, "numb_steps": 20, "disp_freq": 1}
    write_script(folder, training=keys | {"validation_data": None}, loss=constant(e=1, ae=1))
    assert train("input.json", skip_neighbor_stat=True) == 0
    table = np.genfromtxt(folder / "lcurve.out")
    assert 0 < np.isnan(table[:, 3]).sum() < len(table)
    assert np.isfinite(np.delete(table, 3, axis=1)).all()
    assert "training systems have no atom_ener.npy, at least not in every set" in caplog.text
