# SPDX-License-Identifier: BSD-3-Clause
"""Our files in stock LAMMPS: every number that it shows, against our own evaluation."""

from __future__ import annotations

import re

import numpy as np
import pytest
import stock_lammps
import stock_wheel
from saved_models import save_checkpoint, small_input, water_like
from stock_lammps import Case
from water_model import PLUGIN, Water

from deepmd_tf.analysis.model_devi import COLUMNS, calc_model_devi
from deepmd_tf.export.compress import compress
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot

pytestmark = [*stock_wheel.needs_stock, pytest.mark.timeout(900)]

TOLERANCE = 1e-10
SMALL = {
    "two-sided": {},
    "excluded": {"descriptor": {"exclude_types": [[0, 1]], "type_one_side": True}},
    "sel too small": {"descriptor": {"sel": [3, 5]}},
}


def expected(pot: DeepPot, case: Case) -> dict[str, np.ndarray]:
    cells = None if case.cell is None else case.cell.reshape(1, 9)
    values = pot.eval(case.coords[None], cells, case.types, atomic=True)
    return {key: value[0] for key, value in zip(stock_wheel.KEYS, values, strict=True)}


def assert_same(results, cases, pots, tolerance=TOLERANCE):
    for name, case in cases.items():
        errors = stock_lammps.relative_error(results[name], expected(pots[case.model], case))
        worst = max(errors, key=errors.__getitem__)
        assert errors[worst] < tolerance, f"{name}, {worst}: {errors[worst]:.1e}"


def water_cases(model, frames):
    coords, cells, types = frames["coords"], frames["cells"], frames["types"]
    # in a box of LAMMPS with these two molecules at one end of it, one rank has no atom
    pair, far = np.r_[:6], np.array([[40.0, 0, 0]])
    ends = np.concatenate([coords[0, pair], coords[0, pair[:3]] + far])
    return {
        "cube": Case(model, coords[0], cells[0], types),
        "triclinic": Case(model, coords[1], cells[1], types),
        "molecules": Case(model, coords[0, pair], None, types[pair]),
        "far": Case(model, ends, None, types[[*pair, *pair[:3]]]),
        "reordered": Case(model, coords[0], cells[0], types, "H O", 1 - types),
        "split": Case(
            model, coords[0], cells[0], types, "O H H", types + (np.arange(192) % 3 == 2)
        ),
        "without names": Case(model, coords[0], cells[0], types, ""),
        "subset": Case(
            model, coords[0, types == 1], cells[0], types[types == 1], "H", 0 * types[types == 1]
        ),
    }


def small_cases(model, rng):
    coords, cells, types = water_like(rng, n_frames=1)
    few, _, kinds = water_like(rng, n_atoms=3, n_frames=1, length=3.3)
    return {
        "triclinic": Case(model, coords[0], cells[0].reshape(3, 3), types),
        "free": Case(model, coords[0], None, types),
        # no centres, and no neighbours, of the other type
        "one type": Case(model, coords[0], cells[0].reshape(3, 3), np.ones_like(types)),
        # few enough atoms for sel: which of two equally far images is dropped is nobody's business
        "smaller than the cutoff": Case(model, few[0], 3.3 * np.eye(3), kinds),
    }


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("dialect", ["stock", "native"])
def test_numbers(water: Water, frames, rng, tmp_path, dialect, ranks):
    """Trained and small models, periodic and free, atoms under other numbers than in the model."""
    model = {"stock": water.ours, "native": water.native}[dialect]
    cases = water_cases(model, frames)
    checkpoints = {model: water.checkpoint()}
    for name, options in SMALL.items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        prefix, _ = save_checkpoint(folder, small_input(**options))
        path = freeze(prefix, folder / "model.pb", dialect=dialect).path
        checkpoints[path] = prefix
        small = small_cases(path, rng)
        if name == "sel too small":
            del small["smaller than the cutoff"]
        cases |= {f"{folder.name} {key}": case for key, case in small.items()}
    cases = {name.replace(" ", "_"): case for name, case in cases.items()}
    results = stock_lammps.evaluate(cases, tmp_path, ranks, **PLUGIN if dialect == "native" else {})
    pots = {path: DeepPot(prefix) for path, prefix in checkpoints.items()}
    assert_same(results, cases, pots)
    for pot in pots.values():
        pot.close()


