# SPDX-License-Identifier: BSD-3-Clause
"""Where a training begins: from nothing, from a checkpoint, or from a frozen model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config import Config, convert_layout, load_input, read_input
from deepmd_tf.errors import InputError
from deepmd_tf.graph.checkpoint import read_state
from deepmd_tf.graph.frozen import find_checkpoint, read_model
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.model.energy import EnergyModel
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.training.compare import read_saved, require_same_model


@dataclass(frozen=True)
class Start:
    """What a training takes over.

    Attributes
    ----------
    checkpoint
        Prefix of the checkpoint whose variables are restored; None without one.
    restart
        Whether the training of the checkpoint goes on.
    state
        What is kept beside a checkpoint that is gone on from; None where there is none.
    saved
        The model in the checkpoint or in the frozen file; None where neither describes one.
    """

    checkpoint: Path | None = None
    restart: bool = False
    state: dict[str, Any] | None = None
    saved: SavedModel | None = None

    @property
    def has_weights(self) -> bool:
        """Whether there are weights to begin with."""
        return self.checkpoint is not None or self.saved is not None

    @property
    def original_sel(self) -> tuple[int, ...] | None:
        """``sel`` of the first training; None: that of this one."""
        return None if self.saved is None else self.saved.original_sel

    def require_same_model(self, config: Config, type_map: Sequence[str] | None) -> None:
        """See :func:`deepmd_tf.training.compare.require_same_model`.

        The ``sel`` of a frozen model may be changed if the rows of the environment have no mean,
        because empty slots then contribute nothing.
        """
        descriptor = config.model.descriptor
        require_same_model(
            config,
            type_map,
            self.saved,
            any_sel=self.checkpoint is None and descriptor.set_davg_zero,
        )

    def initial(self, sel: Sequence[int]) -> dict[str, np.ndarray] | None:
        """First values of the variables by name, from a frozen model; None when there is none.

        Mean and spread of the rows are the same in each slot, so they are given as many slots as
        ``sel`` has.
        """
        if self.saved is None or self.checkpoint is not None:
            return None
        rows = {
            name: np.tile(self.saved.weights[name][:, :4], (1, sum(sel)))
            for name in (names.T_AVG, names.T_STD)
        }
        return self.saved.weights | rows


def find_start(
    init_model: str | os.PathLike[str] | None = None,
    restart: str | os.PathLike[str] | None = None,
    init_frz_model: str | os.PathLike[str] | None = None,
) -> Start:
    """Read what a training begins with; at most one of the arguments is given.

    Parameters
    ----------
    init_model, restart
        Prefix of a checkpoint, or a folder.
    init_frz_model
        Frozen file.

    Raises
    ------
    CheckpointError, ModelFileError
        When it cannot be read, or a frozen file is not complete.
    InputError
        When a checkpoint is given as a frozen file.
    """
    if init_frz_model is not None:
        saved = read_model(init_frz_model)
        if saved.dialect == "checkpoint":
            raise InputError(
                f"{init_frz_model}: is a checkpoint, not a frozen model; give it with --init-model"
            )
        _require_complete(saved)
        return Start(saved=saved)
    if restart is None and init_model is None:
        return Start()
    checkpoint = find_checkpoint(init_model if restart is None else restart)
    state = None if restart is None else read_state(checkpoint)
    return Start(checkpoint, restart is not None, state, read_saved(checkpoint))


def read_script(
    input_file: str | os.PathLike[str], start: Start, *, use_pretrain_script: bool = False
) -> tuple[Config, dict[str, Any]]:
    """The input script.

    Parameters
    ----------
    input_file
        JSON or YAML file.
    start
        What the training begins with.
    use_pretrain_script
        Take section ``model`` from there, whatever the input script has in its place.

    Returns
    -------
    config
        Checked, with all defaults.
    layout
        As it was written, in the present layout.

    Raises
    ------
    InputError
        When there is a mistake in it, or nothing to take the section from.
    """
    layout = convert_layout(read_input(input_file), str(input_file))
    if not use_pretrain_script:
        return load_input(input_file), layout
    if start.saved is None or start.restart:
        raise InputError(
            "--use-pretrain-script: takes the model from a frozen file or a checkpoint; give one "
            "with --init-frz-model or --init-model"
        )
    layout["model"] = start.saved.model.to_dict()
    if layout["model"].get("type_map") is None and start.saved.type_map:
        layout["model"]["type_map"] = list(start.saved.type_map)
    return Config.from_dict(layout, str(input_file)), layout


def _require_complete(saved: SavedModel) -> None:
    """Every weight is there and has its shape."""
    with tf.Graph().as_default():
        model = EnergyModel(saved.model, original_sel=saved.original_sel)
        inputs = model.make_inputs(tf.as_dtype(saved.interface_dtype))
        parameters = ConstantParameters(saved.weights, source=str(saved.path))
        model.build(inputs, parameters, dialect="reference")
