# SPDX-License-Identifier: BSD-3-Clause
"""Sums of a compressed model: tables and ``TabulateFusionSeA``, ``TabulateFusionSeR`` or
``TabulateFusionSeT`` in the place of nets."""

from __future__ import annotations

import logging
from typing import cast

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.descriptors.contraction_padded import PaddedContraction
from deepmd_tf.nn.angular import AngularNets, largest_product
from deepmd_tf.nn.embedding import EmbeddingNets
from deepmd_tf.nn.embedding_layers import Layer, static_value
from deepmd_tf.nn.spline import SplineGrid, SplineOptions, check_size, spline_coefficients
from deepmd_tf.ops import stock

log = logging.getLogger(__name__)


class CompressedContraction(PaddedContraction):
    """As :class:`PaddedContraction`; embedding nets, avg and std are constants."""

    _grids: list[SplineGrid]

    def moment(self, nets: EmbeddingNets, divisor: int) -> tf.Tensor:
        self._grids = [] if nets.splines else self._make_grids(nets)
        return super().moment(nets, divisor)

    def total(self, nets: EmbeddingNets) -> tf.Tensor:
        self._grids = [] if nets.splines else self._make_grids(nets)
        return super().total(nets)

    def angles(self, nets: AngularNets) -> tf.Tensor:
        spec, dtype = self.environment.spec, nets.dtype.as_numpy_dtype
        largest_s = spec.cutoff.inverse_distance(self._splines.smallest_distance)
        reach = np.ceil(largest_product(*self._averages(), largest_s))
        grid = SplineGrid.make_symmetric(reach, self._splines, dtype)
        log.info("training data with scalar products up to %s", reach)
        self._grids = [grid] * len(nets.keys)
        check_size(self._grids, nets.width, dtype)
        return super().angles(nets)

    def _averages(self) -> tuple[np.ndarray, np.ndarray]:
        """avg and std, which are constants."""
        avg, std = (static_value(x) for x in (self.environment.avg, self.environment.std))
        return np.asarray(avg), np.asarray(std)

    @property
    def _splines(self) -> SplineOptions:
        if self.options.splines is None:
            raise ValueError("the tables of a compressed model need SplineOptions")
        return self.options.splines

    def _make_grids(self, nets: EmbeddingNets) -> list[SplineGrid]:
        """Where the table of each net has its rows."""
        environment, options = self.environment, self._splines
        dtype = nets.dtype.as_numpy_dtype
        avg, std = (values[:, 0] for values in self._averages())
        largest_s = environment.spec.cutoff.inverse_distance(options.smallest_distance)
        lower, upper = -avg / std, (largest_s - avg) / std
        log.info("training data with lower boundary: %s", lower)
        log.info("training data with upper boundary: %s", upper)
        grids = []
        for net in range(len(nets.keys)):
            # a type without slots is no neighbour, but may be a centre
            users = (nets.net_of == net).any(axis=1)
            users = users if users.any() else np.ones(nets.ntypes, bool)
            ends = np.floor(lower[users].min()), np.ceil(upper[users].max())
            grids.append(SplineGrid.make(*ends, options, dtype))
        check_size(grids, nets.width, dtype)
        return grids

    def _section_moment(self, nets: EmbeddingNets, net: int, section: tf.Tensor) -> tf.Tensor:
        s = tf.reshape(section[:, :, 0], [-1, 1])
        return stock.tabulate_fusion_se_a(
            *self._constants(nets, net), s, section, last_layer_size=nets.width
        )

    def _section_total(self, nets: EmbeddingNets, net: int, section: tf.Tensor) -> tf.Tensor:
        g = stock.tabulate_fusion_se_r(
            *self._constants(nets, net), section[:, :, 0], last_layer_size=nets.width
        )
        return tf.reduce_sum(g, axis=1)

    def _angles_of(self, nets: AngularNets, net: int, products: tf.Tensor) -> tf.Tensor:
        return stock.tabulate_fusion_se_t(
            *self._constants(nets, net),
            tf.reshape(products, [-1, 1]),
            products,
            last_layer_size=nets.width,
        )

    def _constants(self, nets: EmbeddingNets, net: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The table of a net, and where its rows are."""
        key = nets.keys[net]
        if nets.splines:
            table, info = nets.splines[net].coefficients, nets.splines[net].info
        else:
            grid, constants = self._grids[net], cast(list[list[Layer]], nets.constants())
            table = spline_coefficients(nets.activation, constants[net], grid.nodes)
            info = grid.info(self._splines.check_frequency)
        return (
            tf.constant(table, nets.dtype, name=names.embedding_table(*key, nets.scope)),
            tf.constant(info, nets.dtype, name=names.embedding_table_info(*key, nets.scope)),
        )
