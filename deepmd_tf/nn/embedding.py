# SPDX-License-Identifier: BSD-3-Clause
"""Embedding nets: functions of one number, the normalised inverse distance s of a neighbour."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names, ops
from deepmd_tf.errors import ModelFileError
from deepmd_tf.nn.activations import TENSORFLOW, Activation, get_activation
from deepmd_tf.nn.embedding_layers import (
    Layer,
    advance,
    constant_layers,
    embedding_jets,
    scaled_jet,
    scaled_jets,
    stack_nets,
)
from deepmd_tf.nn.first_values import Normal
from deepmd_tf.nn.parameters import AtRest, Parameters, count_weights
from deepmd_tf.nn.precision import network_dtype
from deepmd_tf.nn.stored_spline import Spline

MANY = 16
"""From this number of nets on they are evaluated at pairs by one operation, not by 30 for each net
and as many for each derivative. Sums then differ in their last digits."""

N = TypeVar("N", bound="EmbeddingNets")


class EmbeddingNets:
    r"""The embedding nets G of one descriptor.

    A net of layers :math:`h = \varphi(x W + b)` with skip connections where the width stays or
    doubles:

    .. math::

        x \mapsto \begin{cases} x + h\,\delta & n_{out} = n_{in} \\ (x, x) + h\,\delta & n_{out} = 2
        n_{in} \\ h & \text{else} \end{cases}

    with :math:`\delta` a trained timestep (``resnet_dt``) or 1. The rule holds from the first layer
    on, whose input width is 1.

    One-sided embedding has a net per neighbour type; two-sided embedding has one per centre and
    neighbour type.

    Parameters
    ----------
    neuron
        Widths of the layers.
    activation
        φ.
    resnet_dt
        Whether skip layers have a timestep.
    dtype
        Type of weights and arithmetic.
    one_sided
        Whether nets depend on the neighbour type only.
    ntypes
        Number of atom types.
    exclude_types
        Pairs of types that do not see each other, in either order.
    seed
        Seed of the first net; None draws anew.
    trainable
        Whether training changes the weights.
    scope
        Suffix of the names of the weights: that of the environment.
    n_sections
        Kinds of neighbours that nets tell apart; None: all types.

    Attributes
    ----------
    nets
        Layers of each net, once they are built; in a model that was compressed its table.
    """

    def __init__(
        self,
        *,
        neuron: Sequence[int],
        activation: Activation,
        resnet_dt: bool,
        dtype: tf.DType,
        one_sided: bool,
        ntypes: int,
        exclude_types: Iterable[Sequence[int]] = (),
        seed: int | None = None,
        trainable: bool = True,
        scope: str = "",
        n_sections: int | None = None,
    ) -> None:
        self.neuron = tuple(neuron)
        self.activation = activation
        self.resnet_dt = resnet_dt
        self.dtype = dtype
        self.one_sided = one_sided
        self.ntypes = ntypes
        self.excluded = both_ways(exclude_types)
        self.seed = seed
        self.trainable = trainable
        self.scope = scope
        self.n_sections = ntypes if n_sections is None else n_sections
        self.nets: list[Any] = []

    @classmethod
    def of(cls: type[N], config: Any, ntypes: int, **options: Any) -> N:
        """The nets of a section of the input script with ``neuron``, ``activation_function``,
        ``resnet_dt``, ``precision``, ``seed`` and ``trainable``; ``options`` are further arguments.
        """
        return cls(
            neuron=config.neuron,
            activation=get_activation(config.activation_function),
            resnet_dt=config.resnet_dt,
            dtype=network_dtype(config.precision),
            ntypes=ntypes,
            seed=config.seed,
            trainable=config.trainable,
            **options,
        )

    @functools.cached_property
    def keys(self) -> list[tuple[int | None, Any]]:
        """Types (centre, neighbour) of each net; the centre is None in one-sided embedding."""
        centers, sections = range(self.ntypes), range(self.n_sections)
        if self.one_sided:
            return [(None, t) for t in sections]
        return [(c, t) for c in centers for t in sections if (c, t) not in self.excluded]

    def weight_count(self) -> int:
        """Numbers in all nets, with a timestep in every layer if there are any."""
        return len(self.keys) * count_weights((1, *self.neuron), timesteps=self.resnet_dt)

    @property
    def n_in(self) -> int:
        """Inputs of a net: s."""
        return 1

    @property
    def width(self) -> int:
        """M1, the number of outputs."""
        return self.neuron[-1]

    @functools.cached_property
    def net_of(self) -> np.ndarray:
        """int32 [ntypes, n_sections]: index of the net for (centre type, neighbour type), -1 where
        excluded.
        """
        place = {key: net for net, key in enumerate(self.keys)}
        index = np.full((self.ntypes, self.n_sections), -1, dtype=np.int32)
        for c in range(self.ntypes):
            for t in range(self.n_sections):
                if (c, t) not in self.excluded:
                    index[c, t] = place[None if self.one_sided else c, t]
        return index

    def knots(self, avg: np.ndarray, std: np.ndarray) -> np.ndarray | None:
        """[n_nets], normalised s at which the third derivative of a net jumps, with mean and
        standard deviation [ntypes] of s; None: it jumps nowhere.
        """
        return None

    @property
    def splines(self) -> list[Spline]:
        """The tables of a model that was compressed; none where there are nets."""
        return [net for net in self.nets if isinstance(net, Spline)]

    @property
    def used(self) -> list[int]:
        """Indices of the nets in the graph, those that are not at rest."""
        if self.splines:
            return list(range(len(self.nets)))
        return [net for net, layers in enumerate(self.nets) if not _rests(layers)]

    @property
    def place_of(self) -> np.ndarray:
        """int32 [ntypes, n_sections]: place of the net for (centre type, neighbour type) in
        :attr:`used`; -1 where excluded or at rest.
        """
        places = np.full(len(self.keys) + 1, -1, dtype=np.int32)
        places[self.used] = np.arange(len(self.used))
        return places[self.net_of]  # the last one for -1

    def build(self, parameters: Parameters, slots: Sequence[int] | None = None) -> None:
        """Ask for the weights of all nets.

        Parameters
        ----------
        parameters
            Source of the weights.
        slots
            Slots of each section; nets of a section without any may be at rest. None: all have
            some.
        """
        if parameters.tables:
            self.nets = [self._spline(parameters.tables, key, slots) for key in self.keys]
            return
        parameters.together(lambda source: self._layers(source, slots))
        self.nets = self._layers(parameters, slots)

    def _layers(self, parameters: Parameters, slots: Sequence[int] | None) -> list[list[Layer]]:
        """Layers of each net."""
        sources = [
            parameters.of_net(center, slots is None or self._has_slots(neighbor, slots))
            for center, neighbor in self.keys
        ]
        if all(source.at_rest for source in sources):
            sources[0] = parameters  # a graph needs one to know what a net is
        seed, nets = self.seed, []
        for (center, neighbor), source in zip(self.keys, sources, strict=True):
            nets.append(self._build_net(source, center, neighbor, seed))
            # Each net takes three seeds a layer; the offset of one more layer is that of stock
            # models.
            seed = None if seed is None else seed + 3 * (len(self.neuron) + 1)
        return nets

    def _has_slots(self, neighbor: names.Neighbor, slots: Sequence[int]) -> bool:
        """Whether there are neighbours for a net of :attr:`keys`."""
        types = neighbor if isinstance(neighbor, tuple) else (cast(int, neighbor),)
        return all(slots[t] > 0 for t in types)

    def _spline(
        self,
        tables: Mapping[str, Spline],
        key: tuple[int | None, int],
        slots: Sequence[int] | None,
    ) -> Spline:
        """The table of a net; zero for a section without slots."""
        name = names.embedding_table(*key, self.scope)
        found = tables.get(name)
        if found is None and slots is not None and slots[key[1]] == 0:
            return Spline.zero(self.width, self.dtype.as_numpy_dtype)
        if found is None or found.width != self.width:
            problem = "is missing" if found is None else f"is of {found.width} functions"
            raise ModelFileError(
                f'the compressed model does not fit its input script: "{name}" {problem}, '
                f"{self.width} are expected"
            )
        return found

    def _build_net(
        self,
        parameters: Parameters,
        center: int | None,
        neighbor: names.Neighbor,
        seed: int | None,
        n_in: int | None = None,
    ) -> list[Layer]:
        layers = []
        n_in = self.n_in if n_in is None else n_in
        for level, n_out in enumerate(self.neuron, start=1):

            def get(name, shape, mean, stddev, offset, level=level):
                init = Normal(mean, stddev, None if seed is None else seed + 3 * level + offset)
                name = name(level, center, neighbor, self.scope)
                return parameters.get(name, shape, self.dtype, init, self.trainable)

            # Checkpoints have one for every layer; frozen files lack those that do nothing.
            timestep = self.resnet_dt and (parameters.trained or n_out in (n_in, 2 * n_in))
            layers.append(
                Layer(
                    matrix=get(
                        names.embedding_matrix, (n_in, n_out), 0.0, 1 / np.sqrt(n_in + n_out), 0
                    ),
                    bias=get(names.embedding_bias, (n_out,), 0.0, 1.0, 1),
                    idt=get(names.embedding_idt, (1, n_out), 1.0, 0.001, 2) if timestep else None,
                )
            )
            n_in = n_out
        return layers

    def apply(self, net: int, x: tf.Tensor) -> tf.Tensor:
        """G of net ``net`` at ``x`` [n, 1]: [n, M1], by plain TensorFlow."""
        if self.splines:
            return self.splines[net].apply(x)
        s = x
        for layer in self.nets[net]:
            (x,) = advance(TENSORFLOW, self.activation, layer, (x,))
        return scaled_jet(TENSORFLOW, layer, s, (x,))[0]

    @property
    def at_once(self) -> bool:
        """Whether :meth:`apply_sorted` and :meth:`apply_each` can be used, and should."""
        if len(self.keys) < MANY or self.splines or self.activation.name != "tanh":
            return False
        layers = [layer for net in self.used for layer in self.nets[net]]
        return all(layer.beside is None and layer.factor is None for layer in layers)

    def apply_sorted(self, s: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """G at ``s`` [n]: [n, M1], the first ``counts[0]`` by the first of the :attr:`used` nets,
        and so on."""
        return ops.embedding_values(s, counts, *self._weights())

    def apply_each(self, s: tf.Tensor) -> tf.Tensor:
        """G of each of the :attr:`used` nets at ``s`` [n]: [n_used, n, M1]. No derivatives with
        respect to s."""
        (jets,) = ops.embedding_jets([tf.tile(s[None], [len(self.used), 1])], *self._weights())
        return jets[:, :, 0]

    def arrays(self, session: tf.Session) -> list[list[Layer]]:
        """The nets with their present weights, those at rest too."""
        members = {
            net: [layer.members() for layer in layers]
            for net, layers in enumerate(self.nets)
            if not _rests(layers)
        }
        found = session.run(members)
        for net in set(range(len(self.nets))) - set(found):
            found[net] = [
                {name: part.value for name, part in layer.members().items()}
                for layer in self.nets[net]
            ]
        return [[Layer(**layer) for layer in found[net]] for net in range(len(self.nets))]

    def constants(self) -> list[list[Layer]] | None:
        """The nets in float64 arrays; None when a weight is not a constant."""
        nets = [constant_layers(net) for net in self.nets]
        return None if None in nets else cast(list[list[Layer]], nets)

    def jets(self, *nodes: tf.Tensor) -> list[tf.Tensor]:
        """G, G', G'' of the :attr:`used` nets at each of ``nodes`` [n_nets, K]: [n_nets, K, 3, M1].

        With tanh this can be differentiated once.
        """
        if self.activation.name == "tanh" and all(map(_only_of_s, self.nets)):
            found = ops.embedding_jets(nodes, *self._weights())
            if self.nets[0][-1].factor is None:
                return found
            last = self.stacked()[-1]
            return [
                scaled_jets(TENSORFLOW, last, s, jets) for s, jets in zip(nodes, found, strict=True)
            ]
        joined = tf.concat(nodes, axis=1)
        jets = embedding_jets(TENSORFLOW, self.activation, self.stacked(), joined)
        return tf.split(jets, [tf.shape(part)[1] for part in nodes], axis=1)

    def stacked(self) -> list[Layer]:
        """The :attr:`used` nets side by side, for :func:`embedding_jets`."""
        return stack_nets(TENSORFLOW, [self.nets[net] for net in self.used])

    def _weights(self) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        """matrix, bias and idt of all layers, net after net; idt where it is used."""
        layers = [layer for net in self.used for layer in self.nets[net]]
        of_rows = [layer.of_rows(TENSORFLOW) for layer in layers]
        return (
            [matrix for matrix, _ in of_rows],
            [
                bias if layer.beside is None else bias[0]
                for layer, (_, bias) in zip(layers, of_rows, strict=True)
            ],
            [layer.idt for layer in layers if layer.idt is not None and layer.copies],
        )


def _only_of_s(net: Sequence[Layer]) -> bool:
    """Whether the first layer is one of s alone with another bias: no skip connection carries
    what stands beside s, and none appears where that is left out."""
    first = net[0]
    return first.beside is None or (first.copies == 0 and int(first.matrix.shape[-1]) > 2)


def _rests(net: Sequence[Layer]) -> bool:
    return isinstance(net[0].matrix, AtRest)


def both_ways(pairs: Iterable[Sequence[int]]) -> set[tuple[int, int]]:
    """Pairs of types, and the same the other way round."""
    return {pair for a, b in pairs for pair in ((a, b), (b, a))}
