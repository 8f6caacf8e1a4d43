# SPDX-License-Identifier: BSD-3-Clause
"""Deviation of models, against the formulas written out for each frame and atom."""

from __future__ import annotations

import numpy as np
import pytest
from saved_models import constants_graph, save_checkpoint, small_input, water_like

from deepmd_tf.analysis.model_devi import make_model_devi, write_model_devi_out
from deepmd_tf.cli.main import main
from deepmd_tf.data import DataSystem, write_system
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.fields import ENERGY, FORCE, VIRIAL
from deepmd_tf.graph.frozen import write_graph
from deepmd_tf.infer import DeepPot, calc_model_devi

LABELLED = ("coord", "box", "energy", "force", "virial")
NAMES = ["max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f", "min_devi_f", "avg_devi_f"]


@pytest.fixture
def models(folder):
    """The two models."""
    with DeepPot(folder / "1.pb") as one, DeepPot(folder / "2.pb") as two:
        yield one, two


def expected(results, frame, real=None, relative=None, relative_v=None):
    """Row of a frame, without the step, and the deviations of the atoms."""
    n = results[0][1].shape[1]
    energies, forces, virials = (
        [result[0][frame, 0] / n for result in results],
        [result[1][frame] for result in results],
        [result[2][frame] / n for result in results],
    )

    def deviation(values, label):
        center = sum(values) / len(values) if label is None else label
        return (sum((v - center) ** 2 for v in values) / len(values)) ** 0.5, center

    label = (None, None, None) if real is None else real
    e, _ = deviation(energies, label[0])
    f, center = deviation(forces, label[1])
    atoms = np.sqrt((f**2).sum(axis=1))
    if relative is not None:
        atoms = atoms / (np.sqrt((center**2).sum(axis=1)) + relative)
    v, center = deviation(virials, label[2])
    if relative_v is not None:
        v = v / (np.abs(center) + relative_v)
    virial = [v.max(), v.min(), np.sqrt((v**2).sum()) / 3]
    return [*virial, atoms.max(), atoms.min(), atoms.mean(), e], atoms


@pytest.mark.parametrize("levels", [{}, {"relative": 0.3, "relative_v": 0.2}])
@pytest.mark.parametrize("periodic", [True, False])
def test_formulas(models, rng, levels, periodic):
    coords, cells, types = water_like(rng, n_frames=3)
    cells = cells if periodic else None
    devi = calc_model_devi(coords, cells, types, models, frequency=10, atomic=True, **levels)
    results = [model.eval(coords, cells, types) for model in models]
    assert devi.shape == (3, 8 + len(types))
    np.testing.assert_array_equal(devi[:, 0], [0, 10, 20])
    for frame in range(3):
        row, atoms = expected(results, frame, **levels)
        np.testing.assert_allclose(devi[frame, 1:8], row, rtol=1e-10)
        np.testing.assert_allclose(devi[frame, 8:], atoms, rtol=1e-10)


def test_error_against_labels(folder, models):
    system = folder / "data" / "valid" / "cell"
    data = DataSystem(system, fields=[ENERGY, FORCE, VIRIAL], sort_atoms=False)
    pieces = [batch.arrays for batch in data.batches()]
    labels = {name: np.concatenate([a[name] for a in pieces]) for name in LABELLED}
    n = data.natoms
    results = [model.eval(labels["coord"], labels["box"], data.types) for model in models]
    (found,) = make_model_devi(
        [folder / "1.pb", folder / "2.pb"],
        system=str(system),
        output=folder / "error.out",
        real_error=True,
        relative=0.5,
    )
    for frame, row in enumerate(found):
        real = (
            labels["energy"][frame] / n,
            labels["force"][frame].reshape(n, 3),
            labels["virial"][frame] / n,
        )
        np.testing.assert_allclose(
            row[1:], expected(results, frame, real, relative=0.5)[0], rtol=1e-6
        )


