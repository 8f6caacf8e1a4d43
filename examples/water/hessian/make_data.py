# SPDX-License-Identifier: BSD-3-Clause
"""Make the data set with Hessians: molecular dynamics and labels by GFN2-xTB.

    python -m pip install tblite ase
    python make_data.py --output data
    python make_data.py --output data --check

For each molecule or cluster: a minimum of the energy; trajectories of Langevin dynamics that start
there, some for training and others for testing; of each frame the energy, the forces and the
Hessian matrix. The Hessian is the derivative of tblite's analytic gradients, taken with the
five-point formula, and made symmetric. Labels belong to the stored coordinates, after their
rounding to float32. The run is seeded; it takes a few minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

try:
    import numpy as np
    from ase import Atoms, units
    from ase.build import molecule
    from ase.calculators.calculator import Calculator, all_changes
    from ase.md.langevin import Langevin
    from ase.optimize import BFGS
    from ase.vibrations import VibrationsData
    from tblite.interface import Calculator as TightBinding
except ModuleNotFoundError as error:
    raise SystemExit(
        f"make_data.py: {error.name} is not installed; labels are computed with tblite, in an "
        "environment of its own if you like: python -m pip install tblite ase"
    ) from None

BOHR = 0.529177210903  # Å, CODATA 2018
HARTREE = 27.211386245988  # eV, CODATA 2018

METHOD = "GFN2-xTB"
ACCURACY = 0.001  # of the self-consistent cycle, tblite's scale (default 1.0, smaller is tighter)
STEP = 0.005  # Å, of the finite differences
SEED = 20250
TYPE_MAP = ["O", "H", "C"]

TIME_STEP = 0.5  # fs
FRICTION = 0.02  # 1/fs
STEPS_EQUILIBRATE = 1000
STEPS_BETWEEN = 300
FRAMES = {"train": 10, "test": 5}  # of each trajectory; there is one for each temperature
MAX_CONTACT = 4.5  # Å; the run ends if an oxygen is further than this from all others


@dataclass(frozen=True)
class Species:
    """A molecule or cluster: temperatures of its trajectories, K; whether it is trained on."""

    temperatures: tuple[int, ...]
    trained: bool = True


SPECIES = {
    "monomer": Species((300, 500, 700, 900)),
    "dimer": Species((80, 120, 160, 200)),
    "trimer": Species((100, 150, 200, 250)),
    "ethanol": Species((300, 450, 600, 750)),
    "tetramer": Species((100, 150, 200, 250), trained=False),
}


class XTB(Calculator):
    """GFN2-xTB for ASE: energy in eV, forces in eV/Å; each cycle starts from the last one's."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (what ASE asks for)

    def __init__(self) -> None:
        super().__init__()
        self.method = None
        self.result = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        positions = self.atoms.positions / BOHR
        if self.method is None or "numbers" in system_changes:
            self.method = TightBinding(METHOD, self.atoms.numbers, positions)
            self.method.set("accuracy", ACCURACY)
            self.method.set("verbosity", 0)
            self.result = None
        else:
            self.method.update(positions)
        self.result = self.method.singlepoint(self.result)
        self.results = {
            "energy": float(self.result.get("energy")) * HARTREE,
            "forces": -self.result.get("gradient") * (HARTREE / BOHR),
        }


def start(name: str) -> Atoms:
    """A structure near the minimum; molecules of water one after another, as O H H."""
    if name == "ethanol":
        return molecule("CH3CH2OH")
    if name == "monomer":
        return molecule("H2O")
    if name == "dimer":
        return Atoms(
            "OH2OH2",
            [
                [0.0, 0.0, 0.0],
                [0.96, 0.0, 0.0],
                [-0.24, 0.93, 0.0],
                [2.9, 0.0, 0.0],
                [3.2, -0.5, 0.76],
                [3.2, -0.5, -0.76],
            ],
        )
    # Rings: each molecule gives one hydrogen to the next oxygen, the other hydrogens are
    # alternately above and below the plane of the ring.
    count = {"trimer": 3, "tetramer": 4}[name]
    angles = 2 * np.pi * np.arange(count) / count
    radius = 2.75 / (2 * np.sin(np.pi / count))
    oxygen = radius * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    ring = Atoms()
    for k, place in enumerate(oxygen):
        along = oxygen[(k + 1) % count] - place
        out = place / np.linalg.norm(place)
        up = (-1) ** k * np.array([0.0, 0.0, 0.75])
        positions = [place, place + 0.97 * along / np.linalg.norm(along), place + 0.6 * out + up]
        ring += Atoms("OH2", positions)
    return ring


