# SPDX-License-Identifier: BSD-3-Clause
"""Read a model from a frozen graph or a checkpoint, as data; write a frozen graph.

Nothing in a file is executed: weights are constants with known names, the architecture is the input
script that the file carries. Files of this package and of stock DeePMD-kit 2.x and 3.x have the
same names.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

from deepmd_tf import names
from deepmd_tf.config import Config
from deepmd_tf.errors import CheckpointError, DeepmdError, ModelFileError
from deepmd_tf.graph.checkpoint import resolve
from deepmd_tf.graph.session import plain_message
from deepmd_tf.nn.precision import INTERFACE_VARIABLE, interface_dtype

Dialect = Literal["native", "stock", "checkpoint"]

# A protocol buffer cannot be larger than this, so no constant in it honestly is.
_MAX_BYTES = 2**31


@dataclass(frozen=True)
class SavedModel:
    """A trained model as it was found in a file.

    Attributes
    ----------
    path
        Frozen graph, or prefix of the checkpoint.
    dialect
        Which graph the file holds: "native" or "stock"; "checkpoint" for a checkpoint.
    config
        The input script of the training, normalised.
    type_map
        Name of each atom type; empty when the model was trained without names.
    weights
        Weights and statistics by name, see :func:`deepmd_tf.names.is_parameter`, as they are in the
        file.
    min_nbor_dist
        Smallest distance between two atoms of the training data in angstrom; None when it was not
        measured.
    model_version
        Version of the interface.
    interface_dtype
        float64 or float32: type of coordinates, forces and virials when the model was trained.
    """

    path: Path
    dialect: Dialect
    config: Config
    type_map: tuple[str, ...]
    weights: dict[str, np.ndarray] = field(repr=False)
    min_nbor_dist: float | None
    model_version: str
    interface_dtype: np.dtype

    @property
    def ntypes(self) -> int:
        """Number of atom types."""
        return len(self.config.model.descriptor.sel)

    @property
    def interface(self) -> tf.DType:
        """Type of the interface to rebuild the model with.

        What ``DP_INTERFACE_PREC`` says, and without it that of the training.
        """
        if INTERFACE_VARIABLE in os.environ:
            return interface_dtype()
        return tf.as_dtype(self.interface_dtype)


def read_model(path: str | os.PathLike[str]) -> SavedModel:
    """Read a frozen graph or a checkpoint, whichever ``path`` is.

    Parameters
    ----------
    path
        A ``.pb`` file (the suffix may be left out), a directory with a file called ``checkpoint``,
        or the prefix of a checkpoint (``model.ckpt-1000``).

    Raises
    ------
    ModelFileError
        When there is no such model, or it is incomplete; the message names the file and what is
        missing.
    """
    path = Path(path)
    if path.is_dir():
        return read_checkpoint(path)
    if path.is_file() and path.suffix not in (".index", ".meta"):
        return read_frozen(path)
    if _beside(path, ".index").is_file():
        return read_checkpoint(path)
    if _beside(path, ".pb").is_file():
        return read_frozen(_beside(path, ".pb"))
    if path.suffix in (".index", ".meta"):
        return read_checkpoint(path.with_suffix(""))
    raise ModelFileError(f"{path}: there is no such model file, checkpoint folder or checkpoint")


def read_frozen(path: str | os.PathLike[str]) -> SavedModel:
    """Read a frozen graph (``.pb``); raises as :func:`read_model`."""
    path = Path(path)
    constants, ops = _frozen_constants(path)
    if _text(constants, names.MODEL_KIND) == names.KIND_COMPRESSED:
        raise ModelFileError(
            f"{path}: this is a compressed model, which has tables in place of the weights; "
            "use the file that it was compressed from"
        )
    version = _text(constants, names.MODEL_VERSION)
    _check_version(path, version)
    model_type = _text(constants, names.MODEL_TYPE)
    if model_type is None:
        raise _missing(path, names.MODEL_TYPE)
    if model_type != names.MODEL_TYPE_ENERGY:
        raise ModelFileError(
            f'{path}: the model predicts "{model_type}"; only energy models ("ener") are read'
        )
    for name in (names.RCUT, names.NTYPES, names.TYPE_MAP, names.DFPARAM, names.DAPARAM):
        if name not in constants:
            raise _missing(path, name)
    weights = {name: array for name, array in constants.items() if names.is_parameter(name)}
    dialect: Dialect = "stock" if "ProdEnvMatA" in ops else "native"
    return _assemble(path, dialect, constants, weights, version)


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
    version = _text(constants, names.MODEL_VERSION) or names.SUPPORTED_VERSION
    return _assemble(prefix, "checkpoint", constants, weights, version, attributes=meta)


def find_checkpoint(path: str | os.PathLike[str]) -> Path:
    """Prefix of the checkpoint at ``path``: a prefix, or a directory with a file ``checkpoint``.

    Raises
    ------
    CheckpointError
        When there is none.
    """
    path = Path(path)
    if not path.is_dir():
        return resolve(path)
    record = path / "checkpoint"
    if not record.is_file():
        raise CheckpointError(f'{path}: no file "checkpoint" there; train first, or give a prefix')
    try:
        latest = tf.train.latest_checkpoint(str(path))
    except (tf.errors.OpError, ValueError):
        latest = None
    if latest is None:
        raise CheckpointError(
            f"{record}: names no checkpoint that exists; other programs write a file of this name "
            'too, so give the prefix, for example "model.ckpt"'
        )
    return Path(latest)


def read_variables(prefix: Path, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
    """Variables of a checkpoint whose name satisfies ``wanted``, bit for bit.

    Raises
    ------
    CheckpointError
        When the data files are missing or damaged.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        return {
            name: reader.get_tensor(name)
            for name in sorted(reader.get_variable_to_shape_map())
            if wanted(name)
        }
    # the reader of TensorFlow raises what it likes, IndexError among others
    except (tf.errors.OpError, RuntimeError, ValueError, LookupError) as error:
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
    path = Path(path)
    # without "deterministic" the order of attributes differs from run to run
    data = graph.SerializeToString(deterministic=True)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the rights of an ordinary new file.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _beside(path: Path, suffix: str) -> Path:
    # with_suffix would take "-1000" of "model.ckpt-1000" for a part of the suffix
    return path.with_name(path.name + suffix)


