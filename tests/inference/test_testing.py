# SPDX-License-Identifier: BSD-3-Clause
"""dp test: labels that differ from the predictions by known amounts give known errors."""

from __future__ import annotations

import json
import logging
import math
import re

import numpy as np
import pytest
from saved_models import save_checkpoint, small_input, water_like

from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError, InputError, ModelFileError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference import testing
from deepmd_tf.inference.testing import find_systems, run_test

N = 24
RULE = "# ----------------------------------------------- "


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return freeze(save_checkpoint(folder)[0], folder / "model.pb", dialect="native").path


@pytest.fixture(scope="module")
def data(model, tmp_path_factory):
    """Systems whose labels are predictions of the model and known errors."""
    rng = np.random.default_rng(7)
    root = tmp_path_factory.mktemp("data")
    with DeepPot(model) as pot:
        for name, n_frames, periodic, items in (
            ("bulk", 5, True, ("energy", "force", "virial", "atom_ener", "atom_pref")),
            ("molecule", 3, False, ("energy", "force", "virial", "atom_ener")),
            ("few_labels", 2, True, ("energy",)),
        ):
            coords, cells, types = water_like(rng, n_frames=n_frames)
            box = cells if periodic else None
            energy, force, virial, atom_energy, _ = pot.eval(coords, box, types, atomic=True)
            labels = {
                "energy": energy[:, 0] + 0.5,
                "force": force + rng.choice([-0.25, 0.25], force.shape),
                "virial": virial - rng.choice([1.0, 3.0], virial.shape),
                "atom_ener": atom_energy[..., 0] + 0.125,
                "atom_pref": rng.integers(0, 3, (n_frames, N)),
            }
            # types of the data in another order than those of the model
            write_system(
                root / name,
                types=1 - types,
                type_map=["H", "O"],
                coord=coords,
                box=box,
                frames_per_set=2,
                **{item: labels[item] for item in items},
            )
    return root


def lines(caplog):
    return [r.getMessage() for r in caplog.records if r.name.startswith("deepmd_tf")]


def numbers(text):
    return {k.strip(): float(v) for k, v in re.findall(r"^(.*?): (\S+) eV\S*$", text, re.M)}


def test_report_of_one_system(model, data, caplog):
    caplog.set_level(logging.INFO, "deepmd_tf")
    run_test(model, [str(data / "bulk")], atomic=True)
    got = lines(caplog)
    assert got[:3] == [
        "# ---------------output of dp test--------------- ",
        f"# testing system : {data / 'bulk'}",
        "# number of test data : 5 ",
    ]
    assert got[3:11] == [
        "Energy MAE         : 5.000000e-01 eV",
        "Energy RMSE        : 5.000000e-01 eV",
        "Energy MAE/Natoms  : 2.083333e-02 eV",
        "Energy RMSE/Natoms : 2.083333e-02 eV",
        "Force  MAE         : 2.500000e-01 eV/Å",
        "Force  RMSE        : 2.500000e-01 eV/Å",
        "Force weighted MAE : 2.500000e-01 eV/Å",
        "Force weighted RMSE: 2.500000e-01 eV/Å",
    ]
    error = np.concatenate([np.load(f) for f in sorted((data / "bulk").glob("set.*/virial.npy"))])
    with DeepPot(model) as pot:
        coords = [np.load(f) for f in sorted((data / "bulk").glob("set.*/coord.npy"))]
        cells = [np.load(f) for f in sorted((data / "bulk").glob("set.*/box.npy"))]
        types = 1 - np.loadtxt(data / "bulk" / "type.raw", dtype=int)
        error -= pot.eval(np.concatenate(coords), cells := np.concatenate(cells), types)[2]
    stress = error / np.linalg.det(cells.reshape(-1, 3, 3))[:, None]
    mae, rmse = np.abs(error).mean(), math.sqrt((error**2).mean())
    assert got[11:19] == [
        f"Virial MAE         : {mae:e} eV",
        f"Virial RMSE        : {rmse:e} eV",
        f"Virial MAE/Natoms  : {mae / N:e} eV",
        f"Virial RMSE/Natoms : {rmse / N:e} eV",
        f"Stress MAE         : {np.abs(stress).mean():e} eV/Å³",
        f"Stress RMSE        : {math.sqrt((stress**2).mean()):e} eV/Å³",
        "Atomic ener MAE    : 1.250000e-01 eV",
        "Atomic ener RMSE   : 1.250000e-01 eV",
    ]
    # the average of one system is the system, without energies of atoms
    assert got[19:22] == [
        RULE,
        "# ----------weighted average of errors----------- ",
        "# number of systems : 1",
    ]
    assert got[22:36] == got[3:17]
    assert got[36:] == [RULE]


