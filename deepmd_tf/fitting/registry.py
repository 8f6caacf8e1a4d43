# SPDX-License-Identifier: BSD-3-Clause
"""The fittings that there are, by the ``type`` of their section in the input script."""

from __future__ import annotations

from typing import Any, TypeVar

from deepmd_tf.config import FittingConfig
from deepmd_tf.config.section import kind_name
from deepmd_tf.fitting.base import Fitting
from deepmd_tf.fitting.tensor import TensorFitting
from deepmd_tf.nn.type_embedding import TypeEmbedding

FITTINGS: dict[str, type[Fitting]] = {}

F = TypeVar("F", bound=Fitting)


def register(fitting: type[F]) -> type[F]:
    """Add a fitting: its section is read, checked and documented with the input script, and models
    are built of it. Usable as a decorator.
    """
    kind = FittingConfig.register(fitting.config_class)
    FITTINGS[kind_name(kind)] = fitting
    return fitting


def make_fitting(
    config: FittingConfig, ntypes: int, types: TypeEmbedding | None = None, width: int = 0
) -> Fitting:
    """The fitting of an input script.

    Parameters
    ----------
    config
        The ``fitting_net`` section.
    ntypes
        Number of atom types.
    types
        Their embedding: there is then one net for all of them.
    width
        Columns of the moments, of which tensors are made.
    """
    fitting: Any = FITTINGS[config.type]
    if issubclass(fitting, TensorFitting):
        return fitting(config, ntypes, types, width)
    return fitting(config, ntypes, types)
