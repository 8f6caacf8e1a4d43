# SPDX-License-Identifier: BSD-3-Clause
"""Read a model from a frozen graph or a checkpoint, as data; write a frozen graph.

Weights are constants with known names, the architecture is the input script that the file carries;
nothing in such a file is executed. Files of this package and of stock DeePMD-kit 2.x and 3.x have
the same names. Of what has no weights, :mod:`deepmd_tf.graph.imported` runs the graph.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from deepmd_tf import names
from deepmd_tf.errors import CheckpointError, ModelFileError
from deepmd_tf.files import write_whole
from deepmd_tf.graph import branches, imported, upgrade
from deepmd_tf.graph.assembly import UntiledError, missing
from deepmd_tf.graph.checkpoint_files import READER_ERRORS, open_reader, resolve, resolve_folder
from deepmd_tf.graph.features import require_available
from deepmd_tf.graph.imported import ImportedModel
from deepmd_tf.graph.operations import ENVIRONMENTS, environment_sel, is_complete, is_stock
from deepmd_tf.graph.saved import Dialect, SavedModel, assemble, text_of
from deepmd_tf.graph.session import plain_message
from deepmd_tf.graph.tables import read_tables
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.nn.stored_spline import Spline

# A protocol buffer cannot be larger than this, so no constant in it honestly is.
_MAX_BYTES = 2**31
# What is not stored is the last number over and over, which takes a byte or two in the file.
_MAX_REPEATED = 2**24
_SCALARS = {
    names.NATIVE_FORMAT,
    names.RCUT,
    names.NTYPES,
    names.DFPARAM,
    names.DAPARAM,
    names.MIN_NBOR_DIST,
    names.NTYPES_SPIN,
}
_OTHER_BACKENDS = {".pth", ".pt", ".pt2", ".dp", ".hlo", ".json", ".yaml"}
"""How names of models of other backends end."""


def read_model(path: str | os.PathLike[str], *, compressed: bool = False) -> SavedModel:
    """Read a frozen graph or a checkpoint, whichever ``path`` is.

    Parameters
    ----------
    path
        A ``.pb`` file (the suffix may be left out), a directory with a file called ``checkpoint``,
        or the prefix of a checkpoint (``model.ckpt-1000``).
    compressed
        Whether a frozen file may be of a compressed model, which has tables in place of the
        weights of embedding nets.

    Raises
    ------
    ModelFileError
        When there is no such model, or it is incomplete, or has no weights; the message names the
        file and what is missing.
    """
    model = open_model(path)
    if compressed and isinstance(model, ImportedModel):
        constants = _constants(model.path, model.graph)
        if _is_compressed(constants):
            return _assemble(model.path, "stock", constants, _parameters(constants), model.graph)
    return require_weights(model)


def open_model(path: str | os.PathLike[str]) -> SavedModel | ImportedModel:
    """As :func:`read_model`, for those who only evaluate: also models that have no weights, whose
    graph is checked and then run as it is."""
    path = Path(path)
    if path.is_dir():
        return read_checkpoint(path)
    if path.is_file() and path.suffix not in (".index", ".meta"):
        return _open_frozen(path)
    if _beside(path, ".index").is_file():
        return read_checkpoint(path)
    if _beside(path, ".pb").is_file():
        return _open_frozen(_beside(path, ".pb"))
    if path.suffix in (".index", ".meta"):
        return read_checkpoint(path.with_suffix(""))
    raise ModelFileError(f"{path}: there is no such model file, checkpoint folder or checkpoint")


def read_graph(path: str | os.PathLike[str]) -> tf.GraphDef:
    """The graph in a ``.pb`` file; only parsed.

    Raises
    ------
    ModelFileError
        When the file cannot be read or holds no graph.
    """
    path = Path(path)
    graph = tf.GraphDef()
    _parse(path, graph)
    if not graph.node:
        raise ModelFileError(f"{path}: not a model: the file holds no graph")
    return graph


def open_graph(path: Path, graph: tf.GraphDef) -> SavedModel | ImportedModel:
    """The model of a frozen graph.

    Parameters
    ----------
    path
        The file, for messages.
    graph
        As :func:`read_graph` gave it.

    Raises
    ------
    ModelFileError
        As :func:`read_model`.
    """
    if any(node.op in upgrade.OPS for node in graph.node):
        graph = upgrade.upgrade(graph)
    if any(node.name == names.NTYPES_SPIN for node in graph.node):
        graph = branches.without_branches(graph)
    constants = _constants(path, graph)
    _check_version(path, text_of(constants, names.MODEL_VERSION))
    _check_native_format(path, constants)
    model_type = text_of(constants, names.MODEL_TYPE)
    if model_type is None:
        raise missing(path, names.MODEL_TYPE)
    if names.NTYPES_SPIN in constants:
        model_type += "_spin"
    if model_type not in MODEL_KINDS:
        known = ", ".join(f'{kind.words} ("{name}")' for name, kind in MODEL_KINDS.items())
        raise ModelFileError(f'{path}: the model predicts "{model_type}"; what is read is {known}')
    require_available(path, graph)
    for name in (names.RCUT, names.NTYPES, names.TYPE_MAP):
        if name not in constants:
            raise missing(path, name)
    ops = {node.op for node in graph.node}
    why: str | None = None
    if _is_compressed(constants) and ops & ENVIRONMENTS.keys():
        why = "this is a compressed model, which has tables in place of the weights"
    elif names.TRAINING_SCRIPT not in constants and is_complete(ops):
        why = f'the input script, the node "{names.TRAINING_SCRIPT}", is missing'
    if why is not None:
        return imported.imported_model(path, graph, why, constants, model_type)
    dialect: Dialect = "stock" if is_stock(ops) else "native"
    try:
        model = _assemble(path, dialect, constants, _parameters(constants), graph)
    except UntiledError:
        if not is_complete(ops):
            raise
        why = (
            "it was trained by DeePMD-kit with a larger sel than at first, and the neighbours that "
            "came in are normalised otherwise"
        )
        return imported.imported_model(path, graph, why, constants, model_type)
    if model.model_type != model_type:
        raise ModelFileError(
            f'{path}: "{names.MODEL_TYPE}" is "{model_type}", but the input script in the file '
            f'says "{model.model_type}"'
        )
    has_hessian = any(node.name == names.X_HESSIAN for node in graph.node)
    return dataclasses.replace(model, has_hessian_output=has_hessian)


def _open_frozen(path: Path) -> SavedModel | ImportedModel:
    return open_graph(path, read_graph(path))


def require_weights(model: SavedModel | ImportedModel) -> SavedModel:
    """The model, if it has weights.

    Raises
    ------
    ModelFileError
        When it can only be evaluated.
    """
    if isinstance(model, ImportedModel):
        raise ModelFileError(
            f"{model.path}: {model.why}, so that it can only be evaluated; use the file or the "
            "checkpoint that it was made from"
        )
    return model


def read_checkpoint(path: str | os.PathLike[str]) -> SavedModel:
    """Read a checkpoint.

    The numbers come from the data files; the input script, the names of the types and the smallest
    distance from constants in the ``.meta`` file.

    Parameters
    ----------
    path
        Prefix of the checkpoint, or a directory whose file ``checkpoint`` names the latest one.

    Raises
    ------
    CheckpointError
        When there is no checkpoint or it cannot be read.
    ModelFileError
        When the ``.meta`` file lacks something.
    """
    prefix = find_checkpoint(path)
    meta = _beside(prefix, ".meta")
    if not meta.is_file():
        raise CheckpointError(
            f"{meta}: not found; it is written with the checkpoint and holds the input script"
        )
    graph = tf.MetaGraphDef()
    _parse(meta, graph)
    constants = _constants(meta, graph.graph_def)
    weights = read_variables(prefix, names.is_parameter)
    if not weights:
        raise CheckpointError(f"{prefix}: the checkpoint holds no weights of a model")
    if _is_compressed(constants):  # DeePMD-kit has no variables in place of what it imported
        weights = _parameters(constants) | weights
    return _assemble(prefix, "checkpoint", constants, weights, graph.graph_def, attributes=meta)


def _assemble(
    path: Path,
    dialect: Dialect,
    constants: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
    graph: tf.GraphDef,
    attributes: Path | None = None,
) -> SavedModel:
    """The model of a graph, with its tables if it is compressed; see :func:`assemble`."""
    for scope, sel in environment_sel(graph).items():
        name = names.suffixed(names.SEL, scope)
        # DeePMD-kit keeps it for few descriptors, and of se_e2_r the neighbours with angles: zeros
        if not np.any(constants.get(name, 0)):
            constants[name] = sel
    model = assemble(path, dialect, constants, weights, attributes)
    if not _is_compressed(constants):
        return model
    tables: dict[str, Spline] = {}
    for member in model.model.nets:
        tables |= read_tables(attributes or path, graph, member)
    return dataclasses.replace(model, tables=tables)


def _is_compressed(constants: Mapping[str, np.ndarray]) -> bool:
    return text_of(constants, names.MODEL_KIND) == names.KIND_COMPRESSED


def _parameters(constants: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {name: array for name, array in constants.items() if names.is_parameter(name)}
    return {names.present(name): array for name, array in found.items()}


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Prefix of the checkpoint at ``path``: a prefix, or a directory with a file ``checkpoint``.

    Raises
    ------
    CheckpointError
        When there is none.
    """
    path = Path(path)
    return resolve_folder(path) if path.is_dir() else resolve(path)


