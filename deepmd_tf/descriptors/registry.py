# SPDX-License-Identifier: BSD-3-Clause
"""The descriptors that there are, by the ``type`` of their section in the input script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from deepmd_tf.config import AnyDescriptorConfig
from deepmd_tf.config.section import kind_name
from deepmd_tf.descriptors.base import Descriptor
from deepmd_tf.environment import NeighborLimit
from deepmd_tf.nn.type_embedding import TypeEmbedding

DESCRIPTORS: dict[str, type[Descriptor]] = {}

D = TypeVar("D", bound=Descriptor)


def register(descriptor: type[D]) -> type[D]:
    """Add a descriptor: its section is read, checked and documented with the input script, and
    models are built of it. Usable as a decorator.
    """
    kind = AnyDescriptorConfig.register(descriptor.config_class)
    DESCRIPTORS[kind_name(kind)] = descriptor
    return descriptor


def make_descriptor(
    config: AnyDescriptorConfig,
    ntypes: int,
    original_sel: Mapping[str, tuple[int, ...]] | None = None,
    scope: str = "",
    types: TypeEmbedding | None = None,
) -> Descriptor:
    """The descriptor of an input script; arguments as those of
    :class:`~deepmd_tf.descriptors.base.Descriptor`.

    What it needs of its surroundings does not depend on ``types``; its nets do. Types of virtual
    atoms are behind those of ``sel`` (:meth:`AnyDescriptorConfig.for_types`).
    """
    config = config.for_types(ntypes)
    return DESCRIPTORS[config.type](config, ntypes, original_sel, scope, types)


def neighbor_limits(config: AnyDescriptorConfig, ntypes: int) -> list[NeighborLimit]:
    """How many neighbours of each type are kept, in one environment after the other."""
    paths = {part.scope: part.path for part in config.parts()}
    return [
        limit
        for spec in make_descriptor(config, ntypes).environments()
        for limit in spec.limits(paths.get(spec.scope, ""))
    ]
