# SPDX-License-Identifier: BSD-3-Clause
"""The type embedding: a vector for each type of atom, made by one small net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import ModelConfig
from deepmd_tf.config.type_embedding import TypeEmbeddingConfig
from deepmd_tf.elements import spin_orbitals
from deepmd_tf.nn.activations import TENSORFLOW, get_activation
from deepmd_tf.nn.embedding_layers import Layer, advance, constant_layers, static_value
from deepmd_tf.nn.first_values import Normal
from deepmd_tf.nn.parameters import Parameters, count_weights
from deepmd_tf.nn.precision import network_dtype
from deepmd_tf.ops.threads import open_session


class TypeEmbedding:
    r"""The type embedding of a model, te(t) for each type t.

    Layers as those of :class:`~deepmd_tf.nn.embedding.EmbeddingNets`, without a bias unless the
    section asks for one. The input of type t is the unit vector t, or with ``use_econf_tebd`` the
    spin orbitals of the element divided by √118
    (:func:`~deepmd_tf.elements.spin_orbitals`).

    There is one for each model. Descriptor and fitting get it when they are made, and ask for the
    vectors while they build: :meth:`vectors` always gives the same tensor for the same parameters.

    Parameters
    ----------
    config
        The ``type_embedding`` section.
    ntypes
        Number of atom types.
    type_map
        Names of the elements, for ``use_econf_tebd``.
    padded
        Whether a row of zeros follows, the vector of an empty slot: its index is ``ntypes``.
    scope
        Suffix of the name of the vectors in graphs.

    Attributes
    ----------
    node
        That name.
    """

    def __init__(
        self,
        config: TypeEmbeddingConfig,
        ntypes: int,
        type_map: Sequence[str] | None = None,
        *,
        padded: bool = False,
        scope: str = "",
    ) -> None:
        self.config = config
        self.ntypes = ntypes
        self.type_map = type_map
        self.padded = padded
        self.node = names.in_model(names.T_TYPEEBD, scope)

    @classmethod
    def of(cls, model: ModelConfig, scope: str = "") -> TypeEmbedding | None:
        """That of an input script; None when it has none."""
        config = model.embedding_of_types
        if config is None:
            return None
        padded = model.descriptor.explicit_types
        return cls(config, model.known_ntypes, model.type_map, padded=padded, scope=scope)

    @property
    def dtype(self) -> tf.DType:
        """Type of weights and vectors."""
        return network_dtype(self.config.precision)

    @property
    def width(self) -> int:
        """Length of a vector."""
        return self.config.neuron[-1]

    def weight_count(self) -> int:
        """Number of trained numbers, the steps of all layers included that could have one."""
        config, widths = self.config, (self._inputs().shape[1], *self.config.neuron)
        absent = 0 if config.use_tebd_bias else sum(config.neuron)
        return count_weights(widths, timesteps=config.resnet_dt) - absent

    def vectors(self, parameters: Parameters) -> tf.Tensor:
        """[ntypes, width], with ``padded`` [ntypes + 1, width], in the precision of the net: node
        ``t_typeebd``. A constant where the weights are.
        """
        return parameters.derived(self.node, lambda: self._build(parameters))

    def rows(self, parameters: Parameters, atom_types: Sequence[int], dtype: tf.DType) -> tf.Tensor:
        """Vectors of some types, one behind the other, as one row [1, width · len(atom_types)] of
        ``dtype``; a constant where the weights are.
        """
        vectors = self.vectors(parameters)
        known = static_value(vectors)
        if known is not None:
            return tf.constant(known[list(atom_types)].reshape(1, -1), dtype)
        found = tf.concat([vectors[t : t + 1] for t in atom_types], axis=1)
        return tf.cast(found, dtype)

    def _build(self, parameters: Parameters) -> tf.Tensor:
        layers = self._layers(parameters)
        constants = constant_layers(layers)
        if constants is None:
            return tf.identity(self._apply(layers), name=self.node)
        # by the operations of a training, so that a finished model has the bits of its training
        with tf.Graph().as_default(), open_session() as session:
            found = session.run(self._apply([layer.map(self._constant) for layer in constants]))
        return tf.constant(found, name=self.node)

    def _constant(self, array: np.ndarray) -> tf.Tensor:
        return tf.constant(array, self.dtype)

    def _apply(self, layers: Sequence[Layer]) -> tf.Tensor:
        x = tf.constant(self._inputs(), self.dtype)
        activation = get_activation(self.config.activation_function)
        for layer in layers:
            (x,) = advance(TENSORFLOW, activation, layer, (x,))
        if self.padded:
            x = tf.concat([x, tf.zeros([1, self.width], self.dtype)], axis=0)
        return x

    def _inputs(self) -> np.ndarray:
        """[ntypes, n]."""
        if not self.config.use_econf_tebd:
            return np.eye(self.ntypes)
        rows = np.array([spin_orbitals(name) for name in cast(Sequence[str], self.type_map)])
        return rows / np.sqrt(rows.shape[1])

    def _layers(self, parameters: Parameters) -> list[Layer]:
        config, n_in = self.config, self._inputs().shape[1]
        layers = []
        for level, n_out in enumerate(config.neuron, start=1):

            def get(name, shape, mean, stddev, offset, level=level):
                seed = None if config.seed is None else config.seed + 3 * level + offset
                init = Normal(mean, stddev, seed)
                return parameters.get(name(level), shape, self.dtype, init, config.trainable)

            # Checkpoints have one for every layer; frozen files lack those that do nothing.
            timestep = config.resnet_dt and (parameters.trained or n_out in (n_in, 2 * n_in))
            shape, stddev = (n_in, n_out), 1 / np.sqrt(n_in + n_out)
            matrix = get(names.type_embedding_matrix, shape, 0.0, stddev, 0)
            bias = idt = None
            if config.use_tebd_bias:
                bias = get(names.type_embedding_bias, (n_out,), 0.0, 1.0, 1)
            if timestep:
                idt = get(names.type_embedding_idt, (1, n_out), 1.0, 0.001, 2)
            layers.append(Layer(matrix, bias, idt))
            n_in = n_out
        return layers
