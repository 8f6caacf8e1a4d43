# SPDX-License-Identifier: BSD-3-Clause
"""The section ``model``: descriptor and fitting network."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Strict, ValidationInfo, field_validator

from deepmd_tf.config.descriptors import AnyDescriptorConfig
from deepmd_tf.config.fitting import FittingConfig
from deepmd_tf.config.section import ABSENT, ELSEWHERE, LATER, Foreign, Section, option
from deepmd_tf.config.type_embedding import TypeEmbeddingConfig
from deepmd_tf.config.values import Int, Number, Words
from deepmd_tf.elements import SYMBOLS

MULTI_TASK = "multi-task training is not available with TensorFlow"


def _element(name: str) -> str:
    if not name.strip() or any(c.isspace() for c in name):
        raise ValueError
    return name


Element = Annotated[
    str, Strict(), AfterValidator(_element), Words('a name in quotes without blanks, such as "O"')
]


class ModelConfig(Section):
    """The potential-energy surface: which atoms, what they see, how energies follow from it."""

    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(("frozen", "pairtab", "pairwise_dprc", "linear_ener"), LATER),
        **dict.fromkeys(("dpa4", "DPA4", "SeZM", "sezm"), ELSEWHERE),
    }
    refused: ClassVar[dict[str, Foreign]] = {
        "use_srtab": Foreign(ABSENT, f"a tabulated short-range potential is {LATER}"),
        "modifier": Foreign(ABSENT, f"a data modifier (long-range electrostatics) is {LATER}"),
        "compress": Foreign(
            ABSENT, "how a model was compressed; give the compressed file with --init-frz-model"
        ),
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
    type_embedding: TypeEmbeddingConfig | None = option(
        None,
        omit_none=True,
        doc="A learnt vector for each type of atom; one embedding net and one fitting net then "
        "serve all types.",
    )
    descriptor: AnyDescriptorConfig = option(doc="What an atom sees of its surroundings.")
    fitting_net: FittingConfig = option(doc="How an energy follows from it.")

    @field_validator("type_map")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        names = value or []
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} stands there more than once")
        return value

    @field_validator("type_embedding")
    @classmethod
    def _known_elements(
        cls, value: TypeEmbeddingConfig | None, info: ValidationInfo
    ) -> TypeEmbeddingConfig | None:
        if value is not None and value.use_econf_tebd and "type_map" in info.data:
            names = info.data["type_map"]
            unknown = [name for name in names or [] if name not in SYMBOLS]
            if names is None or unknown:
                said = f"has {', '.join(unknown)}" if unknown else "is not given"
                raise ValueError(
                    f"use_econf_tebd takes the electrons of the elements from type_map, which "
                    f"{said}; expected symbols of elements such as H and He"
                )
        return value

    @field_validator("descriptor")
    @classmethod
    def _named_types(cls, value: AnyDescriptorConfig, info: ValidationInfo) -> AnyDescriptorConfig:
        if value.explicit_types and "type_map" in info.data and not info.data["type_map"]:
            raise ValueError(
                f"{value.type} makes one net for all types, and needs their names in "
                'model/type_map, as in "type_map": ["O", "H"]'
            )
        return value

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Number of types, from ``type_map`` or, without one, from ``sel``."""
        type_map, descriptor = values.get("type_map"), values.get("descriptor")
        parts = AnyDescriptorConfig.sections(descriptor) if isinstance(descriptor, dict) else []
        sels = [part.get("sel") for _, part in parts]
        for entries in (type_map, *sels):
            if isinstance(entries, list) and entries:
                return {"ntypes": len(entries)}
        return {}

    @property
    def ntypes(self) -> int | None:
        """Number of types; None when only the data can tell."""
        return self.descriptor.ntypes if self.type_map is None else len(self.type_map)

    @property
    def embedding_of_types(self) -> TypeEmbeddingConfig | None:
        """The type embedding of the model: that of the script, or where there is none the one that
        a descriptor asks for (:attr:`DescriptorConfig.explicit_types`); None where nothing does.
        """
        if self.type_embedding is None and self.descriptor.explicit_types:
            return TypeEmbeddingConfig(neuron=[8], activation_function="linear")
        return self.type_embedding

    @property
    def known_ntypes(self) -> int:
        """Number of types of a model whose data have told it."""
        if self.ntypes is None:
            raise ValueError("neither type_map nor sel says how many types there are")
        return self.ntypes
