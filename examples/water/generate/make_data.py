# SPDX-License-Identifier: BSD-3-Clause
"""Make the water data set: sample with classical dynamics, label with GFN1-xTB.

    python make_data.py --output ../data --scratch scratch --processes 2
    python make_data.py --check --output ../data

Needs ``numpy`` and ``tblite``. Every frame that is done is kept in the scratch folder; a run that
was interrupted goes on from there. Labels are computed at the stored coordinates and cells,
after their rounding to float32. OMP_NUM_THREADS is 1 unless the environment says otherwise, because
the frames already run side by side.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from water_md import ForceField, WaterBox, lattice_of_molecules

BOHR = 0.529177210903  # Å, CODATA 2018
HARTREE = 27.211386245988  # eV, CODATA 2018

METHOD = "GFN1-xTB"
ACCURACY = 0.1  # of the self-consistent cycle, tblite's scale (default 1.0, smaller is tighter)
EDGE = 12.42  # Å; 64 molecules at 0.999 g/cm³
PER_EDGE = 4
SEED = 20240
SYSTEMS = 4
# Temperature in K -> frames of it in each system; 80 in all.
FRAMES = {300: 12, 350: 12, 400: 12, 450: 11, 500: 11, 550: 11, 600: 11}
SPARE = 1  # more configurations than frames in each trajectory, should one be rejected
TIME_STEP = 1.25  # fs
STEPS_MELT = 1200
STEPS_EQUILIBRATE = 1600
STEPS_BETWEEN = 800
MIN_DISTANCE = 0.75  # Å; nearer pairs reject a configuration
MAX_FORCE = 15.0  # eV/Å; larger components reject a frame

N_MOLECULES = PER_EDGE**3
ATOMIC_NUMBERS = np.tile([8, 1, 1], N_MOLECULES)


def label(
    positions: np.ndarray, cell: np.ndarray, accuracy: float = ACCURACY
) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces [n, 3] (eV/Å) and virial [3, 3] (eV) of one periodic frame.

    The virial is -dE/dε for the strain x' = (1 + ε) x of positions and cell. Raises what tblite
    raises when the self-consistent cycle does not converge.
    """
    from tblite.interface import Calculator

    calculator = Calculator(
        METHOD,
        ATOMIC_NUMBERS,
        np.asarray(positions, dtype=np.float64) / BOHR,
        lattice=np.asarray(cell, dtype=np.float64) / BOHR,
        periodic=np.array([True, True, True]),
    )
    calculator.set("accuracy", accuracy)
    calculator.set("verbosity", 0)
    result = calculator.singlepoint()
    energy = float(result.get("energy")) * HARTREE
    return energy, -result.get("gradient") * (HARTREE / BOHR), -result.get("virial") * HARTREE


def min_distance(positions: np.ndarray, cell: np.ndarray) -> float:
    """Smallest distance in Å between any two atoms, nearest images."""
    fractional = positions @ np.linalg.inv(cell)
    delta = fractional[:, None] - fractional[None]
    delta = (delta - np.rint(delta)) @ cell
    distance = np.linalg.norm(delta, axis=2)
    np.fill_diagonal(distance, np.inf)
    return float(distance.min())


def random_cell(rng: np.random.Generator) -> np.ndarray:
    """A strained cell [3, 3] in Å, lower triangular.

    All lengths change by -1.5 to 3 %, each by up to 1.5 % more or less; shears are up to 3 %.
    """
    strain = np.diag(rng.uniform(-0.015, 0.03) + rng.uniform(-0.015, 0.015, 3))
    strain[np.tril_indices(3, -1)] = rng.uniform(-0.03, 0.03, 3)
    return EDGE * (np.eye(3) + strain)


def sample(system: int, temperature: int, path: Path) -> None:
    """Run one trajectory and keep its configurations in float32; odd ones in a strained cell."""
    rng = np.random.default_rng([SEED, system, temperature])
    field = ForceField()
    cubic = EDGE * np.eye(3)
    box = WaterBox(lattice_of_molecules(PER_EDGE, cubic, rng, field), cubic, rng, field)
    box.thermalize(600)
    box.run(300, 600, dt=0.3, friction=0.05)
    box.run(STEPS_MELT, 600, dt=TIME_STEP)
    box.run(STEPS_EQUILIBRATE, temperature, dt=TIME_STEP)
    positions, cells = [], []
    for frame in range(FRAMES[temperature] + SPARE):
        box.set_cell(random_cell(rng) if frame % 2 else cubic)
        box.run(STEPS_BETWEEN, temperature, dt=TIME_STEP)
        positions.append(box.whole_molecules().astype(np.float32))
        cells.append(box.cell.astype(np.float32))
    save(path, positions=np.stack(positions), cells=np.stack(cells))


