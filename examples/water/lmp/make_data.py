# SPDX-License-Identifier: BSD-3-Clause
"""Write ``water.data`` for LAMMPS: a frame at 300 K in the cubic cell, of the validation data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SYSTEM = Path(__file__).resolve().parents[1] / "data" / "data_3"
FRAME = 0


def text() -> str:
    """The content of the file; types 1 and 2 are O and H."""
    coords = np.load(SYSTEM / "set.000" / "coord.npy")[FRAME].reshape(-1, 3)
    cell = np.load(SYSTEM / "set.000" / "box.npy")[FRAME].reshape(3, 3)
    types = np.loadtxt(SYSTEM / "type.raw", dtype=int)
    assert not np.any(cell - np.diag(np.diag(cell))), "expected a cell along the axes"
    lines = [f"water, 64 molecules: {SYSTEM.name}, frame {FRAME}", ""]
    lines += [f"{len(types)} atoms", "2 atom types", ""]
    lines += [f"0 {cell[i, i]:.7g} {axis}lo {axis}hi" for i, axis in enumerate("xyz")]
    lines += ["", "Atoms # atomic", ""]
    lines += [
        f"{number} {kind + 1} {x:.7g} {y:.7g} {z:.7g}"
        for number, (kind, (x, y, z)) in enumerate(zip(types, coords, strict=True), 1)
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("water.data").write_text(text())
