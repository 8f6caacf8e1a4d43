# SPDX-License-Identifier: BSD-3-Clause
"""The page about LAMMPS and the example that it shows, run as they are written."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import stock_lammps
import stock_wheel
from ase import Atoms
from ase.io import read
from water_model import PLUGIN, Water

from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "water" / "lmp"
PAGE = (ROOT / "doc" / "guide" / "lammps.md").read_text(encoding="utf-8")


def peer(function):
    """Marks of a test that runs LAMMPS."""
    for mark in (*stock_wheel.needs_stock, pytest.mark.timeout(900)):
        function = mark(function)
    return function


def block(beginning: str) -> str:
    """The fenced block of the page that begins so."""
    blocks = re.findall(r"^```[^`\n]*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (found,) = (text for text in blocks if text.startswith(beginning))
    return found


def test_data_file():
    text = runpy.run_path(str(EXAMPLE / "make_data.py"))["text"]()
    assert (EXAMPLE / "water.data").read_text() == text


def test_page_shows_the_example():
    assert "```{literalinclude} ../../examples/water/lmp/in.lammps" in PAGE
    assert "lmp -in in.lammps" in block("cd examples/water/lmp")


def test_data_file_by_ase(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Atoms("OHH", np.eye(3), cell=9 * np.eye(3), pbc=True).write("structure.xyz")
    exec(block("from ase.io import read, write"), {})
    assert "2 atom types" in Path("water.data").read_text()
    assert len(read("water.data", format="lammps-data")) == 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the example."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "lmp"))


def thermo(output: str) -> np.ndarray:
    """Rows of step, temp, pe, ke, etotal, press."""
    rows = re.findall(r"^ +\d+(?: +-?[\d.e+]+){5} *$", output, re.MULTILINE)
    return np.array([row.split() for row in rows], dtype=float)


@peer
def test_example(water: Water, folder: Path):
    """Five hundred steps conserve the energy; the first and the last have our numbers."""
    shutil.copy(water.ours, folder / "water.pb")
    rows = thermo(stock_lammps.run((EXAMPLE / "in.lammps").read_text(), folder))
    np.testing.assert_array_equal(rows[:, 0], np.arange(0, 501, 50))
    assert np.ptp(rows[:, 4]) < 192 * 5e-4
    assert 200 < rows[-1, 1] < 500
    frames = read(folder / "water.dump", ":", format="lammps-dump-text")
    with DeepPot(folder / "water.pb") as pot:
        for frame, energy in zip((frames[0], frames[-1]), rows[[0, -1], 2], strict=True):
            found, force, _ = pot.eval(
                frame.positions[None], frame.cell.array[None], frame.arrays["numbers"] - 1
            )
            np.testing.assert_allclose(found[0, 0], energy, rtol=1e-7)
            np.testing.assert_allclose(force[0], frame.get_forces(), rtol=0, atol=1e-4)


@peer
def test_other_lines_of_the_page(water: Water, folder: Path):
    """Energies and stresses of atoms, and several models of both kinds in one run."""
    shutil.copy(water.ours, folder / "model1.pb")
    freeze(water.checkpoint(1000), folder / "model2.pb")
    shutil.copy(water.native, folder / "model3.pb")
    script = (EXAMPLE / "in.lammps").read_text()
    models = block("pair_style      deepmd model1.pb")
    script = script.replace("pair_style      deepmd water.pb\n", models)
    script = script.replace("run             500", block("compute e all pe/atom") + "run 100")
    dumped = "dump 2 all custom 100 atoms.dump id c_e c_v[*]\n"
    stock_lammps.run(script.replace("run 100", f"{dumped}run 100"), folder, **PLUGIN)
    assert np.loadtxt(folder / "model_devi.out").shape == (2, 7)
    head = (folder / "model_devi.out").read_text().splitlines()[0].split()
    for name in re.findall(r"`(\w+_devi_\w)`", PAGE):
        assert name in head
    assert "ITEM: ATOMS id c_e c_v[1]" in (folder / "atoms.dump").read_text()
