# SPDX-License-Identifier: BSD-3-Clause
"""The sections ``fitting_net`` of tensors of atoms and of densities of states."""

from __future__ import annotations

from typing import Annotated, Literal

import annotated_types
from pydantic import BeforeValidator, ValidationInfo, field_validator

from deepmd_tf.config.fitting import FittingConfig, one_per_layer, seed_option
from deepmd_tf.config.section import option
from deepmd_tf.config.values import Bool, Int, Number, Precision, Words, one_per_type

TypeIndex = Annotated[Int, annotated_types.Ge(0)]
SelType = Annotated[
    Annotated[list[TypeIndex], annotated_types.MinLen(1)],
    BeforeValidator(lambda value: [value] if type(value) is int else value),
    Words("the index of a type of atoms, or a non-empty list of such indices, as in [0]"),
]
Scale = Annotated[
    list[Number] | Number, Words("a number, or a list of numbers, one per type of atoms")
]


class FittingTensor(FittingConfig):
    """Keys of the nets of all tensors."""

    def selected(self, ntypes: int) -> tuple[int, ...]:
        """Types of the atoms that have a tensor, in ascending order."""
        given: list[int] | None = getattr(self, "sel_type", None)
        return tuple(range(ntypes)) if given is None else tuple(given)

    @field_validator("numb_fparam", "numb_aparam", check_fields=False)
    @classmethod
    def _no_parameters(cls, value: int) -> int:
        if value:
            raise ValueError(
                "frame and atomic parameters are inputs of the fitting nets ener and dos only; "
                "remove it"
            )
        return value

    @field_validator("default_fparam", check_fields=False)
    @classmethod
    def _no_default(cls, value: list[float] | None) -> list[float] | None:
        if value:
            raise ValueError("there are no frame parameters in models of tensors; remove it")
        return value

    @field_validator("sel_type", check_fields=False)
    @classmethod
    def _known_types(cls, value: list[int] | None, info: ValidationInfo) -> list[int] | None:
        if value is None:
            return None
        ntypes = (info.context or {}).get("ntypes")
        if ntypes is not None and max(value) >= ntypes:
            raise ValueError(
                f"has the type {max(value)}, but there are {ntypes} types, 0 to {ntypes - 1}"
            )
        if len(set(value)) < len(value):
            raise ValueError("has a type more than once")
        return sorted(value)


@FittingConfig.register
class FittingDipole(FittingTensor):
    """Net from the features of an atom to its dipole moment, a vector that turns with the atoms;
    one per type of atom."""

    type: Literal["dipole"] = option("dipole", doc="What is fitted.")
    sel_type: SelType | None = option(
        None,
        aliases=("dipole_type",),
        doc="Types of the atoms that have a dipole moment, by index; null: all.",
    )
    seed: Int | None = seed_option()

    @property
    def width(self) -> int:
        return 3


@FittingConfig.register
class FittingPolar(FittingTensor):
    """Net from the features of an atom to its polarisability, a symmetric matrix that turns with
    the atoms; one per type of atom."""

    type: Literal["polar"] = option("polar", doc="What is fitted.")
    fit_diag: Bool = option(
        True,
        doc="Whether the net gives one number for each component of the embedding, or a matrix of "
        "their products.",
    )
    scale: Scale = option(
        1.0,
        doc="Factor of what the nets give. Of a list the first entry belongs to the first type in "
        "sel_type, the second to the second, and so on, as in DeePMD-kit; with a type embedding "
        "each type has the entry of its index.",
    )
    shift_diag: Bool = option(
        True,
        doc="Whether the mean of the diagonal in the training data is added to the polarisability "
        "of each atom.",
    )
    sel_type: SelType | None = option(
        None,
        aliases=("pol_type",),
        doc="Types of the atoms that have a polarisability, by index; null: all.",
    )
    seed: Int | None = seed_option()

    @property
    def width(self) -> int:
        return 9

    def scales(self, ntypes: int) -> list[float]:
        """The factors, one per type."""
        return self.scale if isinstance(self.scale, list) else [self.scale] * ntypes

    _one_per_type = field_validator("scale")(one_per_type)


@FittingConfig.register
class FittingDos(FittingConfig):
    """Net from the features of an atom to its density of states on a grid of energies, one per
    type of atom."""

    type: Literal["dos"] = option("dos", doc="What is fitted.")
    numb_dos: Int = option(
        300, ge=1, le=100_000, doc="Number of energies at which the density of states is given."
    )
    precision: Precision = option(
        "float64", doc="Precision of the net; default: that of the interface."
    )
    trainable: Bool | list[Bool] = option(
        True,
        doc="Whether training changes the net; a list has one entry per hidden layer and one for "
        "the last.",
    )
    rcond: Number | None = option(None, ge=0, doc="Has no effect: there is no bias of atoms.")
    seed: Int | None = seed_option()

    _one_per_layer = field_validator("trainable")(one_per_layer)

    @property
    def width(self) -> int:
        return self.numb_dos
