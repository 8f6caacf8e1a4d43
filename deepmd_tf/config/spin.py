# SPDX-License-Identifier: BSD-3-Clause
"""The section ``spin`` of a model: types whose atoms have a spin (DeepSPIN)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import annotated_types
from pydantic import ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.descriptors import AnyDescriptorConfig
from deepmd_tf.config.section import ABSENT, ELSEWHERE, Foreign, Section, option
from deepmd_tf.config.values import Bool, Number, one_per_type

DESCRIPTORS = ("se_e2_a", "se_e2_r")
"""Those that see virtual atoms."""
Positive = Annotated[Number, annotated_types.Gt(0)]


class SpinConfig(Section):
    """Types of atoms that have a spin, which is data in the form of virtual atoms.

    The virtual atom of an atom at r with the spin m is at r + m · virtual_len / spin_norm, and of a
    type of its own, behind those of type_map: type.raw, coord.npy and force.npy have these atoms,
    in the order of their atoms. Their forces are those on the spins, minus the derivative of the
    energy by m.
    """

    refused: ClassVar[dict[str, Foreign]] = {
        "scheme": Foreign("deepspin", f"other schemes than deepspin are {ELSEWHERE}"),
        "allow_missing_label": Foreign(False, f"spins without labels are {ELSEWHERE}"),
        "virtual_scale": Foreign(
            ABSENT, f"virtual_scale is {ELSEWHERE}; here virtual_len says where virtual atoms are"
        ),
    }

    use_spin: list[Bool] = option(
        min_length=1,
        doc="Whether the atoms of a type have a spin, one entry per type; types with a spin come "
        "first.",
    )
    spin_norm: list[Positive] = option(
        doc="Size of the spin of each type that has one, in the unit of the spins.",
    )
    virtual_len: list[Positive] = option(
        unit=units.LENGTH,
        doc="Distance of the virtual atom of a spin of that size from its atom, one entry per type "
        "with a spin.",
    )

    @field_validator("use_spin")
    @classmethod
    def _types_with_spin_first(cls, value: list[bool], info: ValidationInfo) -> list[bool]:
        one_per_type(value, info)
        if not any(value):
            raise ValueError("no type has a spin; set an entry to true, or leave out model/spin")
        if sorted(value, reverse=True) != value:
            raise ValueError(
                f"is {value}; the types with a spin must come first in type_map, for their virtual "
                "atoms are numbered in that order; change the order of type_map (and of type.raw), "
                "as in [true, false]"
            )
        return value

    @field_validator("spin_norm", "virtual_len")
    @classmethod
    def _one_per_spin(cls, value: list[float], info: ValidationInfo) -> list[float]:
        expected = sum(info.data["use_spin"]) if "use_spin" in info.data else len(value)
        if len(value) != expected:
            raise ValueError(
                f"has length {len(value)}; expected {expected}, one entry per type with a spin"
            )
        return value

    @property
    def count(self) -> int:
        """Number of types with a spin, as many as there are types of virtual atoms."""
        return sum(self.use_spin)

    @property
    def lengths(self) -> list[float]:
        """Å per unit of spin, of each type with a spin: virtual_len / spin_norm."""
        return [a / b for a, b in zip(self.virtual_len, self.spin_norm, strict=True)]


def named_spins(value: SpinConfig | None, info: ValidationInfo) -> SpinConfig | None:
    """``model/spin`` needs names of the types."""
    if value is not None and "type_map" in info.data and not info.data["type_map"]:
        raise ValueError(
            "needs the names of the types in model/type_map, those with a spin first, as in "
            '"type_map": ["Ni", "O"]'
        )
    return value


def descriptor_of_spins(value: AnyDescriptorConfig, info: ValidationInfo) -> AnyDescriptorConfig:
    """``model/spin`` goes with some descriptors, and not with all other keys of the model."""
    if info.data.get("spin") is None:
        return value
    for key in ("type_embedding", "use_srtab"):
        if info.data.get(key) is not None:
            raise ValueError(f"model/spin cannot be used with model/{key}; remove one of them")
    if value.type not in DESCRIPTORS:
        raise ValueError(
            f"model/spin is for the descriptors {' and '.join(DESCRIPTORS)}, not for {value.type}; "
            "take one of them, or remove spin"
        )
    return value
