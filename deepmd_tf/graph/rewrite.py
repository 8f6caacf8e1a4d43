# SPDX-License-Identifier: BSD-3-Clause
"""Copies of model files in which one array is another, and all else is as it was."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import CheckpointError, ModelFileError
from deepmd_tf.graph.checkpoint import DATA, INDEX, META, STATE, SUFFIXES
from deepmd_tf.graph.frozen import read_graph, read_variables, write_graph
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.graph.session import plain_message


def rewrite_frozen(model: SavedModel, bias: np.ndarray, output: str | os.PathLike[str]) -> None:
    """Write a frozen graph with another energy bias.

    Parameters
    ----------
    model
        As it was read from its file.
    bias
        [ntypes], eV: the energy added to each atom of a type.
    output
        File to write, whole or not at all.

    Raises
    ------
    ModelFileError
        When the file cannot be read again, or the new one cannot be written.
    """
    graph = read_graph(model.path)
    found = [n for n in graph.node if n.name == names.BIAS_ATOM_E and n.op == "Const"]
    if not found:
        raise ModelFileError(f'{model.path}: the node "{names.BIAS_ATOM_E}" is missing')
    (node,) = found
    stored = tf.make_ndarray(node.attr["value"].tensor)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(_in_file(model, bias, stored)))
    write_graph(graph, output)


def rewrite_checkpoint(model: SavedModel, bias: np.ndarray, prefix: str | os.PathLike[str]) -> None:
    """Write a checkpoint with another energy bias; a training can go on from it.

    Parameters
    ----------
    model
        As it was read from the checkpoint.
    bias
        [ntypes], eV: the energy added to each atom of a type.
    prefix
        Prefix of the new checkpoint. The file ``checkpoint`` beside it names it.

    Raises
    ------
    CheckpointError
        When a file cannot be read or written. There is no new checkpoint then.
    """
    prefix = Path(prefix)
    variables = read_variables(model.path, lambda name: True)
    variables[names.BIAS_ATOM_E] = _in_file(model, bias, variables[names.BIAS_ATOM_E])
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{prefix.name}-", dir=prefix.parent) as folder:
            new = Path(folder, "new")
            _save(variables, new)
            for suffix in (META, STATE):
                if Path(f"{model.path}{suffix}").is_file():
                    shutil.copyfile(f"{model.path}{suffix}", f"{new}{suffix}")
            # the index last: what has one is whole
            Path(f"{prefix}{INDEX}").unlink(missing_ok=True)
            for suffix in SUFFIXES:
                if Path(f"{new}{suffix}").exists():
                    os.replace(f"{new}{suffix}", f"{prefix}{suffix}")
            name = json.dumps(prefix.name, ensure_ascii=False)
            record = Path(folder, "checkpoint")
            record.write_text(
                f"model_checkpoint_path: {name}\nall_model_checkpoint_paths: {name}\n"
            )
            os.replace(record, prefix.with_name("checkpoint"))
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or plain_message(error)
        raise CheckpointError(f"{prefix}: the checkpoint cannot be written ({reason})") from error


def _in_file(model: SavedModel, bias: np.ndarray, stored: np.ndarray) -> np.ndarray:
    """What to store so that the model, read again, has this bias: files of stock programs may hold
    a further shift elsewhere.
    """
    elsewhere = model.weights[names.BIAS_ATOM_E] - stored
    return (bias - elsewhere).astype(stored.dtype)


def _save(variables: dict[str, np.ndarray], prefix: Path) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        fed = [tf.placeholder(array.dtype, array.shape) for array in variables.values()]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(variables),
            shape_and_slices=[""] * len(fed),
            tensors=fed,
        )
        session.run(save, dict(zip(fed, variables.values(), strict=True)))
    if not Path(f"{prefix}{DATA}").is_file():
        raise CheckpointError(f"{prefix}: TensorFlow wrote no data")
