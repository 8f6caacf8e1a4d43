# SPDX-License-Identifier: BSD-3-Clause
"""Initial state of a training: random, from a checkpoint, or from a frozen model."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import fields
from deepmd_tf.config import Config, convert_layout, load_input, read_input
from deepmd_tf.data import DataSystems
from deepmd_tf.descriptors import environments_of
from deepmd_tf.errors import DataError, InputError
from deepmd_tf.graph.assembly import averages_of
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.graph.frozen import find_checkpoint, read_model
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.nn.stored_spline import Spline
from deepmd_tf.training.compare import FREE, read_saved, require_same_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialState:
    """The state that training starts from.

    Attributes
    ----------
    checkpoint
        Prefix of the checkpoint whose variables are restored; None without one.
    restart
        Whether training resumes at the step of the checkpoint.
    state
        Training state saved with the checkpoint (``.state.json``) that training resumes from; None
        without one.
    saved
        The model in the checkpoint or in the frozen file; None where neither describes one.
    finetune
        Whether the energy bias is adjusted to the training data before the first step.
    """

    checkpoint: Path | None = None
    restart: bool = False
    state: dict[str, Any] | None = None
    saved: SavedModel | None = None
    finetune: bool = False

    @property
    def has_weights(self) -> bool:
        """Whether initial weights are given, not random."""
        return self.checkpoint is not None or self.saved is not None

    def describe(self) -> str:
        """One phrase for messages."""
        if self.checkpoint is not None:
            what = "the training that wrote" if self.restart else "the weights of"
            return f"{what} {self.checkpoint}"
        return "random weights" if self.saved is None else f"the weights of {self.saved.path}"

    @property
    def original_sel(self) -> Mapping[str, tuple[int, ...]] | None:
        """``sel`` of the first training, by scope; None: that of this one."""
        return None if self.saved is None else self.saved.original_sel

    @property
    def tables(self) -> Mapping[str, Spline]:
        """What a compressed model has in place of embedding nets, by name."""
        return {} if self.saved is None else self.saved.tables

    def require_same_model(self, config: Config, type_map: Sequence[str] | None) -> None:
        """See :func:`deepmd_tf.training.compare.require_same_model`.

        The ``sel`` of a frozen model may be changed where the rows of the environment have no
        mean, because empty slots then contribute nothing.
        """
        require_same_model(config, type_map, self.saved, any_sel=self.checkpoint is None)

    def variables(self, sel: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray] | None:
        """Initial values of variables by name; None when they are random or restored.

        Mean and spread of the rows are the same in each slot, so they are given as many slots as
        ``sel`` has.
        """
        if self.saved is None or self.checkpoint is not None:
            return None
        weights = dict(self.saved.weights)
        environments = environments_of(self.saved.model.with_sel(sel), self.saved.ntypes)
        for name, spec in averages_of(environments).items():
            weights[name] = spec.tile(weights[name])
        return weights

    @property
    def averages(self) -> dict[str, np.ndarray]:
        """Those of the rows in the saved model, by name: numbers also for types that its training
        data did not have, for which a checkpoint of DeePMD-kit may have NaN.
        """
        if self.saved is None:
            return {}
        environments = environments_of(self.saved.model, self.saved.ntypes)
        return {name: self.saved.weights[name] for name in averages_of(environments)}


def find_initial_state(
    init_model: str | os.PathLike[str] | None = None,
    restart: str | os.PathLike[str] | None = None,
    init_frz_model: str | os.PathLike[str] | None = None,
    finetune: str | os.PathLike[str] | None = None,
) -> InitialState:
    """Read the initial state; at most one of the arguments is given.

    Parameters
    ----------
    init_model, restart
        Prefix of a checkpoint, or a folder.
    init_frz_model
        Frozen file.
    finetune
        Frozen file, or a checkpoint of which only the model is taken.

    Raises
    ------
    CheckpointError, ModelFileError
        When it cannot be read, or a frozen file is not complete.
    InputError
        When a checkpoint is given as a frozen file.
    """
    if init_frz_model is not None:
        saved = read_model(init_frz_model, compressed=True)
        if saved.dialect == "checkpoint":
            raise InputError(
                f"{init_frz_model}: is a checkpoint, not a frozen model; give it with --init-model"
            )
        _require_complete(saved)
        return InitialState(saved=saved)
    if finetune is not None:
        saved = read_model(finetune, compressed=True)
        _require_complete(saved)
        return InitialState(saved=saved, finetune=True)
    begins_from = init_model if restart is None else restart
    if begins_from is None:
        return InitialState()
    checkpoint = find_checkpoint(begins_from)
    state = None if restart is None else read_state(checkpoint)
    return InitialState(checkpoint, restart is not None, state, read_saved(checkpoint))


def read_script(
    input_file: str | os.PathLike[str], start: InitialState, *, use_pretrain_script: bool = False
) -> tuple[Config, dict[str, Any], list[str]]:
    """The input script.

    Parameters
    ----------
    input_file
        JSON or YAML file.
    start
        Initial state of the training.
    use_pretrain_script
        Take section ``model`` from there, whatever the input script has in its place.

    Returns
    -------
    config
        Checked, with all defaults.
    layout
        As it was written, in the present layout; with what was taken from the model.
    names_given
        ``model/type_map`` as it was written, maybe none.

    Raises
    ------
    InputError
        When there is a mistake in it, or nothing to take the section from.
    """
    layout = convert_layout(read_input(input_file), str(input_file))
    if not (use_pretrain_script or start.finetune):
        config = load_input(input_file)
        return config, layout, list(config.model.type_map or ())
    if start.saved is None or start.restart:
        raise InputError(
            "--use-pretrain-script: takes the model from a frozen file or a checkpoint; give one "
            "with --init-frz-model, --finetune or --init-model"
        )
    given = layout.get("model") or {}
    sums = [
        section.get("type")
        for section in (given, start.saved.model.to_dict())
        if isinstance(section, dict) and section.get("type", "standard") != "standard"
    ]
    if start.finetune and sums:
        raise InputError(
            f'--finetune: adjusts the energy bias of the model, but each of those of "{sums[0]}" '
            "has one of its own; begin with --init-frz-model or --init-model"
        )
    section = start.saved.model.to_dict()
    if section.get("type_map") is None and start.saved.type_map:
        section["type_map"] = list(start.saved.type_map)
    if not use_pretrain_script:
        section = _finetuned_section(given, section, start.saved.path, input_file)
    layout["model"] = section
    # a section that is not one is refused by the reader
    names_given = given.get("type_map") if isinstance(given, dict) else None
    return Config.from_dict(layout, str(input_file)), layout, list(names_given or ())


def require_finetunable(
    start: InitialState,
    config: Config,
    names_given: Sequence[str],
    training: DataSystems,
    validation: DataSystems | None = None,
) -> None:
    """Refuse to fine-tune if type numbers are ambiguous or the energy bias cannot be computed.

    Parameters
    ----------
    start
        Initial state of the training; does nothing unless it is a fine-tuning.
    config
        The input script, with the model of the file.
    names_given
        ``type_map`` of the input script as it was written, maybe none.
    training, validation
        The data.

    Raises
    ------
    DataError
        If types are numbers whose meaning differs between script and file, or no training system
        has energies.
    InputError
        If energies are not those of frames.
    """
    if not start.finetune or start.saved is None:
        return
    if getattr(config.loss, "enable_atom_ener_coeff", False):
        raise InputError(
            "--finetune: adjusts the energy bias to total energies, but with "
            "loss/enable_atom_ener_coeff the labels are other sums; begin with --init-frz-model"
        )
    if not any(any(system.has(fields.ENERGY.name)) for system in training.systems):
        raise DataError(
            "--finetune: no training system has an energy.npy, to which the energy bias could be "
            "adjusted; begin with --init-frz-model, which leaves it as it is"
        )
    given, known = list(names_given), list(config.model.type_map or ())
    if given == known[: len(given)]:
        return
    for system in (
        system for data in (training, validation) if data is not None for system in data.systems
    ):
        if system.type_map is None:
            raise DataError(
                f"{system.path}: has no type_map.raw, and its type numbers mean {given} by the "
                f"input script, but {known} by {start.saved.path}; add a type_map.raw to it, or "
                "give model/type_map the order of the file"
            )


def _finetuned_section(
    given: Any, pretrained: dict[str, Any], path: Path, input_file: str | os.PathLike[str]
) -> dict[str, Any]:
    """Section ``model`` with descriptor, fitting net and types of a trained model.

    Keys about training (:data:`~deepmd_tf.training.compare.FREE`) and all others are taken from the
    input script where it has them.
    """
    if not isinstance(given, dict):
        return given
    section = pretrained | {key: value for key, value in given.items() if key not in FREE}
    given_names, names_there = given.get("type_map"), pretrained.get("type_map")
    if names_there is not None and isinstance(given_names, list):
        unknown = [name for name in given_names if name not in names_there]
        if unknown:
            raise InputError(
                f"{input_file}: model/type_map has {unknown}, which {path} does not know; it was "
                f"trained on {names_there}"
            )
        section["type_map"] = names_there
        _log_replaced("type_map", given_names, names_there)
    for name, free in FREE.items():
        own, there = given.get(name), pretrained.get(name)
        if not isinstance(own, dict):
            continue
        if there is None:
            _log_replaced(name, own, there)
            continue
        section[name] = _with_free(own, there, free, name)
    return section


def _with_free(
    own: dict[str, Any], there: dict[str, Any], free: set[str], path: str
) -> dict[str, Any]:
    """A section of a trained model with the keys ``free`` of the script, also of the members of a
    list that has as many.
    """
    result = there | {key: own[key] for key in free & own.keys()}
    for key in sorted(own.keys() - free):
        given, kept = own[key], there.get(key)
        if _are_blocks(given) and _are_blocks(kept) and len(given) == len(kept):
            result[key] = [
                _with_free(one, other, free, f"{path}/{key}[{i}]")
                for i, (one, other) in enumerate(zip(given, kept, strict=True))
            ]
        else:
            _log_replaced(f"{path}/{key}", given, kept)
    return result


def _are_blocks(value: Any) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _log_replaced(key: str, given: Any, kept: Any) -> None:
    """Log that a key of the input script is replaced by that of the trained model."""
    if given != kept:
        here, there = json.dumps(given), json.dumps(kept)
        log.info("model/%s: %s of the pretrained model replaces %s", key, there, here)


def _require_complete(saved: SavedModel) -> None:
    """Raise unless every weight is there and has its shape."""
    with tf.Graph().as_default():
        saved.build("reference")
