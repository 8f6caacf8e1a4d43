# SPDX-License-Identifier: BSD-3-Clause
"""Trainings of models with spins, and everything that reads what they leave."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spins

from deepmd_tf.analysis.change_bias import change_bias
from deepmd_tf.analysis.show import show
from deepmd_tf.errors import DeepmdError, InputError
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference.testing import run_test
from deepmd_tf.training.entrypoint import train

COLUMNS = ["rmse", "rmse_e", "rmse_fr", "rmse_fm", "rmse_v"]


def write(folder: Path, given: dict[str, Any], name: str = "input.json") -> str:
    (folder / name).write_text(json.dumps(given))
    return name


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a training of six steps, and its files in both dialects."""
    folder = spins.write_data(tmp_path_factory.mktemp("spin"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(write(folder, spins.script(training={"stat_file": "stat"}))) == 0
        freeze("model.ckpt", "stock.pb")
        freeze("model.ckpt", "native.pb", dialect="native")
    return folder


@pytest.fixture
def there(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


@pytest.fixture
def elsewhere(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the data and the checkpoints of it."""
    for file in [*trained.glob("model.ckpt-3*"), trained / "stock.pb"]:
        shutil.copy(file, tmp_path)
    (tmp_path / "data").symlink_to(trained / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The message with which a training is refused, of a script and other arrays in the data."""

    def message(given: dict[str, Any] | None = None, **changes: np.ndarray) -> str:
        monkeypatch.chdir(tmp_path)
        for part in ("train", "valid"):
            spins.write(tmp_path / "data" / part, **(changes if part == "train" else {}))
        with pytest.raises(DeepmdError) as error:
            train(write(tmp_path, given or spins.script()))
        return str(error.value)

    return message


def evaluated(file: str | Path) -> tuple[np.ndarray, ...]:
    with DeepPot(file) as pot:
        coord = spins.with_virtual(*spins.frames(11))
        return pot.eval(coord, spins.boxes(2), spins.TYPES, atomic=True)


def test_learning_curve(there):
    header = (there / "lcurve.out").read_text().splitlines()[0].split()
    assert [name for name in header if name.endswith("_trn")] == [f"{c}_trn" for c in COLUMNS]


def test_bias_is_that_of_an_atom_with_its_virtual_atom(there):
    """Of one composition the solution of least norm: equal shares of 12 atoms."""
    energy = np.load(there / "data/train/set.000/energy.npy")
    bias = read_model("model.ckpt").weights["fitting_attr/t_bias_atom_e"]
    np.testing.assert_allclose(bias, energy.mean() / 12 * np.array([2.0, 1.0]))


@pytest.mark.parametrize("file", ["native.pb", "stock.pb"])
def test_files_give_what_the_checkpoint_gives(there, file):
    for found, expected in zip(evaluated(file), evaluated("model.ckpt"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_interface(there):
    with DeepPot("stock.pb") as pot:
        assert pot.get_type_map() == ["Ni", "O"]
        assert (pot.get_ntypes(), pot.get_ntypes_spin()) == (3, 1)
        assert (pot.has_spin, pot.use_spin) == (False, [True, False])
        assert pot.get_sel() == [20, 20, 20]
        product = pot.eval_hessian_vector(
            spins.with_virtual(*spins.frames(11)),
            spins.boxes(2),
            spins.TYPES,
            np.ones((1, len(spins.TYPES), 3)),
        )
        assert product.shape == (2, 1, 12, 3)


def test_order_of_atoms_does_not_matter(there, rng):
    coord = spins.with_virtual(*spins.frames(12))
    # the virtual atoms in the order of their atoms
    order = np.concatenate([[8, 0, 4, 5], [1, 9, 10, 2], [11, 3, 7, 6]])
    with DeepPot("stock.pb") as pot:
        expected = pot.eval(coord, spins.boxes(2), spins.TYPES)
        found = pot.eval(coord[:, order], spins.boxes(2), spins.TYPES[order])
    np.testing.assert_allclose(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1][:, order], atol=1e-13)


def test_dp_test(there, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        errors = run_test("stock.pb", ["data/valid"], detail_prefix=tmp_path / "details")
    with DeepPot("stock.pb") as pot:
        folder = there / "data/valid/set.000"
        arrays = [np.load(folder / f"{name}.npy") for name in ("coord", "box")]
        force = pot.eval(*arrays, spins.TYPES)[1]
    away = force - np.load(folder / "force.npy").reshape(force.shape)
    for name, part in (
        ("force_atom", away[:, : spins.REAL]),
        ("force_spin", away[:, spins.REAL :]),
    ):
        assert errors.by_name[name].rmse == pytest.approx(np.sqrt(np.mean(part**2)))
    assert any(line.startswith("Force atom MAE      : ") for line in caplog.messages)
    assert any(line.startswith("Force spin RMSE     : ") for line in caplog.messages)
    assert {path.name for path in tmp_path.glob("details*")} == {
        f"details.{kind}.out" for kind in ("e", "e_peratom", "fr", "fm", "v", "v_peratom", "s")
    }
    written = [np.loadtxt(tmp_path / f"details.{kind}.out")[:, 3:] for kind in ("fr", "fm")]
    np.testing.assert_allclose(written[0], force[:, : spins.REAL].reshape(-1, 3))
    np.testing.assert_allclose(written[1], force[:, spins.REAL :].reshape(-1, 3))


def test_show(there, caplog):
    with caplog.at_level(logging.INFO):
        show("stock.pb", ["type-map", "descriptor", "observed-type", "size"])
    assert "The type_map is ['Ni', 'O']" in caplog.messages
    assert "Observed types: ['Ni', 'O'] " in caplog.messages


@pytest.mark.slow
@pytest.mark.parametrize("systems", [["data/valid"], None], ids=["data", "random frames"])
def test_compress(there, tmp_path, monkeypatch, systems):
    """A compressed file is run as it is, and its energies are those of real atoms."""
    if systems is None:  # those of the script are not found
        shutil.copy("stock.pb", tmp_path)
        monkeypatch.chdir(tmp_path)
    compress("stock.pb", tmp_path / "compressed.pb", systems=systems)
    found, expected = evaluated(tmp_path / "compressed.pb"), evaluated("stock.pb")
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8 * np.abs(other).max())


@pytest.mark.slow
def test_change_bias(there, tmp_path):
    path = change_bias("stock.pb", bias=[-8.0, -4.0], output=tmp_path / "changed.pb")
    with pytest.raises(InputError, match=r"3 values of the bias are given; stock\.pb has 2 types"):
        change_bias("stock.pb", bias=[-8.0, -4.0, 1.0], output=tmp_path / "wrong.pb")
    before, after = (
        read_model(file).weights["fitting_attr/t_bias_atom_e"] for file in ("stock.pb", path)
    )
    shift = 4 * (np.array([-8.0, -4.0]) - before).sum()
    np.testing.assert_array_equal(after, [-8.0, -4.0])
    np.testing.assert_allclose(evaluated(path)[0] - evaluated("stock.pb")[0], shift)
    path = change_bias("stock.pb", ["data/train"], output=tmp_path / "fitted.pb")
    with DeepPot(path) as pot:
        folder = there / "data/train/set.000"
        energy = pot.eval(*(np.load(folder / f"{n}.npy") for n in ("coord", "box")), spins.TYPES)[0]
    assert energy.mean() == pytest.approx(np.load(folder / "energy.npy").mean())


def test_restart_goes_on_to_the_bit(there, elsewhere):
    assert train(there / "input.json", restart="model.ckpt-3") == 0
    for one, other in zip(
        evaluated("model.ckpt-6"), evaluated(there / "model.ckpt-6"), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["init_model", "init_frz_model", "finetune"])
def test_starts_from_a_model(elsewhere, start):
    given = spins.script(training={"numb_steps": 0, "save_freq": 1})
    source = "model.ckpt-3" if start == "init_model" else "stock.pb"
    assert train(write(elsewhere, given), **{start: source}) == 0
    found, expected = evaluated("model.ckpt"), evaluated(source)
    shift = found[0] - expected[0]
    np.testing.assert_allclose(shift, shift[0, 0], atol=1e-12)
    assert (start == "finetune") or not shift.any()
    np.testing.assert_allclose(found[1], expected[1], atol=1e-13)


@pytest.mark.slow
def test_automatic_sel_is_one_number_for_a_type_and_its_virtual_atoms(elsewhere):
    given = spins.script()
    given["model"]["descriptor"]["sel"] = "auto"
    given["training"] |= {"numb_steps": 0}
    assert train(write(elsewhere, given)) == 0
    with DeepPot("model.ckpt") as pot:
        ni, o, of_spins = pot.get_sel()
    assert ni == of_spins and ni > 4 < o


@pytest.mark.slow
def test_full_validation(elsewhere):
    given = spins.script() | {
        "validating": {"full_validation": True, "validation_freq": 1, "validation_metric": "F:MAE"}
    }
    given["training"] |= {"numb_steps": 1}
    assert train(write(elsewhere, given)) == 0
    errors = run_test("model.ckpt-1", ["data/valid"])
    row = np.loadtxt("val.log", usecols=(1, 2, 3))
    expected = [1e3 * errors.by_name[name].mae for name in ("energy_per_atom", "force_atom")]
    np.testing.assert_allclose(np.atleast_2d(row)[-1, [0, 2]], expected, rtol=1e-4)


def test_wrong_number_of_virtual_atoms(refused):
    message = refused(
        types=spins.TYPES[:-1],
        coord=spins.with_virtual(*spins.frames(1, 4))[:, :-1],
        force=np.zeros((4, 11, 3)),
    )
    assert message.startswith(
        "data/train: has 3 virtual atoms (type 2) for the spins of 4 atoms of Ni (type 0), expected"
    )


def test_virtual_atoms_in_another_order(refused):
    coord = spins.with_virtual(*spins.frames(1, 4))
    coord[2, [8, 9]] = coord[2, [9, 8]]
    message = refused(coord=coord)
    assert message.startswith("data/train/set.000/coord.npy: frame 2 has the virtual atom 8 2."), (
        message
    )
    assert "Å from atom 0, whose spin it stands for, and nearer to atom 1 (counted" in message


def test_frames_of_one_size_only(refused):
    given = spins.script()
    given["training"]["training_data"]["batch_size"] = "mixed:2"
    assert 'batches have frames of several systems (batch_size "mixed:N")' in refused(given)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"use_spin": [False, True]}, "the types with a spin must come first in type_map"),
        ({"use_spin": [False, False]}, "no type has a spin"),
        ({"use_spin": [True]}, "has length 1, but there are 2 types"),
        ({"use_spin": [1, 0]}, "true or false"),
        ({"spin_norm": [1.0, 2.0]}, "has length 2; expected 1, one entry per type with a spin"),
        ({"virtual_len": [0.0]}, "> 0"),
        ({"virtual_scale": [0.3]}, "here virtual_len says where virtual atoms are"),
        ({"scheme": "native"}, "other schemes than deepspin"),
    ],
)
def test_refused_keys(refused, keys, message):
    given = spins.script()
    given["model"]["spin"] = spins.SPIN | keys
    found = refused(given)
    assert "model.spin" in found and message in found


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"type_embedding": {}}, "model/spin cannot be used with model/type_embedding"),
        ({"type_map": None}, "needs the names of the types in model/type_map"),
        ({"descriptor": {"type": "se_e3", "sel": [4, 4], "rcut": 3.0}}, "not for se_e3"),
    ],
)
def test_refused_models(refused, model, message):
    assert message in refused(spins.script(model=model))


def test_other_losses(refused):
    given = spins.script()
    given["loss"] = {"type": "ener"}
    assert 'is trained by the loss "ener_spin"' in refused(given)
    del given["model"]["spin"]
    given["loss"] = {"type": "ener_spin"}
    assert 'is trained by the loss "ener"' in refused(given)


def test_frames_of_a_caller(there):
    coord, types = spins.with_virtual(*spins.frames(13)), spins.TYPES
    with DeepPot("stock.pb") as pot:
        with pytest.raises(
            InputError, match=r"frame 0 has 0 virtual atoms \(type 2\) for the spin"
        ):
            pot.eval(coord[:, :8], spins.boxes(2), types[:8])
        coord[1, [8, 11]] = coord[1, [11, 8]]
        with pytest.raises(InputError, match=r"frame 1 has the virtual atom 8 .* nearer to atom 3"):
            pot.eval(coord, spins.boxes(2), types)
