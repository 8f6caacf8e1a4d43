# SPDX-License-Identifier: BSD-3-Clause
"""Whether a training makes sense: something is trained, and what is asked for is of its kind."""

from __future__ import annotations

from typing import Any

from deepmd_tf.config import Config, ReadModel
from deepmd_tf.errors import InputError
from deepmd_tf.model.kinds import kind_of
from deepmd_tf.training.initial_state import InitialState
from deepmd_tf.training.validation import require_symbol


def require_energies(config: Config, initial: InitialState) -> None:
    """Refuse what is done with energies only in a training of another kind of model."""
    kind = kind_of(config.model)
    if kind.has_energies:
        return
    if initial.finetune:
        raise InputError(
            f"--finetune: adjusts the energy bias, which {kind.words} does not have; begin with "
            "--init-frz-model or --init-model"
        )
    if config.training.change_bias_after_training:
        raise InputError(
            f"training.change_bias_after_training: {kind.words} has no energy bias; remove it"
        )
    if config.validating.full_validation:
        require_symbol(kind, config.validating.validation_metric.partition(":")[0])


def require_trainable(config: Config, initial: InitialState) -> None:
    """Refuse a training that changes nothing; other kinds may have no such key."""
    parts: dict[str, Any] = {}
    for _, path, model in config.model.nets:
        if isinstance(model, ReadModel):
            continue
        if not initial.tables:  # which stay as they are
            own = model.own_parts()
            parts |= {f"model.{path}{part.path}".rstrip("."): part.config for part in own}
        if model.embedding_of_types is not None:
            parts[f"model.{path}type_embedding"] = model.embedding_of_types
        parts[f"model.{path}fitting_net"] = model.fitting_net
    if not parts and config.training.numb_steps == 0:
        return  # to make one model of several
    if not parts:
        raise InputError(
            "model.models has frozen models and tables of pair potentials only, which are not "
            "trained; add a model with a descriptor, or set training.numb_steps to 0 for a "
            "checkpoint of their sum"
        )
    found = {name: getattr(part, "trainable", True) for name, part in parts.items()}
    if not any(any(value) if isinstance(value, list) else value for value in found.values()):
        raise InputError(
            f"{' and '.join(f'{name}.trainable' for name in found)} "
            f"{'are' if len(found) > 1 else 'is'} false, so that nothing is left to train; set "
            f"{'one of them' if len(found) > 1 else 'it'} to true"
        )
