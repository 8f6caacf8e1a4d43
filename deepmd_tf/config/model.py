# SPDX-License-Identifier: BSD-3-Clause
"""The section ``model``: descriptor and fitting network."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import annotated_types
import numpy as np
from pydantic import AfterValidator, Strict, ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.section import ABSENT, ELSEWHERE, LATER, Foreign, Section, option
from deepmd_tf.config.values import (
    Activation,
    Bool,
    Int,
    Number,
    Precision,
    Sel,
    Text,
    Words,
)
from deepmd_tf.fields import Field, model_inputs

Width = Annotated[Int, annotated_types.Ge(1), annotated_types.Le(100_000)]
Layers = Annotated[list[Width], annotated_types.MinLen(1)]

MULTI_TASK = "multi-task training is not available with TensorFlow"


def _element(name: str) -> str:
    if not name.strip() or any(c.isspace() for c in name):
        raise ValueError
    return name


Element = Annotated[
    str, Strict(), AfterValidator(_element), Words('a name in quotes without blanks, such as "O"')
]
TypePair = Annotated[
    list[Annotated[Int, annotated_types.Ge(0)]],
    annotated_types.Len(2, 2),
    Words("a pair of type indices, as in [0, 1]"),
]


class DescriptorSeE2A(Section):
    """Smooth two-body embedding that sees distances and directions.

    Each neighbour within rcut gives s(r)·(1, x/r, y/r, z/r); an embedding net of s(r) turns the sum
    over neighbours into a matrix, and products of its columns are the features of an atom.
    """

    type_aliases: ClassVar[dict[str, str]] = {"se_a": "se_e2_a"}
    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            (
                "se_e2_r",
                "se_r",
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
            ("loc_frame", "se_a_tpe", "se_a_ebd", "se_a_ebd_v2", "se_a_tpe_v2"),
            "an old descriptor of DeePMD-kit that this package does not have",
        ),
        **dict.fromkeys(("dpa2", "dpa3", "dpa4", "dpa4c", "se_e3_tebd"), ELSEWHERE),
    }

    type: Literal["se_e2_a"] = option(doc="Kind of descriptor.")
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
    neuron: Layers = option([10, 20, 40], doc="Widths of the layers of the embedding net.")
    axis_neuron: Width = option(
        4,
        aliases=("n_axis_neuron",),
        doc="How many of the columns of the embedding are multiplied with all of them.",
    )
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

    @field_validator("rcut_smth")
    @classmethod
    def _inside(cls, value: float, info: ValidationInfo) -> float:
        # the ops hold both in single precision and divide by the difference
        with np.errstate(over="ignore"):
            outside = "rcut" in info.data and np.float32(value) >= np.float32(info.data["rcut"])
        if outside:
            raise ValueError(
                f"must be smaller than rcut ({info.data['rcut']:g} Å), also in single precision"
            )
        return value

    @field_validator("axis_neuron")
    @classmethod
    def _narrow(cls, value: int, info: ValidationInfo) -> int:
        if "neuron" in info.data and value > info.data["neuron"][-1]:
            raise ValueError(
                f"must not be larger than the last entry of neuron ({info.data['neuron'][-1]})"
            )
        return value

    @field_validator("exclude_types")
    @classmethod
    def _known_types(cls, value: list[list[int]], info: ValidationInfo) -> list[list[int]]:
        ntypes = (info.context or {}).get("ntypes")
        for pair in value:
            if ntypes is not None and max(pair) >= ntypes:
                raise ValueError(f"the pair {pair} names a type beyond the last one, {ntypes - 1}")
        if ntypes is not None and len({frozenset(p) for p in value}) == ntypes * (ntypes + 1) // 2:
            raise ValueError("every pair of types is excluded, so that no atom sees another")
        return value


class FittingEner(Section):
    """Net from the features of an atom to its energy, one per type of atom."""

    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("dos", "dipole", "polar"), LATER),
        **dict.fromkeys(("property", "population", "dpa4_ener", "sezm_ener"), ELSEWHERE),
    }

    type: Literal["ener"] = option("ener", doc="What is fitted.")
    numb_fparam: Int = option(
        0, ge=0, doc="Number of parameters of a frame (fparam.npy), which enter the net."
    )
    numb_aparam: Int = option(
        0, ge=0, doc="Number of parameters of each atom (aparam.npy), which enter the net."
    )
    default_fparam: list[Number] | None = option(
        None,
        doc="Frame parameters of systems that have no fparam.npy, and of callers that give none; "
        "numb_fparam numbers. Programs of DeePMD-kit do not know it.",
    )
    dim_case_embd: Int = option(0, ge=0, later=True, doc="Width of the embedding of data sets.")
    neuron: Layers = option(
        [120, 120, 120], aliases=("n_neuron",), doc="Widths of the hidden layers."
    )
    activation_function: Activation = option(
        "tanh", doc="Activation function of the hidden layers."
    )
    precision: Precision = option(
        "default", doc="Precision of the net; default: that of the interface."
    )
    resnet_dt: Bool = option(True, doc="A learnt step in the layers that have a skip connection.")
    trainable: Bool | list[Bool] = option(
        True,
        doc="Whether training changes the net; a list has one entry per hidden layer and one for "
        "the last.",
    )
    rcond: Number | None = option(
        None,
        ge=0,
        doc="Relative size below which singular values are dropped when the energy bias is found.",
    )
    seed: Int | None = option(
        None, omit_none=True, doc="Seed of the initial weights; none: random."
    )
    atom_ener: list[Number | None] = option(
        [],
        unit=units.ENERGY,
        doc="Energy of a lone atom of each type; null: found from the data. The energy of such an "
        "atom in "
        "vacuum is then exact, if set_davg_zero is set.",
    )
    layer_name: list[Text | None] | None = option(
        None,
        omit_none=True,
        doc="Names of the layers, one per hidden layer and one for the last; layers of a net that "
        "have the same name share their weights. null: not shared.",
    )
    use_aparam_as_mask: Bool = option(
        False,
        doc="Atomic parameters are left out of the net. They are meant to choose atoms, which only "
        "the descriptor se_a_mask of DeePMD-kit does: here they then change nothing.",
    )

    @property
    def data_items(self) -> tuple[Field, ...]:
        """Items of a data set that the model takes with coordinates, types and cell."""
        return model_inputs(self.numb_fparam, self.numb_aparam, self.default_fparam)

    @property
    def net_aparam(self) -> int:
        """Number of parameters of an atom that enter the net."""
        return 0 if self.use_aparam_as_mask else self.numb_aparam

    @field_validator("default_fparam")
    @classmethod
    def _one_per_parameter(
        cls, value: list[float] | None, info: ValidationInfo
    ) -> list[float] | None:
        expected = info.data.get("numb_fparam")
        if value is not None and expected is not None and len(value) != expected:
            raise ValueError(f"has length {len(value)}; expected {expected}, which is numb_fparam")
        return value

    @field_validator("trainable", "layer_name")
    @classmethod
    def _one_per_layer(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, list) and "neuron" in info.data:
            layers = len(info.data["neuron"]) + 1
            if len(value) != layers:
                raise ValueError(
                    f"has length {len(value)}; expected {layers}, one per entry of neuron and one "
                    "for the "
                    "last layer"
                )
        return value

    @field_validator("atom_ener")
    @classmethod
    def _one_per_type(cls, value: list[float | None], info: ValidationInfo) -> list[float | None]:
        ntypes = (info.context or {}).get("ntypes")
        if value and ntypes is not None and len(value) != ntypes:
            raise ValueError(
                f"has length {len(value)}, but there are {ntypes} types; one entry per type is "
                "needed"
            )
        return value


class ModelConfig(Section):
    """The potential-energy surface: which atoms, what they see, how energies follow from it."""

    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("frozen", "pairtab", "pairwise_dprc", "linear_ener"), LATER),
        **dict.fromkeys(("dpa4", "DPA4", "SeZM", "sezm"), ELSEWHERE),
    }
    refused: ClassVar[dict[str, Foreign]] = {
        "use_srtab": Foreign(ABSENT, f"a tabulated short-range potential is {LATER}"),
        "type_embedding": Foreign(ABSENT, f"type embedding is {LATER}"),
        "modifier": Foreign(ABSENT, f"a data modifier (long-range electrostatics) is {LATER}"),
        "compress": Foreign(ABSENT, f"training of a compressed model is {LATER}"),
        "spin": Foreign(ABSENT, f"spin is {LATER}"),
        "pair_exclude_types": Foreign(
            [],
            f"leaving out pairs of types everywhere is {ELSEWHERE} (see descriptor.exclude_types)",
        ),
        "atom_exclude_types": Foreign([], f"leaving out types of atoms is {ELSEWHERE}"),
        "preset_out_bias": Foreign(
            None, f"a preset bias is {ELSEWHERE} (see fitting_net.atom_ener)"
        ),
        "bridging_method": Foreign("None", f"bridging is {ELSEWHERE}"),
        "model_dict": Foreign(ABSENT, MULTI_TASK),
        "shared_dict": Foreign(ABSENT, MULTI_TASK),
        "fitting_net_dict": Foreign(ABSENT, MULTI_TASK),
    }
    ignored: ClassVar[dict[str, Foreign]] = {
        "smin_alpha": Foreign(ABSENT, "it belongs to use_srtab"),
        "sw_rmin": Foreign(ABSENT, "it belongs to use_srtab"),
        "sw_rmax": Foreign(ABSENT, "it belongs to use_srtab"),
        "srtab_add_bias": Foreign(True, "it belongs to use_srtab"),
        "bridging_r_inner": Foreign(0.5, "it belongs to bridging_method"),
        "bridging_r_outer": Foreign(0.8, "it belongs to bridging_method"),
        "finetune_head": Foreign(ABSENT, ELSEWHERE),
        "model_branch_alias": Foreign([], ELSEWHERE),
        "info": Foreign({}, ELSEWHERE),
    }

    type: Literal["standard"] = option("standard", doc="A descriptor and a fitting net.")
    type_map: list[Element] | None = option(
        None,
        min_length=1,
        omit_none=True,
        doc="Names of the types of atoms, in the order of their indices. Data whose own order "
        "differs are "
        "brought into this one by name.",
    )
    data_stat_nbatch: Int = option(
        10, ge=1, doc="Batches of each system that statistics are taken from before training."
    )
    data_stat_protect: Number = option(
        0.01,
        gt=0,
        doc="Smallest standard deviation that frame and atomic parameters are divided by.",
    )
    data_bias_nsample: Int = option(
        10, ge=1, doc="Frames of each system from which the energy bias is changed."
    )
    descriptor: DescriptorSeE2A = option(doc="What an atom sees of its surroundings.")
    fitting_net: FittingEner = option(doc="How an energy follows from it.")

    @field_validator("type_map")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        names = value or []
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} stands there more than once")
        return value

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Number of types, from ``type_map`` or, without one, from ``sel``."""
        type_map, descriptor = values.get("type_map"), values.get("descriptor")
        sel = descriptor.get("sel") if isinstance(descriptor, dict) else None
        for entries in (type_map, sel):
            if isinstance(entries, list) and entries:
                return {"ntypes": len(entries)}
        return {}

    @property
    def ntypes(self) -> int | None:
        """Number of types; None when only the data can tell."""
        for entries in (self.type_map, self.descriptor.sel):
            if isinstance(entries, list):
                return len(entries)
        return None
