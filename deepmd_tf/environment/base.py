# SPDX-License-Identifier: BSD-3-Clause
"""The geometry of the neighbours of each atom, which every dialect has in its own way."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import tensorflow.compat.v1 as tf

from deepmd_tf.environment.inputs import ModelInputs
from deepmd_tf.environment.spec import EnvironmentSpec


class PullBack(NamedTuple):
    """Derivatives of the energy with respect to the atoms.

    Attributes
    ----------
    force
        [n_frames, n_all * 3], eV/Å, minus the derivative with respect to coordinates.
    virial
        [n_frames, 9], eV, minus the derivative with respect to the strain ε of x'_a = x_a + ε_ab
        x_b.
    atom_virial
        [n_frames, n_all * 9], eV, the contribution of each pair at its neighbour.
    """

    force: tf.Tensor
    virial: tf.Tensor
    atom_virial: tf.Tensor

    @classmethod
    def sum(cls, parts: Sequence[PullBack]) -> PullBack:
        """The derivatives through several environments together."""
        return cls(*(functools.reduce(tf.add, tensors) for tensors in zip(*parts, strict=True)))


class PairGeometry(NamedTuple):
    """The neighbours of all centres, one after the other.

    Attributes
    ----------
    displacement
        [n_pairs, 3], Å, from the centre to the neighbour.
    center, neighbor
        int32 [n_pairs], rows frame · n_all + atom.
    """

    displacement: tf.Tensor
    center: tf.Tensor
    neighbor: tf.Tensor


class SlotGeometry(NamedTuple):
    """The neighbours of all centres, in the slots of the stock dialect.

    Attributes
    ----------
    rij
        [n_frames, n_loc · slots · 3], Å, from the centre to the neighbour, zero in empty slots.
    nlist
        int32 [n_frames, n_loc · slots], −1 in empty slots.
    """

    rij: tf.Tensor
    nlist: tf.Tensor


class Environment(ABC):
    """The neighbours of each local atom, as rows of numbers.

    A neighbour at x (from the centre, Å) has the row R = s (1, x/r, y/r, z/r), s = w(r)/r, or with
    one component R = (s), normalised by centre type as (R − avg)/std. Slots of the selection that
    have no neighbour are empty and hold the row of R = 0.

    Parameters
    ----------
    inputs
        Inputs of the graph.
    spec
        Which neighbours, and which numbers of each.
    avg, std
        [ntypes, components · slots], normalisation, tiled over the slots.

    Attributes
    ----------
    rows
        Rows of the neighbours, in the layout of the dialect: flat [n_pairs, components], without
        the empty slots, or padded [n_frames * n_loc, components · slots]. There once
        :meth:`build` was called.
    neighbor_types
        int32 [n_frames * n_loc, slots], types of the neighbours of padded rows, ``ntypes`` in empty
        slots. There where the selection is typed, once :meth:`build` was called.
    diagnostics
        Counters of neighbours and distances outside the training range: ``dropped`` (int64
        [ntypes], neighbours beyond the selection), ``max_found`` (int32 [ntypes], most neighbours
        of a type). Only those that the dialect knows. With one selection for all types each
        is one number, for all of them.
    built
        Others of the same inputs that were built before: what they have in common is not made
        again; to be set before :meth:`build`.
    close
        Å: the graph itself warns of closer atoms; to be set before :meth:`build`, 0: it does not.
    """

    native: ClassVar[bool] = False
    """Whether graphs of this dialect may hold operations that only this package has."""

    rows: tf.Tensor
    built: Sequence[Environment] = ()
    neighbor_types: tf.Tensor
    close: float = 0.0

    def __init__(
        self, inputs: ModelInputs, spec: EnvironmentSpec, avg: tf.Tensor, std: tf.Tensor
    ) -> None:
        self.inputs = inputs
        self.spec = spec
        self.avg = avg
        self.std = std
        self.diagnostics: dict[str, tf.Tensor] = {}

    @abstractmethod
    def build(self) -> None:
        """Add the rows to the graph."""

    @abstractmethod
    def pull_back(self, gradient: tf.Tensor) -> PullBack:
        """Force and virial of an energy, from its derivative ``gradient`` with respect to
        :attr:`rows`, in their shape.
        """

    def geometry(self) -> PairGeometry | SlotGeometry:
        """Where the neighbours are, for functions of distances; once :meth:`build` was called."""
        raise NotImplementedError(f"{type(self).__name__} keeps no distances")

    def pull_back_of(
        self, tensors: Sequence[tf.Tensor], gradients: Sequence[tf.Tensor], *, shared: bool = False
    ) -> PullBack:
        """As :meth:`pull_back`, through any functions ``tensors`` of the displacements of
        :meth:`geometry`.

        Parameters
        ----------
        tensors, gradients
            The functions, and derivatives of the energy with respect to them.
        shared
            Whether either atom of a pair has half of its virial.
        """
        raise NotImplementedError(f"{type(self).__name__} is pulled back through its rows only")

    def strained(self, x: tf.Tensor, center: tf.Tensor, neighbor: tf.Tensor) -> tf.Tensor:
        """The part of the displacements ``x`` [n, 3] that changes with a strain ε, by ε x.

        ``center`` and ``neighbor`` [n] are rows frame · n_all + atom.
        """
        fixed = self.inputs.displaced
        if fixed is None:
            return x
        return x + tf.gather(fixed, center) - tf.gather(fixed, neighbor)

    def at(self, inputs: ModelInputs, built: Sequence[Environment] = ()) -> Environment:
        """The same environment of other frames, built; ``built`` are others of these frames."""
        other = type(self)(inputs, self.spec, self.avg, self.std)
        other.built = built
        other.build()
        return other
