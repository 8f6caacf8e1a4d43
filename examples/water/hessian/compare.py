# SPDX-License-Identifier: BSD-3-Clause
"""Train with and without Hessians on the same frames, and set the errors side by side.

    python compare.py train       # SET/input_WAY.json; models and logs go to runs/SET/WAY
    python compare.py evaluate    # errors on data/test and at the minima: results.json
    python compare.py report      # results.md, errors.png, frequencies.png, hessians.png

SET is clusters or ethanol; WAY is energy, probe, full, energy_longer or probe_longer. Without an
argument all three, one after another. It needs this package with ASE and matplotlib.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from ase.calculators.calculator import Calculator

    from deepmd_tf.infer import DeepPot

HERE = Path(__file__).resolve().parent
DATA, RUNS = HERE / "data", HERE / "runs"
WAYS = {
    "energy": "energies and forces",
    "probe": "and probe:1 of Hessians",
    "full": "and full Hessians",
    "energy_longer": "energies and forces, longer",
    "probe_longer": "and probe:1, longer",
}
"""The runs, and what they are called in tables and pictures. The last two take as much time as
that of full Hessians; of the last there is only one."""
SETS = {"clusters": ("monomer", "dimer", "trimer", "tetramer"), "ethanol": ("ethanol",)}
"""What each model is tested on; it was not trained on the tetramer."""
DP = [sys.executable, "-m", "deepmd_tf", "--tf"]
FORCE_LIMIT = 1e-4
"""eV/Å, at which a structure is relaxed."""
SOFT = 1000.0
"""cm⁻¹: stretching and bending of bonds are above, skeleton, torsions and what is between
molecules below."""


def run(arguments: list[str], folder: Path, log: str) -> None:
    """Run ``dp --tf`` in a folder, with its messages in a file there."""
    with (folder / log).open("w") as file:
        subprocess.run([*DP, *arguments], cwd=folder, stdout=file, stderr=file, check=True)


def train(sets: list[str], ways: list[str]) -> None:
    """Train and freeze; steps and time go to runs/SET/WAY/run.json."""
    for group, way in chosen(sets, ways):
        folder = RUNS / group / way
        folder.mkdir(parents=True, exist_ok=True)
        data = RUNS / group / "data"  # where the input scripts look for it from here
        if not data.is_symlink():
            data.symlink_to(DATA)
        script = HERE / group / f"input_{way}.json"
        began, used = time.perf_counter(), processor_time()
        run(["train", str(script)], folder, "train.log")
        figures = {
            "steps": json.loads(script.read_text())["training"]["numb_steps"],
            "processor_seconds": round(processor_time() - used, 1),
            "seconds": round(time.perf_counter() - began, 1),
        }
        (folder / "run.json").write_text(json.dumps(figures) + "\n")
        run(["freeze", "-o", "model.pb"], folder, "freeze.log")
        print(group, way, figures, flush=True)


def chosen(sets: list[str], ways: list[str]) -> list[tuple[str, str]]:
    """The runs that there is an input script for."""
    pairs = itertools.product(sets, ways)
    return [(group, way) for group, way in pairs if (HERE / group / f"input_{way}.json").exists()]


def processor_time() -> float:
    """Seconds of processor time of all commands that have ended; it does not depend on what
    else the machine is doing, as long as there is one thread."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def load(system: Path) -> dict[str, np.ndarray]:
    """Types and labels of a system."""
    arrays = {path.stem: np.load(path) for path in (system / "set.000").glob("*.npy")}
    return arrays | {"types": np.loadtxt(system / "type.raw", dtype=int)}


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def evaluate(sets: list[str], ways: list[str]) -> None:
    """Errors of models on the held-out frames, and their minima and frequencies; those in
    results.json of models that are not evaluated now stay."""
    from deepmd_tf.infer import DeepPot
    from deepmd_tf.interfaces.ase import DP as Model

    path = HERE / "results.json"
    results: dict[str, dict[str, dict]] = json.loads(path.read_text()) if path.exists() else {}
    for group, way in chosen(sets, ways):
        model = RUNS / group / way / "model.pb"
        found = results.setdefault(way, {"runs": {}})
        found["runs"][group] = json.loads(model.with_name("run.json").read_text())
        with DeepPot(model) as pot, Model(model) as calculator:
            for name in SETS[group]:
                found[name] = errors(name, pot) | vibrations(name, calculator)
                print(way, name, found[name], flush=True)
    path.write_text(json.dumps(results, indent=1) + "\n")


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
    """Frequencies (cm⁻¹, imaginary ones negative) of the labels at their minimum, of a model at
    the same structure (``frequencies``), and of the model at its own minimum (``relaxed``)."""
    from ase import Atoms
    from ase.optimize import BFGS

    from deepmd_tf.analysis.vibrations import normal_modes

    symbols = (DATA / "minimum" / name / "type_map.raw").read_text().split()
    least = load(DATA / "minimum" / name)
    reference = least["coord"].reshape(-1, 3).astype(np.float64)
    atoms = Atoms([symbols[kind] for kind in least["types"]], reference, calculator=calculator)

    def frequencies(hessian: np.ndarray) -> list[float]:
        modes = normal_modes(hessian, atoms.positions, atoms.get_masses())
        return [round(value, 2) for value in modes.frequencies.tolist()]

    found = {
        "labels": frequencies(least["hessian"].reshape(reference.size, -1)),
        "frequencies": frequencies(calculator.get_hessian(atoms)),
    }
    if not BFGS(atoms, logfile=None).run(fmax=FORCE_LIMIT, steps=1000):
        raise RuntimeError(f"{name}: not relaxed after 1000 steps")
    return found | {
        "moved": round(moved(atoms.positions, reference), 4),
        "relaxed": frequencies(calculator.get_hessian(atoms)),
    }


