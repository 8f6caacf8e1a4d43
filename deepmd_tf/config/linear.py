# SPDX-License-Identifier: BSD-3-Clause
"""Several models together: ``linear_ener``, and what only stands in its list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import annotated_types
from pydantic import ValidationInfo, field_validator, model_validator

from deepmd_tf import units
from deepmd_tf.config.descriptors import Part, PartConfig
from deepmd_tf.config.model import AnyModelConfig, Member, MemberConfig, ModelConfig
from deepmd_tf.config.section import Foreign, option
from deepmd_tf.config.values import EachSel, Number, Text

_Models = Annotated[list[MemberConfig], annotated_types.MinLen(1)]
Weights = Literal["mean", "sum"] | list[Number]
HANDED_DOWN = ("type_map", "data_stat_nbatch", "data_stat_protect")
"""Keys of ``linear_ener`` that its members have, too, and take from there."""


class PairTablePart(PartConfig):
    """What sees neighbours for a table of pair potentials."""

    rcut: Number = option(doc="Cutoff radius.")

    @property
    def reach(self) -> tuple[float, float]:
        return self.rcut, 0.5 * self.rcut


@MemberConfig.register
class PairTabConfig(MemberConfig):
    """A tabulated pair potential, such as a dispersion or a repulsion of nuclei, which is not
    trained.
    """

    type: Literal["pairtab"] = option(doc="Kind of model.")
    tab_file: Text = option(
        doc="File with the table. Each line has a distance in Å and the energies in eV of the "
        "pairs of types 0-0, 0-1, …, 1-1, …; the distances have equal steps, and the energies "
        "should be zero from rcut on. dp zbl-table writes one."
    )
    rcut: Number = option(gt=0, le=1000, unit=units.LENGTH, doc="Cutoff radius.")
    sel: EachSel = option(
        doc="Largest number of neighbours of each type within rcut; one number stands for all "
        "types. When an atom has more, the farthest are left out. "
        '"auto" takes the largest number found in the training data times 1.1, "auto:f" times f, '
        "rounded up to a multiple of 4.",
    )

    def own_parts(self) -> tuple[Part, ...]:
        part = PairTablePart.model_construct(type=self.type, sel=self.sel, rcut=self.rcut)
        return (Part("", "", part),)

    def with_sel(self, sel: Mapping[str, Sequence[int]], scope: str = "") -> PairTabConfig:
        """A copy with these numbers of neighbours."""
        return self.model_copy(update={"sel": [int(n) for n in sel[scope]]})


@MemberConfig.register
class FrozenConfig(MemberConfig):
    """A trained model, whose weights stay as they are."""

    type: Literal["frozen"] = option(doc="Kind of model.")
    model_file: Text = option(
        doc="Frozen file, or checkpoint, of an energy model with its weights; its types are those "
        "of the model."
    )

    def own_parts(self) -> tuple[Part, ...]:
        return ()  # known when the file has been read

    def with_sel(self, sel: Mapping[str, Sequence[int]], scope: str = "") -> FrozenConfig:
        """Itself."""
        return self


class ReadModel(ModelConfig):
    """What a :class:`FrozenConfig` stands for, once its file has been read."""

    model_file: Text = option(doc="The file.")

    @classmethod
    def of(cls, model: ModelConfig, model_file: str) -> ReadModel:
        """The model of a file, of which nothing is trained."""
        types = model.embedding_of_types
        descriptor = model.descriptor
        frozen = [_untrained(part.config) for part in descriptor.parts()]
        values = {name: getattr(model, name) for name in type(model).model_fields} | {
            "type_embedding": None if types is None else _untrained(types),
            "descriptor": descriptor.with_parts(frozen),
            "fitting_net": _untrained(model.fitting_net),
            "model_file": model_file,
        }
        return cls.model_construct(**values)

    def to_dict(
        self, *, stored: bool = False, like: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """In an input script the name of the file, and in a model file the model itself."""
        if not stored:
            return {"type": "frozen", "model_file": self.model_file}
        found = super().to_dict(stored=True, like=like)
        found.pop("model_file")
        return found


def _untrained(section: Any) -> Any:
    return section.model_copy(update={"trainable": False})


@AnyModelConfig.register
class LinearEnerConfig(AnyModelConfig):
    """A weighted sum of energy models. Each has its own cutoff, nets, energy bias and seeds."""

    refused: ClassVar[dict[str, Foreign]] = ModelConfig.refused | {
        "shared_dict": Foreign({}, "parts that models have in common are not available"),
        **{
            name: Foreign(None, "belongs to the entries of models with a descriptor")
            for name in ("type_embedding", "use_srtab", "smin_alpha", "sw_rmin", "sw_rmax", "spin")
        },
    }
    ignored: ClassVar[dict[str, Foreign]] = ModelConfig.ignored | {
        "srtab_add_bias": Foreign(True, "it belongs to the entries of models"),
    }

    type: Literal["linear_ener"] = option(doc="Kind of model.")
    models: _Models = option(
        doc="The models, in the order of weights. Those with a descriptor are trained together; "
        "tables of pair potentials and frozen models stay as they are."
    )
    weights: Weights = option(
        doc='What the energies are multiplied by, one number per model; "mean": 1 / n for n '
        'models, "sum": 1.'
    )

    @classmethod
    def context(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Number of types, from the first ``type_map``."""
        found = _first_names(values)
        return {"ntypes": len(found)} if found else {}

    @model_validator(mode="before")
    @classmethod
    def _hand_down(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("models"), list):
            return values
        names = _first_names(values)
        own = values if names is None else {**values, "type_map": names}
        shared = {key: own[key] for key in HANDED_DOWN if key in own}
        members = [
            {**shared, **model}
            if isinstance(model, dict) and model.get("type", "standard") == "standard"
            else model
            for model in values["models"]
        ]
        return {**own, "models": members}

    @field_validator("models")
    @classmethod
    def _together(cls, value: list[MemberConfig], info: ValidationInfo) -> list[MemberConfig]:
        if "type_map" not in info.data:
            return value
        names = info.data["type_map"]
        if names is None and not any(isinstance(model, FrozenConfig) for model in value):
            raise ValueError(
                "the order of the types must be the same in all of them, so model/type_map or that "
                'of an entry is needed, as in "type_map": ["O", "H"]'
            )
        for i, model in enumerate(value):
            if names is not None and isinstance(model, ModelConfig):
                require_member(model, names, f"models[{i}]")
        if not any(isinstance(model, ModelConfig | FrozenConfig) for model in value):
            raise ValueError(
                "there are only tables of pair potentials, which are not trained; add a model with "
                "a descriptor"
            )
        return value

    @field_validator("weights")
    @classmethod
    def _one_per_model(cls, value: Any, info: ValidationInfo) -> Any:
        models = info.data.get("models")
        if isinstance(value, list) and models is not None and len(value) != len(models):
            raise ValueError(
                f"has length {len(value)}, but there are {len(models)} models; one number per "
                "entry of models is needed"
            )
        return value

    @property
    def factors(self) -> tuple[float, ...]:
        """What the energies are multiplied by."""
        if isinstance(self.weights, list):
            return tuple(self.weights)
        return ((1 / len(self.models)) if self.weights == "mean" else 1.0,) * len(self.models)

    def members(self) -> tuple[Member, ...]:
        """Those whose sections are known: of frozen models once they were read."""
        return tuple(
            Member(f"_model{i}", f"models[{i}].", model)
            for i, model in enumerate(self.models)
            if not isinstance(model, FrozenConfig)
        )

    def with_sel(self, sel: Mapping[str, Sequence[int]], scope: str = "") -> LinearEnerConfig:
        return self.with_models(
            [model.with_sel(sel, f"{scope}_model{i}") for i, model in enumerate(self.models)]
        )

    def with_models(self, models: Sequence[MemberConfig]) -> LinearEnerConfig:
        """A copy with other models."""
        return self.model_copy(update={"models": list(models)})