def test_file_is_appended_to(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    output = tmp_path / "out.txt"
    output.write_text("# of before\n")
    arguments = ["-m", "1.pb", "2", "-s", "data/train", "-o", str(output), "-f", "5", "--atomic"]
    assert main(["model-devi", *arguments]) == 0
    lines = output.read_text().splitlines()
    assert lines[0] == "# of before"
    assert [line for line in lines if line.startswith("# data")] == [
        "# data/train/cell",
        "# data/train/free",
    ]
    header = "# step      " + "".join(f"{n:19}" for n in [*NAMES, "devi_e", "atm_devi_f(N)"])
    assert lines.count(header) == 2
    rows = [line for line in lines if not line.startswith("#")]
    assert [len(row) for row in rows] == [12 + 19 * (7 + 6)] * 16
    assert [int(row[:12]) for row in rows] == [0, 5, 10, 15, 20, 25, 30, 35] * 2
    out, err = capsys.readouterr()
    assert "16 frames of 2 systems appended" in err
    assert [line.split()[0] for line in out.splitlines()] == ["data/train/cell", "data/train/free"]
    for said, part in zip(out.splitlines(), (rows[:8], rows[8:]), strict=True):
        largest = [float(row[12 + 19 * 3 : 12 + 19 * 4]) for row in part]
        assert (
            f"8 frames, max_devi_f {np.mean(largest):.4g} eV/Å on average, "
            f"{max(largest):.4g} in frame {np.argmax(largest)}; "
        ) in said


@pytest.mark.parametrize("last", ["       2       1.5", "       2       1.500000e-02", ""])
def test_a_last_line_that_is_cut_off(tmp_path, caplog, last):
    """New rows begin on a line of their own; a whole row stays one, half of one is a comment."""
    output = tmp_path / "out.txt"
    output.write_text("       1       1.500000e-02\n" + last)
    write_model_devi_out(np.array([[5.0, 0.25]]), output)
    rows = np.loadtxt(output)
    assert rows.tolist() == [[1, 0.015], *([[2, 0.015]] if last.endswith("02") else []), [5, 0.25]]
    cut = bool(last) and not last.endswith("02")
    assert ("# cut off:        2       1.5\n" in output.read_text()) == cut
    assert ("last line is cut off" in caplog.text) == cut


def test_pieces_give_the_same(folder, tmp_path, monkeypatch):
    options = {"system": str(folder / "data"), "output": tmp_path / "devi.out"}
    files = [folder / "1.pb", folder / "2.pb"]
    whole = make_model_devi(files, **options)
    monkeypatch.setattr("deepmd_tf.analysis.model_devi.ATOMS_AT_ONCE", 12)
    pieces = make_model_devi(files, **options)
    for one, other in zip(whole, pieces, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)


@pytest.fixture
def reordered(folder, tmp_path):
    """Model 1 with its types the other way round."""
    _, weights = save_checkpoint(tmp_path, small_input({"seed": 1}, {"seed": 1}))

    turned = {}
    for name, array in weights.items():
        head, _, tail = name.partition("/")
        if head.startswith("filter_type_"):
            turned[f"filter_type_{1 - int(head[-1])}/{tail[:-1]}{1 - int(tail[-1])}"] = array
        elif "_type_" in head:
            turned[f"{head[:-1]}{1 - int(head[-1])}/{tail}"] = array
        else:
            turned[name] = array[::-1]
    script = small_input({"seed": 1, "sel": [26, 14]}, {"seed": 1})
    script["model"]["type_map"] = ["H", "O"]
    write_graph(constants_graph(turned, script), tmp_path / "turned.pb")
    return tmp_path / "turned.pb"


def test_types_are_translated_by_name(folder, reordered, tmp_path):
    (devi,) = make_model_devi(
        [folder / "1.pb", reordered],
        system=str(folder / "data" / "valid"),
        output=tmp_path / "devi.out",
    )
    assert np.abs(devi[:, 1:]).max() < 1e-10


def test_elements_that_a_model_does_not_have(folder, tmp_path):
    script = small_input()
    script["model"]["type_map"] = ["O", "C"]
    _, weights = save_checkpoint(tmp_path, script)
    write_graph(constants_graph(weights, script), tmp_path / "other.pb")
    with pytest.raises(DataError, match=r"cell: .*atoms of H, but one of the models has"):
        make_model_devi(
            [folder / "1.pb", tmp_path / "other.pb"],
            system=str(folder / "data"),
            output=tmp_path / "devi.out",
        )
    assert not (tmp_path / "devi.out").exists()


def test_precisions_may_differ(folder, tmp_path):
    """The same weights in single precision deviate by what single precision is."""
    _, weights = save_checkpoint(tmp_path, small_input({"seed": 1}, {"seed": 1}))
    single = {name: np.float32(array) for name, array in weights.items()}
    for name, values in (("double", weights), ("single", single)):
        write_graph(constants_graph(values), tmp_path / f"{name}.pb")
    (devi,) = make_model_devi(
        [tmp_path / "double.pb", tmp_path / "single.pb"],
        system=str(folder / "data" / "valid"),
        output=tmp_path / "devi.out",
    )
    assert devi.dtype == np.float64
    assert 0 < devi[:, 4].max() < 1e-4


def test_missing_labels_are_nan(folder, tmp_path, caplog):
    coords = np.array([[[0.0, 0, 0], [0, 0, 1.1]]])
    write_system(
        tmp_path / "two", types=[0, 1], type_map=["O", "H"], coord=coords, box=None,
        energy=np.array([1.0]),
    )  # fmt: skip
    (devi,) = make_model_devi(
        [folder / "1.pb"], system=str(tmp_path), output=tmp_path / "d", real_error=True
    )
    assert np.isnan(devi[0, 1:7]).all() and np.isfinite(devi[0, 7])
    assert "without labels of the virial, force;" in caplog.text


def test_one_model(folder, models, tmp_path, caplog):
    """As in DeePMD-kit: nothing deviates; that it means nothing is told."""
    (devi, *_) = make_model_devi(
        [folder / "1.pb"], system=str(folder / "data"), output=tmp_path / "d"
    )
    assert len(devi) and not devi[:, 1:].any()
    assert "one model does not deviate" in caplog.text
    with pytest.raises(InputError, match="no model given"):
        calc_model_devi(np.zeros((1, 6)), None, [0, 1], [])


def test_models_without_names_need_the_same_order(folder, tmp_path, models):
    script = small_input()
    _, weights = save_checkpoint(tmp_path, script)
    graph = constants_graph(weights, script)
    for node in graph.node:
        if node.name == "model_attr/tmap":
            node.attr["value"].tensor.string_val[0] = b""
    write_graph(graph, tmp_path / "nameless.pb")
    with DeepPot(tmp_path / "nameless.pb") as nameless:
        assert nameless.get_type_map() == []
        with pytest.raises(InputError, match="translated by their names"):
            calc_model_devi(np.zeros((1, 6)), None, [0, 1], [models[0], nameless])
