# SPDX-License-Identifier: BSD-3-Clause
"""What every kind of the section ``descriptor`` has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, cast

import annotated_types
import numpy as np
from pydantic import ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.section import ELSEWHERE, Kinds, Registry, option
from deepmd_tf.config.values import Int, Number, Sel, Words

TypePair = Annotated[
    list[Annotated[Int, annotated_types.Ge(0)]],
    annotated_types.Len(2, 2),
    Words("a pair of type indices, as in [0, 1]"),
]


D = TypeVar("D", bound="AnyDescriptorConfig")


class Part(NamedTuple):
    """One of the descriptors that a section asks for.

    Attributes
    ----------
    scope
        Suffix of its names in graphs: "" for a descriptor by itself, "_0", "_1" … for those of a
        list.
    path
        Where it stands in the section: "" or ``list[0].``, in front of a key.
    config
        Its keys.
    """

    scope: str
    path: str
    config: PartConfig


class AnyDescriptorConfig(Kinds):
    """The section ``descriptor``: what an atom sees of its surroundings.

    The kind is chosen by ``type``: one descriptor (:class:`PartConfig`), or several together.
    Who asks for keys of descriptors asks each of :meth:`parts`.
    """

    registered: ClassVar[Registry] = {}
    usual: ClassVar[str] = "se_e2_a"
    masked: ClassVar[bool] = False
    """Whether atoms see all atoms that the atomic parameter leaves in, instead of neighbours within
    a cutoff; ``sel`` are then the numbers of atoms of each type."""

    type: str = option(doc="Kind of descriptor.")

    def parts(self) -> tuple[Part, ...]:
        """The descriptors that make it up, at least one."""
        raise NotImplementedError

    def with_sel(self: D, sel: Mapping[str, Sequence[int]]) -> D:
        """A copy with these numbers of neighbours, by the scope of the part."""
        raise NotImplementedError

    def with_parts(self: D, parts: Sequence[PartConfig]) -> D:
        """A copy of other :meth:`parts`, in their order."""
        raise NotImplementedError

    @classmethod
    def sections(cls, values: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Scopes and keys of the parts in a script that has not been checked yet."""
        members = values.get("list")
        if not isinstance(members, list):
            return [("", values)]
        return [(f"_{i}", m) for i, m in enumerate(members) if isinstance(m, dict)]

    @property
    def ntypes(self) -> int | None:
        """Number of types, as far as ``sel`` tells it."""
        sels = (p.config.sel for p in self.parts() if not p.config.one_selection)
        return next((len(sel) for sel in sels if not isinstance(sel, str)), None)

    def stand_in(self, ntypes: int) -> dict[str, Sequence[int]]:
        """Numbers in place of those that only the data can tell, by the scope of the part."""
        return {
            part.scope: [1] * ntypes if isinstance(part.config.sel, str) else part.config.sel
            for part in self.parts()
        }

    def for_types(self: D, ntypes: int) -> D:
        """A copy with numbers of neighbours for each of ``ntypes`` types. Those behind the last
        entry of ``sel`` are of virtual atoms (``model/spin``), which are as many as the atoms of
        the first types.
        """
        if self.ntypes is None or self.ntypes >= ntypes:
            return self
        return self.with_sel(
            {
                scope: (*counts, *counts[: ntypes - len(counts)])
                for scope, counts in self.neighbors.items()
            }
        )

    @property
    def largest_rcut(self) -> float:
        """Distance that an atom sees, Å; -1 where there is no cutoff."""
        return max(
            -1.0 if part.config.reach is None else part.config.reach[0] for part in self.parts()
        )

    @property
    def explicit_types(self) -> bool:
        """Whether a descriptor needs a type embedding, with a row of zeros for empty slots: the
        model then has one even without a section ``type_embedding``.
        """
        return any(part.config.explicit_types for part in self.parts())

    @property
    def neighbors(self) -> dict[str, tuple[int, ...]]:
        """``sel`` as numbers, by the scope of the part."""
        return {part.scope: part.config.counts for part in self.parts()}


class PartConfig(AnyDescriptorConfig):
    """One descriptor: what there is of it wherever it stands."""

    one_selection: ClassVar[bool] = False
    """Whether ``sel`` is one number, for neighbours of all types together."""

    sel: Sel = option(
        "auto",
        doc="Largest number of neighbours of each type within rcut. When an atom has more, the "
        "farthest are "
        'left out. "auto" takes the largest number found in the training data times 1.1, "auto:f" '
        "times f, "
        "rounded up to a multiple of 4.",
    )

    @property
    def reach(self) -> tuple[float, float] | None:
        """Where the weight of a neighbour is zero and where its switch begins, Å; None: nowhere."""
        return None

    def parts(self) -> tuple[Part, ...]:
        return (Part("", "", self),)

    def with_parts(self: D, parts: Sequence[PartConfig]) -> D:
        (part,) = parts
        return cast(D, part)

    def with_sel(self: D, sel: Mapping[str, Sequence[int]]) -> D:
        return self.model_copy(update={"sel": [int(n) for n in sel[""]]})

    @property
    def remark(self) -> str:
        """What a user should know of these keys, which are accepted; "" for nothing."""
        return ""

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


class DescriptorConfig(PartConfig):
    """One descriptor with a cutoff, which may be a member of a list. :meth:`register` adds a kind;
    keys here are those of every one.
    """

    registered: ClassVar[Registry] = {}
    other_types: ClassVar[dict[str, str]] = {
        "se_a_mask": "a descriptor by itself, without a cutoff, and cannot be a member of a list",
        **dict.fromkeys(
            ("loc_frame", "se_a_tpe", "se_a_ebd"),
            "an old descriptor of DeePMD-kit that this package does not have",
        ),
        "hybrid": "a list of descriptors, and cannot be a member of another; put its members into "
        "this list",
        **dict.fromkeys(("dpa2", "dpa3", "dpa4", "dpa4c", "se_e3_tebd"), ELSEWHERE),
    }

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
    def reach(self) -> tuple[float, float]:
        return self.rcut, self.rcut_smth