def require_member(model: ModelConfig, type_map: Sequence[str], where: str) -> None:
    """Refuse a model that cannot be one of several.

    Raises
    ------
    ValueError
        With the reason; it begins with ``where``.
    """
    fitting, descriptor = model.fitting_net, model.descriptor
    if model.type_map is not None and list(model.type_map) != list(type_map):
        raise ValueError(
            f"{where}: has the types {' '.join(model.type_map)}, but those of the model are "
            f"{' '.join(type_map)}; all need the same ones, in the same order"
        )
    if descriptor.masked:
        raise ValueError(f"{where}: the descriptor {descriptor.type} cannot be one of several")
    if model.spin is not None:
        raise ValueError(f"{where}: a model with spins cannot be one of several")
    if fitting.type != "ener":
        raise ValueError(
            f'{where}: the fitting net is "{fitting.type}"; a sum of models is one of energies '
            '("ener")'
        )
    if fitting.numb_fparam or fitting.numb_aparam:
        raise ValueError(
            f"{where}: has parameters of frames or atoms (numb_fparam, numb_aparam), which models "
            "in a sum cannot have, here and in DeePMD-kit"
        )


def _first_names(values: Mapping[str, Any]) -> list[Any] | None:
    """``type_map``, or the first of those of the models; None where there is none."""
    models = values.get("models")
    sections = [values, *(models if isinstance(models, list) else ())]
    found = (section.get("type_map") for section in sections if isinstance(section, dict))
    return next((names for names in found if isinstance(names, list) and names), None)