def moved(positions: np.ndarray, reference: np.ndarray) -> float:
    """RMS distance in Å of atoms from a reference, after the best superposition (Kabsch)."""
    a, b = positions - positions.mean(axis=0), reference - reference.mean(axis=0)
    u, _, v = np.linalg.svd(a.T @ b)
    u[:, -1] *= np.sign(np.linalg.det(u @ v))
    return float(np.sqrt(np.mean(np.sum((a @ u @ v - b) ** 2, axis=1))))


def frequency_error(found: dict, which: str, low: float = 0.0, high: float = np.inf) -> float:
    """Root of the mean square of differences, cm⁻¹, of frequencies in ascending order; of those
    whose labels are between ``low`` and ``high``, nan if there are none."""
    labels = np.array(found["labels"])
    chosen = (labels > low) & (labels < high)
    difference = np.subtract(found[which], labels)[chosen]
    return rms(difference) if chosen.any() else np.nan


FIGURES = (
    ("energy, meV per atom", 2, lambda found: 1000 * found["energy"]),
    ("force, meV/Å", 1, lambda found: 1000 * found["force"]),
    ("Hessian, eV/Å²", 3, lambda found: found["hessian"]),
    ("high frequencies, cm⁻¹", 0, lambda found: frequency_error(found, "frequencies", low=SOFT)),
    ("low frequencies, cm⁻¹", 0, lambda found: frequency_error(found, "frequencies", high=SOFT)),
    ("minimum, Å", 3, lambda found: found["moved"]),
    ("all frequencies there, cm⁻¹", 0, lambda found: frequency_error(found, "relaxed")),
)
"""Of each model and species: what it is, digits, and its value."""


