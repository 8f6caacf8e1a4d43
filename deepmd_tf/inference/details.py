# SPDX-License-Identifier: BSD-3-Clause
"""Detail files of ``dp test``: label and prediction side by side, one row per element or frame."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from deepmd_tf.errors import InputError
from deepmd_tf.files import GrowingFile, require_writable, unwritable
from deepmd_tf.inference.tested import Consumer, Tested
from deepmd_tf.metrics import cell_volumes

SUFFIXES = (".e.out", ".e_peratom.out", ".f.out", ".v.out", ".v_peratom.out", ".s.out", ".h.out")


def _columns(symbol: str, components: tuple[str, ...]) -> str:
    return " ".join(f"{side}_{symbol}{c}" for side in ("data", "pred") for c in components)


_TENSOR = tuple(a + b for a in "xyz" for b in "xyz")
_ENERGY, _FORCE = _columns("e", ("",)), _columns("f", ("x", "y", "z"))
_HESSIAN = f"{_columns('h', ('',))} (3Na*3Na matrix in row-major order)"
_VIRIAL, _STRESS = _columns("v", _TENSOR), _columns("s", _TENSOR)


class DetailFiles(Consumer):
    """Writes ``PREFIX.e.out`` and its siblings; use it in a ``with`` statement.

    =====================  =========================================================
    ``.e.out``             energy, eV
    ``.e_peratom.out``     energy per atom, eV
    ``.f.out``             force on each atom, eV/Å
    ``.v.out``             virial, eV (zeros as label where there is none)
    ``.v_peratom.out``     virial per atom, eV
    ``.s.out``             stress, eV/Å³; periodic systems with a virial label only
    ``.h.out``             Hessian, eV/Å²; an element per row, where it was compared
    =====================  =========================================================

    The first line of a file names the first system and the columns; further systems follow without
    a line of their own, except in ``.h.out``. Files of an earlier run are replaced when the new
    ones are complete, and stay if the test fails.

    Parameters
    ----------
    prefix
        A suffix in it is replaced, as ``details.out`` by ``details.e.out``.

    Raises
    ------
    InputError
        When the folder does not exist or cannot be written to.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.prefix = Path(prefix)
        self._files: dict[str, GrowingFile] = {}
        self._headed: set[tuple[str, str]] = set()

    def __enter__(self) -> DetailFiles:
        try:
            for suffix in SUFFIXES:
                # known before the test, which may take long
                require_writable(self.prefix.with_suffix(suffix))
        except ValueError as error:
            raise InputError(f"{self.prefix}: no prefix of detail files ({error})") from None
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        if kind is not None:
            for file in self._files.values():
                file.discard()
            return
        for suffix in SUFFIXES:
            if suffix in self._files:
                try:
                    self._files.pop(suffix).keep()
                except InputError:
                    for file in self._files.values():
                        file.discard()
                    raise
            else:
                self.prefix.with_suffix(suffix).unlink(missing_ok=True)

    def add(self, tested: Tested) -> None:
        """Append frames."""
        system, natoms = tested.system, tested.natoms
        prediction, labels = tested.prediction, tested.labels
        energy = _side_by_side(labels["energy"], prediction["energy"], 1)
        force = _side_by_side(labels["force"], prediction["force"], 3)
        virial = _side_by_side(labels["virial"], prediction["virial"], 9)
        self._write(".e.out", energy, f"{system}: {_ENERGY}")
        self._write(".e_peratom.out", energy / natoms, f"{system}: {_ENERGY}")
        self._write(".f.out", force, f"{system}: {_FORCE}")
        self._write(".v.out", virial, f"{system}: {_VIRIAL}")
        self._write(".v_peratom.out", virial / natoms, f"{system}: {_VIRIAL}")
        if tested.periodic and labels["find_virial"]:
            stress = -virial / cell_volumes(labels["box"])[:, None]
            self._write(".s.out", stress, f"{system} (eV/Å³): {_STRESS}")
        if "hessian" in prediction:
            hessian = _side_by_side(labels["hessian"], prediction["hessian"], 1)
            self._write(".h.out", hessian, f"{system}: {_HESSIAN}", each=True)

    def _write(self, suffix: str, rows: np.ndarray, header: str, each: bool = False) -> None:
        """Append rows; ``header`` comes before the first ones, or before those of each system."""
        first = suffix not in self._files
        if first:
            self._files[suffix] = GrowingFile(self.prefix.with_suffix(suffix))
        if each:
            first = (suffix, header) not in self._headed
            self._headed.add((suffix, header))
        file = self._files[suffix]
        try:
            np.savetxt(file.stream, rows, header=header if first else "")
        except OSError as error:
            raise unwritable(file.path, error) from None


def _side_by_side(label: np.ndarray, prediction: np.ndarray, width: int) -> np.ndarray:
    return np.concatenate(
        [np.reshape(label, (-1, width)), np.reshape(prediction, (-1, width))], axis=1
    )