def read_variables(prefix: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Variables of a checkpoint whose name satisfies ``wanted``, bit for bit, by their present
    names.

    Raises
    ------
    CheckpointError
        When the data files are missing or damaged.
    """
    try:
        with open_reader(prefix) as reader:
            return {
                names.present(name): reader.get_tensor(name)
                for name in sorted(reader.get_variable_to_shape_map())
                if wanted(name)
            }
    except READER_ERRORS as error:
        reason = plain_message(error)
        raise CheckpointError(f"{prefix}: the checkpoint cannot be read ({reason})") from None


def check_writable(path: str | os.PathLike[str]) -> None:
    """Find out, before work is spent on it, whether a file can be written.

    Raises
    ------
    ModelFileError
        When it cannot.
    """
    path = Path(path)
    if path.is_dir():
        raise ModelFileError(f"{path}: cannot be written (it is a directory)")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error.strerror})") from None


def write_graph(graph: tf.GraphDef, path: str | os.PathLike[str]) -> None:
    """Write a graph so that ``path`` holds either what it held before or the whole new graph.

    Raises
    ------
    ModelFileError
        When the file cannot be written.
    """
    # without "deterministic" the order of attributes differs from run to run
    write_whole(path, graph.SerializeToString(deterministic=True), ModelFileError)


def _beside(path: Path, suffix: str) -> Path:
    # with_suffix would take "-1000" of "model.ckpt-1000" for a part of the suffix
    return path.with_name(path.name + suffix)


def _parse(path: Path, message: Any) -> None:
    try:
        message.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise ModelFileError(f"{path}: not found") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from None
    except DecodeError:
        if path.suffix in _OTHER_BACKENDS:
            raise ModelFileError(
                f"{path}: is a model of another backend, which is not read; make a .pb file of it "
                "with dp convert-backend of DeePMD-kit"
            ) from None
        raise ModelFileError(
            f"{path}: truncated, or not a TensorFlow graph; freeze or copy the model again"
        ) from None


def _constants(path: Path, graph: tf.GraphDef) -> dict[str, np.ndarray]:
    """Constants of a graph that are attributes or parameters."""
    return {
        node.name: _array(path, node)
        for node in graph.node
        if node.op == "Const" and (names.is_attribute(node.name) or names.is_parameter(node.name))
    }


def _array(path: Path, node: tf.NodeDef) -> np.ndarray:
    tensor, plain = node.attr["value"].tensor, names.split_model(node.name)[0]
    try:
        size = int(np.prod([dim.size for dim in tensor.tensor_shape.dim], dtype=np.float64))
        most = _MAX_BYTES if size <= tensor.ByteSize() else _MAX_REPEATED
        # the size of text is 0
        if size * max(1, tf.as_dtype(tensor.dtype).size) > most:
            raise ValueError
        array = tf.make_ndarray(tensor)
        is_text = plain in imported.TEXTS
        if array.dtype.kind not in ("OSU" if is_text else "fiu"):
            raise ValueError
        return array.reshape(()) if plain in _SCALARS else array
    except (TypeError, ValueError, KeyError, OverflowError):
        raise ModelFileError(f'{path}: the constant "{node.name}" is damaged') from None


def _check_native_format(path: Path, constants: Mapping[str, np.ndarray]) -> None:
    """Files without a number are of format 0, which is read as well: only their weights are."""
    version = int(constants.get(names.NATIVE_FORMAT, 0))
    if not 0 <= version <= names.SUPPORTED_NATIVE_FORMAT:
        raise ModelFileError(
            f"{path}: native format {version} is newer than this package, which reads 0 to "
            f"{names.SUPPORTED_NATIVE_FORMAT}; install the version of deepmd_tf that wrote the "
            "file, or freeze the model there with dp freeze without --native"
        )


def _check_version(path: Path, version: str | None) -> None:
    if version is None:
        raise missing(path, names.MODEL_VERSION)
    major, minor = names.SUPPORTED_VERSION.split(".")
    parts = version.split(".")
    if len(parts) != 2 or parts[0] != major or not parts[1].isdigit() or int(parts[1]) > int(minor):
        raise ModelFileError(
            f'{path}: model version "{version}" is not compatible with this package, which reads '
            f"{major}.0 to {names.SUPPORTED_VERSION}"
        )
