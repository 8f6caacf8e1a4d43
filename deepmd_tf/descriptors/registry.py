# SPDX-License-Identifier: BSD-3-Clause
"""The descriptors that there are, by the ``type`` of their section in the input script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast

from deepmd_tf.config import AnyDescriptorConfig, AnyModelConfig
from deepmd_tf.config.descriptors import Part
from deepmd_tf.config.model import Member, ModelConfig, NetMember
from deepmd_tf.config.section import kind_name
from deepmd_tf.descriptors.base import Descriptor
from deepmd_tf.environment import RADIAL, Cutoff, EnvironmentSpec, NeighborLimit, Selection
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


def environments_of(model: AnyModelConfig, ntypes: int) -> list[EnvironmentSpec]:
    """The environments of all members of a model, in the order in which it builds them."""
    return [spec for member in model.members() for spec in environments_of_member(member, ntypes)]


def environments_of_member(member: Member | NetMember, ntypes: int) -> list[EnvironmentSpec]:
    """Those of one member."""
    if isinstance(member.config, ModelConfig):
        descriptor = make_descriptor(member.config.descriptor, ntypes, scope=member.scope)
        return descriptor.environments()
    return [of_distances(part, ntypes, member.scope) for part in member.config.own_parts()]


def of_distances(part: Part, ntypes: int, scope: str) -> EnvironmentSpec:
    """The environment of a function of the distances of the neighbours."""
    rcut, rcut_smth = cast(tuple[float, float], part.config.reach)
    selection = Selection(part.config.counts)
    cutoff = Cutoff(rcut, rcut_smth)
    return EnvironmentSpec(cutoff, selection, ntypes, RADIAL, scope, normalised=False)


def neighbor_limits(model: AnyModelConfig, ntypes: int) -> list[NeighborLimit]:
    """How many neighbours of each type are kept, in one environment after the other."""
    paths = {part.scope: part.path for part in model.parts()}
    return [
        limit
        for spec in environments_of(model, ntypes)
        # of a model by itself, where its section need not be said
        for limit in spec.limits(paths.get(spec.scope, "").removeprefix("descriptor."))
    ]
