# SPDX-License-Identifier: BSD-3-Clause
"""Statistics of the training data for a new model: neighbour counts, normalisation, energy bias."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.data import Batch
from deepmd_tf.data.batch import FREE_MESH, VIRTUAL
from deepmd_tf.environment import RADIAL, Cutoff, EnvironmentSpec, ModelInputs, Selection
from deepmd_tf.environment.native import NativeEnvironment
from deepmd_tf.errors import DataError
from deepmd_tf.nn.embedding import both_ways
from deepmd_tf.ops.threads import open_session

logger = logging.getLogger(__name__)

UNLIMITED = 1_000_000
"""A ``sel`` that no list of neighbours reaches."""
STD_FLOOR = 1e-2
"""Smallest standard deviation of environment rows."""


@dataclasses.dataclass(frozen=True)
class NeighborStatistics:
    """Neighbours in a data set.

    Attributes
    ----------
    min_distance
        Smallest distance of two atoms, Å; infinite when no two atoms are closer than the cutoff.
    max_neighbors
        int [ntypes]: most neighbours of each type around one atom.
    """

    min_distance: float
    max_neighbors: np.ndarray


class _PairReader:
    """Evaluates pair lists, and what depends on them only, over batches."""

    def __init__(self, spec: EnvironmentSpec) -> None:
        self._graph = tf.Graph()
        with self._graph.as_default():
            inputs = ModelInputs.make_placeholders(spec.ntypes, tf.float64)
            shape = (spec.ntypes, spec.components)
            avg, std = tf.zeros(shape, tf.float64), tf.ones(shape, tf.float64)
            environment = NativeEnvironment(inputs, spec, avg, std)
            environment.build()
            x, pairs = environment.displacement, environment.pairs
            distance2 = tf.reduce_sum(x * x, axis=1)
            self._nearest = (tf.reduce_min(distance2), pairs.max_found)
            types = tf.reshape(inputs.type, [-1])
            pair_types = [tf.gather(types, index) for index in (pairs.center, pairs.neighbor)]
            self._rows = (environment.rows, *pair_types)
            self._placeholders = inputs.placeholders

    def __enter__(self) -> _PairReader:
        self._session = open_session(graph=self._graph)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def nearest(self, batch: Batch) -> tuple[float, np.ndarray]:
        """Smallest squared distance (infinite without pairs), and most neighbours of each type."""
        return self._session.run(self._nearest, self._feed(batch))

    def rows(self, batch: Batch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows [n_pairs, components] that are not normalised, types of centres and of neighbours
        [n_pairs]."""
        return self._session.run(self._rows, self._feed(batch))

    def _feed(self, batch: Batch) -> dict:
        arrays = batch.arrays
        box = arrays["box"] if batch.periodic else np.zeros((batch.nframes, 9))
        return {
            self._placeholders[names.T_COORD]: arrays["coord"].ravel(),
            self._placeholders[names.T_TYPE]: arrays["type"].ravel(),
            self._placeholders[names.T_NATOMS]: batch.natoms,
            self._placeholders[names.T_BOX]: box.ravel(),
            self._placeholders[names.T_MESH]: batch.mesh,
        }


def neighbor_statistics(
    batches: Iterable[Batch], *, ntypes: int, rcut: float
) -> NeighborStatistics:
    """Smallest distance and largest numbers of neighbours closer than ``rcut`` (Å), images
    included.
    """
    return neighbor_statistics_within(batches, ntypes=ntypes, rcuts=[rcut])[0]


def neighbor_statistics_within(
    batches: Iterable[Batch], *, ntypes: int, rcuts: Sequence[float]
) -> list[NeighborStatistics]:
    """The same for several cutoffs, in one pass."""
    smallest = np.full(len(rcuts), np.inf)
    most = np.zeros((len(rcuts), ntypes), dtype=np.int64)
    everyone = Selection((UNLIMITED,) * ntypes)
    with contextlib.ExitStack() as opened:
        readers = [
            opened.enter_context(
                _PairReader(EnvironmentSpec(Cutoff(rcut, 0.5 * rcut), everyone, ntypes))
            )
            for rcut in rcuts
        ]
        for batch in batches:
            for k, reader in enumerate(readers):
                distance2, found = reader.nearest(batch)
                smallest[k] = min(smallest[k], distance2)
                most[k] = np.maximum(most[k], found)
    distances = np.sqrt(smallest).tolist()
    return [NeighborStatistics(*found) for found in zip(distances, most, strict=True)]


