# SPDX-License-Identifier: BSD-3-Clause
"""What every kind of the section ``descriptor`` has."""

from __future__ import annotations

from typing import Annotated, ClassVar

import annotated_types
import numpy as np
from pydantic import ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.section import ELSEWHERE, LATER, Kinds, Registry, option
from deepmd_tf.config.values import Int, Number, Sel, Words

TypePair = Annotated[
    list[Annotated[Int, annotated_types.Ge(0)]],
    annotated_types.Len(2, 2),
    Words("a pair of type indices, as in [0, 1]"),
]


class DescriptorConfig(Kinds):
    """The section ``descriptor``: what an atom sees of its surroundings.

    The kind is chosen by ``type``; :meth:`register` adds one. Keys here are those of every kind.
    """

    registered: ClassVar[Registry] = {}
    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            (
                "se_e3",
                "se_at",
                "se_a_3be",
                "se_t",
                "se_a_mask",
                "hybrid",
            ),
            LATER,
        ),
        **dict.fromkeys(
            ("loc_frame", "se_a_tpe", "se_a_ebd"),
            "an old descriptor of DeePMD-kit that this package does not have",
        ),
        **dict.fromkeys(("dpa2", "dpa3", "dpa4", "dpa4c", "se_e3_tebd"), ELSEWHERE),
    }

    one_selection: ClassVar[bool] = False
    """Whether ``sel`` is one number, for neighbours of all types together."""

    type: str = option(doc="Kind of descriptor.")
    sel: Sel = option(
        "auto",
        doc="Largest number of neighbours of each type within rcut. When an atom has more, the "
        "farthest are "
        'left out. "auto" takes the largest number found in the training data times 1.1, "auto:f" '
        "times f, "
        "rounded up to a multiple of 4.",
    )
    rcut: Number = option(6.0, gt=0, le=1000, unit=units.LENGTH, doc="Cutoff radius.")
    rcut_smth: Number = option(
        0.5, ge=0, unit=units.LENGTH, doc="Where the switch to zero at rcut begins; less than rcut."
    )

    @field_validator("rcut_smth")
    @classmethod
    def _inside(cls, value: float, info: ValidationInfo) -> float:
        # the ops hold both in single precision and divide by the difference
        with np.errstate(over="ignore"):
            outside = "rcut" in info.data and np.float32(value) >= np.float32(info.data["rcut"])
        if outside:
            raise ValueError(
                f"must be smaller than rcut ({info.data['rcut']:g} Å), also in single precision, "
                "for otherwise energies jump where an atom passes the cutoff"
            )
        return value

    @property
    def counts(self) -> tuple[int, ...]:
        """``sel`` as numbers, which it is once the data have been measured."""
        if isinstance(self.sel, str):
            raise ValueError(f'sel is "{self.sel}": the data have not been measured')
        return tuple(self.sel)

    @property
    def zero_mean(self) -> bool:
        """Whether empty slots contribute nothing, so that ``sel`` of a trained model may change."""
        return False

    @property
    def explicit_types(self) -> bool:
        """Whether the descriptor needs a type embedding, with a row of zeros for empty slots: the
        model then has one even without a section ``type_embedding``."""
        return False
