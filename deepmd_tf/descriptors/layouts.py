# SPDX-License-Identifier: BSD-3-Clause
"""The dialects of a model graph: where rows come from, and how they are summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from deepmd_tf.descriptors.contraction import Contraction, TableOptions
from deepmd_tf.descriptors.contraction_compressed import CompressedContraction
from deepmd_tf.descriptors.contraction_flat import FlatContraction
from deepmd_tf.descriptors.contraction_mixed import (
    MixedCompressedContraction,
    MixedFlatContraction,
    MixedPaddedContraction,
)
from deepmd_tf.descriptors.contraction_padded import PaddedContraction
from deepmd_tf.environment import Environment, EnvironmentSpec, ModelInputs
from deepmd_tf.environment.masked import (
    MaskedNativeEnvironment,
    MaskedReferenceEnvironment,
    MaskedStockEnvironment,
)
from deepmd_tf.environment.native import NativeEnvironment
from deepmd_tf.environment.reference import ReferenceEnvironment
from deepmd_tf.environment.stock import StockEnvironment


class Layout(NamedTuple):
    """Classes of the environment, of a masked one, and of the sums over their neighbours, also
    where these are selected whatever their type.
    """

    environment: type[Environment]
    masked: type[Environment]
    contraction: type[Contraction]
    mixed: type[Contraction]


LAYOUTS = {
    "native": Layout(
        NativeEnvironment, MaskedNativeEnvironment, FlatContraction, MixedFlatContraction
    ),
    "stock": Layout(
        StockEnvironment, MaskedStockEnvironment, PaddedContraction, MixedPaddedContraction
    ),
    "compressed": Layout(
        StockEnvironment, MaskedStockEnvironment, CompressedContraction, MixedCompressedContraction
    ),
    "reference": Layout(
        ReferenceEnvironment, MaskedReferenceEnvironment, PaddedContraction, MixedPaddedContraction
    ),
}
"""native: ops of this package, twice differentiable in coordinates. stock: ops of stock runtimes,
for frozen files; compressed: the same with tables in the place of embedding nets. reference: plain
TensorFlow, any order, for tests and for descriptors that stock runtimes do not have."""


def build_layout(
    dialect: str,
    inputs: ModelInputs,
    spec: EnvironmentSpec,
    avg: tf.Tensor,
    std: tf.Tensor,
    options: TableOptions,
    close: float = 0.0,
    built: Sequence[Contraction] = (),
) -> Contraction:
    """The environment of a dialect, one of :data:`LAYOUTS`, built, and its sums.

    Atoms closer than ``close``, Å, are told of by the graph itself where the dialect can. ``built``
    are others of the same inputs and dialect.
    """
    if dialect not in LAYOUTS:
        raise ValueError(f'unknown dialect "{dialect}"; there are {", ".join(LAYOUTS)}')
    layout = LAYOUTS[dialect]
    kind = layout.masked if spec.masked else layout.environment
    environment = kind(inputs, spec, avg, std)
    environment.close = close
    environment.built = [other.environment for other in built]
    environment.build()
    contraction = layout.mixed if spec.selection.typed else layout.contraction
    return contraction(environment, options)