def minimum(name: str) -> Atoms:
    """The relaxed structure; every vibration is real, or the run ends."""
    atoms = start(name)
    atoms.calc = XTB()
    BFGS(atoms, logfile=None).run(fmax=1e-4, steps=2000)
    atoms.positions -= atoms.get_center_of_mass()
    return atoms


def together(atoms: Atoms) -> bool:
    """Whether the molecules of a cluster are still one cluster: each oxygen near another."""
    oxygen = atoms.positions[atoms.numbers == 8]
    if len(oxygen) == 1:
        return True
    distance = np.linalg.norm(oxygen[:, None] - oxygen[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return bool(distance.min(axis=1).max() < MAX_CONTACT)


def trajectory(atoms: Atoms, temperature: int, frames: int, seed: list[int]) -> list[np.ndarray]:
    """Positions [n, 3] of ``frames`` frames of Langevin dynamics at a temperature in K."""
    rng = np.random.default_rng(seed)
    atoms = atoms.copy()
    atoms.calc = XTB()
    spread = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    atoms.set_momenta(rng.normal(size=atoms.positions.shape) * spread)
    dynamics = Langevin(
        atoms,
        TIME_STEP * units.fs,
        temperature_K=temperature,
        friction=FRICTION / units.fs,
        rng=rng,
        fixcm=False,
    )
    dynamics.run(STEPS_EQUILIBRATE)
    kept: list[np.ndarray] = []
    while len(kept) < frames:
        dynamics.run(STEPS_BETWEEN)
        if not together(atoms):
            raise RuntimeError(f"the cluster of {len(atoms)} atoms came apart at {temperature} K")
        kept.append(atoms.positions - atoms.get_center_of_mass())
    return kept


def label(numbers: np.ndarray, positions: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces [n, 3] (eV/Å) and Hessian [3n, 3n] (eV/Å²), not yet made symmetric."""
    atoms = Atoms(numbers, positions, calculator=XTB())
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    hessian = np.zeros((positions.size, positions.size))
    for row in range(positions.size):
        for steps, weight in ((1, 8.0), (-1, -8.0), (2, -1.0), (-2, 1.0)):
            moved = positions.copy()
            moved.flat[row] += steps * STEP
            atoms.positions = moved
            hessian[row] -= weight / (12 * STEP) * atoms.get_forces().reshape(-1)
    return energy, forces, hessian


def write_system(
    directory: Path, atoms: Atoms, positions: list[np.ndarray], temperatures: list[int]
) -> dict[str, float]:
    """Label the frames and write them as a system of one set; return a few figures."""
    coord = np.array(positions).astype(np.float32)
    labels = [label(atoms.numbers, frame.astype(np.float64)) for frame in coord]
    energy = np.array([energy for energy, _, _ in labels])
    force = np.array([forces for _, forces, _ in labels])
    raw = np.array([hessian for _, _, hessian in labels])
    hessian = (raw + raw.swapaxes(1, 2)) / 2
    (directory / "set.000").mkdir(parents=True, exist_ok=True)
    types = [TYPE_MAP.index(symbol) for symbol in atoms.symbols]
    (directory / "type.raw").write_text("".join(f"{kind}\n" for kind in types))
    (directory / "type_map.raw").write_text("".join(f"{symbol}\n" for symbol in TYPE_MAP))
    (directory / "nopbc").write_text("")
    (directory / "temperature.raw").write_text("".join(f"{value}\n" for value in temperatures))
    np.save(directory / "set.000" / "energy.npy", energy)
    for key, values in (("coord", coord), ("force", force), ("hessian", hessian)):
        flat = values.reshape(len(coord), -1).astype(np.float32)
        np.save(directory / "set.000" / f"{key}.npy", flat)
    return {
        "frames": len(coord),
        "largest_asymmetry_before_symmetrising": float(abs(raw - raw.swapaxes(1, 2)).max()),
        "largest_sum_over_atoms": float(
            abs(hessian.reshape(len(coord), -1, len(atoms), 3).sum(axis=2)).max()
        ),
    }


def make_species(name: str, output: Path) -> dict[str, object]:
    """All systems of one species."""
    species = SPECIES[name]
    began = time.perf_counter()
    relaxed = minimum(name)
    _, _, hessian = label(relaxed.numbers, relaxed.positions)
    modes = VibrationsData.from_2d(relaxed, (hessian + hessian.T) / 2).get_frequencies()[6:]
    if abs(modes.imag).max() > 0:
        raise RuntimeError(f"{name}: the relaxed structure is no minimum: {modes}")
    figures: dict[str, object] = {"frequencies_per_cm": [round(x, 2) for x in modes.real]}
    figures["minimum"] = write_system(output / "minimum" / name, relaxed, [relaxed.positions], [0])
    for k, purpose in enumerate(("train", "test")):
        if purpose == "train" and not species.trained:
            continue
        positions, temperatures = [], []
        for temperature in species.temperatures:
            seed = [SEED, list(SPECIES).index(name), k, temperature]
            positions += trajectory(relaxed, temperature, FRAMES[purpose], seed)
            temperatures += [temperature] * FRAMES[purpose]
        figures[purpose] = write_system(output / purpose / name, relaxed, positions, temperatures)
    figures["seconds"] = round(time.perf_counter() - began, 1)
    return figures


def check(output: Path) -> None:
    """Print stored Hessian elements of a frame beside second differences of the energy."""
    directory = output / "test" / "ethanol"
    frame = 0
    coord = np.load(directory / "set.000" / "coord.npy")[frame].astype(np.float64).reshape(-1, 3)
    stored = np.load(directory / "set.000" / "hessian.npy")[frame].reshape(coord.size, -1)
    symbols = [TYPE_MAP[int(kind)] for kind in (directory / "type.raw").read_text().split()]
    atoms = Atoms(symbols, coord, calculator=XTB())

    def energy(row: int, column: int, a: float, b: float) -> float:
        moved = coord.copy()
        moved.flat[row] += a
        moved.flat[column] += b
        atoms.positions = moved
        return atoms.get_potential_energy()

    d = 0.01
    print(f"frame {frame} of {directory}; stored, second difference of the energy (eV/Å²)")
    for row, column in ((0, 0), (0, 3), (4, 10), (7, 20)):
        value = (
            energy(row, column, d, d)
            - energy(row, column, d, -d)
            - energy(row, column, -d, d)
            + energy(row, column, -d, -d)
        ) / (4 * d * d)
        print(f"hessian {row:2d} {column:2d} {stored[row, column]:12.5f} {value:12.5f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("data"))
    parser.add_argument("--check", action="store_true", help="compare labels, write nothing")
    options = parser.parse_args()
    if options.check:
        check(options.output)
        return
    systems = {}
    for name in SPECIES:
        systems[name] = make_species(name, options.output)
        print(name, json.dumps(systems[name]), flush=True)
    provenance = {
        "method": METHOD,
        "tblite_accuracy": ACCURACY,
        "difference_step_angstrom": STEP,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("numpy", "ase", "tblite")},
        },
        "seed": SEED,
        "time_step_fs": TIME_STEP,
        "friction_per_fs": FRICTION,
        "steps": {"equilibrate": STEPS_EQUILIBRATE, "between_frames": STEPS_BETWEEN},
        "temperatures_kelvin": {name: each.temperatures for name, each in SPECIES.items()},
        "systems": systems,
    }
    (options.output / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")


if __name__ == "__main__":
    main()
