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
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from deepmd_tf.infer import DeepPot

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
    from deepmd_tf.infer import DeepPot
    from deepmd_tf.interfaces.ase import DP as Model

    results: dict[str, dict[str, dict]] = {way: {} for way in WAYS}
    for group, way in itertools.product(SETS, WAYS):
        path = RUNS / group / way / "model.pb"
        results[way][group] = json.loads(path.with_name("run.json").read_text())
        with DeepPot(path) as pot, Model(path) as calculator:
            for name in SETS[group]:
                results[way][name] = errors(name, pot) | vibrations(name, calculator)
                print(way, name, results[way][name], flush=True)
    (HERE / "results.json").write_text(json.dumps(results, indent=1) + "\n")


def errors(name: str, pot: DeepPot) -> dict[str, float]:
    """Root-mean-square errors on the held-out frames: energy per atom (eV), force components
    (eV/Å), elements of the Hessian (eV/Å²)."""
    have = load(DATA / "test" / name)
    given = (have["coord"], None, have["types"])
    energy, force = pot.eval(*given)[:2]
    hessian = pot.eval_hessian(*given)
    return {
        "energy": rms(energy.ravel() - have["energy"]) / len(have["types"]),
        "force": rms(force.ravel() - have["force"].ravel()),
        "hessian": rms(hessian.ravel() - have["hessian"].ravel()),
    }


def vibrations(name: str, calculator: Calculator) -> dict[str, Any]:
    """The minimum of a model and the frequencies there (cm⁻¹, imaginary ones negative), beside
    those of the labels at theirs."""
    from ase import Atoms
    from ase.optimize import BFGS

    from deepmd_tf.analysis.vibrations import normal_modes

    symbols = (DATA / "minimum" / name / "type_map.raw").read_text().split()
    least = load(DATA / "minimum" / name)
    reference = least["coord"].reshape(-1, 3).astype(np.float64)
    atoms = Atoms([symbols[kind] for kind in least["types"]], reference, calculator=calculator)
    masses = atoms.get_masses()
    labels = normal_modes(least["hessian"].reshape(reference.size, -1), reference, masses)
    relaxed = BFGS(atoms, logfile=None).run(fmax=FORCE_LIMIT, steps=1000)
    found = normal_modes(calculator.get_hessian(atoms), atoms.positions, masses)
    return {
        "relaxed": bool(relaxed),
        "moved": round(moved(atoms.positions, reference), 4),
        "frequencies": [round(value, 2) for value in found.frequencies.tolist()],
        "labels": [round(value, 2) for value in labels.frequencies.tolist()],
    }


def moved(positions: np.ndarray, reference: np.ndarray) -> float:
    """RMS distance in Å of atoms from a reference, after the best superposition (Kabsch)."""
    a, b = positions - positions.mean(axis=0), reference - reference.mean(axis=0)
    u, _, v = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return float(np.sqrt(np.mean(np.sum((a @ u @ v - b) ** 2, axis=1))))


def report() -> None:
    """The table, as text, and the pictures."""
    results = json.loads((HERE / "results.json").read_text())
    head = "| " + " | ".join(["trained on", *WAYS.values()]) + " |"
    lines = [head, "|---|" + "---|" * len(WAYS)]

    def add(title: str, values: list[float], digits: int) -> None:
        cells = " | ".join(f"{value:.{digits}f}" for value in values)
        lines.append(f"| {title} | {cells} |")

    for group, names in SETS.items():
        for name in names:
            each = [results[way][name] for way in WAYS]
            add(f"{name}: energy, meV per atom", [1000 * one["energy"] for one in each], 2)
            add("force, meV/Å", [1000 * one["force"] for one in each], 1)
            add("Hessian, eV/Å²", [one["hessian"] for one in each], 3)
            add("frequencies, cm⁻¹", [frequency_error(one) for one in each], 1)
            add("structure, Å", [one["moved"] for one in each], 4)
        each = [results[way][group] for way in WAYS]
        add(f"{group}: a step, ms", [one["milliseconds_per_step"] for one in each], 1)
        add("training, s", [one["seconds"] for one in each], 0)
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    draw_hessians()
    draw_frequencies(results)


def frequency_error(found: dict) -> float:
    """Root of the mean square of differences, frequencies in ascending order, cm⁻¹."""
    return rms(np.subtract(found["frequencies"], found["labels"]))


def draw_hessians() -> None:
    """Errors of the elements of the Hessians of all held-out frames."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save
    from deepmd_tf.infer import DeepPot

    figure, panels = new_figure(1, len(WAYS), 3.2, 3.2)
    for panel, (way, title) in zip(panels, WAYS.items(), strict=True):
        tested = [(group, name) for group, names in SETS.items() for name in names]
        for (group, name), colour in reversed(list(zip(tested, COLOURS, strict=False))):
            have = load(DATA / "test" / name)
            with DeepPot(RUNS / group / way / "model.pb") as pot:
                hessian = pot.eval_hessian(have["coord"], None, have["types"])
            label = have["hessian"].ravel()
            panel.plot(label, hessian.ravel() - label, ".", ms=1.5, color=colour, label=name)
        panel.set(title=title, xlabel="GFN2-xTB (eV/Å²)")
        panel.axhline(0, color="black", lw=0.5)
    limit = max(abs(bound) for panel in panels for bound in panel.get_ylim())
    for panel in panels:
        panel.set_ylim(-limit, limit)
    panels[0].set_ylabel("model − GFN2-xTB (eV/Å²)")
    panels[0].legend(markerscale=5, fontsize=7)
    save(figure, HERE / "hessians.png")


def draw_frequencies(results: dict) -> None:
    """Errors of the frequencies at the relaxed minima."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save

    names = [name for group in SETS.values() for name in group]
    figure, panels = new_figure(1, len(names), 2.4, 3.0)
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
