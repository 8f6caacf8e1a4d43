# SPDX-License-Identifier: BSD-3-Clause
"""Predictions, labels and errors as extended XYZ, for ASE, OVITO and the like."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from deepmd_tf.errors import InputError
from deepmd_tf.files import GrowingFile, require_writable, unwritable
from deepmd_tf.inference.tested import Consumer, Tested
from deepmd_tf.metrics import cell_volumes

SUFFIXES = (".xyz", ".extxyz")
DIGITS = "%.15g"


class ExtendedXYZ(Consumer):
    """Writes the frames of a test with what the model says of them.

    Predictions have the names under which ASE expects results, labels the same with ``ref_``; a
    label that does not exist is left out.

    =====================  ====================================================================
    of each atom
    ``forces``             F, eV/Å
    ``ref_forces``         label
    ``force_error``        abs(F − F̂), eV/Å
    ``atom_energy``        with energies of atoms: E_i, eV; ``ref_atom_energy``
    of the frame
    ``energy``             E, eV; ``ref_energy``; ``energy_error``: (E − Ê)/N, eV
    ``virial``             −∂E/∂ε, eV; ``ref_virial``
    ``stress``             (1/V) ∂E/∂ε = −virial/V, eV/Å³, positive under tension, as in ASE;
                           ``ref_stress``
    ``system``             directory, ``set`` and ``frame`` (counted from 0) in it
    =====================  ====================================================================

    3 x 3 matrices are in the order of the columns, as the format has it.

    Parameters
    ----------
    path
        File, ``.xyz`` or ``.extxyz``.

    Raises
    ------
    InputError
        When it cannot be written there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = require_writable(path, SUFFIXES, "file of extended XYZ")

    def __enter__(self) -> ExtendedXYZ:
        self._file = GrowingFile(self.path)
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is None:
            self._file.keep()
        else:
            self._file.discard()

    def add(self, tested: Tested) -> None:
        """Append frames."""
        if not {"energy", "force"} <= tested.prediction.keys():
            raise InputError(
                f"{self.path}: frames are written with energies and forces, which this model does "
                "not predict; leave the option out, or take --detail-file"
            )
        try:
            for text in _frames(tested):
                self._file.stream.write(text)
        except OSError as error:
            raise unwritable(self.path, error) from None


def _frames(tested: Tested) -> Iterator[str]:
    batch, labels, natoms = tested.batch, tested.labels, tested.natoms
    nf = batch.nframes

    def found(name: str) -> bool:
        return bool(labels.get(f"find_{name}", 0.0))

    def values(arrays: Mapping[str, Any], name: str, *shape: int) -> np.ndarray:
        return np.asarray(arrays[name], dtype=np.float64).reshape(nf, *shape)

    columns = {"pos": values(labels, "coord", natoms, 3)}
    columns["forces"] = values(tested.prediction, "force", natoms, 3)
    if found("force"):
        columns["ref_forces"] = values(labels, "force", natoms, 3)
        error = np.linalg.norm(columns["forces"] - columns["ref_forces"], axis=2)
        columns["force_error"] = error[..., None]
    if "atom_ener" in tested.prediction:
        columns["atom_energy"] = values(tested.prediction, "atom_ener", natoms, 1)
        if found("atom_ener"):
            columns["ref_atom_energy"] = values(labels, "atom_ener", natoms, 1)

    info = {"energy": values(tested.prediction, "energy", 1)}
    if found("energy"):
        info["ref_energy"] = values(labels, "energy", 1)
        info["energy_error"] = (info["energy"] - info["ref_energy"]) / natoms
    if tested.periodic:
        box = values(labels, "box", 3, 3)
        volume = cell_volumes(box)[:, None, None]
        sources = [("", tested.prediction), *([("ref_", labels)] if found("virial") else [])]
        for prefix, source in sources:
            virial = values(source, "virial", 3, 3).swapaxes(1, 2)
            info[f"{prefix}virial"] = virial.reshape(nf, 9)
            info[f"{prefix}stress"] = (-virial / volume).reshape(nf, 9)

    species = [tested.type_map[t] if tested.type_map else f"Type_{t}" for t in tested.types]
    properties = ":".join(f"{name}:R:{array.shape[2]}" for name, array in columns.items())
    table = np.concatenate(list(columns.values()), axis=2)
    row = " ".join([DIGITS] * table.shape[2])
    for k in range(nf):
        words = [f"Properties=species:S:1:{properties}"]
        if tested.periodic:
            words.insert(0, f'Lattice="{_numbers(box[k].reshape(-1))}"')
        words.append(f'pbc="{" ".join(["T" if tested.periodic else "F"] * 3)}"')
        words += [f"{name}={_quoted(_numbers(array[k]))}" for name, array in info.items()]
        words.append(f"system={_quoted(tested.system)} set={_quoted(batch.set_name)}")
        words.append(f"frame={batch.frames[k]}")
        lines = [
            f"{s} {row % tuple(numbers)}"
            for s, numbers in zip(species, table[k].tolist(), strict=True)
        ]
        yield "\n".join([str(natoms), " ".join(words), *lines, ""])


def _numbers(values: np.ndarray) -> str:
    return " ".join(DIGITS % value for value in values)


def _quoted(text: str) -> str:
    """The value of a key: in quotes if it needs them."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if not text or set(text) & set(' ="\\,[]{}') else text
