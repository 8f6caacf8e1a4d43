# SPDX-License-Identifier: BSD-3-Clause
"""The section ``model``: descriptor and fitting network."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Strict, ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.descriptor import DescriptorConfig
from deepmd_tf.config.section import ABSENT, ELSEWHERE, LATER, Foreign, Section, option
from deepmd_tf.config.values import Activation, Bool, Int, Layers, Number, Precision, Text, Words
from deepmd_tf.fields import Field, model_inputs

MULTI_TASK = "multi-task training is not available with TensorFlow"


def _element(name: str) -> str:
    if not name.strip() or any(c.isspace() for c in name):
        raise ValueError
    return name


Element = Annotated[
    str, Strict(), AfterValidator(_element), Words('a name in quotes without blanks, such as "O"')
]


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
    descriptor: DescriptorConfig = option(doc="What an atom sees of its surroundings.")
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