def test_average_weighs_elements(model, data, caplog):
    caplog.set_level(logging.INFO, "deepmd_tf")
    errors = run_test(model, [str(data / name) for name in ("bulk", "molecule", "few_labels")])
    text = "\n".join(lines(caplog))
    assert text.count("Virial MAE  ") == 2  # bulk and average: a molecule has none
    assert text.count("Force  MAE") == 3  # not where there are no forces
    assert errors.by_name["energy"].weight == 10
    assert errors.by_name["force"].weight == 3 * N * 8
    assert errors.by_name["virial"].weight == 9 * 5
    assert errors.by_name["energy"].mae == pytest.approx(0.5, rel=1e-12)
    assert errors.by_name["weighted_force"].mae == pytest.approx(0.25, rel=1e-12)
    assert "# number of systems : 3" in text


def test_some_frames(model, data, caplog):
    caplog.set_level(logging.INFO, "deepmd_tf")
    run_test(model, [str(data / "bulk")], n_frames=3)
    assert "# number of test data : 3 " in lines(caplog)
    assert run_test(model, [str(data / "bulk")], n_frames=100).by_name["energy"].weight == 5


def test_shuffled_frames_are_those_of_the_seed(model, data, tmp_path):
    def energies(**kwargs):
        run_test(model, [str(data / "bulk")], detail_prefix=tmp_path / "x", **kwargs)
        return np.loadtxt(tmp_path / "x.e.out", ndmin=2)[:, 0]

    everything = energies()
    first = energies(shuffle=True, seed=3, n_frames=3)
    np.testing.assert_array_equal(energies(shuffle=True, seed=3, n_frames=3), first)
    assert any(
        not np.array_equal(energies(shuffle=True, seed=s, n_frames=3), everything[:3])
        for s in range(4)
    )
    np.testing.assert_array_equal(np.sort(energies(shuffle=True)), np.sort(everything))


def test_chunks_do_not_matter(model, data, monkeypatch):
    expected = run_test(model, [str(data / "bulk")])
    monkeypatch.setenv("DP_TEST_CHUNK_ATOMS", "30")
    got = run_test(model, [str(data / "bulk")])
    assert got.by_name["force"].rmse == pytest.approx(expected.by_name["force"].rmse, rel=1e-12)
    monkeypatch.setenv("DP_TEST_CHUNK_ATOMS", "a lot")
    with pytest.raises(InputError, match="DP_TEST_CHUNK_ATOMS"):
        run_test(model, [str(data / "bulk")])


