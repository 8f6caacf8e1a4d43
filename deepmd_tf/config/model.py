# SPDX-License-Identifier: BSD-3-Clause
"""The section ``model``, of which there are several kinds; the usual one is a descriptor and a
fitting network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
from pydantic import AfterValidator, Strict, ValidationInfo, field_validator

from deepmd_tf import units
from deepmd_tf.config.descriptors import AnyDescriptorConfig, MatrixKeys, Part, PartConfig
from deepmd_tf.config.fitting import FittingConfig
from deepmd_tf.config.fitting_tensor import FittingTensor
from deepmd_tf.config.section import (
    ABSENT,
    ELSEWHERE,
    LATER,
    Foreign,
    Kinds,
    Registry,
    option,
)
from deepmd_tf.config.spin import SpinConfig, descriptor_of_spins, named_spins
from deepmd_tf.config.type_embedding import UNASKED, TypeEmbeddingConfig
from deepmd_tf.config.values import Bool, Int, Number, Text, Words
from deepmd_tf.elements import SYMBOLS, names_of_types
from deepmd_tf.fields import TENSORS, Field, model_inputs

MULTI_TASK = "multi-task training is not available with TensorFlow"


def _element(name: str) -> str:
    if not name.strip() or any(c.isspace() for c in name):
        raise ValueError
    return name


def _one_selection(part: Mapping[str, Any]) -> bool:
    """Whether ``sel`` of a part is one number, for all types together."""
    kind = AnyDescriptorConfig.registered.get(str(part.get("type")))
    return kind is not None and issubclass(kind, PartConfig) and kind.one_selection


Element = Annotated[
    str, Strict(), AfterValidator(_element), Words('a name in quotes without blanks, such as "O"')
]


M = TypeVar("M", bound="AnyModelConfig")


class Member(NamedTuple):
    """One of the models that a section ``model`` is made of.

    Attributes
    ----------
    scope
        Suffix of its names in graphs: "" for a model by itself, "_model0", "_model1" … for those
        of ``linear_ener``.
    path
        Where it stands in the section: "" or ``models[0].``, in front of a key.
    config
        Its keys.
    """

    scope: str
    path: str
    config: MemberConfig


class NetMember(NamedTuple):
    """A :class:`Member` with a descriptor and a fitting net."""

    scope: str
    path: str
    config: ModelConfig


class AnyModelConfig(Kinds):
    """The section ``model``: the potential-energy surface.

    The kind is chosen by ``type``: a descriptor with a fitting net (:class:`ModelConfig`), or
    several models together. Who asks for keys of models asks each of :meth:`members`, and who asks
    for keys of descriptors each of :meth:`parts`.
    """

    registered: ClassVar[Registry] = {}
    usual: ClassVar[str] = "standard"

    type: str = option("standard", doc="Kind of model.")
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

    @field_validator("type_map")
    @classmethod
    def _distinct(cls, value: list[str] | None) -> list[str] | None:
        names = value or []
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"{', '.join(sorted(twice))} stands there more than once")
        return value

    def members(self) -> tuple[Member, ...]:
        """The models that it is made of, at least one."""
        raise NotImplementedError

    def with_sel(self: M, sel: Mapping[str, Sequence[int]], scope: str = "") -> M:
        """A copy with these numbers of neighbours, by the scope of the part; ``scope`` is its
        own."""
        raise NotImplementedError

    @classmethod
    def context_of(cls, values: dict[str, Any]) -> dict[str, Any]:
        """:meth:`context` of a section of any kind."""
        return cls.kind_of(values).context(values)

    @property
    def nets(self) -> tuple[NetMember, ...]:
        """Its members with nets."""
        found = ((m.scope, m.path, m.config) for m in self.members())
        return tuple(NetMember(s, p, c) for s, p, c in found if isinstance(c, ModelConfig))

    @property
    def main(self) -> ModelConfig:
        """The member whose kind of fitting net decides what is predicted and trained on."""
        return self.nets[0].config

    def parts(self) -> tuple[Part, ...]:
        """The descriptors, and what else sees neighbours; paths are within this section."""
        return tuple(
            Part(m.scope + part.scope, m.path + part.path, part.config)
            for m in self.members()
            for part in m.config.own_parts()
        )

    @property
    def masked(self) -> bool:
        """Whether atoms see all atoms that the atomic parameter leaves in."""
        return any(member.config.descriptor.masked for member in self.nets)

    @property
    def fragmented(self) -> bool:
        """Whether the atomic parameter is the number of the fragment that an atom belongs to."""
        return False

    @property
    def numb_aparam(self) -> int:
        """Number of parameters of an atom."""
        return self.main.fitting_net.numb_aparam

    @property
    def largest_rcut(self) -> float:
        """Distance that an atom sees, Å; -1 where there is no cutoff."""
        return max(part.config.largest_rcut for part in self.parts())

    @property
    def data_items(self) -> tuple[Field, ...]:
        """Items of a data set that the model takes with coordinates, types and cell."""
        fitting = self.main.fitting_net
        return model_inputs(
            fitting.numb_fparam, fitting.numb_aparam, fitting.default_fparam, mask=self.masked
        )

    @property
    def types_of_sel(self) -> int | None:
        """Number of types, as far as ``sel`` tells it."""
        known = (member.config.descriptor.ntypes for member in self.nets)
        return next((n for n in known if n is not None), None)

    @property
    def ntypes(self) -> int | None:
        """Number of types, those of virtual atoms included; None when only the data can tell."""
        named = self.types_of_sel if self.type_map is None else len(self.type_map)
        return None if named is None else named + self.virtual_types

    @property
    def virtual_types(self) -> int:
        """How many of the types are of virtual atoms: the last ones, which have no energies."""
        return 0

    @property
    def type_names(self) -> list[str] | None:
        """``type_map``, with names of the types of virtual atoms; None without names."""
        known = self.type_map
        return None if known is None else names_of_types(known, len(known) + self.virtual_types)

    @property
    def known_ntypes(self) -> int:
        """Number of types of a model whose data have told it."""
        if self.ntypes is None:
            raise ValueError("neither type_map nor sel says how many types there are")
        return self.ntypes


class MemberConfig(Kinds):
    """A model that may stand in a list of several; :meth:`register` adds a kind."""

    registered: ClassVar[Registry] = {}
    usual: ClassVar[str] = "standard"

    type: str = option("standard", doc="Kind of model.")

    def own_parts(self) -> tuple[Part, ...]:
        """What sees neighbours, with scopes and paths within this section."""
        raise NotImplementedError

    def with_sel(self, sel: Mapping[str, Sequence[int]], scope: str = "") -> MemberConfig:
        """As :meth:`AnyModelConfig.with_sel`."""
        raise NotImplementedError


@AnyModelConfig.register
class ModelConfig(AnyModelConfig, MemberConfig):
    """The potential-energy surface: which atoms, what they see, how energies follow from it."""

    other_types: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("frozen", "pairtab"),
            'not trained, and can only be one of the "models" of a model of type "linear_ener"',
        ),
        "linear_ener": "a list of models, and cannot be a member of another; put its models into "
        "this list",
        "pairwise_dprc": "two models, and cannot be a member of another",
        **dict.fromkeys(("dpa4", "DPA4", "SeZM", "sezm"), ELSEWHERE),
    }
    refused: ClassVar[dict[str, Foreign]] = {
        "modifier": Foreign(ABSENT, f"a data modifier (long-range electrostatics) is {LATER}"),
        "compress": Foreign(
            ABSENT, "how a model was compressed; give the compressed file with --init-frz-model"
        ),
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
        "bridging_r_inner": Foreign(0.5, "it belongs to bridging_method"),
        "bridging_r_outer": Foreign(0.8, "it belongs to bridging_method"),
        "finetune_head": Foreign(ABSENT, ELSEWHERE),
        "model_branch_alias": Foreign([], ELSEWHERE),
        "info": Foreign({}, ELSEWHERE),
    }

    type: Literal["standard"] = option("standard", doc="A descriptor and a fitting net.")
    type_embedding: TypeEmbeddingConfig | None = option(
        None,
        omit_none=True,
        doc="A learnt vector for each type of atom; one fitting net then serves all types, and in "
        "se_e2_a one embedding net too (those of se_e2_r and se_e3 stay as they are).",
    )
    use_srtab: Text | None = option(
        None,
        omit_none=True,
        doc="File with a table of pair potentials, whose energies take the place of the net's "
        "where atoms are close. Each line has a distance in Å and the energies in eV of the pairs "
        "of types 0-0, 0-1, …, 1-1, …; the distances have equal steps. dp zbl-table writes one.",
    )
    smin_alpha: Number | None = option(
        None,
        gt=0,
        le=1000,
        omit_none=True,
        unit=units.LENGTH,
        doc="Decay length α of the weights exp(-r/α) in the smooth smallest distance of an atom, "
        "by which the table is switched on; needed with use_srtab.",
    )
    sw_rmin: Number | None = option(
        None,
        ge=0,
        le=1000,
        omit_none=True,
        unit=units.LENGTH,
        doc="Below this smallest distance the energy of an atom is that of the table alone; needed "
        "with use_srtab.",
    )
    sw_rmax: Number | None = option(
        None,
        gt=0,
        le=1000,
        omit_none=True,
        unit=units.LENGTH,
        doc="Above this smallest distance it is that of the net alone; larger than sw_rmin; needed "
        "with use_srtab.",
    )
    srtab_add_bias: Bool = option(
        True,
        doc="Whether the energy of the table has the energy bias of the atom added. Used with "
        "use_srtab.",
    )
    spin: SpinConfig | None = option(
        None,
        omit_none=True,
        doc="Atoms with spins, which are virtual atoms of further types (DeepSPIN); with the loss "
        "ener_spin and the descriptors se_e2_a and se_e2_r.",
    )
    descriptor: AnyDescriptorConfig = option(doc="What an atom sees of its surroundings.")
    fitting_net: FittingConfig = option(doc="How an energy follows from it.")

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
        unnamed = [part.config.type for part in value.parts() if part.config.one_selection]
        if unnamed and "type_map" in info.data and not info.data["type_map"]:
            raise ValueError(
                f"{unnamed[0]} makes one net for all types, and needs their names in "
                'model/type_map, as in "type_map": ["O", "H"]'
            )
        return value

    @field_validator("descriptor")
    @classmethod
    def _alone(cls, value: AnyDescriptorConfig, info: ValidationInfo) -> AnyDescriptorConfig:
        for key in ("type_embedding", "use_srtab"):
            if value.masked and info.data.get(key) is not None:
                raise ValueError(
                    f"{value.type} cannot be used with model/{key}; remove that, or take another "
                    "descriptor"
                )
        return value

    _named_spins = field_validator("spin")(named_spins)
    _with_spin = field_validator("descriptor")(descriptor_of_spins)

    @field_validator("fitting_net")
    @classmethod
    def _with_mask(cls, value: FittingConfig, info: ValidationInfo) -> FittingConfig:
        descriptor = info.data.get("descriptor")
        if descriptor is None or not descriptor.masked:
            return value
        if value.type != "ener":
            raise ValueError(
                f'the descriptor {descriptor.type} is used with the type "ener" only; take another '
                "descriptor"
            )
        given = value.numb_aparam, getattr(value, "use_aparam_as_mask", False)
        if given != (1, True):
            raise ValueError(
                f"the descriptor {descriptor.type} takes the mask of atoms from their parameter, "
                "aparam.npy, and needs numb_aparam 1 and use_aparam_as_mask true; they are "
                f"{given[0]} and {str(given[1]).lower()}"
            )
        return value

    @field_validator("fitting_net")
    @classmethod
    def _with_directions(cls, value: FittingConfig, info: ValidationInfo) -> FittingConfig:
        descriptor = info.data.get("descriptor")
        if descriptor is None or not isinstance(value, FittingTensor):
            return value
        if not any(isinstance(part.config, MatrixKeys) for part in descriptor.parts()):
            raise ValueError(
                f'the type "{value.type}" makes tensors of the directions of neighbours, which '
                f"the descriptor {descriptor.type} does not keep; take se_e2_a or another of its "
                "family, or a hybrid with one of them"
            )
        return value

    @field_validator("fitting_net")
    @classmethod
    def _energies_only(cls, value: FittingConfig, info: ValidationInfo) -> FittingConfig:
        if value.type != "ener" and info.data.get("use_srtab") is not None:
            raise ValueError(
                f'model/use_srtab is a table of energies, and the type is "{value.type}"; remove it'
            )
        if value.type != "ener" and info.data.get("spin") is not None:
            raise ValueError(
                f'model/spin is for energies, and the type is "{value.type}"; remove one of them'
            )
        return value

    @property
    def tensor_items(self) -> tuple[Field, Field]:
        """Data items of the tensors of frames and of atoms, of a model of tensors."""
        fitting = self.fitting_net
        if not isinstance(fitting, FittingTensor):
            raise ValueError(f'a model of type "{fitting.type}" has no tensors')
        of_frame, of_atoms = TENSORS[fitting.type]
        # without a number of types there is no selection either, and all atoms have tensors
        selected = fitting.selected(self.ntypes or 0)
        return of_frame, of_atoms.of_types(selected) if selected else of_atoms

    @field_validator("smin_alpha", "sw_rmin", "sw_rmax")
    @classmethod
    def _with_table(cls, value: float | None, info: ValidationInfo) -> float | None:
        if "use_srtab" not in info.data:
            return value
        table = info.data["use_srtab"]
        if table is None and value is not None:
            raise ValueError("belongs to use_srtab, which is not given; remove it, or give a table")
        if table is not None and value is None:
            raise ValueError("is missing; use_srtab needs smin_alpha, sw_rmin and sw_rmax, in Å")
        return value

    @field_validator("sw_rmax")
    @classmethod
    def _above(cls, value: float | None, info: ValidationInfo) -> float | None:
        low = info.data.get("sw_rmin")
        # graphs hold both in single precision
        if value is not None and low is not None and not np.float32(low) < np.float32(value):
            raise ValueError(f"must be larger than sw_rmin ({low:g} Å)")
        return value

    def to_dict(
        self, *, stored: bool = False, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        result = super().to_dict(stored=stored, like=like)
        if self.use_srtab is None:  # it has no meaning, and older readers do not know it
            result.pop("srtab_add_bias")
        return result

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Number of types, from ``type_map`` or, without one, from ``sel``."""
        type_map, descriptor = values.get("type_map"), values.get("descriptor")
        parts = AnyDescriptorConfig.sections(descriptor) if isinstance(descriptor, dict) else []
        sels = [part.get("sel") for _, part in parts if not _one_selection(part)]
        for entries in (type_map, *sels):
            if isinstance(entries, list) and entries:
                return {"ntypes": len(entries)}
        return {}

    @property
    def virtual_types(self) -> int:
        return 0 if self.spin is None else self.spin.count

    @property
    def kind(self) -> str:
        """What the model predicts: its key in :data:`deepmd_tf.model.kinds.MODEL_KINDS`."""
        return self.fitting_net.type if self.spin is None else f"{self.fitting_net.type}_spin"

    def members(self) -> tuple[Member, ...]:
        return (Member("", "", self),)

    def own_parts(self) -> tuple[Part, ...]:
        parts = self.descriptor.parts()
        return tuple(Part(p.scope, f"descriptor.{p.path}", p.config) for p in parts)

    def with_sel(self, sel: Mapping[str, Sequence[int]], scope: str = "") -> ModelConfig:
        own = {part.scope: sel[scope + part.scope] for part in self.descriptor.parts()}
        return self.model_copy(update={"descriptor": self.descriptor.with_sel(own)})

    @property
    def embedding_of_types(self) -> TypeEmbeddingConfig | None:
        """The type embedding of the model: that of the script, or where there is none the one that
        a descriptor asks for (:attr:`DescriptorConfig.explicit_types`); None where nothing does.
        """
        if self.type_embedding is None and self.descriptor.explicit_types:
            return TypeEmbeddingConfig(**UNASKED)
        return self.type_embedding

    @property
    def switch_to_table(self) -> tuple[float, float, float]:
        """``smin_alpha``, ``sw_rmin`` and ``sw_rmax`` of a model with ``use_srtab``, Å."""
        if self.smin_alpha is None or self.sw_rmin is None or self.sw_rmax is None:
            raise ValueError("the model has no table of pair potentials")
        return self.smin_alpha, self.sw_rmin, self.sw_rmax