def test_native_file_without_our_library(water: Water, frames, tmp_path):
    """What users see who forget DP_PLUGIN_PATH."""
    case = Case(water.native, frames["coords"][0], frames["cells"][0], frames["types"])
    case.write_data(tmp_path / "a.data")
    done = stock_lammps.start(case.start("a") + "run 0\n", tmp_path)
    assert done.returncode != 0
    assert "Op type not registered 'DpNeighborList'" in done.stdout + done.stderr


@pytest.mark.parametrize(("rule", "ranks"), [("", 1), ("ignore", 1), ("error", 2)])
def test_neighbors_beyond_sel(rng, tmp_path, rule, ranks):
    """A native file is never silent about them, unless this is asked for."""
    prefix, _ = save_checkpoint(tmp_path, small_input(**SMALL["sel too small"]))
    path = freeze(prefix, tmp_path / "model.pb", dialect="native").path
    coords, cells, types = water_like(rng, n_frames=1)
    case = Case(path, coords[0], cells[0].reshape(3, 3), types)
    case.write_data(tmp_path / "a.data")
    variables = {"DP_ON_MISSING_NEIGHBORS": rule, **PLUGIN}
    done = stock_lammps.start(case.start("a") + "run 2\n", tmp_path, ranks, **variables)
    assert (done.returncode != 0) == (rule == "error")
    lines = [line for line in done.stderr.splitlines() if "neighbours" in line]
    found = r"(\(type 0: \d+, sel is 3; type 1: \d+, sel is 5\))"
    told = {
        "": "deepmd_tf WARNING: .* " + found,
        "error": f"deepmd_tf ERROR: .* {found}, and DP_ON_MISSING_NEIGHBORS is error",
    }
    if rule == "ignore":
        assert not lines
    else:
        # again where the number grows in the two steps
        assert re.match(told[rule], lines[0]) and len(lines) <= 3 * ranks


def close_cases(model, distances):
    """Two atoms that come together among three others, free and in a cell."""
    others = np.array([[0, 0, 0], [0, 0, 0], [1.7, 0.3, 0.2], [-0.4, 1.6, 0.5], [0.2, -0.6, 1.9]])
    types = np.array([0, 0, 1, 1, 1])
    cases = {}
    for distance in distances:
        coords = others + 2.5
        coords[1] += distance * np.array([0.6, -0.48, 0.64])
        for where, cell in (("free", None), ("cell", 12 * np.eye(3))):
            if cell is None or distance < 5:
                cases[f"{where}_{distance:g}"] = Case(model, coords, cell, types)
    return cases


def test_close_atoms(tmp_path):
    """From far to nearly the same place both kinds of files give the numbers of the nets."""
    prefix, _ = save_checkpoint(tmp_path, small_input())
    distances = [10, 1.0, 0.41, 0.39, 0.2, 0.1, 0.03, 0.01, 1e-3, 1e-4]
    with DeepPot(prefix) as pot:
        for dialect in ("stock", "native"):
            path = freeze(prefix, tmp_path / f"{dialect}.pb", dialect=dialect).path
            cases = close_cases(path, distances)
            folder = tmp_path / dialect
            folder.mkdir()
            results = stock_lammps.evaluate(cases, folder, **PLUGIN)
            assert_same(results, cases, {path: pot})


@pytest.mark.parametrize(("rule", "ranks"), [("", 2), ("ignore", 1), ("error", 1)])
def test_close_atoms_are_told(tmp_path, rule, ranks):
    """Once, where training data end, with the place and the distance."""
    prefix, _ = save_checkpoint(tmp_path, small_input())
    path = freeze(prefix, tmp_path / "native.pb", dialect="native").path
    case = close_cases(path, [0.35])["cell_0.35"]
    case.write_data(tmp_path / "a.data")
    variables = {"DP_ON_CLOSE_ATOMS": rule, **PLUGIN}
    done = stock_lammps.start(case.start("a") + "run 3\n", tmp_path, ranks, **variables)
    assert (done.returncode != 0) == (rule == "error")
    lines = [line for line in done.stderr.splitlines() if "two atoms" in line]
    assert len(lines) <= ranks and bool(lines) == (rule != "ignore")
    for line in lines:
        assert line.startswith(f"deepmd_tf {'ERROR' if rule else 'WARNING'}: two atoms, type 0 at ")
        assert "are 0.35 Angstrom apart, less than half of the smallest distance" in line


