# SPDX-License-Identifier: BSD-3-Clause
"""The nets of a fitting: one for each type of atom, or one for all with a type embedding."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow.compat.v1 as tf

from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting.extra_inputs import MeasuredVectors, join_columns, normalised_parameters
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.dense import DenseLayer, DenseNets, ForwardPass
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.precision import network_dtype
from deepmd_tf.nn.type_embedding import TypeEmbedding


@dataclass(frozen=True)
class Rows:
    """What goes into the net of a type of atoms.

    Attributes
    ----------
    descriptor
        [n_frames, n, dim], in the type of the net.
    columns
        What stands beside it: te, frame and atomic parameters, each [n_frames, n or 1, ...].
    """

    descriptor: tf.Tensor
    columns: Sequence[tf.Tensor]

    @property
    def width(self) -> int:
        """Numbers of an atom."""
        return sum(values.shape.as_list()[-1] for values in (self.descriptor, *self.columns))

    def joined(self) -> tf.Tensor:
        """[n_frames * n, width]."""
        return join_columns(self.descriptor, self.columns)


class FittingNets:
    r"""One net per atom type, :math:`y_i = N_{t(i)}(D_i, f, a_i)`; with a type embedding te one net
    for all, :math:`y_i = N(D_i, te(t(i)), f, a_i)`.

    f are the parameters of the frame and a those of the atom, where the model has them, each as
    (value − mean) / standard deviation of the training data. The nets are
    :class:`~deepmd_tf.nn.dense.DenseNets`.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    types
        Their embedding, if the model has one.
    n_out
        Numbers that a net gives for an atom.
    selected
        Types that there are nets for; None: all.
    twins
        Types whose net programs of DeePMD-kit build twice, which takes seeds.
    """

    def __init__(
        self,
        config: Any,
        ntypes: int,
        types: TypeEmbedding | None,
        n_out: int,
        *,
        selected: Collection[int] | None = None,
        twins: Collection[int] = (),
    ) -> None:
        self.config = config
        self.ntypes = ntypes
        self.types = types
        self.selected = sorted(range(ntypes) if selected is None else selected)
        self.twins = frozenset(twins)
        self.dense = DenseNets(
            config.neuron,
            n_out,
            get_activation(config.activation_function),
            network_dtype(config.precision),
            resnet_dt=config.resnet_dt,
            trainable=getattr(config, "trainable", True),
            layer_name=getattr(config, "layer_name", None),
        )

    @property
    def dtype(self) -> tf.DType:
        """Type of weights and values."""
        return self.dense.dtype

    def weight_count(self, dim_descriptor: int) -> int:
        """See :meth:`Fitting.weight_count <deepmd_tf.fitting.base.Fitting.weight_count>`."""
        n_in = dim_descriptor + self.config.numb_fparam + self.config.net_aparam
        if self.types is not None:
            return self.dense.weight_count(n_in + self.types.width)
        return len(self.selected) * self.dense.weight_count(n_in)

    def rows(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        measured: MeasuredVectors,
        native: bool,
    ) -> list[Rows]:
        """What goes into the nets, for the atoms of each type; arguments are those of
        :meth:`Fitting.build <deepmd_tf.fitting.base.Fitting.build>`.
        """
        extra = normalised_parameters(
            inputs,
            measured,
            self.dtype,
            dim_fparam=self.config.numb_fparam,
            dim_aparam=self.config.net_aparam,
        )
        if self.types is not None and not native:
            # what a runtime counts as atoms of one type may be of several
            embedded = self._embedded_types(self.types, inputs, parameters)
            extra = [[te, *columns] for te, columns in zip(embedded, extra, strict=True)]
        return [
            Rows(tf.cast(descriptor, self.dtype), columns)
            for descriptor, columns in zip(descriptors, extra, strict=True)
        ]

    def build(
        self, rows: Sequence[Rows], parameters: Parameters, native: bool
    ) -> dict[int, list[DenseLayer]]:
        """The net of each selected type that is not at rest, where there are no such atoms."""
        dim = rows[0].descriptor.shape.as_list()[-1]
        widths = [one.width for one in rows]
        if self.types is None:
            parameters.together(lambda source: list(self._nets(widths, source, dim, native)))
        nets = self._nets(widths, parameters, dim, native)
        return {atom_type: net for atom_type, net in nets if net is not None}

    def passes(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        measured: MeasuredVectors,
        native: bool,
    ) -> dict[int, ForwardPass]:
        """The passes of the atoms of each selected type that is not at rest."""
        rows = self.rows(descriptors, inputs, parameters, measured, native)
        return self.apply(self.build(rows, parameters, native), rows, native)[0]

    def apply(
        self,
        nets: Mapping[int, list[DenseLayer]],
        rows: Sequence[Rows],
        native: bool,
        more: Sequence[tuple[list[DenseLayer], tf.Tensor]] = (),
    ) -> tuple[dict[int, ForwardPass], list[ForwardPass]]:
        """Each net on the rows of its type, and ``more`` nets on rows of their own."""
        passes = self.dense.apply(
            [*nets.values(), *(net for net, _ in more)],
            [*(rows[atom_type].joined() for atom_type in nets), *(x for _, x in more)],
            native,
        )
        return dict(zip(nets, passes, strict=False)), passes[len(nets) :]

    def _nets(
        self, widths: Sequence[int], parameters: Parameters, dim: int, native: bool
    ) -> Iterator[tuple[int, list[DenseLayer] | None]]:
        """Each type with the net for its rows, of which the first ``dim`` columns are descriptors;
        None if it is at rest."""
        seeds = self.dense.seeds(self.config.seed)
        if self.types is not None:
            n_in = widths[0] + self.types.width if native else widths[0]
            net = self.dense.build(n_in, None, parameters, next(seeds))
        for atom_type in self.selected:
            source = parameters.of_net(atom_type)
            if self.types is None:
                net = self.dense.build(widths[atom_type], atom_type, source, next(seeds))
                if atom_type in self.twins:
                    next(seeds)
            if source is not parameters:
                yield atom_type, None
            elif self.types is not None and native:
                te = self.types.rows(parameters, [atom_type], self.dtype)
                yield atom_type, [_with_fixed_columns(net[0], te, dim), *net[1:]]
            else:
                yield atom_type, net

    def _embedded_types(
        self, types: TypeEmbedding, inputs: ModelInputs, parameters: Parameters
    ) -> list[tf.Tensor]:
        """te of each atom, for the atoms of each type: [n_frames, n, width]."""
        vectors = tf.cast(types.vectors(parameters), self.dtype)
        center = tf.clip_by_value(inputs.local_type, 0, self.ntypes - 1)
        framed = tf.reshape(tf.gather(vectors, center), [-1, inputs.n_loc, types.width])
        return inputs.split_types(framed)


def _with_fixed_columns(layer: DenseLayer, fixed: tf.Tensor, begin: int) -> DenseLayer:
    """A first layer whose inputs from column ``begin`` on are ``fixed`` [1, k] in every row: they
    shift its bias, and rows need not have them."""
    end = begin + fixed.shape.as_list()[-1]
    matrix = layer.matrix
    shift = tf.matmul(fixed, matrix[begin:end])[0]
    rest = [part for part in (matrix[:begin], matrix[end:]) if part.shape.as_list()[0]]
    joined = tf.concat(rest, axis=0) if len(rest) > 1 else rest[0]
    return replace(layer, matrix=joined, bias=layer.bias + shift)
