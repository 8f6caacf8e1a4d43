# SPDX-License-Identifier: BSD-3-Clause
"""A training that takes a second: two small systems with the energies of a pair potential."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import small

from deepmd_tf.data import write_system

TYPES = np.array([0, 1, 1, 0, 1, 1])
EDGE = 7.0
"""Å, of the periodic cell."""

INPUT = small.script()


def pair_potential(coord: np.ndarray, edge: float | None) -> dict[str, np.ndarray]:
    """E = Σ exp(−r²/2) in eV over pairs, nearest images if there is an ``edge`` in Å."""
    x = coord[:, None, :, :] - coord[:, :, None, :]  # from atom i to atom j
    if edge is not None:
        x -= edge * np.round(x / edge)
    pair = np.exp(-0.5 * np.sum(x**2, axis=-1)) * (1 - np.eye(coord.shape[1]))
    force = -np.einsum("fij,fijk->fik", pair, x)  # of j on i, along −x
    virial = 0.5 * np.einsum("fij,fija,fijb->fab", pair, x, x)
    return {
        "energy": 0.5 * pair.sum(axis=(1, 2)),
        "force": force.reshape(len(coord), -1),
        "virial": virial.reshape(len(coord), 9),
    }


def pair_hessian(coord: np.ndarray, edge: float | None) -> np.ndarray:
    """Second derivatives of :func:`pair_potential`, eV/Å²: [n_frames, 3 n, 3 n]."""
    x = coord[:, None, :, :] - coord[:, :, None, :]
    if edge is not None:
        x -= edge * np.round(x / edge)
    n = coord.shape[1]
    pair = np.exp(-0.5 * np.sum(x**2, axis=-1)) * (1 - np.eye(n))
    bend = (x[..., :, None] * x[..., None, :] - np.eye(3)) * pair[..., None, None]
    own = np.einsum("fijab->fiab", bend)
    blocks = np.einsum("ij,fiab->fijab", np.eye(n), own) - bend
    return blocks.transpose(0, 1, 3, 2, 4).reshape(len(coord), 3 * n, 3 * n)


def add_hessians(folder: Path, systems: str = "*/*") -> None:
    """Give the sets of systems in ``folder/data`` the second derivatives of their energies."""
    for path in sorted(folder.glob(f"data/{systems}/set.*")):
        edge = None if (path.parent / "nopbc").exists() else EDGE
        coord = np.load(path / "coord.npy").reshape(-1, len(TYPES), 3)
        hessian = pair_hessian(coord, edge)
        np.save(path / "hessian.npy", hessian.reshape(len(hessian), -1))


def pair_tensors(coord: np.ndarray, edge: float | None) -> dict[str, np.ndarray]:
    """Labels that turn with the atoms: of atoms of type 0 a dipole moment Σ x exp(−r²/2) and a
    polarisability 1 + Σ x xᵀ exp(−r²/2), and of all atoms a density of states of three numbers.
    """
    x = coord[:, None, :, :] - coord[:, :, None, :]
    if edge is not None:
        x -= edge * np.round(x / edge)
    n, r2 = coord.shape[1], np.sum(x**2, axis=-1)
    pair = np.exp(-0.5 * r2) * (1 - np.eye(n))
    chosen = TYPES == 0
    dipole = np.einsum("fij,fijk->fik", pair, x)[:, chosen]
    polar = (np.eye(3) + np.einsum("fij,fija,fijb->fiab", pair, x, x))[:, chosen]
    grid = np.exp(-((np.sqrt(r2)[..., None] - np.arange(1.0, 4.0)) ** 2))
    dos = np.einsum("ij,fijk->fik", 1 - np.eye(n), grid)
    labels = {"dipole": dipole, "polarizability": polar, "dos": dos}
    found = {}
    for name, atoms in labels.items():
        found[name] = atoms.sum(axis=1).reshape(len(coord), -1)
        of_atoms = "atom_dos" if name == "dos" else f"atomic_{name}"
        found[of_atoms] = atoms.reshape(len(coord), -1)
    return found


def add_tensors(folder: Path, systems: str = "*/*") -> None:
    """Give the sets of systems in ``folder/data`` the labels of :func:`pair_tensors`."""
    for path in sorted(folder.glob(f"data/{systems}/set.*")):
        edge = None if (path.parent / "nopbc").exists() else EDGE
        coord = np.load(path / "coord.npy").reshape(-1, len(TYPES), 3)
        for name, values in pair_tensors(coord, edge).items():
            np.save(path / f"{name}.npy", values)


def tensor_sections(kind: str, **fitting_net: Any) -> dict[str, Any]:
    """Sections ``fitting_net`` and ``loss`` of a model of these labels."""
    section = {"type": kind, "neuron": [6, 6], "seed": 1, **fitting_net}
    if kind == "dos":
        terms = ("dos", "ados", "cdf", "acdf")
        keys = {f"{when}_pref_{term}": 0.5 for when in ("start", "limit") for term in terms}
        return {"fitting_net": section | {"numb_dos": 3}, "loss": {"type": "dos", **keys}}
    section.setdefault("sel_type", [0])
    return {"fitting_net": section, "loss": {"type": "tensor", "pref": 1.0, "pref_atomic": 0.5}}


def write_data(folder: Path, seed: int, nframes: int, edge: float | None) -> None:
    """Frames of atoms on a jittered lattice."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid([0.0, 2.0], [0.0, 2.0, 4.0], [0.0]), axis=-1).reshape(-1, 3)
    coord = lattice + rng.uniform(-0.4, 0.4, (nframes, len(TYPES), 3))
    labels = pair_potential(coord, edge)
    if edge is None:
        del labels["virial"]
    box = None if edge is None else np.tile(edge * np.eye(3), (nframes, 1, 1))
    write_system(
        folder,
        types=TYPES,
        coord=coord,
        box=box,
        type_map=["O", "H"],
        frames_per_set=4,
        **labels,
    )