@pytest.mark.parametrize("name", ["two-sided", "excluded"])
def test_compressed_file(rng, tmp_path, name):
    """LAMMPS, DeepPot on the same file, and the uncompressed model agree."""
    prefix, _ = save_checkpoint(tmp_path, small_input(**SMALL[name]))
    path = compress(prefix, tmp_path / "compressed.pb").path
    cases = {key.replace(" ", "_"): case for key, case in small_cases(path, rng).items()}
    results = stock_lammps.evaluate(cases, tmp_path, 1)
    for model in (path, prefix):
        with DeepPot(model) as pot:
            assert_same(results, cases, {path: pot})


@pytest.mark.parametrize("ranks", [1, 2])
def test_compressed(water: Water, compressed_by_stock, compressed_by_ours, frames, tmp_path, ranks):
    """LAMMPS computes with them what our DeepPot does; the tables cost a part in 100,000."""
    models = {"by_stock": compressed_by_stock, "by_ours": compressed_by_ours}
    cases = {
        f"{label}_{name}": case
        for label, model in models.items()
        for name, case in water_cases(model, frames).items()
        if name in ("cube", "triclinic", "molecules", "reordered")
    }
    results = stock_lammps.evaluate(cases, tmp_path, ranks)
    pots = {model: DeepPot(model) for model in models.values()}
    assert_same(results, cases, pots)
    with DeepPot(water.checkpoint()) as pot:
        assert_same(results, cases, dict.fromkeys(pots, pot), tolerance=1e-5)
    for pot in pots.values():
        pot.close()


@pytest.mark.parametrize("levels", [{}, {"relative": 0.3, "relative_v": 0.002}])
@pytest.mark.parametrize("ranks", [1, 2])
def test_model_deviation(water: Water, frames, tmp_path, ranks, levels):
    """All columns of out_file are those of :func:`calc_model_devi`, relative ones too.

    The second model is a native file: both dialects run in one process.
    """
    other = freeze(water.checkpoint(1000), tmp_path / "other.pb", dialect="native").path
    options = " ".join(f"{name} {level}" for name, level in levels.items())
    case = Case(water.ours, frames["coords"][1], frames["cells"][1], frames["types"])
    case.write_data(tmp_path / "a.data")
    script = case.start("a").replace(
        f"pair_style deepmd {water.ours}",
        f"pair_style deepmd {water.ours} {other} out_file devi.out out_freq 2 atomic {options}",
    )
    script += """
velocity all create 400 4711 loop geom
timestep 0.0005
fix move all nve
dump atoms all custom 2 atoms.dump id xu yu zu
dump_modify atoms sort id format float %.17g
run 6
"""
    stock_lammps.run(script, tmp_path, ranks, **PLUGIN)
    rows = np.loadtxt(tmp_path / "devi.out")
    header = (tmp_path / "devi.out").read_text().splitlines()[0].split()
    dump = [line.split() for line in (tmp_path / "atoms.dump").read_text().splitlines()]
    dump = np.array([line for line in dump if len(line) == 4 and line[0].isdigit()], float)
    coords = dump.reshape(4, 192, 4)[:, :, 1:]
    cells = np.tile(case.cell.reshape(1, 9), (4, 1))
    with DeepPot(water.ours) as one, DeepPot(other) as two:
        devi = calc_model_devi(
            coords, cells, case.types, [one, two], frequency=2, atomic=True, **levels
        )
    assert header[0] == "#" and header[1:8] == ["step", *COLUMNS]
    np.testing.assert_allclose(rows, np.delete(devi, 7, axis=1), rtol=2e-6)  # no energies there
