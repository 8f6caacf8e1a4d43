# SPDX-License-Identifier: BSD-3-Clause
"""The section ``type_embedding``: vectors that stand for the types of atoms."""

from __future__ import annotations

from typing import Any

from deepmd_tf.config.section import Section, option
from deepmd_tf.config.values import Activation, Bool, Int, Layers, Precision

UNASKED: dict[str, Any] = {"neuron": [8], "activation_function": "linear"}
"""The section that a model has without one, if its descriptor needs a type embedding."""


class TypeEmbeddingConfig(Section):
    """A learnt vector for each type of atom.

    One fitting net then serves all types, and takes these vectors beside its other inputs; so does
    one embedding net, but for the descriptors ``se_e2_r`` and ``se_e3``, which keep theirs.
    """

    neuron: Layers = option([8], doc="Widths of the layers of the net that makes the vectors.")
    activation_function: Activation = option("tanh", doc="Activation function of that net.")
    resnet_dt: Bool = option(False, doc="A learnt step in the layers that have a skip connection.")
    precision: Precision = option(
        "default", doc="Precision of that net; default: that of the interface."
    )
    trainable: Bool = option(True, doc="Whether training changes that net.")
    seed: Int | None = option(
        None, omit_none=True, doc="Seed of the initial weights; none: random."
    )
    use_econf_tebd: Bool = option(
        False,
        doc="The net starts from the electron configuration of each element instead of one input "
        "for each type; type_map must then consist of symbols of elements.",
    )
    use_tebd_bias: Bool = option(False, doc="Whether the layers of that net have a bias.")