def save(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz that appears whole or not at all."""
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)


def make_trajectory(task: tuple[int, int, Path]) -> tuple[int, int, int, float]:
    """Sample and label one (system, temperature); return these, frames rejected, seconds."""
    system, temperature, scratch = task
    start = time.perf_counter()
    stem = f"{system}_{temperature}"
    sampled = scratch / f"sample_{stem}.npz"
    if not sampled.exists():
        sample(system, temperature, sampled)
    accepted = rejected = 0
    with np.load(sampled) as file:
        positions, cells = file["positions"], file["cells"]
    for frame, (position, cell) in enumerate(zip(positions, cells, strict=True)):
        if accepted == FRAMES[temperature]:
            break
        path = scratch / f"label_{stem}_{frame:02d}.npz"
        if not path.exists():
            make_frame(position, cell, temperature, path)
        with np.load(path) as file:
            ok = "energy" in file
        accepted += ok
        rejected += not ok
    if accepted < FRAMES[temperature]:
        raise RuntimeError(f"too few good frames in {stem}: raise SPARE and remove {sampled}")
    return system, temperature, rejected, time.perf_counter() - start


def make_frame(position: np.ndarray, cell: np.ndarray, temperature: int, path: Path) -> None:
    """Label one configuration, or note in words why it was rejected."""
    coord, lattice = position.astype(np.float64), cell.astype(np.float64)
    nearest = min_distance(coord, lattice)
    if nearest < MIN_DISTANCE:
        save(path, reason=np.array(f"atoms {nearest:.3f} Å apart"))
        return
    start = time.perf_counter()
    try:
        energy, forces, virial = label(coord, lattice)
    except RuntimeError as error:
        save(path, reason=np.array(str(error)))
        return
    if np.abs(forces).max() > MAX_FORCE:
        save(path, reason=np.array(f"force of {np.abs(forces).max():.1f} eV/Å"))
        return
    save(
        path,
        coord=position,
        box=cell,
        energy=np.array(energy),
        force=forces.astype(np.float32),
        virial=virial.astype(np.float32),
        temperature=np.array(temperature),
        seconds=np.array(time.perf_counter() - start),
    )


def collect(system: int, scratch: Path, output: Path) -> dict[str, float]:
    """Write data_<system> from the labelled frames in an order drawn once; return a few figures."""
    frames = []
    for temperature, count in FRAMES.items():
        good = []
        for path in sorted(scratch.glob(f"label_{system}_{temperature}_*.npz")):
            if path.name.endswith(".part.npz"):
                continue
            with np.load(path) as file:
                if "energy" in file:
                    good.append(dict(file))
        frames += good[:count]
    order = np.random.default_rng([SEED, system]).permutation(len(frames))
    frames = [frames[i] for i in order]
    directory = output / f"data_{system}"
    (directory / "set.000").mkdir(parents=True, exist_ok=True)
    types = np.where(ATOMIC_NUMBERS == 8, 0, 1)
    (directory / "type.raw").write_text("\n".join(map(str, types)) + "\n")
    (directory / "type_map.raw").write_text("O\nH\n")
    temperatures = "".join(f"{int(frame['temperature'])}\n" for frame in frames)
    (directory / "temperature.raw").write_text(temperatures)
    for key in ("coord", "box", "force", "virial"):
        values = np.stack([frame[key].reshape(-1) for frame in frames]).astype(np.float32)
        np.save(directory / "set.000" / f"{key}.npy", values)
    energy = np.array([float(frame["energy"]) for frame in frames])
    np.save(directory / "set.000" / "energy.npy", energy)
    return {
        "frames": len(frames),
        "label_seconds": round(sum(float(frame["seconds"]) for frame in frames), 1),
    }


def provenance(figures: dict[str, dict[str, float]], rejected: int) -> dict[str, object]:
    """What is needed to repeat the run."""
    return {
        "method": METHOD,
        "tblite_accuracy": ACCURACY,
        "versions": {
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "tblite": version("tblite"),
        },
        "seed": SEED,
        "molecules": N_MOLECULES,
        "reference_edge_angstrom": EDGE,
        "frames_per_temperature": {str(k): v for k, v in FRAMES.items()},
        "time_step_fs": TIME_STEP,
        "steps": {
            "melt": STEPS_MELT,
            "equilibrate": STEPS_EQUILIBRATE,
            "between_frames": STEPS_BETWEEN,
        },
        "force_field": asdict(ForceField()),
        "systems": figures,
        "rejected_frames": rejected,
    }


def check(output: Path) -> None:
    """Print stored labels of one strained frame beside finite differences of the energy."""
    directory = output / "data_0" / "set.000"
    boxes = np.load(directory / "box.npy").astype(np.float64).reshape(-1, 3, 3)
    frame = int(np.argmax(np.abs(boxes[:, 1, 0]) + np.abs(boxes[:, 2, 0])))
    cell = boxes[frame]
    positions = np.load(directory / "coord.npy")[frame].astype(np.float64).reshape(-1, 3)
    force = np.load(directory / "force.npy")[frame].reshape(-1, 3)
    virial = np.load(directory / "virial.npy")[frame].reshape(3, 3)

    def energy(x: np.ndarray, h: np.ndarray) -> float:
        return label(x, h, accuracy=0.01)[0]

    print(f"frame {frame} of data_0; stored, finite difference, difference")
    stored = float(np.load(directory / "energy.npy")[frame])
    again = energy(positions, cell)
    print(f"energy (eV)     {stored:16.6f} {again:16.6f} {stored - again:12.2e}")
    for atom, axis in ((0, 0), (1, 1), (101, 2)):
        unit = np.zeros_like(positions)
        unit[atom, axis] = 1.0

        def moved(step: float, unit: np.ndarray = unit) -> float:
            return energy(positions + step * unit, cell)

        slope, value = -slope_at_zero(moved, 2e-3), force[atom, axis]
        print(f"force  {atom:3d} {axis} (eV/Å) {value:12.6f} {slope:16.6f} {value - slope:12.2e}")
    for a, b in ((0, 0), (1, 1), (1, 0), (2, 0)):
        unit = np.zeros((3, 3))
        unit[a, b] = 1.0

        def strained(step: float, unit: np.ndarray = unit) -> float:
            deform = np.eye(3) + step * unit
            return energy(positions @ deform.T, cell @ deform.T)

        slope, value = -slope_at_zero(strained, 5e-4), virial[a, b]
        print(f"virial {a}{b} (eV)      {value:12.6f} {slope:16.6f} {value - slope:12.2e}")


def slope_at_zero(function: Callable[[float], float], step: float) -> float:
    """Derivative at zero by central differences of fourth order."""
    near = function(step) - function(-step)
    far = function(2 * step) - function(-2 * step)
    return (8 * near - far) / (12 * step)


def main() -> None:
    """Command line."""
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description="Make the GFN1-xTB water data set.")
    parser.add_argument("--output", type=Path, default=here.parent / "data")
    parser.add_argument("--scratch", type=Path, default=here / "scratch")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--check", action="store_true", help="finite differences of one stored frame"
    )
    arguments = parser.parse_args()
    if arguments.check:
        check(arguments.output)
        return
    arguments.scratch.mkdir(parents=True, exist_ok=True)
    tasks = [(s, t, arguments.scratch) for t, s in itertools.product(FRAMES, range(SYSTEMS))]
    start = time.perf_counter()
    rejected = 0
    context = multiprocessing.get_context("spawn")
    with context.Pool(arguments.processes) as pool:
        for done, result in enumerate(pool.imap_unordered(make_trajectory, tasks, 1), 1):
            system, temperature, bad, seconds = result
            rejected += bad
            left = (time.perf_counter() - start) / done * (len(tasks) - done)
            print(
                f"{done}/{len(tasks)} data_{system} {temperature} K: {seconds:.0f} s, "
                f"{bad} rejected; about {left / 60:.1f} min left",
                file=sys.stderr,
                flush=True,
            )
    figures = {f"data_{s}": collect(s, arguments.scratch, arguments.output) for s in range(SYSTEMS)}
    text = json.dumps(provenance(figures, rejected), indent=2) + "\n"
    (arguments.output / "provenance.json").write_text(text)


if __name__ == "__main__":
    main()
