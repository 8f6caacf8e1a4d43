# SPDX-License-Identifier: BSD-3-Clause
"""Whether the weights of a checkpoint belong to the model of the input script."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from deepmd_tf.config import Config, LinearEnerConfig, ModelConfig, PairTabConfig
from deepmd_tf.config.section import type_name
from deepmd_tf.errors import CheckpointError, ModelFileError
from deepmd_tf.graph.checkpoint_files import META
from deepmd_tf.graph.frozen import SavedModel, read_checkpoint
from deepmd_tf.nn.precision import interface_dtype

log = logging.getLogger(__name__)

FREE = {
    "type_embedding": {"seed", "trainable"},
    "descriptor": {"seed", "trainable"},
    "fitting_net": {"seed", "trainable", "rcond", "default_fparam"},
}
"""Keys that may differ: they say how a model is trained, not which one it is."""
OF_TABLE = ("smin_alpha", "sw_rmin", "sw_rmax", "srtab_add_bias")
"""Keys about the table of pair potentials, in a model with one."""


def read_saved(checkpoint: Path) -> SavedModel | None:
    """The model of a checkpoint; None, with a warning, if its ``.meta`` does not describe one.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read.
    """
    try:
        if Path(f"{checkpoint}{META}").is_file():
            return read_checkpoint(checkpoint)
        reason = f"{checkpoint}{META}: not found"
    except ModelFileError as error:
        reason = str(error)
    log.warning(
        "%s; only the shapes of the weights can be compared with the input script, so see to it "
        "that type_map, descriptor and fitting_net are those of the checkpoint",
        reason,
    )
    return None


def require_same_model(
    config: Config,
    type_map: Sequence[str] | None,
    saved: SavedModel | None,
    *,
    any_sel: bool = False,
) -> None:
    """Refuse weights of another model, which may have arrays of the same shapes.

    Parameters
    ----------
    config
        The input script. An automatic ``sel`` is not compared.
    type_map
        Names of the types; not compared when there are none on one side.
    saved
        As :func:`read_saved` gave it, or the model of a frozen file; None passes.
    any_sel
        Whether ``sel`` may be another one where empty slots contribute nothing.

    Raises
    ------
    CheckpointError, ModelFileError
        With every key that differs, and both values.
    """
    if saved is None:
        return
    found = list(_differences(config, type_map, saved, any_sel))
    if not found:
        return
    if saved.dialect == "checkpoint":
        raise CheckpointError(
            f"{saved.path}: is a checkpoint of another model than that of the input script: "
            f"{'; '.join(found)}. Give these keys the values of the checkpoint, or train without "
            "it"
        )
    could = (
        part.path
        for part in config.model.parts()
        if part.config.model_copy(update={"set_davg_zero": True}).zero_mean
    )
    starts = tuple(f"{_key(path)}sel is " for path in could)
    hint = ""
    if any(text.startswith(starts) for text in found):
        hint = "; sel can be changed only if set_davg_zero is true in both"
    raise ModelFileError(
        f"{saved.path}: holds another model than that of the input script: {'; '.join(found)}. "
        "Give these keys the values of the file, or take its whole section with "
        f"--use-pretrain-script{hint}"
    )


def _differences(
    config: Config, type_map: Sequence[str] | None, saved: SavedModel, any_sel: bool
) -> Iterator[str]:
    where = "checkpoint" if saved.dialect == "checkpoint" else "file"
    if type_map and saved.type_map and list(type_map) != list(saved.type_map):
        yield _difference("type_map", list(type_map), list(saved.type_map), where)
    pairs = [m.members() for m in (config.model, saved.model)]
    here, there = (
        [m.type, *(type_name(type(member.config)) or "" for member in members)]
        for m, members in zip((config.model, saved.model), pairs, strict=True)
    )
    if here != there:
        yield _difference("model type", " ".join(here), " ".join(there), where)
        return
    if isinstance(config.model, LinearEnerConfig) and isinstance(saved.model, LinearEnerConfig):
        one_sum, other_sum = list(config.model.factors), list(saved.model.factors)
        if one_sum != other_sum:
            yield _difference("weights", one_sum, other_sum, where)
    for one, other in zip(*pairs, strict=True):
        if isinstance(one.config, ModelConfig) and isinstance(other.config, ModelConfig):
            own = _of_nets(one.config, other.config, saved, any_sel, where)
        else:
            own = _of_table(
                cast(PairTabConfig, one.config), cast(PairTabConfig, other.config), where
            )
        yield from (f"{one.path}{text}" for text in own)


def _of_table(one: PairTabConfig, other: PairTabConfig, where: str) -> Iterator[str]:
    """Differences of two tables of pair potentials, whose numbers are compared when they are
    read."""
    for key in ("rcut", "sel"):
        here, there = getattr(one, key), getattr(other, key)
        if here != there and not isinstance(here, str):
            yield _difference(key, here, there, where)


def _of_nets(
    one: ModelConfig, other: ModelConfig, saved: SavedModel, any_sel: bool, where: str
) -> Iterator[str]:
    """Differences of two models by themselves."""
    here, there = _sections(one), _sections(other)
    parts = one.descriptor.parts()
    any_sel_of = {f"{p.path}sel" for p in parts if any_sel and p.config.zero_mean}
    # the table is the same whatever the name of its file; its numbers are compared when it is read
    tables = [section.get("use_srtab") for section in (here, there)]
    if None in tables and tables != [None, None]:
        yield _difference("use_srtab", tables[0], tables[1], where)
    for key in OF_TABLE:
        if here.get(key) != there.get(key):
            yield _difference(key, here.get(key), there.get(key), where)
    for section, free in FREE.items():
        if (here[section] is None) != (there[section] is None):
            yield _difference(section, here[section], there[section], where)
            continue
        ours = _comparable(here[section] or {}, interface_dtype().name)
        theirs = _comparable(there[section] or {}, saved.interface_dtype.name)
        for key in sorted(set(ours) | set(theirs)):
            value, known = ours.get(key), theirs.get(key)
            name = key.rpartition(".")[2]
            if name in free or (name == "sel" and isinstance(value, str)):
                continue
            if value != known and not (key in any_sel_of and _as_many(value, known)):
                yield _difference(f"{section}/{key}", value, known, where)


def _sections(model: ModelConfig) -> dict[str, dict[str, Any] | None]:
    """Those of :data:`FREE`; None for one that the model does not have."""
    types = model.embedding_of_types
    return model.to_dict(stored=True) | {
        "type_embedding": None if types is None else types.to_dict()
    }


def _key(path: str) -> str:
    """Where a descriptor stands, as differences have it."""
    return path.replace("descriptor.", "descriptor/")


def _as_many(one: Any, other: Any) -> bool:
    return isinstance(one, list) and isinstance(other, list) and len(one) == len(other)


def _comparable(section: dict[str, Any], interface: str) -> dict[str, Any]:
    """Values that mean the same written in the same way; those of the members of a list as
    ``list[0].sel``.
    """
    section = dict(section)
    for i, member in enumerate(section.pop("list", ())):
        for key, value in _comparable(member, interface).items():
            section[f"list[{i}].{key}"] = value
    if section.get("precision") == "default":
        section["precision"] = interface
    if "exclude_types" in section:
        section["exclude_types"] = sorted({tuple(sorted(p)) for p in section["exclude_types"]})
    return section


def _difference(key: str, here: Any, there: Any, where: str) -> str:
    return f"{key} is {json.dumps(here)} in the input script, {json.dumps(there)} in the {where}"