def _missing(path: Path, name: str) -> ModelFileError:
    return ModelFileError(f'{path}: not a complete energy model: the node "{name}" is missing')


def _parse(path: Path, message: Any) -> None:
    try:
        message.ParseFromString(path.read_bytes())
    except FileNotFoundError:
        raise ModelFileError(f"{path}: not found") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from None
    except DecodeError:
        raise ModelFileError(f"{path}: truncated, or not a TensorFlow graph") from None


def _frozen_constants(path: Path) -> tuple[dict[str, np.ndarray], set[str]]:
    graph = tf.GraphDef()
    _parse(path, graph)
    if not graph.node:
        raise ModelFileError(f"{path}: not a model: the file holds no graph")
    return _constants(path, graph), {node.op for node in graph.node}


def _constants(path: Path, graph: tf.GraphDef) -> dict[str, np.ndarray]:
    """Constants of a graph that are attributes or parameters."""
    return {
        node.name: _array(path, node)
        for node in graph.node
        if node.op == "Const" and (node.name in names.ATTRIBUTES or names.is_parameter(node.name))
    }


def _array(path: Path, node: tf.NodeDef) -> np.ndarray:
    tensor = node.attr["value"].tensor
    try:
        size = int(np.prod([dim.size for dim in tensor.tensor_shape.dim], dtype=np.float64))
        if size * tf.as_dtype(tensor.dtype).size > _MAX_BYTES:
            raise ValueError
        return tf.make_ndarray(tensor)
    except (TypeError, ValueError):
        raise ModelFileError(f'{path}: the constant "{node.name}" is damaged') from None


def _text(constants: dict[str, np.ndarray], name: str) -> str | None:
    value = constants.get(name)
    if value is None or value.size != 1:
        return None
    value = value.item()
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)


def _check_version(path: Path, version: str | None) -> None:
    if version is None:
        raise _missing(path, names.MODEL_VERSION)
    major, minor = names.SUPPORTED_VERSION.split(".")
    parts = version.split(".")
    if len(parts) != 2 or parts[0] != major or not parts[1].isdigit() or int(parts[1]) > int(minor):
        raise ModelFileError(
            f'{path}: model version "{version}" is not compatible with this package, which reads '
            f"{major}.0 to {names.SUPPORTED_VERSION}"
        )


