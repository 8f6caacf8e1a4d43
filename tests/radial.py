# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors that are added from outside of the package, as small as they can be."""

from __future__ import annotations

from typing import Literal

import tensorflow.compat.v1 as tf

from deepmd_tf.config import DescriptorConfig
from deepmd_tf.config.section import option
from deepmd_tf.config.values import Activation, Bool, Int, Layers, Number, Precision
from deepmd_tf.descriptors import Descriptor, Features
from deepmd_tf.environment import ANGULAR, RADIAL, Cutoff, EnvironmentSpec, Selection
from deepmd_tf.nn.embedding import EmbeddingNets


class RadialConfig(DescriptorConfig):
    """Sums of functions of the distances."""

    type: Literal["radial"] = option(doc="Kind of descriptor.")
    neuron: Layers = option([4, 8], doc="Widths of the layers of the nets.")
    activation_function: Activation = option("tanh", doc="Activation function.")
    resnet_dt: Bool = option(False, doc="A learnt step in layers with a skip connection.")
    precision: Precision = option("default", doc="Precision of the nets.")
    trainable: Bool = option(True, doc="Whether training changes the nets.")
    seed: Int | None = option(None, omit_none=True, doc="Seed of the initial weights.")


class Radial(Descriptor):
    """D = Σ_p G(s_p) / Σ sel, one net for each type of the neighbour."""

    config_class = RadialConfig

    @property
    def dim_out(self):
        return self.config.neuron[-1]

    def environments(self):
        cutoff = Cutoff(self.config.rcut, self.config.rcut_smth)
        selection = Selection(self.config.counts)
        return [EnvironmentSpec(cutoff, selection, self.ntypes, RADIAL, scope=self.scope)]

    def nets(self):
        return EmbeddingNets.of(self.config, self.ntypes, one_sided=True, scope=self.scope)

    def build(self, contractions, parameters):
        (contraction,) = contractions
        nets = self.nets()
        nets.build(parameters)
        total = contraction.sum(nets, nets.apply, nets.width)
        divisor = self.divisor_of(contraction.environment.spec)
        return Features(contraction.split(total / divisor))

    def weight_count(self):
        return self.nets().weight_count()


class TwoRangesConfig(RadialConfig):
    """The same of all neighbours, and with directions of those that are near."""

    type: Literal["two_ranges"] = option(doc="Kind of descriptor.")
    rcut_near: Number = option(2.5, gt=0, doc="Cutoff of the near neighbours.")


class TwoRanges(Descriptor):
    """Two environments: D = (Σ_p G(s_p), |Σ_p R_p ⊗ H(s_p)|²), the latter from a table, and of
    neighbours of all types together in the former."""

    config_class = TwoRangesConfig

    @property
    def dim_out(self):
        return 2 * self.config.neuron[-1]

    def environments(self):
        config, n = self.config, self.ntypes
        far, near = Cutoff(config.rcut, config.rcut_smth), Cutoff(config.rcut_near, 0.5)
        whole = Selection.total(sum(config.sel))
        return [
            EnvironmentSpec(far, whole, n, RADIAL, scope="_0"),
            EnvironmentSpec(near, Selection(tuple(config.sel)), n, ANGULAR, scope="_1"),
        ]

    @property
    def table_count(self):
        return self.ntypes

    def nets(self):
        """Those of each environment."""
        options = {"one_sided": True}
        return [
            EmbeddingNets.of(self.config, self.ntypes, **options, scope="_0", n_sections=1),
            EmbeddingNets.of(self.config, self.ntypes, **options, scope="_1"),
        ]

    def build(self, contractions, parameters):
        (far, near), (g, h) = contractions, self.nets()
        g.build(parameters)
        h.build(parameters)
        n_far, n_near = (self.divisor_of(part.environment.spec) for part in contractions)
        first = far.split(far.sum(g, g.apply, g.width) / n_far)
        moment = near.moment(h, n_near)
        second = near.split(tf.reduce_sum(moment**2, axis=1))
        pairs = zip(first, second, strict=True)
        return Features([tf.concat(pair, axis=-1) for pair in pairs])

    def weight_count(self):
        return sum(nets.weight_count() for nets in self.nets())
