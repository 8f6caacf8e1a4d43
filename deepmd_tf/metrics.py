# SPDX-License-Identifier: BSD-3-Clause
"""Errors of predictions: the same sums for training, validation and ``dp test``.

Sums are kept rather than means, so that errors of parts combine exactly into the error of the
whole: over all elements of all frames of all systems

    MAE = sum w abs(d) / sum w,    RMSE = sqrt(sum w d² / sum w),    d = prediction - label,

with w = 1 unless elements are weighted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Quantity:
    """Something of which errors are taken.

    Attributes
    ----------
    name
        Member of :class:`EnergyErrors`.
    words
        Name in reports, with ``{}`` for MAE or RMSE.
    unit
        Unit of the errors.
    symbol
        Short name in ``validation_metric``; empty where it is not one of them.
    label
        Data item that it is compared with.
    """

    name: str
    words: str
    unit: str
    label: str
    symbol: str = ""


QUANTITIES = (
    Quantity("energy", "Energy {}", "eV", "energy"),
    Quantity("energy_per_atom", "Energy {}/Natoms", "eV", "energy", "E"),
    Quantity("force", "Force  {}", "eV/Å", "force", "F"),
    Quantity("weighted_force", "Force weighted {}", "eV/Å", "force"),
    Quantity("virial", "Virial {}", "eV", "virial"),
    Quantity("virial_per_atom", "Virial {}/Natoms", "eV", "virial", "V"),
    Quantity("stress", "Stress {}", "eV/Å³", "virial", "S"),
    Quantity("atom_energy", "Atomic ener {}", "eV", "atom_ener"),
    Quantity("hessian", "Hessian {}", "eV/Å^2", "hessian"),
)
"""In the order of reports."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Predictions beside labels of one :class:`Quantity`, to be multiplied by ``scale``.

    Attributes
    ----------
    name
        Member of :class:`EnergyErrors`.
    prediction, label
        Arrays with equally many elements.
    scale
        Factor of both, of a shape that broadcasts to that of ``label``.
    weight
        w of each element; None: 1.
    """

    name: str
    prediction: np.ndarray
    label: np.ndarray
    scale: np.ndarray | float = 1.0
    weight: np.ndarray | None = None


def comparisons(
    prediction: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    *,
    natoms: int,
    periodic: bool,
) -> Iterator[Comparison]:
    """What there is to compare in frames of a system: the definition of every error.

    Parameters
    ----------
    prediction
        ``energy`` [nf], ``force`` [nf, 3 nat], ``virial`` [nf, 9], ``atom_ener`` [nf, nat] and
        ``hessian`` [nf, (3 nat)²], as far as they were computed.
    labels
        The arrays of a :class:`~deepmd_tf.data.Batch`. An item counts if its ``find_<name>`` is
        1 and it was predicted; virial and stress count in periodic systems only. With
        ``atom_ener_coeff`` among them the energy of a frame is that of :func:`fitted_energy`.
    natoms
        Atoms of a frame.
    periodic
        Whether the frames have a box.
    """

    def known(name: str) -> bool:
        return name in prediction and bool(labels.get(f"find_{name}", 0.0))

    if known("energy"):
        energy = fitted_energy(prediction, labels), labels["energy"]
        yield Comparison("energy", *energy)
        yield Comparison("energy_per_atom", *energy, scale=per_atom(1.0, natoms))
    if known("force"):
        force = prediction["force"], labels["force"]
        yield Comparison("force", *force)
        if bool(labels.get("find_atom_pref", 0.0)):
            yield Comparison("weighted_force", *force, weight=labels["atom_pref"])
    if known("virial") and periodic:
        virial = prediction["virial"], np.reshape(labels["virial"], (-1, 9))
        volume = cell_volumes(labels["box"])
        yield Comparison("virial", *virial)
        yield Comparison("virial_per_atom", *virial, scale=per_atom(1.0, natoms))
        yield Comparison("stress", *virial, scale=-1.0 / volume[:, None])
    if known("atom_ener"):
        yield Comparison("atom_energy", prediction["atom_ener"], labels["atom_ener"])
    if known("hessian"):
        yield Comparison("hessian", prediction["hessian"], labels["hessian"])


def fitted_energy(
    prediction: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> np.ndarray:
    """What the label of the energy is compared with, shaped as the prediction.

    The energy, or Σ c_i E_i where c is there (``atom_ener_coeff``) and E_i is predicted.
    """
    energy = np.asarray(prediction["energy"])
    if "atom_ener_coeff" not in labels or "atom_ener" not in prediction:
        return energy
    coefficients = np.asarray(labels["atom_ener_coeff"], dtype=np.float64)
    parts = coefficients * np.reshape(prediction["atom_ener"], coefficients.shape)
    return np.sum(parts, axis=1).reshape(energy.shape)


def per_atom(value: float, natoms: int, power: int = 1) -> float:
    """``value`` / N^power: how an extensive quantity is shown."""
    return value * float(natoms) ** -power


def root(mean_square: float) -> float:
    """√mean w d²: what is shown for a mean square; nan if weights made it negative."""
    return math.nan if mean_square < 0 else math.sqrt(mean_square)


@dataclasses.dataclass
class ErrorSum:
    """Sums over elements: w, w abs(d) and w d²."""

    weight: float = 0.0
    absolute: float = 0.0
    square: float = 0.0

    def add(
        self,
        prediction: np.ndarray,
        label: np.ndarray,
        weight: np.ndarray | None = None,
        scale: np.ndarray | float = 1.0,
    ) -> None:
        """Add the elements of two arrays with the same number of elements.

        Parameters
        ----------
        prediction, label
            Arrays of any shape.
        weight
            w of each element, by default 1.
        scale
            Factor of the differences, of a shape that broadcasts to that of `label`.

        Raises
        ------
        ValueError
            If the numbers of elements differ.
        """
        label = np.asarray(label, dtype=np.float64)
        prediction = np.asarray(prediction, dtype=np.float64)
        if prediction.size != label.size:
            raise ValueError(f"prediction {prediction.shape} does not fit the label {label.shape}")
        difference = (prediction.reshape(label.shape) - label) * scale
        if weight is None:
            self.weight += difference.size
            self.absolute += float(np.sum(np.abs(difference)))
            self.square += float(np.sum(difference * difference))
        else:
            weight = np.asarray(weight, dtype=np.float64).reshape(label.shape)
            self.weight += float(np.sum(weight))
            self.absolute += float(np.sum(np.abs(difference) * weight))
            self.square += float(np.sum(difference * difference * weight))

    def __iadd__(self, other: ErrorSum) -> ErrorSum:
        self.weight += other.weight
        self.absolute += other.absolute
        self.square += other.square
        return self

    @property
    def mae(self) -> float:
        """Mean absolute error; nan if nothing was added."""
        return self.absolute / self.weight if self.weight > 0 else math.nan

    @property
    def rmse(self) -> float:
        """Root of the mean square error; nan if nothing was added."""
        return root(self.square / self.weight) if self.weight > 0 else math.nan


@dataclasses.dataclass
class EnergyErrors:
    """Errors of an energy model.

    Each is an :class:`ErrorSum` whose weight stays 0 where there is no label: energy (eV), energy
    per atom, force (eV/Å), force weighted by ``atom_pref``, virial (eV), virial per atom, stress
    (eV/Å³), energy of the atoms (eV), Hessian (eV/Å²).
    """

    energy: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    energy_per_atom: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    force: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    weighted_force: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    virial: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    virial_per_atom: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    stress: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    atom_energy: ErrorSum = dataclasses.field(default_factory=ErrorSum)
    hessian: ErrorSum = dataclasses.field(default_factory=ErrorSum)

    def add(
        self,
        prediction: Mapping[str, np.ndarray],
        labels: Mapping[str, np.ndarray],
        *,
        natoms: int,
        periodic: bool,
    ) -> None:
        """Add frames of a system; arguments as those of :func:`comparisons`."""
        for one in comparisons(prediction, labels, natoms=natoms, periodic=periodic):
            error: ErrorSum = getattr(self, one.name)
            error.add(one.prediction, one.label, weight=one.weight, scale=one.scale)

    def __iadd__(self, other: EnergyErrors) -> EnergyErrors:
        for field in dataclasses.fields(self):
            mine: ErrorSum = getattr(self, field.name)
            mine += getattr(other, field.name)
        return self


@dataclasses.dataclass
class Spread:
    """Σ(y − ȳ)² of labels y that come in parts.

    The mean is moved along with each part, so that nothing cancels when the labels are large
    numbers that differ little.
    """

    count: int = 0
    mean: float = 0.0
    square: float = 0.0

    def add(self, values: np.ndarray) -> None:
        """Add values of any shape."""
        values = np.asarray(values, dtype=np.float64)
        if values.size == 0:
            return
        mean = float(values.mean())
        total = self.count + values.size
        shift = mean - self.mean
        self.square += float(np.sum((values - mean) ** 2))
        self.square += shift * shift * self.count * values.size / total
        self.mean += shift * values.size / total
        self.count = total


def r_squared(error: ErrorSum, spread: Spread) -> float:
    """R² = 1 − Σ d² / Σ(y − ȳ)²; nan where all labels y are equal."""
    return 1.0 - error.square / spread.square if spread.square > 0 else math.nan


def cell_volumes(box: np.ndarray) -> np.ndarray:
    """Volumes in Å³, float64 [nf], of the cells [nf, 9] with lattice vectors as rows."""
    return np.abs(np.linalg.det(np.asarray(box, dtype=np.float64).reshape(-1, 3, 3)))
