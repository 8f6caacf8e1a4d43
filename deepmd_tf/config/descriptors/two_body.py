# SPDX-License-Identifier: BSD-3-Clause
"""Descriptors of an embedding net for each pair of types: ``se_e2_a`` and ``se_e2_r``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.descriptors.base import DescriptorConfig, PartConfig, TypePair
from deepmd_tf.config.section import option
from deepmd_tf.config.values import Activation, Bool, Int, Layers, Number, Precision, Width


class NetsKeys(PartConfig):
    """Keys of embedding nets, functions of one number."""

    neuron: Layers = option([10, 20, 40], doc="Widths of the layers of the embedding net.")
    activation_function: Activation = option(
        "tanh", doc="Activation function of the embedding net."
    )
    resnet_dt: Bool = option(False, doc="A learnt step in the layers that have a skip connection.")
    precision: Precision = option(
        "default", doc="Precision of the embedding net; default: that of the interface."
    )
    trainable: Bool = option(True, doc="Whether training changes the embedding net.")
    seed: Int | None = option(
        None, omit_none=True, doc="Seed of the initial weights; none: random."
    )


class NetsConfig(NetsKeys, DescriptorConfig):
    """Descriptors made of embedding nets, with a cutoff and normalised rows."""

    env_protection: Number = option(
        0.0, later=True, unit=units.LENGTH, doc="Shift of distances against division by zero."
    )
    set_davg_zero: Bool = option(
        False,
        doc="Do not subtract the mean of the environment; needed for exact energies of lone atoms.",
    )


class EmbeddingKeys(NetsKeys):
    """Keys of embedding nets that are functions of s(r) for each pair of types."""

    type_one_side: Bool = option(
        False, doc="One embedding net per type of neighbour, instead of one per pair of types."
    )
    exclude_types: list[TypePair] = option(
        [], doc="Pairs of types that do not see each other; [i, j] stands for [j, i] too."
    )

    @field_validator("exclude_types")
    @classmethod
    def _known_types(cls, value: list[list[int]], info: ValidationInfo) -> list[list[int]]:
        ntypes = (info.context or {}).get("ntypes")
        for pair in value:
            if ntypes is not None and max(pair) >= ntypes:
                raise ValueError(f"the pair {pair} names a type beyond the last one, {ntypes - 1}")
        if ntypes is not None and len({frozenset(p) for p in value}) == ntypes * (ntypes + 1) // 2:
            raise ValueError("every pair of types is excluded, so that no atom sees another")
        sel = info.data.get("sel")
        excluded = {frozenset(pair) for pair in value}
        if (
            isinstance(sel, list)
            and not cls.one_selection
            and not any(
                count and frozenset((center, neighbor)) not in excluded
                for neighbor, count in enumerate(sel)
                for center in range(len(sel))
            )
        ):
            raise ValueError(
                f"of the pairs of types that are left none has neighbours in sel {sel}, so that no "
                "atom sees another"
            )
        return value


class EmbeddingConfig(EmbeddingKeys, NetsConfig):
    """Embedding nets that are functions of s(r) for each pair of types, with a cutoff."""

    @property
    def zero_mean(self) -> bool:
        return self.set_davg_zero


class MatrixKeys(EmbeddingKeys):
    """Keys of descriptors of products of the columns of a matrix for each atom."""

    axis_neuron: Width = option(
        4,
        aliases=("n_axis_neuron",),
        doc="How many of the columns of the embedding are multiplied with all of them.",
    )

    @field_validator("axis_neuron")
    @classmethod
    def _narrow(cls, value: int, info: ValidationInfo) -> int:
        if "neuron" in info.data and value > info.data["neuron"][-1]:
            raise ValueError(
                f"must not be larger than the last entry of neuron ({info.data['neuron'][-1]})"
            )
        return value


class MatrixConfig(MatrixKeys, EmbeddingConfig):
    """Descriptors of products of the columns of a matrix for each atom, with a cutoff."""


@DescriptorConfig.register
class DescriptorSeE2A(MatrixConfig):
    """Smooth two-body embedding that sees distances and directions.

    Each neighbour within rcut gives s(r)·(1, x/r, y/r, z/r); an embedding net of s(r) turns the sum
    over neighbours into a matrix, and products of its columns are the features of an atom.
    """

    type_aliases: ClassVar[dict[str, str]] = {"se_a": "se_e2_a"}

    type: Literal["se_e2_a"] = option(doc="Kind of descriptor.")
    type_one_side: Bool = option(
        False,
        doc="One embedding net per type of neighbour, instead of one per pair of types. With "
        "model/type_embedding there is one for all, which then takes the vector of the neighbour "
        "alone, not that of the centre too.",
    )


@DescriptorConfig.register
class DescriptorSeAEbdV2(MatrixConfig):
    """``se_e2_a`` with one embedding net for all types, multiplied with a net of the types.

    The net of the types takes their vectors (``model/type_embedding``), so that a model of many
    elements has no more weights than one of few. Unlike those of ``se_e2_a`` with a type embedding,
    DeePMD-kit compresses its models. Energies are smooth where an atom passes the cutoff only with
    ``set_davg_zero``.
    """

    type_aliases: ClassVar[dict[str, str]] = {"se_a_tpe_v2": "se_a_ebd_v2"}

    type: Literal["se_a_ebd_v2"] = option(doc="Kind of descriptor.")
    type_one_side: Bool = option(
        False,
        doc="The net of the types takes the vector of the neighbour alone, not that of the centre "
        "too.",
    )

    @property
    def explicit_types(self) -> bool:
        """Its nets take the type embedding."""
        return True


@DescriptorConfig.register
class DescriptorSeE2R(EmbeddingConfig):
    """Smooth two-body embedding that sees distances only.

    The mean of an embedding net of s(r) over the neighbours within rcut are the features of an
    atom: less accurate than ``se_e2_a``, and cheaper.
    """

    type_aliases: ClassVar[dict[str, str]] = {"se_r": "se_e2_r"}

    type: Literal["se_e2_r"] = option(doc="Kind of descriptor.")

    @property
    def zero_mean(self) -> bool:
        """False: G of an empty slot counts, whatever its s is."""
        return False
