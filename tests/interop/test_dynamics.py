# SPDX-License-Identifier: BSD-3-Clause
"""In stock LAMMPS our files conserve the energy as well as one that stock itself froze."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stock_lammps
import stock_wheel
from stock_lammps import Case
from water_model import PLUGIN, Water

pytestmark = [*stock_wheel.needs_stock, pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 2000
TIMESTEP = 0.0005
"""ps"""


def conserved_energy(model: Path, frames, folder: Path, **variables: str) -> np.ndarray:
    """Total energy (eV) of 64 molecules at 300 K and constant volume: columns time (ps), energy."""
    case = Case(model, frames["coords"][0], frames["cells"][0], frames["types"])
    case.write_data(folder / "water.data")
    script = f"""
{case.start("water")}
velocity all create 300 4711 loop geom
timestep {TIMESTEP}
fix move all nve
variable total equal etotal
variable time equal step*dt
variable warmth equal temp
fix out all print 10 "${{time}} ${{total}} ${{warmth}}" file energy.out screen no
run {STEPS}
"""
    stock_lammps.run(script, folder, **variables)
    rows = np.loadtxt(folder / "energy.out")
    assert len(rows) == STEPS // 10 + 1
    assert np.all((rows[:, 2] > 100) & (rows[:, 2] < 400))  # a liquid, not an explosion
    return rows[:, :2]


def drift(rows: np.ndarray) -> float:
    """Slope of the energy, meV per atom and ps."""
    return float(1e3 * np.polyfit(rows[:, 0], rows[:, 1] / 192, 1)[0])


def ripple(rows: np.ndarray) -> float:
    """Standard deviation of the energy from its trend, meV per atom."""
    return float(1e3 * np.std(rows[:, 1] - np.polyval(np.polyfit(*rows.T, 1), rows[:, 0])) / 192)


@pytest.fixture(scope="session")
def stock_energy(once, frozen_by_stock, frames) -> np.ndarray:
    """What is conserved with the file that stock froze from the same weights."""

    def make(folder: Path) -> None:
        np.save(folder / "energy.npy", conserved_energy(frozen_by_stock, frames, folder))

    return np.load(once("stock_energy", make) / "energy.npy")


@pytest.mark.parametrize("kind", ["ours", "native", "compressed_by_stock", "compressed_by_ours"])
def test_energy_is_conserved(water: Water, kind, request, frames, stock_energy, tmp_path):
    model = getattr(water, kind, None) or request.getfixturevalue(kind)
    variables = PLUGIN if kind == "native" else {}
    energy = conserved_energy(model, frames, tmp_path, **variables)
    # trajectories that begin alike part after some hundred steps, as chaotic ones do
    np.testing.assert_allclose(energy[:20], stock_energy[:20], rtol=0, atol=1e-5)
    assert ripple(energy) < 1.1 * ripple(stock_energy)
    assert abs(drift(energy)) < abs(drift(stock_energy)) + 0.02
    assert abs(drift(stock_energy)) < 0.05