def write_all_data(folder: Path) -> None:
    """Training and validation systems in ``folder/data``."""
    systems = (("train/cell", 1, EDGE), ("train/free", 2, None), ("valid/cell", 3, EDGE))
    for name, seed, edge in systems:
        write_data(folder / "data" / name, seed, 8, edge)


def make_mixed_frames(seed: int, nframes: int, edge: float | None) -> list[dict[str, np.ndarray]]:
    """Frames of three to six atoms of two elements: ``types``, ``coord`` and labels of each."""
    rng = np.random.default_rng(seed)
    lattice = np.stack(np.meshgrid([0.0, 2.0], [0.0, 2.0, 4.0], [0.0]), axis=-1).reshape(-1, 3)
    frames = []
    for _ in range(nframes):
        places = rng.choice(len(lattice), rng.integers(3, 7), replace=False)
        coord = lattice[places] + rng.uniform(-0.4, 0.4, (len(places), 3))
        labels = {name: values[0] for name, values in pair_potential(coord[None], edge).items()}
        frames.append({"types": rng.integers(0, 2, len(places)), "coord": coord, **labels})
    return frames


def write_mixed(folder: Path, frames: list[dict[str, np.ndarray]], edge: float | None) -> None:
    """A system of the mixed type, with atoms at random places among virtual ones."""
    rng = np.random.default_rng(0)
    width = 2 + max(len(frame["types"]) for frame in frames)
    types = np.full((len(frames), width), -1)
    coord, force = rng.normal(size=(2, len(frames), width, 3))
    for k, frame in enumerate(frames):
        places = rng.permutation(width)[: len(frame["types"])]
        types[k, places], coord[k, places] = frame["types"], frame["coord"]
        force[k, places] = frame["force"].reshape(-1, 3)
    labels = {"energy": np.array([frame["energy"] for frame in frames]), "force": force}
    if edge is not None:
        labels["virial"] = np.array([frame["virial"] for frame in frames])
    write_system(
        folder,
        types=np.zeros(width, int),
        coord=coord,
        box=None if edge is None else np.tile(edge * np.eye(3), (len(frames), 1, 1)),
        type_map=["O", "H"],
        frames_per_set=(len(frames) + 1) // 2,
        real_atom_types=types,
        **labels,
    )


def write_each(folder: Path, frames: list[dict[str, np.ndarray]], edge: float | None) -> None:
    """The same frames as one ordinary system each, ``folder/000`` and so on."""
    for k, frame in enumerate(frames):
        names = ("energy", "force") + (() if edge is None else ("virial",))
        write_system(
            folder / f"{k:03d}",
            types=frame["types"],
            coord=frame["coord"][None],
            box=None if edge is None else edge * np.eye(3)[None],
            type_map=["O", "H"],
            **{name: np.asarray(frame[name])[None] for name in names},
        )


def add_parameters(folder: Path, seed: int = 5) -> None:
    """Give every set in ``folder/data`` one frame parameter f and two of each atom, a and b.

    Each atom has the energy 0.4 f + 0.3 a more; b does nothing.
    """
    rng = np.random.default_rng(seed)
    for path in sorted(folder.glob("data/*/*/set.*")):
        energy = np.load(path / "energy.npy")
        fparam = rng.uniform(2.0, 4.0, (len(energy), 1))
        aparam = rng.uniform(-1.0, 0.0, (len(energy), len(TYPES), 2))
        energy += 0.4 * len(TYPES) * fparam[:, 0] + 0.3 * aparam[:, :, 0].sum(axis=1)
        arrays = {"energy": energy, "fparam": fparam, "aparam": aparam.reshape(len(energy), -1)}
        for name, array in arrays.items():
            np.save(path / f"{name}.npy", array)


def write_script(
    folder: Path, script: dict[str, Any] | None = None, **sections: dict[str, Any]
) -> Path:
    """Write ``input.json``: ``script`` (:data:`INPUT`) with these keys of sections changed."""
    script = copy.deepcopy(script or INPUT)
    for section, keys in sections.items():
        script[section] = script.get(section, {}) | keys
    path = folder / "input.json"
    path.write_text(json.dumps(script))
    return path


def steps_in(curve: Path) -> list[int]:
    """Steps of the rows of a learning curve."""
    return [int(line.split()[0]) for line in curve.read_text().splitlines() if line[0] != "#"]