def test_detail_files(model, data, tmp_path):
    systems = [str(data / name) for name in ("bulk", "molecule", "few_labels")]
    (tmp_path / "d.s.out").write_text("from an earlier run")
    run_test(model, systems, detail_prefix=tmp_path / "d.txt")
    files = {path.name: path for path in tmp_path.iterdir()}
    components = [a + b for a in "xyz" for b in "xyz"]
    virial = " ".join(f"{side}_v{c}" for side in ("data", "pred") for c in components)
    headers = {
        "d.e.out": f"# {systems[0]}: data_e pred_e",
        "d.e_peratom.out": f"# {systems[0]}: data_e pred_e",
        "d.f.out": f"# {systems[0]}: data_fx data_fy data_fz pred_fx pred_fy pred_fz",
        "d.v.out": f"# {systems[0]}: {virial}",
        "d.v_peratom.out": f"# {systems[0]}: {virial}",
        "d.s.out": f"# {systems[0]} (eV/Å³): {virial.replace('_v', '_s')}",
    }
    assert set(files) == set(headers)
    rows = {}
    for name, header in headers.items():
        text = files[name].read_text(encoding="utf-8").splitlines()
        assert text[0] == header
        assert not any(line.startswith("#") for line in text[1:])
        rows[name] = np.loadtxt(files[name])
    assert re.fullmatch(r"-?\d\.\d{18}e[+-]\d\d -?\d\.\d{18}e[+-]\d\d", text_row(files["d.e.out"]))
    assert rows["d.e.out"].shape == (10, 2)
    assert rows["d.f.out"].shape == (10 * N, 6)
    # labels that are missing are zeros
    assert rows["d.v.out"].shape == (10, 18)
    assert not rows["d.v.out"][8:, :9].any() and rows["d.v.out"][8:, 9:].all()
    # stress: only with a label and a cell
    assert rows["d.s.out"].shape == (5, 18)
    np.testing.assert_allclose(rows["d.e.out"][:, 0] - rows["d.e.out"][:, 1], 0.5)
    np.testing.assert_allclose(rows["d.e_peratom.out"], rows["d.e.out"] / N)
    np.testing.assert_allclose(rows["d.v_peratom.out"], rows["d.v.out"] / N)
    np.testing.assert_allclose(
        abs(rows["d.f.out"][: 8 * N, :3] - rows["d.f.out"][: 8 * N, 3:]), 0.25
    )


def text_row(path):
    return path.read_text(encoding="utf-8").splitlines()[1]


def test_details_into_a_folder_that_does_not_exist(model, data, tmp_path):
    with pytest.raises(InputError, match="no directory"):
        run_test(model, [str(data / "bulk")], detail_prefix=tmp_path / "no" / "x")


def test_energies_of_atoms_are_compared_where_there_are_labels(model, data, caplog, tmp_path):
    caplog.set_level(logging.INFO, "deepmd_tf")
    systems = [str(data / name) for name in ("few_labels", "bulk")]
    errors = run_test(model, systems[:1], atomic=True, detail_prefix=tmp_path / "d")
    assert errors.by_name["atom_energy"].weight == 0
    assert (tmp_path / "d.e.out").exists() and (tmp_path / "d.f.out").exists()
    (told,) = (line for line in lines(caplog) if "only where there are labels" in line)
    assert "atom_ener.npy (missing in 1 of 1 systems)" in told and "energy.npy" not in told
    assert run_test(model, systems, atomic=True).by_name["atom_energy"].mae == pytest.approx(0.125)
    assert "atom_ener.npy (missing in 1 of 2 systems)" in lines(caplog)[-1]


def test_data_without_labels(model, data, caplog, tmp_path):
    coords = np.load(next((data / "bulk").glob("set.*")) / "coord.npy").reshape(-1, N, 3)
    types = np.loadtxt(data / "bulk/type.raw", dtype=int)
    write_system(tmp_path / "s", types=types, type_map=["H", "O"], coord=coords, box=None)
    run_test(model, [str(tmp_path / "s")])
    (warning,) = (record for record in caplog.records if record.levelno == logging.WARNING)
    text = warning.getMessage()
    assert text.startswith("# nothing was compared, because the data have no labels")
    assert "energy.npy" in text and "force.npy" in text and "virial" not in text


def test_all_that_cannot_be_opened_is_told_before_the_first_is_tested(model, data, caplog):
    caplog.set_level(logging.INFO, "deepmd_tf")
    with pytest.raises(DataError, match=r"2 mistakes:\n.*nowhere: .*\n.*elsewhere: "):
        run_test(model, [str(data / "bulk"), "nowhere", "elsewhere"])
    assert not any("testing system" in line for line in lines(caplog))


def test_unknown_element(model, tmp_path, rng):
    coords, cells, types = water_like(rng)
    write_system(tmp_path / "s", types=types, type_map=["O", "Xx"], coord=coords, box=cells)
    with pytest.raises(DataError, match="Xx"):
        run_test(model, [str(tmp_path / "s")])


def test_no_system(model):
    with pytest.raises(DataError, match="no system"):
        run_test(model, [])


