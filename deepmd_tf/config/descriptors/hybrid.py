# SPDX-License-Identifier: BSD-3-Clause
"""Several descriptors together: ``hybrid``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import annotated_types

from deepmd_tf.config.descriptors.base import (
    AnyDescriptorConfig,
    DescriptorConfig,
    Part,
    PartConfig,
)
from deepmd_tf.config.section import option

# by another name, since the key is called "list"
_Members = Annotated[list[DescriptorConfig], annotated_types.MinLen(1)]


class DescriptorHybrid(AnyDescriptorConfig):
    """Several descriptors, of any kinds and each with its own cutoff, numbers of neighbours, nets
    and seed; the features of an atom are those of all of them.
    """

    type: Literal["hybrid"] = option(doc="Kind of descriptor.")
    list: _Members = option(doc="The descriptors, in the order of their features.")

    def parts(self) -> tuple[Part, ...]:
        return tuple(Part(f"_{i}", f"list[{i}].", m) for i, m in enumerate(self.list))

    def with_parts(self, parts: Sequence[PartConfig]) -> DescriptorHybrid:
        return self.model_copy(update={"list": [*parts]})

    def with_sel(self, sel: Mapping[str, Sequence[int]]) -> DescriptorHybrid:
        members = [part.config.with_sel({"": sel[part.scope]}) for part in self.parts()]
        return self.model_copy(update={"list": members})
