# SPDX-License-Identifier: BSD-3-Clause
"""Draw the learning curve (lcurve.out) beside parity plots (files of ``dp --tf test -d PREFIX``).

python plot.py --lcurve lcurve.out --detail detail -o water.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

TERMS = (
    ("rmse_e", "energy / eV per atom"),
    ("rmse_f", "force / eV/Å"),
    ("rmse_v", "virial / eV per atom"),
)


def read_lcurve(path: Path) -> dict[str, np.ndarray]:
    """Columns of a learning curve by the names of its first line."""
    names = path.read_text(encoding="utf-8").splitlines()[0].lstrip("#").split()
    table = np.loadtxt(path, ndmin=2)
    return dict(zip(names, table.T, strict=True))


def draw_lcurve(ax: plt.Axes, columns: dict[str, np.ndarray]) -> None:
    """Errors against the step, validation as lines and training batches as dots."""
    for k, (key, label) in enumerate(TERMS):
        for suffix, style in (
            ("trn", {"ls": "", "marker": ".", "ms": 2, "alpha": 0.5}),
            ("val", {}),
        ):
            values = columns.get(f"{key}_{suffix}")
            if values is not None:
                name = label if suffix == "val" else None
                ax.plot(columns["step"], values, color=f"C{k}", label=name, **style)
    ax.set(xlabel="training step", ylabel="RMSE", yscale="log", title="learning curve")
    ax.legend(frameon=False, title="lines: validation, dots: training")


def draw_parity(ax: plt.Axes, label: np.ndarray, model: np.ndarray, unit: str, title: str) -> None:
    """Model against label, with the diagonal and the errors."""
    error = model - label
    low, high = min(label.min(), model.min()), max(label.max(), model.max())
    ax.plot([low, high], [low, high], color="0.6", lw=1)
    ax.plot(label, model, ls="", marker=".", ms=3, alpha=0.4, rasterized=True)
    rmse, mae = np.sqrt(np.mean(error**2)), np.mean(np.abs(error))
    ax.set(xlabel=f"label / {unit}", ylabel=f"model / {unit}", title=title, aspect="equal")
    ax.text(0.05, 0.95, f"RMSE {rmse:.3g}\nMAE {mae:.3g} {unit}", transform=ax.transAxes, va="top")


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lcurve", type=Path, default=Path("lcurve.out"))
    parser.add_argument("--detail", default="detail", help="prefix given to dp --tf test -d")
    parser.add_argument("-o", "--output", type=Path, default=Path("water.png"))
    args = parser.parse_args()

    energy = np.loadtxt(f"{args.detail}.e_peratom.out", ndmin=2)
    force = np.loadtxt(f"{args.detail}.f.out", ndmin=2)
    virial = np.loadtxt(f"{args.detail}.v_peratom.out", ndmin=2)
    energy = 1000 * (energy - energy[:, 0].mean())

    figure, axes = plt.subplots(2, 2, figsize=(10, 9), constrained_layout=True)
    draw_lcurve(axes[0, 0], read_lcurve(args.lcurve))
    draw_parity(axes[0, 1], *energy.T, "meV/atom", "energy, from the mean of the labels")
    draw_parity(axes[1, 0], force[:, :3].ravel(), force[:, 3:].ravel(), "eV/Å", "force components")
    draw_parity(
        axes[1, 1], 1000 * virial[:, :9].ravel(), 1000 * virial[:, 9:].ravel(), "meV/atom", "virial"
    )
    figure.savefig(args.output, dpi=150)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
