# SPDX-License-Identifier: BSD-3-Clause
"""Errors of predictions by quantity: the same sums for training, validation and ``dp test``.

Sums are kept rather than means, so that errors of parts combine exactly into the error of the
whole: over all elements of all frames of all systems

    MAE = sum w abs(d) / sum w,    RMSE = sqrt(sum w d² / sum w),    d = prediction - label,

with w = 1 unless elements are weighted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Frames of a system, predictions beside labels.

    Attributes
    ----------
    prediction
        Arrays by the name of their data item, those that were computed.
    labels
        The arrays of a :class:`~deepmd_tf.data.Batch`.
    natoms
        Atoms of a frame.
    periodic
        Whether the frames have a box.
    real_types
        Number of types; atoms of others stand for spins. None: there are no such atoms.
    selected
        bool [natoms], which atoms have a tensor; None: there are no such atoms.
    """

    prediction: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    natoms: int
    periodic: bool
    real_types: int | None = dataclasses.field(default=None, kw_only=True)
    selected: np.ndarray | None = dataclasses.field(default=None, kw_only=True)

    def of_atoms(self, *, spins: bool) -> np.ndarray:
        """bool [natoms], which atoms stand for spins, or which do not."""
        virtual = np.zeros(self.natoms, bool)
        if self.real_types is not None:
            virtual = np.ravel(self.labels["type"])[: self.natoms] >= self.real_types
        return virtual if spins else ~virtual

    def has_label(self, name: str) -> bool:
        """Whether the frames have the label ``name``, that is, ``find_<name>`` is 1."""
        return bool(self.labels.get(f"find_{name}", 0.0))

    def has_both(self, name: str) -> bool:
        """Whether the data item ``name`` is a label and was predicted too."""
        return name in self.prediction and self.has_label(name)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Predictions beside labels, both to be multiplied by ``scale``.

    Attributes
    ----------
    prediction, label
        Arrays with equally many elements.
    scale
        Factor of both, of a shape that broadcasts to that of ``label``.
    weight
        w of each element; None: 1.
    """

    prediction: np.ndarray
    label: np.ndarray
    scale: np.ndarray | float = 1.0
    weight: np.ndarray | None = None


Compare = Callable[[Evaluated], Comparison | None]


def elements(item: str) -> Compare:
    """Elements of a data item as they are."""

    def compare(frames: Evaluated) -> Comparison | None:
        if not frames.has_both(item):
            return None
        return Comparison(frames.prediction[item], frames.labels[item])

    return compare


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A predicted quantity whose error is reported; the definition of that error.

    Attributes
    ----------
    name
        Name in tables for programs.
    words
        Name in reports, with ``{}`` for MAE or RMSE.
    unit
        Unit of the errors.
    label
        Data item that it is compared with.
    compare
        Gives what is compared in frames; None where a label or a prediction is missing.
    symbol
        Short name in ``validation_metric``; empty where it is not one of them.
    averaged
        Whether ``dp test`` reports it for all systems together too.
    log_unit
        Unit of a thousandth, in ``val.log``; of those with a symbol.
    measures
        Which errors ``dp test`` reports.
    """

    name: str
    words: str
    unit: str
    label: str
    compare: Callable[[Evaluated], Comparison | None]
    symbol: str = ""
    averaged: bool = True
    log_unit: str = ""
    measures: tuple[str, ...] = ("MAE", "RMSE")


def per_atom(value: float, natoms: int, power: float = 1) -> float:
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


class Errors(dict[Quantity, ErrorSum]):
    """The error of each quantity of a model; its weight stays 0 where there is no label.

    Parameters
    ----------
    quantities
        Those of the kind of model, in the order of reports.
    """

    def __init__(self, quantities: Iterable[Quantity]) -> None:
        super().__init__((quantity, ErrorSum()) for quantity in quantities)

    def add(self, frames: Evaluated) -> None:
        """Add frames of a system."""
        for quantity, error in self.items():
            if (one := quantity.compare(frames)) is not None:
                error.add(one.prediction, one.label, weight=one.weight, scale=one.scale)

    @property
    def by_name(self) -> dict[str, ErrorSum]:
        """The errors by the name of the quantity."""
        return {quantity.name: error for quantity, error in self.items()}

    def __iadd__(self, other: Mapping[Quantity, ErrorSum]) -> Errors:
        for quantity, error in self.items():
            error += other[quantity]
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
