# SPDX-License-Identifier: BSD-3-Clause
"""The fittings that there are, by the ``type`` of their section in the input script."""

from __future__ import annotations

from typing import TypeVar

from deepmd_tf.config import FittingConfig
from deepmd_tf.config.section import kind_name
from deepmd_tf.fitting.base import Fitting
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


def make_fitting(config: FittingConfig, ntypes: int, types: TypeEmbedding | None = None) -> Fitting:
    """The fitting of an input script, for ``ntypes`` atom types; with their embedding ``types``
    there is one net for all of them.
    """
    return FITTINGS[config.type](config, ntypes, types)
