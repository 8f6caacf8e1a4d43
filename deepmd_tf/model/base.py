# SPDX-License-Identifier: BSD-3-Clause
"""What every model is to those who train it, freeze it or evaluate it."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import tensorflow.compat.v1 as tf

from deepmd_tf.config import AnyModelConfig
from deepmd_tf.descriptors import Contraction, neighbor_limits
from deepmd_tf.environment import ModelInputs, NeighborLimit
from deepmd_tf.nn.parameters import Parameters

M = TypeVar("M", bound="Model")


class Model(ABC):
    """A model of the section ``model``, of any kind.

    Attributes
    ----------
    config
        The section, with ``sel`` resolved to numbers.
    ntypes
        Number of atom types.
    original_sel
        ``sel`` of the first training, by the scope of the environment, when it was another one.
    min_nbor_dist
        Smallest distance in the training data, Å; None when it was not measured.
    use_table
        Whether there may be tables of embedding nets.
    """

    config: AnyModelConfig
    ntypes: int
    original_sel: Mapping[str, tuple[int, ...]] | None
    min_nbor_dist: float | None
    use_table: bool

    @property
    @abstractmethod
    def dialects(self) -> Sequence[str]:
        """The dialects of graphs in which it exists."""

    @property
    def exchange_dialect(self) -> str:
        """The dialect for other programs: "stock" where there is one of the model."""
        return "stock" if "stock" in self.dialects else "reference"

    @property
    @abstractmethod
    def dim_descriptor(self) -> int:
        """Features of an atom."""

    @property
    @abstractmethod
    def type_embeddings(self) -> list[str]:
        """Names of the nodes of its type embeddings."""

    @abstractmethod
    def describe(self) -> str:
        """Kind, cutoffs and neighbours, for a line of text."""

    @property
    @abstractmethod
    def has_second_order(self) -> bool:
        """Whether it has formulas for whole Hessians, which need no products with vectors."""

    @abstractmethod
    def build(
        self,
        inputs: ModelInputs,
        parameters: Parameters,
        dialect: str = "native",
        statistics: Any = None,
    ) -> Any:
        """Build the graph.

        Parameters
        ----------
        inputs
            Inputs of the graph.
        parameters
            Source of weights, averages and biases.
        dialect
            One of :data:`deepmd_tf.descriptors.LAYOUTS`.
        statistics
            First values of averages and biases when ``parameters`` makes new variables, of each
            member by its scope.

        Raises
        ------
        InputError
            When the model does not exist in this dialect.
        """

    @abstractmethod
    def build_atoms_at(
        self, contractions: Sequence[Contraction], inputs: ModelInputs, parameters: Parameters
    ) -> Any:
        """Energies of atoms for other frames, with the parameters and tables of a model that was
        built."""

    def without_tables(self: M) -> M:
        """The same with the embedding nets evaluated at every pair."""
        other = copy.copy(self)
        other.use_table = False
        return other

    def neighbor_limits(self) -> list[NeighborLimit]:
        """What the counts of neighbours are compared with."""
        return neighbor_limits(self.config, self.ntypes)

    def make_inputs(self, dtype: tf.DType, *, mixed: bool = False) -> ModelInputs:
        """Placeholders of what the model takes, coordinates and cell in ``dtype``; of frames that
        are ``mixed`` or all of the same atoms.
        """
        fitting = self.config.main.fitting_net
        return ModelInputs.make_placeholders(
            self.ntypes,
            dtype,
            dim_fparam=fitting.numb_fparam,
            dim_aparam=fitting.numb_aparam,
            mixed=mixed,
        )
