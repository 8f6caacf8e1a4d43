# SPDX-License-Identifier: BSD-3-Clause
"""Base class of descriptors: features of each atom, from the rows of its neighbours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import tensorflow.compat.v1 as tf

from deepmd_tf.config import AnyDescriptorConfig
from deepmd_tf.config.descriptors import PartConfig
from deepmd_tf.descriptors.contraction import Contraction
from deepmd_tf.descriptors.contraction_flat import FlatContraction
from deepmd_tf.environment import EnvironmentSpec
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.type_embedding import TypeEmbedding


@dataclass(frozen=True)
class Features:
    """Result of :meth:`Descriptor.build`.

    Attributes
    ----------
    by_type
        Descriptors D of the atoms of each type as
        :meth:`~deepmd_tf.environment.ModelInputs.split_types` cuts them: [n_frames, n, dim_out].
    moments
        For each environment [n_frames * n_loc, …], the sum over neighbours that its part of D is a
        function of; only for descriptors with a :class:`SecondOrder`.
    matrices
        Those moments [n_frames * n_loc, 4, M1] whose rows 1 to 3 turn with the atoms, in the order
        of the environments.
    """

    by_type: list[tf.Tensor]
    moments: tuple[tf.Tensor, ...] = ()
    matrices: tuple[tf.Tensor, ...] = ()

    def turning(self, dtype: tf.DType) -> tf.Tensor:
        """Directions of each atom, the rows x, y, z of its moments: [n_frames * n_loc, M1, 3], with
        the M1 of all moments together; DeePMD-kit calls them rotation matrices.
        """
        found = [tf.cast(matrix[:, 1:4], dtype) for matrix in self.matrices]
        joined = tf.concat(found, axis=2) if len(found) > 1 else found[0]
        return tf.transpose(joined, [0, 2, 1])


class SecondOrder(ABC):
    """Second derivatives of a descriptor D(A) of a moment A = Σ_p A_p, to which each pair adds a
    function of its displacement alone; in the native dialect. D is that of one environment, and
    ``dim_out`` its length.
    """

    dim_out: int

    @abstractmethod
    def pair_moments(
        self,
        contraction: FlatContraction,
        displacement: tf.Tensor,
        parameters: Parameters,
        pairs: slice,
        times: int,
    ) -> tf.Tensor:
        """A_p, the contribution of each of ``pairs`` to A: [n_pairs * times, …].

        ``displacement`` [n_pairs * times, 3], Å, has ``times`` consecutive displacements for each
        pair.
        """

    @abstractmethod
    def tangents(self, moment: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
        """Derivatives of D along tangents of A: [n_frames, k, n, dim_out].

        ``moment`` is [n_frames, n, …], ``along`` [n_frames, k, n, …].
        """

    @abstractmethod
    def curvature(self, adjoint: tf.Tensor, along: tf.Tensor) -> tf.Tensor:
        """Second derivative of ⟨adjoint, D⟩ along pairs of tangents of A: [n_frames, k, k].

        ``adjoint`` is [n_frames, n, dim_out], ``along`` [n_frames, k, n, …].
        """


class Descriptor(ABC):
    """Invariant features of each atom.

    A descriptor says which environments it needs, and makes features of their rows. It knows
    nothing of forces: those follow from the rows.

    Parameters
    ----------
    config
        The ``descriptor`` section.
    ntypes
        Number of atom types.
    original_sel
        ``sel`` of the first training of the model, by the scope of the environment, when it was
        another one.
    scope
        Suffix of the names of averages, attributes and weights; "" but for parts of another
        descriptor.
    types
        The type embedding of the model, of which there is one for descriptor and fitting: what a
        descriptor of parts hands on to each of them. None: types are told apart by nets of their
        own.
    """

    config_class: ClassVar[type[AnyDescriptorConfig]]
    """The section of the input script."""
    dialects: tuple[str, ...] = ("native", "reference")
    """Those of :data:`~deepmd_tf.descriptors.layouts.LAYOUTS` in which it can be built."""

    def __init__(
        self,
        config: AnyDescriptorConfig,
        ntypes: int,
        original_sel: Mapping[str, tuple[int, ...]] | None = None,
        scope: str = "",
        types: TypeEmbedding | None = None,
    ) -> None:
        self.config = config
        self.ntypes = ntypes
        self.original_sel = original_sel
        self.scope = scope
        self.types = types

    @property
    @abstractmethod
    def dim_out(self) -> int:
        """Features of an atom."""

    @abstractmethod
    def environments(self) -> list[EnvironmentSpec]:
        """The environments that are needed, with ``sel`` resolved to numbers."""

    def divisor_of(self, spec: EnvironmentSpec) -> int:
        """Σ ``sel`` of the first training, which sums over the neighbours in an environment are
        divided by.
        """
        if self.original_sel is None:
            return spec.selection.n_slots
        return sum(self.original_sel.get(spec.scope, spec.selection.counts))

    @abstractmethod
    def build(self, contractions: Sequence[Contraction], parameters: Parameters) -> Features:
        """Features of all local atoms, from one :class:`Contraction` for each environment."""

    @abstractmethod
    def weight_count(self) -> int:
        """Number of trained numbers, the steps of all layers included that could have one; does
        not depend on ``sel``.
        """

    @property
    def turning_width(self) -> int:
        """Directions of an atom (:meth:`Features.turning`); 0 where the descriptor keeps none."""
        return 0

    @property
    def table_count(self) -> int:
        """Functions of one number s that are tabulated in the native dialect."""
        return 0

    @property
    def arguments_per_pair(self) -> float:
        """At how many numbers s the nets are evaluated for each pair of a centre and a neighbour,
        about, where there is no table.
        """
        return 1.0

    @property
    def trains_on_hessians(self) -> bool:
        """Whether the operations of its graph have the third derivatives that takes."""
        return True

    def second_order(self) -> list[SecondOrder]:
        """Second derivatives for whole Hessians, for each environment those of its part of D;
        empty where there are no formulas. Products of Hessians and vectors need none.
        """
        return []

    def describe(self) -> str:
        """Kind, cutoff and neighbours, for a line of text."""
        return "; ".join(_in_words(part.config) for part in self.config.parts())


def _in_words(config: PartConfig) -> str:
    numbers = config.sel if isinstance(config.sel, str) else " ".join(map(str, config.sel))
    reach = "all atoms" if config.reach is None else f"rcut {config.reach[0]:g} Å"
    return f"{config.type}, {reach}, sel {numbers}"
