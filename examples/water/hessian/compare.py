# SPDX-License-Identifier: BSD-3-Clause
"""Train three ways on the same frames, and set the errors side by side.

    python compare.py train          # SET/input_WAY.json; models and logs go to runs/SET/WAY
    python compare.py evaluate       # errors on data/test and data/minimum: results.json
    python compare.py report         # results.md, hessians.png, frequencies.png

SET is clusters or ethanol, WAY energy, full or probe. Without an argument all three, one after
another. Needs this package
with ASE and matplotlib.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
DATA, RUNS = HERE / "data", HERE / "runs"
WAYS = {"energy": "energies and forces", "full": "full Hessians", "probe": "one probe of each"}
"""The runs, and what they are called in tables and pictures."""
SETS = {"clusters": ("monomer", "dimer", "trimer", "tetramer"), "ethanol": ("ethanol",)}
"""What each model is tested on; it was not trained on the tetramer."""
DP = [sys.executable, "-m", "deepmd_tf", "--tf"]
FORCE_LIMIT = 1e-4
"""eV/Å, at which a structure is relaxed."""


def run(arguments: list[str], folder: Path, log: str) -> str:
    """Run ``dp --tf`` in a folder, with its messages in a file there; return them."""
    path = folder / log
    with path.open("w") as file:
        subprocess.run([*DP, *arguments], cwd=folder, stdout=file, stderr=file, check=True)
    return path.read_text()


def train(sets: list[str], ways: list[str]) -> None:
    """Train, freeze and test; what was measured goes to runs/SET/WAY/run.json."""
    for group, way in itertools.product(sets, ways):
        folder = RUNS / group / way
        folder.mkdir(parents=True, exist_ok=True)
        data = RUNS / group / "data"  # where the input scripts look for it from here
        if not data.is_symlink():
            data.symlink_to(DATA)
        began = time.perf_counter()
        text = run(["train", str(HERE / group / f"input_{way}.json")], folder, "train.log")
        wall = time.perf_counter() - began
        (step,) = re.findall(r"average training time: ([\d.]+) s/batch", text)
        figures = {"seconds": round(wall, 1), "milliseconds_per_step": 1000 * float(step)}
        (folder / "run.json").write_text(json.dumps(figures) + "\n")
        run(["freeze", "-o", "model.pb"], folder, "freeze.log")
        for name in SETS[group]:
            given = ["-m", "model.pb", "-s", f"../data/test/{name}", "--hessian"]
            run(["test", *given], folder, f"test_{name}.log")
        print(group, way, figures, flush=True)


def load(system: Path) -> dict[str, np.ndarray]:
    """Types and labels of a system."""
    arrays = {path.stem: np.load(path) for path in (system / "set.000").glob("*.npy")}
    return arrays | {"types": np.loadtxt(system / "type.raw", dtype=int)}


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def evaluate() -> None:
    """Errors of each model on the held-out frames, and its minima and frequencies."""
    from ase import Atoms
    from ase.optimize import BFGS
    from ase.vibrations import VibrationsData

    from deepmd_tf.infer import DeepPot
    from deepmd_tf.interfaces.ase import DP as Model

    symbols = (DATA / "minimum" / "monomer" / "type_map.raw").read_text().split()
    names = sorted(path.name for path in (DATA / "test").iterdir())
    results: dict[str, dict] = {}
    for way in WAYS:
        path = RUNS / way / "model.pb"
        found = results[way] = {"run": json.loads((RUNS / way / "run.json").read_text())}
        with DeepPot(path) as pot, Model(path) as calculator:
            for name in names:
                have = load(DATA / "test" / name)
                given = (have["coord"], None, have["types"])
                energy, force = pot.eval(*given)[:2]
                hessian = pot.eval_hessian(*given)
                n, frames = len(have["types"]), len(have["coord"])
                atoms = Atoms([symbols[t] for t in have["types"]])
                least = load(DATA / "minimum" / name)
                label = least["hessian"].reshape(3 * n, 3 * n)
                atoms.positions = least["coord"].reshape(n, 3)
                want = frequencies(VibrationsData, atoms, label)
                atoms.calc = calculator
                BFGS(atoms, logfile=None).run(fmax=FORCE_LIMIT, steps=1000)
                have_minimum = bool(np.abs(atoms.get_forces()).max() < 2 * FORCE_LIMIT)
                got = frequencies(VibrationsData, atoms, calculator.get_hessian(atoms))
                found[name] = {
                    "energy": rms(energy.ravel() - have["energy"].ravel()) / n,
                    "force": rms(force.reshape(frames, -1) - have["force"].reshape(frames, -1)),
                    "hessian": rms(hessian.ravel() - have["hessian"].ravel()),
                    "relaxed": have_minimum,
                    "moved": moved(atoms.positions, least["coord"].reshape(n, 3)),
                    "frequencies": got,
                    "labels": want,
                }
                print(way, name, found[name], flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def frequencies(data: type, atoms: object, hessian: np.ndarray) -> list[float]:
    """Vibrations in cm⁻¹, ascending, without the six that are nearest to zero; imaginary ones are
    negative."""
    symmetric = (hessian + hessian.T) / 2
    values = data.from_2d(atoms, symmetric).get_frequencies()
    signed = np.where(np.abs(values.imag) > np.abs(values.real), -np.abs(values.imag), values.real)
    kept = np.argsort(np.abs(signed))[6:]
    return [round(float(value), 2) for value in np.sort(signed[kept])]


def moved(positions: np.ndarray, reference: np.ndarray) -> float:
    """RMS distance in Å of atoms from a reference, after the best superposition (Kabsch)."""
    a, b = positions - positions.mean(axis=0), reference - reference.mean(axis=0)
    u, _, v = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return float(np.sqrt(np.mean(np.sum((a @ u @ v - b) ** 2, axis=1))))


def report() -> None:
    """The tables, as text, and the pictures."""
    results = json.loads((HERE / "results.json").read_text())
    names = [name for name in next(iter(results.values())) if name != "run"]
    # what was trained on first
    names.sort(key=lambda name: (not (DATA / "train" / name).exists(), name))
    lines = ["| trained on | " + " | ".join(WAYS.values()) + " |", "|---|" + "---|" * len(WAYS)]
    for title, factor, key, digits in (
        ("energy per atom, meV", 1000, "energy", 2),
        ("force, meV/Å", 1000, "force", 1),
        ("Hessian, eV/Å²", 1, "hessian", 3),
        ("frequencies, cm⁻¹", 1, None, 1),
    ):
        for name in names:
            values = [
                factor * each[name][key] if key else frequency_error(each[name])
                for each in results.values()
            ]
            cells = " | ".join(f"{value:.{digits}f}" for value in values)
            lines.append(f"| {title}: {name} | {cells} |")
    for title, key, digits in (
        ("time of a step, ms", "milliseconds_per_step", 1),
        ("time of the training, s", "seconds", 0),
    ):
        cells = " | ".join(f"{each['run'][key]:.{digits}f}" for each in results.values())
        lines.append(f"| {title} | {cells} |")
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    draw_hessians(names)
    draw_frequencies(results, names)


def frequency_error(found: dict) -> float:
    """Root of the mean square of differences, frequencies in ascending order, cm⁻¹."""
    return rms(np.subtract(found["frequencies"], found["labels"]))


def draw_hessians(names: list[str]) -> None:
    """Elements of the Hessians of all held-out frames, model against label."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save
    from deepmd_tf.infer import DeepPot

    figure, panels = new_figure(1, len(WAYS), 3.2, 3.2)
    for panel, (way, title) in zip(panels, WAYS.items(), strict=True):
        with DeepPot(RUNS / way / "model.pb") as pot:
            for name, colour in zip(names, COLOURS, strict=False):
                have = load(DATA / "test" / name)
                hessian = pot.eval_hessian(have["coord"], None, have["types"])
                error = hessian.ravel() - have["hessian"].ravel()
                panel.plot(
                    have["hessian"].ravel(), error, ".", ms=1.5, color=colour, label=name,
                    rasterized=True,
                )  # fmt: skip
        panel.set(title=title, xlabel="label (eV/Å²)", ylim=(-6, 6))
        panel.axhline(0, color="black", lw=0.5)
    panels[0].set_ylabel("model − label (eV/Å²)")
    panels[0].legend(markerscale=5, fontsize=7)
    save(figure, HERE / "hessians.png")


def draw_frequencies(results: dict, names: list[str]) -> None:
    """Errors of the frequencies at the relaxed minima."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save

    figure, panels = new_figure(1, len(names), 2.6, 3.0)
    for panel, name in zip(panels, names, strict=True):
        for (way, title), colour, marker in zip(WAYS.items(), COLOURS, "o^s", strict=False):
            found = results[way][name]
            error = np.subtract(found["frequencies"], found["labels"])
            panel.plot(found["labels"], error, marker, ms=4, color=colour, label=title, alpha=0.8)
        panel.axhline(0, color="black", lw=0.5)
        panel.set_yscale("symlog", linthresh=20)
        panel.set(title=name, xlabel="GFN2-xTB (cm⁻¹)")
    panels[0].set_ylabel("model − GFN2-xTB (cm⁻¹)")
    panels[0].legend(fontsize=7)
    save(figure, HERE / "frequencies.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["train", "evaluate", "report"])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for what in options.what:
        if what == "train":
            train(options.sets, options.ways)
        elif what == "evaluate":
            evaluate()
        elif what == "report":
            report()
        else:
            parser.error(f"{what}: not one of train, evaluate, report")


if __name__ == "__main__":
    main()
