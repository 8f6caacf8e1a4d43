# SPDX-License-Identifier: BSD-3-Clause
"""dp test --plot and --extxyz: pictures, tables, and frames that ASE reads."""

from __future__ import annotations

import csv

import ase.io
import numpy as np
import pytest
from matplotlib.image import imread
from saved_models import save_checkpoint, water_like

from deepmd_tf.analysis import parity
from deepmd_tf.analysis.extxyz import ExtendedXYZ
from deepmd_tf.analysis.parity import PANELS, ParityPlot, Points, draw_parity
from deepmd_tf.cli.main import main
from deepmd_tf.data import write_system
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.inference import deep_eval
from deepmd_tf.inference.testing import run_test
from deepmd_tf.metrics import Comparison, ErrorSum

N = 24
LABELS = {"bulk": ("energy", "force", "virial", "atom_ener"), "free one": ("energy", "force")}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return freeze(save_checkpoint(folder)[0], folder / "model.pb", dialect="native").path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(11)
    root = tmp_path_factory.mktemp("data")
    for name, items in LABELS.items():
        coords, cells, types = water_like(rng, n_frames=5)
        labels = {
            "energy": -150 + rng.normal(size=5),
            "force": rng.normal(size=coords.shape),
            "virial": rng.normal(size=(5, 9)),
            "atom_ener": rng.normal(size=(5, N)),
        }
        write_system(
            root / name,
            types=1 - types,
            type_map=["H", "O"],
            coord=coords,
            box=cells if name == "bulk" else None,
            frames_per_set=3,
            **{item: labels[item] for item in items},
        )
    return root


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_picture_and_tables(model, data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["test", "-m", str(model), "-s", str(data), "--plot"]) == 0
    assert names(tmp_path) == ["test.csv", "test.md", "test.png"]
    assert imread("test.png").shape[2] == 4
    printed = capsys.readouterr().out
    assert printed.count("errors of each system") == 1 and "bulk" in printed.replace("\n", "")

    errors = run_test(model, [str(data / name) for name in LABELS])
    with open("test.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["system"] for row in rows] == [str(data / "bulk"), str(data / "free one"), "all"]
    assert [row["frames"] for row in rows] == ["5", "5", "10"]
    assert [row["natoms"] for row in rows] == [str(N), str(N), ""]
    assert float(rows[2]["force_rmse (eV/Å)"]) == errors.by_name["force"].rmse
    assert float(rows[0]["stress_mae (eV/Å³)"]) == errors.by_name["stress"].mae
    assert rows[1]["stress_mae (eV/Å³)"] == ""
    assert f"{160.2176634 * errors.by_name['stress'].rmse:.4g}" in printed
    lines = (tmp_path / "test.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2 + 3
    assert lines[0].startswith("| system | frames | atoms | MAE E, meV/atom")
    assert f"{1000 * errors.by_name['force'].mae:.4g}" in lines[-1]


def test_numbers_in_the_picture(model, data, monkeypatch):
    """RMSE and MAE of the log, and R² of all points, computed in one line."""
    seen = {}
    monkeypatch.setattr(
        parity,
        "draw_parity",
        lambda ax, panel, points, error: seen.update({panel.quantity.name: (points, error)}),
    )
    monkeypatch.setattr(parity.figures, "save", lambda figure, path: None)
    monkeypatch.setattr(parity.error_table, "write", lambda systems, path: None)
    systems = [str(data / name) for name in LABELS]
    monkeypatch.setenv("DP_TEST_CHUNK_ATOMS", "50")
    plot = ParityPlot(data.parent / "x.svg")
    errors = run_test(model, systems, consumers=[plot])
    assert set(seen) == {"energy_per_atom", "force", "virial_per_atom"}
    label, prediction = [], []
    with DeepPot(model) as pot:
        for name in LABELS:
            for folder in sorted((data / name).glob("set.*")):
                box = np.load(folder / "box.npy") if name == "bulk" else None
                types = 1 - np.loadtxt(data / name / "type.raw", dtype=int)
                label.append(np.load(folder / "force.npy").ravel())
                prediction.append(pot.eval(np.load(folder / "coord.npy"), box, types)[1].ravel())
    label, prediction = np.concatenate(label), np.concatenate(prediction)
    points, error = seen["force"]
    expected = 1 - np.sum((label - prediction) ** 2) / np.sum((label - label.mean()) ** 2)
    assert parity.r_squared(error, points.labels) == pytest.approx(expected, rel=1e-10)
    assert error.rmse == pytest.approx(errors.by_name["force"].rmse, rel=1e-12)
    assert error.mae == pytest.approx(errors.by_name["force"].mae, rel=1e-12)
    assert points.parity.occupied()[1].sum() == len(label)


def test_many_points_take_little_memory(rng):
    points, error = Points(), ErrorSum()
    for _ in range(10):
        label = rng.normal(size=100_000)
        prediction = label + 0.1 * rng.normal(size=len(label))
        points.add(Comparison(prediction, label))
        error.add(prediction, label)
    figure, (ax,) = parity.figures.new_figure(1, 1, 4, 4)
    draw_parity(ax, PANELS[1], points, error)
    text = ax.texts[0].get_text()
    assert "RMSE 0.1 eV/Å" in text and "R² 0.99" in text and "1,000,000 points" in text
    (drawn,) = ax.collections
    assert len(drawn.get_offsets()) < 200_000
    # the densest cells come last, on top
    assert (np.diff(drawn.get_array()) >= 0).all()
    assert figure is ax.figure


@pytest.mark.parametrize("option", ["--plot", "--extxyz"])
@pytest.mark.parametrize(
    ("name", "words"), [("a.gif", 'not ".gif"'), ("no/a", "ends with"), ("no/a.{}", "no directory")]
)
def test_files_that_cannot_be_written_are_told_before_the_model_is_read(
    tmp_path, monkeypatch, capsys, option, name, words
):
    monkeypatch.chdir(tmp_path)
    name = name.format("png" if option == "--plot" else "xyz")
    assert main(["test", "-m", "none.pb", option, name]) == 1
    assert words in capsys.readouterr().err
    assert names(tmp_path) == []


def test_table_without_messages(model, data, capsys):
    """The log keeps the lines of DeePMD-kit; the table is there without them, too."""
    assert main(["test", "-m", str(model), "-s", str(data), "-v", "WARNING"]) == 0
    out, err = capsys.readouterr()
    assert "errors of each system" in out and "RMSE S" in out and err == ""
    assert main(["test", "-m", str(model), "-s", str(data), "-n", "1"]) == 0
    assert "Force  RMSE        : " in capsys.readouterr().err


def test_nothing_is_left_behind_when_the_test_fails(model, data, tmp_path):
    (tmp_path / "a.xyz").write_text("of before")
    consumers = [ParityPlot(tmp_path / "a.png"), ExtendedXYZ(tmp_path / "a.xyz")]
    with pytest.raises(DataError):
        run_test(model, [str(data / "bulk"), "nowhere"], consumers=consumers)
    assert names(tmp_path) == ["a.xyz"]
    assert (tmp_path / "a.xyz").read_text() == "of before"


def test_no_labels_no_picture(model, tmp_path, rng, caplog):
    coords, cells, types = water_like(rng)
    write_system(tmp_path / "s", types=types, type_map=["O", "H"], coord=coords, box=cells)
    run_test(model, [str(tmp_path / "s")], consumers=[ParityPlot(tmp_path / "a.png")])
    assert "a.png: not drawn" in caplog.text
    assert not (tmp_path / "a.png").exists() and (tmp_path / "a.csv").exists()


def test_picture_of_one_frame(model, data, tmp_path):
    plot = ParityPlot(tmp_path / "a.pdf")
    run_test(model, [str(data / "bulk")], n_frames=1, consumers=[plot])
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_predictions_that_are_no_numbers_are_not_drawn(model, data, tmp_path, monkeypatch, caplog):
    evaluate = deep_eval.evaluate

    def broken(*args, **kwargs):
        found = evaluate(*args, **kwargs)
        return {name: np.full_like(values, np.nan) for name, values in found.items()}

    monkeypatch.setattr(deep_eval, "evaluate", broken)
    plot = ParityPlot(tmp_path / "a.png")
    run_test(model, [str(data / "bulk")], consumers=[plot])
    assert "a.png: not drawn" in caplog.text
    assert names(tmp_path) == ["a.csv", "a.md"]


def test_extended_xyz_as_ase_reads_it(model, data, tmp_path):
    path = tmp_path / "a.extxyz"
    run_test(
        model, [str(data / name) for name in LABELS], atomic=False, consumers=[ExtendedXYZ(path)]
    )
    frames = ase.io.read(path, ":")
    assert len(frames) == 10
    k = 0
    with DeepPot(model) as pot:
        for name in LABELS:
            types = 1 - np.loadtxt(data / name / "type.raw", dtype=int)
            for folder in sorted((data / name).glob("set.*")):
                arrays = {p.stem: np.load(p) for p in folder.glob("*.npy")}
                box = arrays["box"] if name == "bulk" else None
                energy, force, virial = pot.eval(arrays["coord"], box, types)
                for f in range(len(energy)):
                    atoms = frames[k]
                    k += 1
                    assert atoms.get_chemical_symbols() == ["OH"[t] for t in types]
                    close = np.testing.assert_allclose
                    close(atoms.positions.ravel(), arrays["coord"][f], rtol=1e-12)
                    assert atoms.get_potential_energy() == pytest.approx(energy[f, 0], rel=1e-13)
                    close(atoms.get_forces(), force[f], rtol=1e-12)
                    label = arrays["force"][f].reshape(-1, 3)
                    close(atoms.arrays["ref_forces"], label, rtol=1e-12)
                    error = np.linalg.norm(force[f] - label, axis=1)
                    close(atoms.arrays["force_error"], error, rtol=1e-11)
                    assert atoms.info["ref_energy"] == pytest.approx(arrays["energy"][f], rel=1e-13)
                    assert atoms.info["energy_error"] == pytest.approx(
                        (energy[f, 0] - arrays["energy"][f]) / N, rel=1e-9
                    )
                    assert atoms.info["system"] == str(data / name)
                    assert (atoms.info["set"], atoms.info["frame"]) == (folder.name, f)
                    assert atoms.pbc.tolist() == [name == "bulk"] * 3
                    if name == "bulk":
                        close(atoms.cell.array.ravel(), box[f], rtol=1e-12)
                        close(atoms.info["virial"], virial[f].reshape(3, 3), rtol=1e-11, atol=1e-14)
                        reference = arrays["virial"][f].reshape(3, 3)
                        close(atoms.info["ref_virial"], reference.ravel(order="F"), rtol=1e-12)
                        expected = (-virial[f] / atoms.get_volume())[[0, 4, 8, 5, 2, 1]]
                        close(atoms.get_stress(), expected, rtol=1e-9, atol=1e-14)
                    else:
                        assert "virial" not in atoms.info
    assert k == 10


def test_extended_xyz_of_energies_of_atoms(model, data, tmp_path):
    path = tmp_path / "a.xyz"
    run_test(model, [str(data / "bulk")], atomic=True, consumers=[ExtendedXYZ(path)])
    atoms = ase.io.read(path, 0)
    total = atoms.get_potential_energy()
    assert atoms.arrays["atom_energy"].sum() == pytest.approx(total, rel=1e-12)
    label = np.load(data / "bulk" / "set.000" / "atom_ener.npy")[0]
    np.testing.assert_allclose(atoms.arrays["ref_atom_energy"], label, rtol=1e-12)


def test_picture_of_unknown_kind(tmp_path):
    with pytest.raises(InputError, match=r"\.png, \.pdf, \.svg"):
        ParityPlot(tmp_path / "a.jpg")