def as_one_type(batch: Batch) -> Batch:
    """The same frames with all atoms of type 0, of which there is one."""
    arrays = {**batch.arrays, "type": np.minimum(batch.arrays["type"], 0)}
    natoms = np.repeat(batch.natoms[:1], 3)
    return dataclasses.replace(batch, arrays=arrays, natoms=natoms)


def without_masked(batch: Batch) -> Batch:
    """The same frames without the atoms that their mask leaves out, and without periodic images."""
    types = np.where(batch.arrays["aparam"] == 0, VIRTUAL, batch.arrays["type"])
    return dataclasses.replace(batch, arrays={**batch.arrays, "type": types}, mesh=FREE_MESH)


def resolve_sel(sel: str | Sequence[int], max_neighbors: np.ndarray) -> list[int]:
    """Numbers for ``sel``: as given, or from ``"auto"`` / ``"auto:factor"``.

    Automatic values are factor (1.1) times the largest number of neighbours, cut to an integer and
    rounded up to a multiple of 4.
    """
    if not isinstance(sel, str):
        return [int(n) for n in sel]
    _, _, given = sel.partition(":")
    factor = float(given) if given else 1.1
    return [4 * math.ceil(int(n * factor) / 4) for n in max_neighbors]


def environment_sums(batches: Iterable[Batch], spec: EnvironmentSpec) -> np.ndarray:
    """Sums over all slots of the environment rows (s, x, y, z) or (s), by type of the centre.

    Returns
    -------
    np.ndarray
        [ntypes, 5]: number of slots, Σ s, Σ s², Σ (x + y + z)/3, Σ (x² + y² + z²)/3; [ntypes, 3]
        for radial rows. Empty slots count with rows of zeros.
    """
    ntypes = spec.ntypes
    excluded = np.zeros((ntypes, ntypes), dtype=bool)
    for pair in both_ways(spec.exclude_types):
        excluded[pair] = True
    groups = [slice(0, 1), slice(1, 4)][: 1 if spec.components == RADIAL else 2]
    sums = np.zeros((1 + 2 * len(groups), ntypes))
    with _PairReader(spec) as reader:
        for batch in batches:
            rows, center, neighbor = reader.rows(batch)
            rows = np.where(excluded[center, neighbor][:, None], 0.0, rows)
            chosen = [rows[:, group] for group in groups]
            parts = [power.mean(axis=1) for part in chosen for power in (part, part**2)]
            sums[1:] += [np.bincount(center, weights=part, minlength=ntypes) for part in parts]
            sums[0] += batch.counts.sum(axis=0) * spec.selection.n_slots
    return sums.T