def report(sets: list[str], ways: list[str]) -> None:
    """The table, as text, and the pictures."""
    results = json.loads((HERE / "results.json").read_text())
    titles = " | ".join(WAYS[way] for way in ways)
    lines = [f"| | | {titles} |", "|---|---|" + "---|" * len(ways)]

    def add(title: str, what: str, digits: int, values: list[float]) -> None:
        cells = " | ".join(f"{x:,.{digits}f}" if np.isfinite(x) else "" for x in values)
        lines.append(f"| {title} | {what} | {cells} |")

    for group in sets:
        of_run = [results[way]["runs"].get(group, {}) for way in ways]
        add(f"**{group}**", "steps", 0, [one.get("steps", np.nan) for one in of_run])
        seconds = [one.get("processor_seconds", np.nan) for one in of_run]
        add("", "time of training, s", 0, seconds)
        for name in SETS[group]:
            for what, digits, value in FIGURES:
                title = name if what == FIGURES[0][0] else ""
                add(title, what, digits, of_species(results, name, ways, value))
    (HERE / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    names = [name for group in sets for name in SETS[group]]
    draw_errors(results, names, ways)
    draw_frequencies(results, names, ways)
    draw_hessians(results, sets, ways)


def of_species(results: dict, name: str, ways: list[str], value: Callable) -> list[float]:
    """One of :data:`FIGURES` of all models, nan where there is none."""
    found = [results[way].get(name) for way in ways]
    return [np.nan if one is None else value(one) for one in found]


def draw_errors(results: dict, names: list[str], ways: list[str]) -> None:
    """Bars of the errors, relative to those of the first model."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save

    figure, panels = new_figure(1, 4, 3.0, 3.0)
    place, width = np.arange(len(names)), 0.8 / len(ways)
    for panel, (what, _, value) in zip(panels, FIGURES[:4], strict=True):
        errors = np.array([of_species(results, name, ways, value) for name in names])
        relative = (errors / errors[:, :1]).T
        for k, (way, values, colour) in enumerate(zip(ways, relative, COLOURS, strict=False)):
            at = place + (k - (len(ways) - 1) / 2) * width
            panel.bar(at, values, width, color=colour, label=WAYS[way])
        panel.axhline(1, color="black", lw=0.5)
        panel.set_title(what.partition(",")[0])
        panel.set_xticks(place, names, rotation=30)
    panels[0].set_ylabel("error, relative to the first")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    save(figure, HERE / "errors.png")


def draw_frequencies(results: dict, names: list[str], ways: list[str]) -> None:
    """Frequencies at the minima of GFN2-xTB, model against labels, and their errors."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save

    figure, panels = new_figure(2, len(names), 2.5, 2.6)
    for column, name in enumerate(names):
        parity, error = panels[column], panels[len(names) + column]
        for way, colour, marker in zip(ways, COLOURS, "ov^sD", strict=False):
            found = results[way].get(name)
            if found is None:
                continue
            style = {"ms": 4, "color": colour, "label": WAYS[way], "alpha": 0.8}
            parity.plot(found["labels"], found["frequencies"], marker, **style)
            difference = np.subtract(found["frequencies"], found["labels"])
            error.plot(found["labels"], difference, marker, **style)
        parity.axline((0, 0), slope=1, color="black", lw=0.5)
        parity.set(title=name)
        error.axhline(0, color="black", lw=0.5)
        error.set_yscale("symlog", linthresh=20)
        error.set(xlabel="GFN2-xTB (cm⁻¹)", ylim=(-2000, 2000))
    panels[0].set_ylabel("model (cm⁻¹)")
    panels[len(names)].set_ylabel("model − GFN2-xTB (cm⁻¹)")
    panels[0].legend(fontsize=7)
    save(figure, HERE / "frequencies.png")


def draw_hessians(results: dict, sets: list[str], ways: list[str]) -> None:
    """Errors of the elements of the Hessians of all held-out frames."""
    from deepmd_tf.analysis.figures import COLOURS, new_figure, save
    from deepmd_tf.infer import DeepPot

    figure, panels = new_figure(1, len(ways), 2.6, 2.8)
    for panel, way in zip(panels, ways, strict=True):
        tested = [(group, name) for group in sets for name in SETS[group] if name in results[way]]
        for (group, name), colour in reversed(list(zip(tested, COLOURS, strict=False))):
            have = load(DATA / "test" / name)
            with DeepPot(RUNS / group / way / "model.pb") as pot:
                hessian = pot.eval_hessian(have["coord"], None, have["types"])
            label = have["hessian"].ravel()
            panel.plot(label, hessian.ravel() - label, ".", ms=1.5, color=colour, label=name)
        panel.set(title=WAYS[way], xlabel="GFN2-xTB (eV/Å²)")
        panel.axhline(0, color="black", lw=0.5)
    limit = max(abs(bound) for panel in panels for bound in panel.get_ylim())
    for panel in panels:
        panel.set_ylim(-limit, limit)
    panels[0].set_ylabel("model − GFN2-xTB (eV/Å²)")
    panels[0].legend(markerscale=5, fontsize=7)
    save(figure, HERE / "hessians.png")


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
            evaluate(options.sets, options.ways)
        elif what == "report":
            report(options.sets, options.ways)
        else:
            parser.error(f"{what}: not one of train, evaluate, report")


if __name__ == "__main__":
    main()
