# SPDX-License-Identifier: BSD-3-Clause
"""The frozen members of a model of several, from their files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deepmd_tf import names
from deepmd_tf.config import (
    Config,
    FrozenConfig,
    LinearEnerConfig,
    MemberConfig,
    ModelConfig,
    ReadModel,
)
from deepmd_tf.config.linear import require_member
from deepmd_tf.errors import CheckpointError, InputError, ModelFileError
from deepmd_tf.graph.frozen import SavedModel, read_model
from deepmd_tf.pair_table import Coefficients

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReadMembers:
    """What the files of frozen members hold.

    Attributes
    ----------
    weights
        Weights and statistics, by their names in the model.
    original_sel
        ``sel`` of their first trainings, by the scope of the environment.
    pair_tables
        Their tables of pair potentials, by the scope of the member.
    """

    weights: Mapping[str, np.ndarray] = field(default_factory=dict)
    original_sel: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    pair_tables: Mapping[str, Coefficients] = field(default_factory=dict)


def read_members(config: Config) -> tuple[Config, ReadMembers]:
    """Read the frozen members of a model; those of other models are none.

    Returns
    -------
    config
        The input script with what the files hold in place of their names
        (:class:`~deepmd_tf.config.ReadModel`).
    members
        The numbers in the files.

    Raises
    ------
    InputError
        When a file cannot be read, has no weights, or is not a model that can be one of several.
    """
    model = config.model
    if not isinstance(model, LinearEnerConfig):
        return config, ReadMembers()
    # all of them, before any is looked at: the first may name the types of the model
    saved = {i: _opened(m, i) for i, m in enumerate(model.models) if isinstance(m, FrozenConfig)}
    if model.type_map is None:
        model = _named(model, *next(iter(saved.items())))
    found = ReadMembers({}, {}, {})
    models: list[MemberConfig] = []
    for i, member in enumerate(model.models):
        if isinstance(member, FrozenConfig):
            one, numbers = _read(member, model, saved.pop(i), i)
            models.append(one)
            for name in ("weights", "original_sel", "pair_tables"):
                getattr(found, name).update(getattr(numbers, name))
        else:
            models.append(member)
    return config.model_copy(update={"model": model.with_models(models)}), found


def _named(model: LinearEnerConfig, first: int, saved: SavedModel) -> LinearEnerConfig:
    """The model with the types of its first frozen member, where the script names none."""
    types = saved.type_map
    if not types:
        raise InputError(
            f'{_where(first)}: {saved.path} has no names of types; give "type_map" in model, as in '
            '"type_map": ["O", "H"]'
        )
    for i, member in enumerate(model.models):
        if isinstance(member, ModelConfig):
            try:
                require_member(member, types, f"model.models[{i}]")
            except ValueError as error:
                raise InputError(str(error)) from None
    return model.model_copy(update={"type_map": list(types)})


def _where(number: int) -> str:
    return f"model.models[{number}].model_file"


def _opened(member: FrozenConfig, number: int) -> SavedModel:
    try:
        return read_model(member.model_file)
    except (ModelFileError, CheckpointError) as error:
        raise InputError(f"{_where(number)}: {error}") from None


def _read(
    member: FrozenConfig, model: LinearEnerConfig, saved: SavedModel, number: int
) -> tuple[ReadModel, ReadMembers]:
    where, scope = _where(number), f"_model{number}"
    if len(saved.model.nets) != 1 or saved.model.nets[0].scope:
        raise InputError(
            f"{where}: {saved.path} is a sum of models itself; give the files of these models"
        )
    single = saved.model.main
    types = list(model.type_map or ())
    if saved.type_map and list(saved.type_map) != types:
        raise InputError(
            f"{where}: {saved.path} has the types {' '.join(saved.type_map)}, but those of the "
            f"model are {' '.join(types)}; all need the same ones, in the same order"
        )
    if single.known_ntypes != len(types):
        raise InputError(
            f"{where}: {saved.path} has {single.known_ntypes} types of atoms, but the model has "
            f"{len(types)}"
        )
    try:
        require_member(single, types, f"{where}: {saved.path}")
    except ValueError as error:
        raise InputError(str(error)) from None
    single = single.model_copy(update={"type_map": types})
    log.info("model %s: the weights of %s", where.split(".")[1], saved.path)
    numbers = ReadMembers(
        {names.in_model(name, scope): array for name, array in saved.weights.items()},
        {scope + own: sel for own, sel in saved.original_sel.items()},
        {scope + own: table for own, table in saved.pair_tables.items()},
    )
    return ReadModel.of(single, member.model_file), numbers
