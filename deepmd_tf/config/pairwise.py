# SPDX-License-Identifier: BSD-3-Clause
"""A quantum region and fragments around it, each corrected by a model: ``pairwise_dprc``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from deepmd_tf.config.model import AnyModelConfig, Member, ModelConfig
from deepmd_tf.config.section import Foreign, option
from deepmd_tf.config.type_embedding import TypeEmbeddingConfig
from deepmd_tf.fields import FRAGMENTS, Field
from deepmd_tf.names import PAIR

MEMBERS = dict(zip(("qm_model", "qmmm_model"), PAIR, strict=True))
"""Keys of the models with the suffixes of their names in graphs."""
SHARED = ("type_map", "type_embedding")
"""Keys that are those of both models, and stand in the section once."""


class FragmentModel(ModelConfig):
    """One of the two models: a descriptor and a fitting net, with the types of both."""

    def to_dict(
        self, *, stored: bool = False, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        found = super().to_dict(stored=stored, like=like)
        return {key: value for key, value in found.items() if key not in SHARED}


@AnyModelConfig.register
class PairwiseConfig(AnyModelConfig):
    """Corrections for a quantum region and its pairs with the fragments around it: E = E_qm + Σ_f
    E_qmmm(f). The atomic parameter, aparam.npy, is the number of the fragment of each atom: the
    smallest number of a frame is the quantum region, and atoms of −1 take no part. The models see
    the atoms of a fragment and of the region, without periodic images.
    """

    refused: ClassVar[dict[str, Foreign]] = ModelConfig.refused | {
        name: Foreign(None, "a table of pair potentials cannot be used with pairwise_dprc")
        for name in ("use_srtab", "smin_alpha", "sw_rmin", "sw_rmax")
    }
    ignored: ClassVar[dict[str, Foreign]] = ModelConfig.ignored | {
        "srtab_add_bias": Foreign(True, "it belongs to use_srtab"),
    }

    type: Literal["pairwise_dprc"] = option(doc="Kind of model.")
    type_embedding: TypeEmbeddingConfig = option(
        doc="A learnt vector for each type of atom, which both models take."
    )
    qm_model: FragmentModel = option(
        doc="The model of the quantum region: descriptor and fitting net. Its descriptor has one "
        "sel for all types, a number."
    )
    qmmm_model: FragmentModel = option(
        doc="The model of the quantum region with one fragment. To leave pairs within either to "
        "other models, give their types in exclude_types, with set_davg_zero true, and zeros in "
        "atom_ener."
    )

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Number of types, from ``type_map``."""
        names = values.get("type_map")
        return {"ntypes": len(names)} if isinstance(names, list) and names else {}

    @model_validator(mode="before")
    @classmethod
    def _hand_down(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        shared = {key: values[key] for key in SHARED if values.get(key) is not None}
        members = {}
        for key in MEMBERS:
            model = values.get(key)
            if isinstance(model, dict):
                twice = [name for name in SHARED if model.get(name) is not None]
                if twice:
                    raise ValueError(
                        f"{key}/{twice[0]}: belongs in model, once for both models; remove it there"
                    )
                members[key] = {**model, **shared}
        return {**values, **members}

    @field_validator("type_map")
    @classmethod
    def _needed(cls, value: list[str] | None) -> list[str] | None:
        if value is None:
            raise ValueError('both models have these types, as in ["C", "H", "OW", "HW"]')
        return value

    @field_validator(*MEMBERS)
    @classmethod
    def _fits(cls, value: FragmentModel) -> FragmentModel:
        if value.use_srtab is not None:
            raise ValueError(
                "use_srtab: a table of pair potentials cannot be used with pairwise_dprc; remove it"
            )
        for part in value.descriptor.parts():
            if not part.config.one_selection:
                raise ValueError(
                    f"the descriptor {part.config.type} has neighbours of each type by themselves, "
                    "and cannot be used with pairwise_dprc; take one with a single sel, se_atten "
                    "or se_atten_v2"
                )
            if isinstance(part.config.sel, str):
                raise ValueError(
                    f'descriptor.{part.path}sel: "{part.config.sel}" cannot be found for '
                    "pairwise_dprc, where an atom sees the quantum region and one fragment; give "
                    "a number, at most that of their atoms"
                )
        fitting = value.fitting_net
        if fitting.type != "ener":
            raise ValueError(f'fitting_net.type is "{fitting.type}"; a sum is one of "ener"')
        if fitting.numb_fparam or fitting.numb_aparam:
            raise ValueError(
                "fitting_net: frame and atomic parameters (numb_fparam, numb_aparam) cannot be "
                "used with pairwise_dprc, here and in DeePMD-kit; remove them"
            )
        return value

    def members(self) -> tuple[Member, ...]:
        return tuple(Member(scope, f"{key}.", getattr(self, key)) for key, scope in MEMBERS.items())

    def with_sel(self, sel: Mapping[str, Sequence[int]], scope: str = "") -> PairwiseConfig:
        return self.model_copy(
            update={
                key: getattr(self, key).with_sel(sel, scope + own) for key, own in MEMBERS.items()
            }
        )

    @property
    def fragmented(self) -> bool:
        return True

    @property
    def numb_aparam(self) -> int:
        return 1

    @property
    def data_items(self) -> tuple[Field, ...]:
        return (FRAGMENTS,)
