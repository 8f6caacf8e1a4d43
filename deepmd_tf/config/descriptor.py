# SPDX-License-Identifier: BSD-3-Clause
"""The section ``descriptor``, of which there are several kinds."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import annotated_types
import numpy as np
from pydantic import ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.section import ELSEWHERE, LATER, Kinds, Registry, option
from deepmd_tf.config.values import (
    Activation,
    Bool,
    Int,
    Layers,
    Number,
    Precision,
    Sel,
    Width,
    Words,
)

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
                "se_atten",
                "dpa1",
                "se_atten_v2",
                "se_a_mask",
                "hybrid",
            ),
            LATER,
        ),
        **dict.fromkeys(
            ("loc_frame", "se_a_tpe", "se_a_ebd"),
            "an old descriptor of DeePMD-kit that this package does not have",
        ),
        **dict.fromkeys(
            ("se_a_ebd_v2", "se_a_tpe_v2"),
            "se_e2_a with a type embedding, a descriptor of DeePMD-kit's TensorFlow backend that "
            "this package does not have",
        ),
        **dict.fromkeys(("dpa2", "dpa3", "dpa4", "dpa4c", "se_e3_tebd"), ELSEWHERE),
    }

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


class EmbeddingConfig(DescriptorConfig):
    """Descriptors made of embedding nets, functions of s(r) for each pair of types."""

    neuron: Layers = option([10, 20, 40], doc="Widths of the layers of the embedding net.")
    activation_function: Activation = option(
        "tanh", doc="Activation function of the embedding net."
    )
    resnet_dt: Bool = option(False, doc="A learnt step in the layers that have a skip connection.")
    type_one_side: Bool = option(
        False, doc="One embedding net per type of neighbour, instead of one per pair of types."
    )
    precision: Precision = option(
        "default", doc="Precision of the embedding net; default: that of the interface."
    )
    trainable: Bool = option(True, doc="Whether training changes the embedding net.")
    seed: Int | None = option(
        None, omit_none=True, doc="Seed of the initial weights; none: random."
    )
    exclude_types: list[TypePair] = option(
        [], doc="Pairs of types that do not see each other; [i, j] stands for [j, i] too."
    )
    env_protection: Number = option(
        0.0, later=True, unit=units.LENGTH, doc="Shift of distances against division by zero."
    )
    set_davg_zero: Bool = option(
        False,
        doc="Do not subtract the mean of the environment; needed for exact energies of lone atoms.",
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
        if isinstance(sel, list) and not any(
            count and frozenset((center, neighbor)) not in excluded
            for neighbor, count in enumerate(sel)
            for center in range(len(sel))
        ):
            raise ValueError(
                f"of the pairs of types that are left none has neighbours in sel {sel}, so that no "
                "atom sees another"
            )
        return value

    @property
    def zero_mean(self) -> bool:
        return self.set_davg_zero


@DescriptorConfig.register
class DescriptorSeE2A(EmbeddingConfig):
    """Smooth two-body embedding that sees distances and directions.

    Each neighbour within rcut gives s(r)·(1, x/r, y/r, z/r); an embedding net of s(r) turns the sum
    over neighbours into a matrix, and products of its columns are the features of an atom.
    """

    type_aliases: ClassVar[dict[str, str]] = {"se_a": "se_e2_a"}

    type: Literal["se_e2_a"] = option(doc="Kind of descriptor.")
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
