# SPDX-License-Identifier: BSD-3-Clause
"""The seam between the three dialects of a model graph.

Descriptors, networks and fitting are the same in all dialects. What differs is where the rows of
the local environment come from, how they are contracted with the embedding nets, and how the
derivative of the energy with respect to them becomes forces:
:class:`~deepmd_tf.environment.base.Environment`.
"""

from __future__ import annotations

from deepmd_tf.environment.base import Cutoff, Environment, PullBack
from deepmd_tf.environment.inputs import AtomRange, ModelInputs

__all__ = [
    "DIALECTS",
    "AtomRange",
    "Cutoff",
    "Environment",
    "ModelInputs",
    "PullBack",
    "make_environment",
]

DIALECTS = ("native", "stock", "reference")
"""native: ops of this package, twice differentiable in coordinates. stock: ops of stock runtimes,
for frozen files. reference: plain TensorFlow, any order, for tests.
"""


def make_environment(dialect: str, *args, **kwargs) -> Environment:
    """The environment of one of :data:`DIALECTS`; arguments as its constructor."""
    if dialect == "native":
        from deepmd_tf.environment.native import NativeEnvironment

        return NativeEnvironment(*args, **kwargs)
    if dialect == "stock":
        from deepmd_tf.environment.stock import StockEnvironment

        return StockEnvironment(*args, **kwargs)
    if dialect == "reference":
        from deepmd_tf.environment.reference import ReferenceEnvironment

        return ReferenceEnvironment(*args, **kwargs)
    raise ValueError(f'unknown dialect "{dialect}"; there are {", ".join(DIALECTS)}')