def _assemble(
    path: Path,
    dialect: Dialect,
    constants: dict[str, np.ndarray],
    weights: dict[str, np.ndarray],
    version: str,
    attributes: Path | None = None,
) -> SavedModel:
    """Put together and cross-check what a file says; ``attributes`` is the file that holds the
    attributes."""
    where = attributes or path
    config = _read_script(where, constants)
    for name in (names.T_AVG, names.T_STD, names.BIAS_ATOM_E):
        if name not in weights:
            raise _missing(path, name)
    _check_agreement(where, config, constants, weights)
    _check_tiling(path, weights)
    _fold_output_statistics(path, weights)
    distance = constants.get(names.MIN_NBOR_DIST)
    type_map = _text(constants, names.TYPE_MAP)
    return SavedModel(
        path=path,
        dialect=dialect,
        config=config,
        type_map=tuple(config.model.type_map or () if type_map is None else type_map.split()),
        weights=weights,
        min_nbor_dist=None if distance is None else float(distance),
        model_version=version,
        interface_dtype=weights[names.T_AVG].dtype,
    )


def _read_script(where: Path, constants: dict[str, np.ndarray]) -> Config:
    """The input script of a model, with ``sel`` resolved."""
    text = _text(constants, names.TRAINING_SCRIPT)
    if text is None:
        raise _missing(where, names.TRAINING_SCRIPT)
    source = f"{where} ({names.TRAINING_SCRIPT})"
    try:
        script = json.loads(text)
        descriptor = script["model"]["descriptor"]
        # Scripts of models trained with "auto" may be stored as they were written.
        if isinstance(descriptor.get("sel"), str) and names.SEL in constants:
            descriptor["sel"] = constants[names.SEL].tolist()
        config = Config.from_dict(script, source=source)
    except json.JSONDecodeError as error:
        raise ModelFileError(f"{source}: not JSON ({error})") from None
    except (KeyError, TypeError, AttributeError):
        raise ModelFileError(
            f'{source}: no input script: it has no "model" with a "descriptor"'
        ) from None
    except DeepmdError as error:
        raise ModelFileError(str(error)) from error
    sel = config.model.descriptor.sel
    if isinstance(sel, str):
        raise ModelFileError(f'{source}: sel is "{sel}" and the node "{names.SEL}" is missing')
    return config


def _check_agreement(
    where: Path, config: Config, constants: dict[str, np.ndarray], weights: dict[str, np.ndarray]
) -> None:
    """The attributes of a file must say what its input script says."""
    descriptor, fitting = config.model.descriptor, config.model.fitting_net
    ntypes = len(descriptor.sel)
    expected = {
        names.NTYPES: ntypes,
        names.DFPARAM: fitting.numb_fparam,
        names.DAPARAM: fitting.numb_aparam,
        names.SEL: descriptor.sel,
        # the moments are normalised by sel
        names.ORIGINAL_SEL: descriptor.sel,
    }
    for name, value in expected.items():
        if name in constants and not np.array_equal(np.maximum(constants[name], 0), value):
            raise ModelFileError(
                f'{where}: "{name}" is {constants[name].tolist()}, '
                f"but the input script in the file says {value}"
            )
    rcut = constants.get(names.RCUT)
    if rcut is not None and not np.isclose(rcut, descriptor.rcut, rtol=1e-6, atol=0.0):
        raise ModelFileError(
            f'{where}: "{names.RCUT}" is {rcut}, '
            f"but the input script in the file says {descriptor.rcut}"
        )


def _check_tiling(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Statistics of a centre type must be the same in every slot of a row: the first stands for
    all."""
    for name in (names.T_AVG, names.T_STD):
        rows = weights[name]
        # an array of another shape is told where the model is built
        if rows.ndim == 2 and rows.shape[1] % 4 == 0:
            slots = rows.reshape(len(rows), -1, 4)
            if not np.array_equal(slots, np.broadcast_to(slots[:, :1], slots.shape)):
                raise ModelFileError(
                    f'{path}: "{name}" differs between the neighbours of an atom, '
                    "which is not supported"
                )


def _fold_output_statistics(path: Path, weights: dict[str, np.ndarray]) -> None:
    """Replace the output shift of stock files, E·std + bias, by an equal shift of the atomic
    energies."""
    std = weights.pop(names.OUT_STD, None)
    bias = weights.pop(names.OUT_BIAS, None)
    if std is not None and not np.all(std == 1.0):
        raise ModelFileError(
            f'{path}: "{names.OUT_STD}" scales the atomic energies, which is not supported'
        )
    if bias is not None and np.any(bias != 0.0):
        weights[names.BIAS_ATOM_E] = weights[names.BIAS_ATOM_E] + bias.reshape(-1)
