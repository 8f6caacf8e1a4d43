# SPDX-License-Identifier: BSD-3-Clause
"""What a command writes is there whole or not at all, whenever it dies and whatever the disk says.

Each command runs once without disturbance. Then there are old files under the names of its results,
and it is killed in some step of the file layer, or the system refuses to make files larger than a
part of its largest result, which is what a full disk does to every program and library.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from crashes import KILL, SEED, Crashes
from saved_models import save_checkpoint
from small_training import write_all_data

from deepmd_tf.export.freeze import freeze

PRELOAD = (
    "deepmd_tf.analysis.model_devi",
    "deepmd_tf.analysis.parity",
    "deepmd_tf.export.compress",
    "deepmd_tf.inference.testing",
)
TEST = "test -m model.pb -s data/train -d detail --plot parity.png --extxyz frames.xyz"
DETAILS = [f"detail.{x}.out" for x in ("e", "e_peratom", "f", "v", "v_peratom", "s")]
COMMANDS = {
    "freeze": ("freeze -c model.ckpt-100 -o frozen.pb", ["frozen.pb"]),
    "test": (TEST, [*DETAILS, "parity.png", "parity.csv", "parity.md", "frames.xyz"]),
    "compress": ("compress -i model.pb -o compressed.pb", ["compressed.pb"]),
    "change-bias": ("change-bias model.pb -b 1 2 -o changed.pb", ["changed.pb"]),
    "convert-from": ("convert-from 2.0 -i model.pb -o graph.pb", ["graph.pb"]),
    "convert-data": ("convert-data data/train -o frames.xyz --overwrite", ["frames.xyz"]),
    "convert-data npy": ("convert-data data/train -o systems --overwrite", ["systems"]),
    "convert-data hdf5": ("convert-data data/train -o data.hdf5 --overwrite", ["data.hdf5"]),
    "eval-desc": ("eval-desc -m model.pb -s data/train/cell -o desc", ["desc/cell.npy"]),
    "model-devi": ("model-devi -m model.pb model.pb -s data/train/cell -o devi.out", ["devi.out"]),
    "plot": ("plot lcurve.out -o curve.png", ["curve.png"]),
    "zbl-table": ("zbl-table O H -o zbl.tab", ["zbl.tab"]),
}
"""Command, and all that it writes."""


@pytest.fixture(scope="module")
def crashes():
    with Crashes(PRELOAD) as server:
        yield server


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A model, data, and a learning curve."""
    folder = tmp_path_factory.mktemp("origin")
    write_all_data(folder)
    save_checkpoint(folder)
    freeze(folder / "model.ckpt-100", folder / "model.pb")
    rows = "".join(f"{step} 0.{step} 0.{step} 0.{step} 1e-3\n" for step in range(1, 50))
    (folder / "lcurve.out").write_text(f"#  step  rmse_trn  rmse_e_trn  rmse_f_trn  lr\n{rows}")
    return folder


def content(path: Path) -> bytes | dict[str, bytes] | None:
    """Of a file, or of all files in a folder."""
    if path.is_dir():
        files = (file for file in sorted(path.rglob("*")) if file.is_file())
        return {str(file.relative_to(path)): file.read_bytes() for file in files}
    return path.read_bytes() if path.exists() else None


def read(folder: Path, names: list[str]) -> dict[str, bytes | dict[str, bytes] | None]:
    return {name: content(folder / name) for name in names}


def prepared(origin: Path, folder: Path, names: list[str]) -> Path:
    """The same with old results."""
    shutil.copytree(origin, folder)
    for name in names:
        path = folder / name / "type.raw" if name == "systems" else folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"of before\n")
    return folder


def entries(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if "systems" not in path.parts}


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("freeze", "model-devi") else pytest.param(name, marks=pytest.mark.slow)
        for name in COMMANDS
    ],
)
def test_whole_or_not_at_all(crashes, origin, tmp_path, name):
    words, names = COMMANDS[name][0].split(), COMMANDS[name][1]
    folder = prepared(origin, tmp_path / "good", names)
    old, before = read(folder, names), entries(folder)
    result = crashes.run(folder, *words)
    assert result["status"] == 0, result
    new = read(folder, names)
    assert all(new.values()) and not any(new[file] == old[file] for file in names)
    assert entries(folder) == before

    folder = prepared(origin, tmp_path / "killed", names)
    rng = random.Random(f"{SEED} {name}")
    at = rng.randint(1, result["operations"])
    assert crashes.run(folder, *words, at=at, what=KILL)["status"] == -9, at
    for file, found in read(folder, names).items():
        # a folder cannot be replaced by another one in a single step
        absent = found is None and file == "systems"
        assert absent or found in (old[file], new[file]), (at, file)
    # what is left does not disturb
    again = crashes.run(folder, *words)
    assert again["status"] == 0, (at, again)
    assert read(folder, names) == new, at

    folder = prepared(origin, tmp_path / "full", names)
    found = (f for c in new.values() for f in (c.values() if isinstance(c, dict) else [c]))
    limit = rng.randrange(max(map(len, found)))
    result = crashes.run(folder, *words, limit=limit)
    message = result["stderr"].splitlines()[-1]
    assert result["status"] == 1, (limit, result)
    assert message.startswith("dp: error: ") and "File too large" in message, (limit, message)
    assert "Traceback" not in result["stderr"], (limit, result)
    for file, found in read(folder, names).items():
        assert found in (old[file], new[file]), (limit, file)
    assert entries(folder) == before, limit
