# SPDX-License-Identifier: BSD-3-Clause
"""Functions of the distances of an atom's neighbours, in each dialect: the energy of a tabulated
pair potential, and the switch to it by the smallest distance.

Each has a value for every local atom, [n_frames, n_loc], and a pull-back: force and virial of the
sum of the values, each times the derivative of the energy with respect to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.environment import (
    ANGULAR,
    Environment,
    EnvironmentSpec,
    ModelInputs,
    PairGeometry,
    PullBack,
    SlotGeometry,
)
from deepmd_tf.nn.first_values import Value
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.ops import stock_pair_table as stock


@dataclass(frozen=True)
class TableTensors:
    """Splines of a table of pair potentials in the graph.

    Attributes
    ----------
    info, data
        See :meth:`deepmd_tf.pair_table.PairTable.coefficients`.
    """

    info: tf.Tensor
    data: tf.Tensor

    @classmethod
    def get(cls, parameters: Parameters, info: np.ndarray, data: np.ndarray) -> TableTensors:
        """The table as parameters that are not trained, with these arrays as first values."""
        return cls(
            *(
                parameters.get(name, array.shape, tf.float64, Value(array), trainable=False)
                for name, array in ((names.TAB_INFO, info), (names.TAB_DATA, data))
            )
        )


@dataclass(frozen=True)
class SoftMin:
    """The switch λ(s) of an atom by the smooth smallest distance s of its neighbours.

    s = Σ_j r_j w_j / Σ_j w_j with w_j = exp(−r_j/α); λ is 1 below ``rmin``, 0 from ``rmax`` on and
    without neighbours, and u³ (−6u² + 15u − 10) + 1 with u = (s − rmin)/(rmax − rmin) between. All
    in Å, rounded to float32 in every dialect, as graphs carry them so.
    """

    alpha: float
    rmin: float
    rmax: float

    def __post_init__(self) -> None:
        for name in ("alpha", "rmin", "rmax"):
            object.__setattr__(self, name, float(np.float32(getattr(self, name))))

    def switch(self, sums: tf.Tensor) -> tf.Tensor:
        """λ from Σ r w and Σ w, [..., 2]."""
        total, weight = sums[..., 0], sums[..., 1]
        found = weight > 0
        s = tf.where_v2(found, total / tf.where_v2(found, weight, tf.ones_like(weight)), self.rmax)
        u = tf.clip_by_value((s - self.rmin) / (self.rmax - self.rmin), 0.0, 1.0)
        return 1.0 + u * u * u * (u * (15.0 - 6.0 * u) - 10.0)


class PairTerm(Protocol):
    """A value of each local atom that depends on the distances of its neighbours.

    Attributes
    ----------
    values
        [n_frames, n_loc], in the type of the interface.
    """

    values: tf.Tensor

    def pull_back(self, adjoint: tf.Tensor) -> PullBack:
        """Force and virial of Σ_i adjoint_i values_i, where ``adjoint`` [n_frames, n_loc] is held
        fixed."""
        ...


def pair_energy(environment: Environment, table: TableTensors, scale: tf.Tensor | None) -> PairTerm:
    """E_i = ½ Σ_j φ(r_ij), eV, over the neighbours of an environment.

    Either atom of a pair has half of its virial.

    Parameters
    ----------
    scale
        What the adjoint of the pull-back will be; None: ones.
    """
    geometry = environment.geometry()
    if isinstance(geometry, SlotGeometry):
        return _StockEnergy(environment, geometry, table, scale)
    return _PairTerm(environment, _half_energies(environment, geometry, table))


def soft_min_switch(environment: Environment, soft_min: SoftMin) -> PairTerm:
    """λ_i of the neighbours of an environment; virials are those of the neighbours."""
    geometry = environment.geometry()
    if isinstance(geometry, SlotGeometry):
        return _StockSwitch(environment, geometry, soft_min)
    return _PairSwitch(environment, geometry, soft_min)


class PairSums:
    """Sums of functions of distances over the neighbours of each local atom, where pairs are
    flat.

    Parameters
    ----------
    inputs, geometry
        Of an environment.

    Attributes
    ----------
    local
        int32 [n_pairs], the centre of each pair among the local atoms of all frames.
    nearest
        float64 [n_pairs], distance of the nearest neighbour of the same centre, a constant.
    """

    def __init__(self, inputs: ModelInputs, geometry: PairGeometry) -> None:
        self.inputs = inputs
        self.geometry = geometry
        n_all = tf.maximum(inputs.n_all, 1)
        frame = geometry.center // n_all
        self.local = geometry.center - frame * (n_all - inputs.n_loc)
        self.n_centers = tf.size(inputs.local_type)
        r = tf.stop_gradient(distances(geometry.displacement))
        least = tf.math.unsorted_segment_min(r, self.local, self.n_centers)
        self.nearest = tf.stop_gradient(tf.gather(least, self.local))

    def sum(self, values: tf.Tensor) -> tf.Tensor:
        """[n_centers, ...] from values [n_pairs, ...]."""
        return tf.math.unsorted_segment_sum(values, self.local, self.n_centers)

    def framed(self, values: tf.Tensor) -> tf.Tensor:
        """[n_frames, n_loc] from [n_centers], in the type of the interface."""
        return tf.reshape(tf.cast(values, self.inputs.dtype), [-1, self.inputs.n_loc])


def distances(displacement: tf.Tensor) -> tf.Tensor:
    """float64 [n], Å, from displacements [n, 3]; a power of ten more exact than the interface."""
    x = tf.cast(displacement, tf.float64)
    return tf.sqrt(tf.reduce_sum(x * x, axis=1))


def soft_min_terms(r: tf.Tensor, nearest: tf.Tensor, alpha: float) -> tf.Tensor:
    """(r w, w) of pairs, [n, 2]. A common factor of the w of an atom keeps them from vanishing, and
    changes nothing."""
    w = tf.exp((nearest - r) / alpha)
    return tf.stack([r * w, w], axis=1)


def spline(
    r: tf.Tensor, geometry: PairGeometry, inputs: ModelInputs, table: TableTensors, *, native: bool
) -> tf.Tensor:
    """φ(r) of pairs [n], eV, of the types of the two atoms; without ``native`` by operations of
    TensorFlow only, where atoms that are closer than the table begins have energies that are not
    numbers."""
    if native:
        pair = (geometry.center, geometry.neighbor, inputs.type)
        return ops.pair_spline(r, *pair, table.info, table.data)
    n, ntypes = (tf.cast(table.info[k], tf.int32) for k in (2, 3))
    place = (r - table.info[0]) / table.info[1]
    k = tf.clip_by_value(tf.cast(tf.floor(place), tf.int32), 0, n - 1)
    types = tf.reshape(inputs.type, [-1])
    i, j = (tf.gather(types, atom) for atom in geometry[1:])
    a = tf.gather(tf.reshape(table.data, [-1, 4]), (i * ntypes + j) * n + k)
    u = place - tf.cast(k, tf.float64)
    value = ((a[:, 0] * u + a[:, 1]) * u + a[:, 2]) * u + a[:, 3]
    value = tf.where_v2(place < tf.cast(n, tf.float64), value, tf.zeros_like(value))
    # added, as a branch that is not taken still has a derivative
    return value + tf.where_v2(place >= 0, tf.zeros_like(place), float("nan"))


def _half_energies(
    environment: Environment, geometry: PairGeometry, table: TableTensors
) -> tf.Tensor:
    inputs = environment.inputs
    r = distances(geometry.displacement)
    energy = 0.5 * spline(r, geometry, inputs, table, native=environment.native)
    sums = PairSums(inputs, geometry)
    return sums.framed(sums.sum(energy))


class _PairTerm:
    """A term of flat pairs whose virial is shared by the two atoms."""

    shared = True

    def __init__(self, environment: Environment, values: tf.Tensor) -> None:
        self.environment = environment
        self.values = values

    def pull_back(self, adjoint: tf.Tensor) -> PullBack:
        return self.environment.pull_back_of([self.values], [adjoint], shared=self.shared)


class _PairSwitch(_PairTerm):
    shared = False

    def __init__(self, environment: Environment, geometry: PairGeometry, soft_min: SoftMin) -> None:
        sums = PairSums(environment.inputs, geometry)
        r = distances(geometry.displacement)
        terms = sums.sum(soft_min_terms(r, sums.nearest, soft_min.alpha))
        super().__init__(environment, sums.framed(soft_min.switch(terms)))


class _StockEnergy:
    def __init__(
        self,
        environment: Environment,
        geometry: SlotGeometry,
        table: TableTensors,
        scale: tf.Tensor | None,
    ) -> None:
        inputs, (rij, nlist) = environment.inputs, geometry
        sel_a, sel_r = _sections(environment.spec)
        if scale is None:
            scale = tf.ones([tf.shape(rij)[0], inputs.n_loc], inputs.dtype)
        atoms = (inputs.type, rij, nlist, inputs.natoms)
        self._scale, self._n_all = scale, inputs.n_all
        self._table = stock.pair_tab(
            table.info, table.data, *atoms, scale, sel_a=sel_a, sel_r=sel_r
        )
        self.values = self._table.atom_energy

    def pull_back(self, adjoint: tf.Tensor) -> PullBack:
        if adjoint is not self._scale:
            raise ValueError("the operation PairTab was given another scale")
        atom_virial = tf.reshape(self._table.atom_virial, [-1, self._n_all, 9])
        return PullBack(
            force=self._table.force,
            virial=tf.reduce_sum(atom_virial, axis=1),
            atom_virial=self._table.atom_virial,
        )


class _StockSwitch:
    def __init__(self, environment: Environment, geometry: SlotGeometry, soft_min: SoftMin) -> None:
        inputs, (rij, nlist) = environment.inputs, geometry
        sel_a, sel_r = _sections(environment.spec)
        self._rij, self._neighbors = rij, (nlist, inputs.natoms)
        self._counts = {"n_a_sel": sum(sel_a), "n_r_sel": sum(sel_r)}
        switch = stock.soft_min_switch(
            inputs.type,
            rij,
            nlist,
            inputs.natoms,
            sel_a=sel_a,
            sel_r=sel_r,
            alpha=soft_min.alpha,
            rmin=soft_min.rmin,
            rmax=soft_min.rmax,
        )
        self.values, self._derivative = switch

    def pull_back(self, adjoint: tf.Tensor) -> PullBack:
        force = stock.soft_min_force(adjoint, self._derivative, *self._neighbors, **self._counts)
        virial = stock.soft_min_virial(
            adjoint, self._derivative, self._rij, *self._neighbors, **self._counts
        )
        return PullBack(force, virial.virial, virial.atom_virial)


def _sections(spec: EnvironmentSpec) -> tuple[list[int], list[int]]:
    """Slots of each type with directions and without."""
    counts, none = list(spec.selection.counts), [0] * spec.selection.n_sections
    return (counts, none) if spec.components == ANGULAR else (none, counts)
