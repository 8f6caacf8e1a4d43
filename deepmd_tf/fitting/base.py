# SPDX-License-Identifier: BSD-3-Clause
"""Interface of all fittings, and the output of one."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.environment import ModelInputs
from deepmd_tf.nn.dense import ForwardPass
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.type_embedding import TypeEmbedding


@dataclass(frozen=True)
class FittingOutput:
    """Values of a fitting in the graph, with the passes through its nets.

    Attributes
    ----------
    values
        [n_frames, n_loc] of a scalar, otherwise [n_frames, n_loc, ...], in the type of the
        interface.
    passes
        Of the net of each atom type that is not at rest, whose rows are the atoms as
        :meth:`~deepmd_tf.environment.ModelInputs.split_types` cuts them.
    """

    values: tf.Tensor
    passes: Mapping[int, ForwardPass]

    def curvature(
        self, tangents: Sequence[tf.Tensor], atoms: tuple[tf.Tensor, tf.Tensor] | None = None
    ) -> tf.Tensor:
        """Second derivative of the sum of the values along given directions of the descriptors.

        For scalars, which depend on the descriptors through one net of one output. See
        :meth:`~deepmd_tf.nn.dense.ForwardPass.curvature`.

        Parameters
        ----------
        tangents
            Of the atoms of each type, [n_frames, n_directions, n, dim]: derivative of the
            descriptors along each direction; zero for virtual atoms.
        atoms
            Place of the first of these atoms among all of each type in the only frame of the graph,
            and their numbers, int32 [ntypes]; None: all atoms of all frames.

        Returns
        -------
            [n_frames, n_directions, n_directions], in the type of the net.
        """
        products = []
        for atom_type, net in self.passes.items():
            rows = None
            if atoms is not None:
                begin, count = (numbers[atom_type] for numbers in atoms)
                rows = slice(begin, begin + count)
            products += net.curvature(tangents[atom_type], rows)
        if not products:
            # without hidden layers the nets are linear
            shape = tf.shape(tangents[0])
            return tf.zeros([shape[0], shape[1], shape[1]], tangents[0].dtype)
        # one after the other, as the sum depends on the order in the last bit
        return functools.reduce(tf.add, products)


class Fitting(Protocol):
    """From the descriptors of atoms to their contributions to an observable.

    Attributes
    ----------
    config_class
        Section ``fitting_net`` of the input script, whose ``type`` names the fitting.
    ntypes
        Number of atom types.
    types
        The type embedding of the model, if it has one: there is then one net for all types, which
        takes the vector of the atom's type behind its descriptor.
    """

    config_class: type[Any]
    ntypes: int
    types: TypeEmbedding | None

    def __init__(self, config: Any, ntypes: int, types: TypeEmbedding | None = None) -> None: ...

    def weight_count(self, dim_descriptor: int) -> int:
        """Number of trained numbers, the steps of all layers included that could have one."""
        ...

    def build(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
        native: bool = False,
    ) -> FittingOutput:
        """Add the nets to the graph.

        Parameters
        ----------
        descriptors
            Of the atoms of each type, as :meth:`ModelInputs.split_types` cuts them: [n_frames, n,
            dim], static in the last axis.
        inputs
            Inputs of the graph.
        parameters
            Source of the weights.
        first
            First values of what is measured from the data, such as a bias, by node name, when they
            are new variables.
        native
            Whether the graph may use operations that only this package has.
        """
        ...