def test_systems_by_directory_list_and_input(data, tmp_path):
    everything = sorted(str(data / name) for name in ("bulk", "few_labels", "molecule"))
    assert find_systems(system=str(data)) == everything
    assert find_systems(system=str(data / "bulk")) == [str(data / "bulk")]
    listed = tmp_path / "list.txt"
    listed.write_text(f"{data / 'molecule'}\n\n{data / 'bulk'}\n")
    assert find_systems(list_file=str(listed)) == [str(data / "molecule"), str(data / "bulk")]
    script = small_input()
    script["training"]["training_data"]["systems"] = ["bulk", "molecule"]
    (data / "input.json").write_text(json.dumps(script))
    path = str(data / "input.json")
    assert find_systems(train_input=path) == [str(data / "bulk"), str(data / "molecule")]
    with pytest.raises(InputError, match="validation_data"):
        find_systems(valid_input=path)
    script["training"]["validation_data"] = {"systems": str(data), "rglob_patterns": ["m*"]}
    (data / "input.json").write_text(json.dumps(script))
    assert find_systems(valid_input=path) == [str(data / "molecule")]
    with pytest.raises(InputError, match=r"nothing\.txt"):
        find_systems(list_file=str(tmp_path / "nothing.txt"))


def test_command(model, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(model.parent)
    arguments = [
        "--tf",
        "test",
        "-m",
        "model",
        "-s",
        str(data),
        "-d",
        str(tmp_path / "d"),
        "-n",
        "2",
    ]
    assert main(arguments) == 0
    err = capsys.readouterr().err
    assert err.count("# number of test data : 2 ") == 3
    assert "DEEPMD INFO    Force  RMSE        : 2.500000e-01 eV/Å" in err
    assert (tmp_path / "d.f.out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-m", "nothing"], "nothing"),
        (["-n", "-3"], "-n -3"),
        (["--head", "x"], "--head"),
        (["-s", "nowhere"], "nowhere"),
    ],
)
def test_command_says_what_is_wrong(model, data, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(data)
    if "-m" not in arguments:
        arguments = ["-m", str(model), *arguments]
    assert main(["test", *arguments]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("dp: error: ") and words in message


def test_atoms_in_the_same_place_are_named_with_system_set_and_frame(model, tmp_path, capsys):
    coords, cells, types = water_like(np.random.default_rng(5), n_frames=5)
    coords[3, 4] = coords[3, 20]
    write_system(
        tmp_path / "bad",
        types=types,
        type_map=["O", "H"],
        coord=coords,
        box=cells,
        energy=np.zeros(5),
        frames_per_set=2,
    )
    assert main(["test", "-m", str(model), "-s", str(tmp_path / "bad")]) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    place = tmp_path / "bad" / "set.001" / "coord.npy"
    assert f"dp: error: {place}: frame 1 has atoms 4 and 20 (counted from 0)" in message


def test_detail_files_that_cannot_be_written_are_told_before_the_test(model, data):
    with pytest.raises(InputError, match=r"/proc/details\.e\.out:"):
        run_test(model, [str(data / "bulk")], detail_prefix="/proc/details")


def test_detail_files_of_before_stay_when_the_model_cannot_be_loaded(data, tmp_path):
    (tmp_path / "d.e.out").write_text("from an earlier run")
    with pytest.raises(ModelFileError):
        run_test(tmp_path / "none.pb", [str(data / "bulk")], detail_prefix=tmp_path / "d")
    assert [p.name for p in tmp_path.iterdir()] == ["d.e.out"]
    assert (tmp_path / "d.e.out").read_text() == "from an earlier run"


def test_detail_files_of_before_stay_when_a_later_system_is_wrong(model, data, tmp_path):
    (tmp_path / "d.e.out").write_text("from an earlier run")
    with pytest.raises(DataError):
        run_test(model, [str(data / "bulk"), "nowhere"], detail_prefix=tmp_path / "d")
    assert [p.name for p in tmp_path.iterdir()] == ["d.e.out"]
    assert (tmp_path / "d.e.out").read_text() == "from an earlier run"


@pytest.fixture(scope="module")
def hessians(model, tmp_path_factory):
    """Systems, of which one has no Hessian, with labels that are off by 0.25."""
    rng = np.random.default_rng(3)
    root = tmp_path_factory.mktemp("hessians")
    with DeepPot(model) as pot:
        for name, n_atoms, periodic in (("a", 5, True), ("b", 4, False), ("none", 4, True)):
            coords, cells, types = water_like(rng, n_atoms=n_atoms, n_frames=3, length=4.0)
            box = cells if periodic else None
            energy, force, _, hessian = pot.eval(coords, box, types, hessian=True)
            signs = np.triu(rng.choice([-0.25, 0.25], hessian.shape))
            error = signs + np.triu(signs, 1).transpose(0, 2, 1)
            labels = {} if name == "none" else {"hessian": hessian + error}
            write_system(
                root / name,
                types=1 - types,
                type_map=["H", "O"],
                coord=coords,
                box=box,
                frames_per_set=2,
                energy=energy[:, 0],
                force=force,
                **labels,
            )
    return root


@pytest.fixture(scope="module")
def hessian_model(model):
    return freeze(model, model.with_name("hessian.pb"), hessian=True).path


HESSIAN_LINES = [
    "Hessian MAE        : 2.500000e-01 eV/Å^2",
    "Hessian RMSE       : 2.500000e-01 eV/Å^2",
]


@pytest.mark.parametrize("elements", [2**22, 1])
def test_hessians(hessian_model, hessians, caplog, tmp_path, monkeypatch, elements):
    caplog.set_level(logging.INFO, "deepmd_tf")
    monkeypatch.setattr(testing, "HESSIAN_ELEMENTS", elements)
    systems = [str(hessians / name) for name in ("a", "none", "b")]
    errors = run_test(hessian_model, systems, detail_prefix=tmp_path / "x")
    assert errors.by_name["hessian"].weight == 3 * (15**2 + 12**2)
    assert errors.by_name["hessian"].mae == pytest.approx(0.25)
    got = lines(caplog)
    # last of a system, and of all
    assert got.count(HESSIAN_LINES[0]) == 3
    for i, line in enumerate(got):
        if line == HESSIAN_LINES[0]:
            assert got[i + 1 : i + 3] == [HESSIAN_LINES[1], RULE]
    text = (tmp_path / "x.h.out").read_text().splitlines()
    columns = "data_h pred_h (3Na*3Na matrix in row-major order)"
    heads = [(i, line) for i, line in enumerate(text) if line.startswith("#")]
    assert heads == [(0, f"# {systems[0]}: {columns}"), (3 * 225 + 1, f"# {systems[2]}: {columns}")]
    rows = np.loadtxt(tmp_path / "x.h.out")
    label = [np.load(f).ravel() for f in sorted((hessians / "a").glob("set.*/hessian.npy"))]
    np.testing.assert_array_equal(rows[: 3 * 225, 0], np.concatenate(label))
    np.testing.assert_allclose(np.abs(rows[:, 1] - rows[:, 0]), 0.25)


def test_hessians_are_asked_for(model, hessians, caplog, capsys, tmp_path):
    """A model that was not made for them is tested on them only if it is said."""
    caplog.set_level(logging.INFO, "deepmd_tf")
    assert run_test(model, [str(hessians / "a")]).by_name["hessian"].weight == 0
    assert "Hessian" not in caplog.text
    arguments = ["--tf", "test", "-m", str(model), "--hessian", "--plot", str(tmp_path / "t.png")]
    main([*arguments, "-s", str(hessians / "a")])
    assert HESSIAN_LINES[0] in capsys.readouterr().err
    assert "H, meV/Å²" in (tmp_path / "t.md").read_text()
    with pytest.raises(DataError, match=r"hessian\.npy"):
        run_test(model, [str(hessians / "none")], hessian=True)
    with pytest.raises(DataError, match=r"hessian\.npy"):
        run_test(model, [str(hessians / "a"), str(hessians / "none")], hessian=True)


def test_hessians_may_be_left_out(hessian_model, hessians):
    assert (
        run_test(hessian_model, [str(hessians / "a")], hessian=False).by_name["hessian"].weight == 0
    )
