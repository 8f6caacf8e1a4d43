# SPDX-License-Identifier: BSD-3-Clause
"""Atomic energies from descriptors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import FittingEner
from deepmd_tf.environment import ModelInputs
from deepmd_tf.fitting.base import FittingOutput
from deepmd_tf.fitting.extra_inputs import MeasuredVectors, join_columns, normalised_parameters
from deepmd_tf.nn.activations import get_activation
from deepmd_tf.nn.dense import DenseLayer, DenseNets
from deepmd_tf.nn.parameters import Parameters
from deepmd_tf.nn.precision import network_dtype
from deepmd_tf.nn.type_embedding import TypeEmbedding


class EnergyFitting:
    r"""One net per atom type, :math:`E_i = N_{t(i)}(D_i, f, a_i) + b_{t(i)}`, in eV; with a type
    embedding te one net for all, :math:`E_i = N(D_i, te(t(i)), f, a_i) + b_{t(i)}`.

    f are the parameters of the frame and a those of the atom, where the model has them, each as
    (value − mean) / standard deviation of the training data. The nets are
    :class:`~deepmd_tf.nn.dense.DenseNets` of one output. For types with ``atom_ener`` the net's
    value at a zero descriptor and the same parameters is subtracted, so that an isolated atom has
    exactly the bias; with a type embedding that is so for all types as soon as one has
    ``atom_ener``, as in DeePMD-kit. Virtual atoms (type -1) have energy zero.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    types
        Their embedding, if the model has one.
    """

    config_class = FittingEner

    def __init__(
        self, config: FittingEner, ntypes: int, types: TypeEmbedding | None = None
    ) -> None:
        self.config = config
        self.ntypes = ntypes
        self.types = types
        self.nets = DenseNets(
            config.neuron,
            1,
            get_activation(config.activation_function),
            network_dtype(config.precision),
            resnet_dt=config.resnet_dt,
            trainable=config.trainable,
            layer_name=config.layer_name,
        )

    def weight_count(self, dim_descriptor: int) -> int:
        """See :meth:`Fitting.weight_count <deepmd_tf.fitting.base.Fitting.weight_count>`."""
        n_in = dim_descriptor + self.config.numb_fparam + self.config.net_aparam
        if self.types is not None:
            return self.nets.weight_count(n_in + self.types.width)
        return self.ntypes * self.nets.weight_count(n_in)

    def build(
        self,
        descriptors: Sequence[tf.Tensor],
        inputs: ModelInputs,
        parameters: Parameters,
        first: Mapping[str, np.ndarray] | None = None,
        native: bool = False,
    ) -> FittingOutput:
        """Atomic energies [n_frames, n_loc], eV, in the type of the interface.

        Parameters
        ----------
        descriptors, inputs, parameters, native
            See :meth:`Fitting.build <deepmd_tf.fitting.base.Fitting.build>`.
        first
            First values of bias, means and inverse standard deviations; by default 0, 0 and 1.
        """
        config, dtype = self.config, self.nets.dtype
        statistics = MeasuredVectors(parameters, inputs.dtype, first or {})
        extra = normalised_parameters(
            inputs,
            statistics,
            dtype,
            dim_fparam=config.numb_fparam,
            dim_aparam=config.net_aparam,
        )
        if self.types is not None and not native:
            # what a runtime counts as atoms of one type may be of several
            embedded = self._embedded_types(self.types, inputs, parameters)
            extra = [[te, *columns] for te, columns in zip(embedded, extra, strict=True)]
        widths = [
            sum(values.shape.as_list()[-1] for values in (descriptor, *columns))
            for descriptor, columns in zip(descriptors, extra, strict=True)
        ]
        dim = descriptors[0].shape.as_list()[-1]
        if self.types is None:
            parameters.together(lambda source: list(self._nets(widths, source, dim, native)))
        all_nets = self._nets(widths, parameters, dim, native)
        nets, rows, vacuum_shapes, vacuum_rows = {}, [], {}, []
        for (atom_type, net), descriptor, columns in zip(all_nets, descriptors, extra, strict=True):
            if net is None:
                continue  # at rest: there are no such atoms
            part = tf.cast(descriptor, dtype)
            nets[atom_type] = net
            rows.append(join_columns(part, columns))
            if self._has_atom_ener(atom_type):
                # One row for all atoms that have the same parameters: it is the same for all.
                shape = tf.shape(columns[-1])[:2] if columns else [1, 1]
                zero = tf.zeros([shape[0], shape[1], part.shape.as_list()[-1]], dtype)
                vacuum_shapes[atom_type] = shape
                vacuum_rows.append(join_columns(zero, columns))
        in_vacuum = [nets[atom_type] for atom_type in vacuum_shapes]
        passes = self.nets.apply([*nets.values(), *in_vacuum], [*rows, *vacuum_rows], native)
        by_type = dict(zip(nets, passes, strict=False))
        energies = [
            tf.reshape(by_type[atom_type].output, [tf.shape(descriptor)[0], -1])
            if atom_type in nets
            else tf.zeros(tf.shape(descriptor)[:2], dtype)
            for atom_type, descriptor in enumerate(descriptors)
        ]
        vacuum_passes = passes[len(nets) :]
        for (atom_type, shape), alone in zip(vacuum_shapes.items(), vacuum_passes, strict=True):
            energies[atom_type] -= tf.reshape(alone.output, shape)
        energy = tf.cast(inputs.join_types(energies), inputs.dtype)
        bias = statistics.get(names.BIAS_ATOM_E, self.ntypes, 0.0)
        return FittingOutput(self._add_bias(energy, inputs, bias), by_type)

    def _nets(
        self, widths: Sequence[int], parameters: Parameters, dim: int, native: bool
    ) -> Iterator[tuple[int, list[DenseLayer] | None]]:
        """Each type with the net for its rows, of which the first ``dim`` columns are descriptors;
        None if it is at rest."""
        seeds = self.nets.seeds(self.config.seed)
        if self.types is not None:
            n_in = widths[0] + self.types.width if native else widths[0]
            net = self.nets.build(n_in, None, parameters, next(seeds))
        for atom_type, n_in in enumerate(widths):
            source = parameters.of_net(atom_type)
            if self.types is None:
                net = self.nets.build(n_in, atom_type, source, next(seeds))
                if self._has_atom_ener(atom_type):
                    next(seeds)  # as stock programs, which build the net once more
            if source is not parameters:
                yield atom_type, None
            elif self.types is not None and native:
                te = self.types.rows(parameters, [atom_type], self.nets.dtype)
                yield atom_type, [_with_fixed_columns(net[0], te, dim), *net[1:]]
            else:
                yield atom_type, net

    def _embedded_types(
        self, types: TypeEmbedding, inputs: ModelInputs, parameters: Parameters
    ) -> list[tf.Tensor]:
        """te of each atom, for the atoms of each type: [n_frames, n, width]."""
        vectors = tf.cast(types.vectors(parameters), self.nets.dtype)
        center = tf.clip_by_value(inputs.local_type, 0, self.ntypes - 1)
        framed = tf.reshape(tf.gather(vectors, center), [-1, inputs.n_loc, types.width])
        return inputs.split_types(framed)

    def _has_atom_ener(self, atom_type: int) -> bool:
        atom_ener = self.config.atom_ener
        if self.types is not None:
            return bool(atom_ener)
        return atom_type < len(atom_ener) and atom_ener[atom_type] is not None

    def _add_bias(self, energy: tf.Tensor, inputs: ModelInputs, per_type: tf.Tensor) -> tf.Tensor:
        center = inputs.local_type
        bias = tf.gather(per_type, tf.clip_by_value(center, 0, self.ntypes - 1))
        real = tf.cast(center >= 0, inputs.dtype)
        shape = tf.shape(energy)
        return (energy + tf.reshape(bias, shape)) * tf.reshape(real, shape)


def _with_fixed_columns(layer: DenseLayer, fixed: tf.Tensor, begin: int) -> DenseLayer:
    """A first layer whose inputs from column ``begin`` on are ``fixed`` [1, k] in every row: they
    shift its bias, and rows need not have them."""
    end = begin + fixed.shape.as_list()[-1]
    matrix = layer.matrix
    shift = tf.matmul(fixed, matrix[begin:end])[0]
    rest = [part for part in (matrix[:begin], matrix[end:]) if part.shape.as_list()[0]]
    joined = tf.concat(rest, axis=0) if len(rest) > 1 else rest[0]
    return replace(layer, matrix=joined, bias=layer.bias + shift)
