# SPDX-License-Identifier: BSD-3-Clause
"""The descriptor of pairs of neighbours, ``se_e3``."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator

from deepmd_tf.config.descriptors.base import DescriptorConfig, TypePair
from deepmd_tf.config.descriptors.two_body import NetsConfig
from deepmd_tf.config.section import option


@DescriptorConfig.register
class DescriptorSeE3(NetsConfig):
    """Smooth three-body embedding that sees angles.

    An embedding net of the product of two neighbours' vectors, summed over all pairs of neighbours
    within rcut, gives the features of an atom. The cost grows with the square of the number of
    neighbours, so that rcut is smaller than for other descriptors.
    """

    type_aliases: ClassVar[dict[str, str]] = dict.fromkeys(("se_at", "se_a_3be", "se_t"), "se_e3")

    type: Literal["se_e3"] = option(doc="Kind of descriptor.")
    exclude_types: list[TypePair] = option(
        [], doc="Only [] is possible: this descriptor cannot leave pairs of types out."
    )

    @field_validator("exclude_types")
    @classmethod
    def _none(cls, value: list[list[int]]) -> list[list[int]]:
        if value:
            raise ValueError(
                "must be []: se_e3 cannot leave pairs of types out, here and in DeePMD-kit; "
                "se_e2_a and se_e2_r can"
            )
        return value
