# SPDX-License-Identifier: BSD-3-Clause
"""Copies of model files in which one array is another, and all else is as it was."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import CheckpointError, ModelFileError
from deepmd_tf.graph.checkpoint_files import DATA, META, STATE, install, write_record
from deepmd_tf.graph.frozen import read_graph, read_variables, write_graph
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.saved import SavedModel
from deepmd_tf.graph.session import plain_message
from deepmd_tf.ops.threads import open_session


@dataclass(frozen=True)
class StoredBias:
    """The energy bias as a file has it: the energy that is added to an atom of each type is
    ``values`` · ``scale`` + ``shift``, eV.
    """

    values: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def find(cls, path: Path, arrays: Mapping[str, np.ndarray]) -> StoredBias:
        """Take it from the arrays of a file."""
        if names.BIAS_ATOM_E not in arrays:
            raise ModelFileError(
                f'{path}: the node "{names.BIAS_ATOM_E}" is missing, so the file has no energy '
                "bias that could be changed"
            )
        bias = arrays[names.BIAS_ATOM_E]
        # virtual atoms that stand for spins, which have no bias, have numbers behind the others
        scale = arrays.get(names.OUT_STD, np.ones(1)).reshape(-1)[: bias.size]
        shift = arrays.get(names.OUT_BIAS, np.zeros(1)).reshape(-1)[: bias.size]
        return cls(bias, scale, shift)

    @property
    def effective(self) -> np.ndarray:
        """float64 [ntypes], eV."""
        return self.values.astype(np.float64) * self.scale + self.shift

    def standing_for(self, bias: np.ndarray) -> np.ndarray:
        """The values by which :attr:`effective` becomes ``bias``."""
        return ((bias - self.shift) / self.scale).astype(self.values.dtype)


def read_bias(model: SavedModel | ImportedModel) -> np.ndarray:
    """Energy that a model adds to an atom of each type, eV, float64 [ntypes].

    Raises
    ------
    ModelFileError
        When the model has none.
    """
    if isinstance(model, SavedModel):
        return model.weights[names.BIAS_ATOM_E].astype(np.float64)
    return StoredBias.find(model.path, _constants(model.graph)).effective


def rewrite_frozen(
    path: str | os.PathLike[str], bias: np.ndarray, output: str | os.PathLike[str]
) -> None:
    """Write a frozen graph with another energy bias.

    Parameters
    ----------
    path
        Frozen graph of any program.
    bias
        [ntypes], eV: the energy added to each atom of a type.
    output
        File to write, whole or not at all.

    Raises
    ------
    ModelFileError
        When the file cannot be read or has no bias, or the new one cannot be written.
    """
    graph = read_graph(path)
    stored = StoredBias.find(Path(path), _constants(graph))
    for node in graph.node:
        if node.name == names.BIAS_ATOM_E:
            new = tf.make_tensor_proto(stored.standing_for(bias))
            node.attr["value"].tensor.CopyFrom(new)
    write_graph(graph, output)


def rewrite_checkpoint(
    source: str | os.PathLike[str], bias: np.ndarray, prefix: str | os.PathLike[str]
) -> None:
    """Write a checkpoint with another energy bias; a training can resume from it.

    Parameters
    ----------
    source
        Prefix of the checkpoint.
    bias
        [ntypes], eV: the energy added to each atom of a type.
    prefix
        Prefix of the new one. The file ``checkpoint`` beside it names it.

    Raises
    ------
    CheckpointError
        When a file cannot be read or written. There is no new checkpoint then.
    """
    prefix = Path(prefix)
    variables = read_variables(Path(source), lambda name: True)
    stored = StoredBias.find(Path(source), variables)
    variables[names.BIAS_ATOM_E] = stored.standing_for(bias)
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{prefix.name}-", dir=prefix.parent) as folder:
            new = Path(folder, "new")
            _save(variables, new)
            for suffix in (META, STATE):
                if Path(f"{source}{suffix}").is_file():
                    shutil.copyfile(f"{source}{suffix}", f"{new}{suffix}")
            install(new, prefix)
        write_record(prefix.parent, [prefix.name])
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or plain_message(error)
        raise CheckpointError(f"{prefix}: the checkpoint cannot be written ({reason})") from error


def _constants(graph: tf.GraphDef) -> dict[str, np.ndarray]:
    wanted = (names.BIAS_ATOM_E, names.OUT_STD, names.OUT_BIAS)
    return {
        node.name: tf.make_ndarray(node.attr["value"].tensor)
        for node in graph.node
        if node.op == "Const" and node.name in wanted
    }


def _save(variables: dict[str, np.ndarray], prefix: Path) -> None:
    with tf.Graph().as_default(), open_session() as session:
        fed = [tf.placeholder(array.dtype, array.shape) for array in variables.values()]
        save = tf.raw_ops.SaveV2(
            prefix=os.fsencode(prefix),  # also where a name is not UTF-8
            tensor_names=list(variables),
            shape_and_slices=[""] * len(fed),
            tensors=fed,
        )
        session.run(save, dict(zip(fed, variables.values(), strict=True)))
    if not Path(f"{prefix}{DATA}").is_file():
        raise CheckpointError(f"{prefix}: TensorFlow wrote no data")