def environment_scale(sums: np.ndarray, rcut: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the environment rows by type of the centre: avg, std [ntypes,
    components], from their sums.

    The mean of the first component is kept, the mean of the other three is zero by symmetry; their
    standard deviation is one number. Standard deviations below 0.01 are set to 0.01; a type without
    atoms gets 1/rcut.
    """
    slots = sums[:, 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        mean, square = sums[:, 1::2].T / slots, sums[:, 2::2].T / slots
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    std = np.where(slots == 0, 1.0 / rcut, np.maximum(std, STD_FLOOR))
    std = np.stack([std[0], *(3 * list(std[1:]))], axis=1)
    avg = np.zeros_like(std)
    avg[:, 0] = np.where(slots == 0, 0.0, mean[0])
    return avg, std


def energy_bias(
    batches: Iterable[Batch],
    *,
    ntypes: int,
    rcond: float | None = None,
    atom_ener: Sequence[float | None] = (),
) -> tuple[np.ndarray, float]:
    """Energy of an atom of each type, by linear regression of the energies of the frames.

    Minimises |A b − E|² with A[f, t] the atoms of type t in frame f; the solution of least norm
    when the data do not determine it (one composition).

    Parameters
    ----------
    batches
        Frames; those without energies are skipped.
    ntypes
        Number of types.
    rcond
        Singular values below this fraction of the largest count as zero; None is the machine
        precision.
    atom_ener
        Known energies of isolated atoms, eV, by type; None where not known. They are kept.

    Returns
    -------
    bias
        [ntypes], eV; zeros where no frame has an energy.
    rmse
        Root mean square of the remaining energy per atom, eV.
    """
    matrix, energy = _frame_energies(batches, ntypes)
    known = np.array([e is not None for e in atom_ener] + [False] * (ntypes - len(atom_ener)))
    bias = np.array(
        [0.0 if e is None else e for e in atom_ener] + [0.0] * (ntypes - len(atom_ener))
    )
    if not len(energy):
        return bias, float("nan")
    if not known.all():
        rest = energy - matrix[:, known] @ bias[known]
        bias[~known] = np.linalg.lstsq(matrix[:, ~known], rest, rcond=rcond)[0]
    if not np.isfinite(bias).all():
        raise DataError(
            "the regression of the energies of the frames has no finite solution; check energy.npy"
        )
    residual = (matrix @ bias - energy) / matrix.sum(axis=1)
    return bias, float(np.sqrt(np.mean(residual**2)))


def energy_spread(batches: Iterable[Batch], bias: np.ndarray) -> float:
    """Standard deviation of E − Σ bias over the frames, eV; not a number without energies."""
    matrix, energy = _frame_energies(batches, len(bias))
    return float(np.std(energy - matrix @ bias)) if len(energy) else float("nan")


def _frame_energies(batches: Iterable[Batch], ntypes: int) -> tuple[np.ndarray, np.ndarray]:
    """Atoms of each type [n_frames, ntypes] and energies [n_frames] of frames that have one."""
    counts, energies = [np.zeros((0, ntypes))], [np.zeros(0)]
    for batch in batches:
        if batch.arrays["find_energy"]:
            # virtual atoms that stand for spins may have no bias of their own
            counts.append(batch.counts[:, :ntypes])
            energies.append(np.ravel(batch.arrays["energy"]))
    return np.concatenate(counts), np.concatenate(energies)


def parameter_sums(batches: Iterable[Batch], key: str, dim: int) -> np.ndarray:
    """Count, Σ p and Σ p² of each parameter: [dim, 3].

    Parameters
    ----------
    batches
        With the array ``key``.
    key
        "fparam": the sums are over frames; "aparam": over the atoms of all frames.
    dim
        Parameters of a frame, of an atom.
    """
    rows = np.concatenate([_parameters(batch, key, dim) for batch in batches]).astype(np.float64)
    return np.stack([np.full(dim, float(len(rows))), rows.sum(axis=0), (rows**2).sum(axis=0)], 1)


def _parameters(batch: Batch, key: str, dim: int) -> np.ndarray:
    """Parameters of all frames, or of all atoms that are there: [n, dim]."""
    rows = batch.arrays[key].reshape(-1, dim)
    return rows[batch.arrays["type"].reshape(-1) >= 0] if key == "aparam" else rows


def parameter_scale(sums: np.ndarray, protect: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse standard deviation [dim] from :func:`parameter_sums`.

    Standard deviations (⟨p²⟩ − ⟨p⟩²)^½ below ``protect`` are set to it.
    """
    count, total, square = sums.T
    mean = total / count
    std = np.sqrt(np.maximum(square / count - mean**2, 0.0))
    return mean, 1.0 / np.maximum(std, protect)


def sel_warnings(
    sel: Sequence[int], max_neighbors: np.ndarray, path: str = "", by_type: bool = True
) -> Iterator[str]:
    """One message for each type whose ``sel`` is smaller than the data need, or, if not
    ``by_type``, for all types together; ``path`` stands in front of the key.
    """
    for atom_type, (given, needed) in enumerate(zip(sel, max_neighbors, strict=True)):
        if given < needed:
            of_type = f" of type {atom_type}" if by_type else ""
            yield (
                f"{path}sel{of_type} is not enough! The expected value is not less than "
                f"{needed}, but you set it to {given}. The accuracy of your model may get worse."
            )
