# SPDX-License-Identifier: BSD-3-Clause
"""Freeze a trained model: weights, graph and description in one file.

The graph is built anew from the weights, with constants in place of variables. In the stock dialect
it needs the ops of stock DeePMD-kit and no others, in the native one those of this package.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.errors import InputError, ModelFileError
from deepmd_tf.files import size_of_file
from deepmd_tf.graph.attributes import add_attributes
from deepmd_tf.graph.checkpoint_files import BEST
from deepmd_tf.graph.frozen import SavedModel, check_writable, read_model, write_graph
from deepmd_tf.graph.operations import COMPRESSED_OPS, STOCK_OPS
from deepmd_tf.log import told_if_slow
from deepmd_tf.model import ModelOutputs
from deepmd_tf.model.base import Model
from deepmd_tf.model.hessian import full_hessian, hessian_vector_product
from deepmd_tf.model.kinds import MODEL_KINDS
from deepmd_tf.nn.parameters import ConstantParameters
from deepmd_tf.nn.precision import use_interface
from deepmd_tf.nn.spline import SplineOptions
from deepmd_tf.nn.stored_spline import Spline

log = logging.getLogger(__name__)

FrozenDialect = Literal["stock", "native", "reference"]
SUFFIX = ".pb"


@dataclass(frozen=True)
class FrozenGraph:
    """Result of freezing: the file, its number of ops, and the requested nodes."""

    path: Path
    n_ops: int
    nodes: tuple[str, ...]


def freeze(
    checkpoint: str | os.PathLike[str] = ".",
    output: str | os.PathLike[str] = "frozen_model.pb",
    *,
    node_names: Sequence[str] | None = None,
    dialect: FrozenDialect | None = None,
    hessian: bool = False,
) -> FrozenGraph:
    """Write the model of a checkpoint (or of another frozen file) as one frozen graph.

    Parameters
    ----------
    checkpoint
        Directory with a file ``checkpoint``, prefix of a checkpoint, or a ``.pb`` file.
    output
        Where to write; the suffix ``.pb`` is appended when it is not there. The file appears whole
        or not at all.
    node_names
        Nodes to keep, with what they need, in place of all that a runtime asks for. The file then
        lacks the attributes and cannot be read as a model again.
    dialect
        "stock" for programs of stock DeePMD-kit, "native" for this package's ops, "reference" for
        operations of TensorFlow only, without ghost atoms. None: "stock", but "native" with
        ``hessian``.
    hessian
        Whether the graph has Hessians as further outputs, :data:`deepmd_tf.names.HESSIAN_OUTPUTS`.
        Their operations are in the native dialect only.

    Returns
    -------
    FrozenGraph

    Raises
    ------
    ModelFileError, CheckpointError
        When the model cannot be read, or the file cannot be written.
    InputError
        When one of the ``node_names`` does not exist, a Hessian is wanted in another dialect than
        the native one, or the descriptor does not exist in the dialect.
    """
    if hessian and dialect not in (None, "native"):
        raise InputError(
            "a Hessian needs operations of this package: freeze with the native dialect, or without"
        )
    dialect = dialect or ("native" if hessian else "stock")
    output = with_suffix(output)
    if not output.parent.is_dir():
        raise InputError(f"{output}: there is no directory {output.parent}")
    check_writable(output)
    with told_if_slow(log, "reading the model"):
        model = read_model(checkpoint)
    written = write_frozen(*build_graph(model, dialect, node_names, hessian=hessian), output)
    log.info(
        "wrote %s (%s), %s, %s, from %s",
        *(output, size_of_file(output), dialect, MODEL_KINDS[model.model_type].words, model.path),
    )
    _tell_best(model.path, checkpoint)
    if model.made_for_hessians and not hessian:
        log.info(
            "The model was made for Hessians; the file has no output of them. DeepPot and dp test "
            "of this package compute them from the weights in it, other programs need a file that "
            "was written with --hessian."
        )
    return written


def _tell_best(taken: Path, asked: str | os.PathLike[str]) -> None:
    """Say that there are checkpoints with a lower validation error than the newest one.

    They are not taken unasked: the same command freezes the same step in DeePMD-kit, and they may
    be of an earlier training in the same folder.
    """
    best = Path(asked) / BEST
    index = best.with_name(f"{BEST}.index")
    if index.exists():
        name = Path(os.path.realpath(index)).stem
        if name.rpartition("-")[2] != taken.name.rpartition("-")[2]:
            log.info(
                "the newest checkpoint was taken; the lowest validation error has %s: freeze that "
                "with -c %s",
                *(name, best),
            )


def write_frozen(graph: tf.GraphDef, kept: Sequence[str], output: Path) -> FrozenGraph:
    """Write what :func:`build_graph` gave, and say what it is."""
    described = sorted(name for name in kept if not names.is_parameter(name))
    log.info("The following nodes will be frozen: %s", described)
    with told_if_slow(log, "writing the file"):
        write_graph(graph, output)
    log.info("%d ops in the final graph.", len(graph.node))
    return FrozenGraph(output, len(graph.node), tuple(kept))


def with_suffix(path: str | os.PathLike[str]) -> Path:
    """``path`` with ``.pb`` at its end, appended unless it is there."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)


def build_graph(
    model: SavedModel,
    dialect: FrozenDialect = "stock",
    node_names: Sequence[str] | None = None,
    splines: SplineOptions | None = None,
    hessian: bool = False,
) -> tuple[tf.GraphDef, tuple[str, ...]]:
    """The frozen graph of a model.

    Parameters
    ----------
    model
        Weights and description.
    dialect
        See :func:`freeze`.
    node_names
        Nodes to keep; default: all inputs, outputs, attributes and weights.
    splines
        Makes a compressed model, in the stock dialect: tables in place of the embedding nets.
    hessian
        Adds Hessians, in the native dialect.

    Returns
    -------
    graph
        Nodes without device, pruned to what was asked for.
    kept
        Names of the nodes that were asked for.
    """
    dtype = model.interface
    compressed = splines is not None or bool(model.tables)
    with tf.Graph().as_default() as graph, use_interface(dtype):
        with told_if_slow(log, "building the graph"):
            built, parameters, outputs = model.build(dialect, splines=splines, standalone=True)
            MODEL_KINDS[model.model_type].add_nodes(outputs)
        nodes = MODEL_KINDS[model.model_type].nodes
        # programs of DeePMD-kit take a distance for a promise that the model can be compressed
        unmeasured = dialect == "stock" and model.model.masked
        kept = [
            # also those that nothing depends on: C++ runtimes feed whatever there are numbers of
            *outputs.inputs.placeholders,
            *nodes,
            *([names.O_DESCRIPTOR] if built.dim_descriptor else []),
            *built.type_embeddings,
            *(
                names.suffixed(name, m.scope)
                for m in model.model.members()
                if m.scope
                for name in (*nodes, names.O_DESCRIPTOR)
            ),
            *(_stock_rows(outputs) if dialect == "stock" else ()),
            *(_add_hessian(built, outputs, parameters) if hessian else ()),
            *_name_diagnostics(outputs.diagnostics),
            *_kept_parameters(parameters.names(), compressed=compressed),
            *(_add_tables(model.tables) if dialect != "stock" else ()),
            *_output_statistics(model, dtype),
            *add_attributes(
                model.model,
                model.script,
                type_map=model.type_map,
                min_nbor_dist=None if unmeasured else model.min_nbor_dist,
                interface_dtype=dtype,
                original_sel=model.original_sel,
                kind=names.KIND_COMPRESSED if compressed else names.KIND_ORIGINAL,
                native=dialect == "native",
            ),
        ]
        if node_names:
            kept = _select(node_names, graph, nodes)
        # Attributes that newer versions of TensorFlow added at their defaults would keep older ones
        # from reading.
        with told_if_slow(log, "describing the graph"):
            # without graph_def TensorFlow sorts all nodes again for each of them
            meta = tf.train.export_meta_graph(
                graph_def=graph.as_graph_def(),
                graph=graph,
                clear_devices=True,
                strip_default_attrs=True,
                collection_list=[],
            )
    with told_if_slow(log, "cutting the graph to what is kept"):
        frozen = tf.graph_util.extract_sub_graph(meta.graph_def, kept)
    for node in frozen.node:
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]
    if dialect == "stock":
        _check_stock(frozen, COMPRESSED_OPS if compressed else STOCK_OPS)
    return frozen, tuple(kept)


def _stock_rows(outputs: ModelOutputs) -> list[str]:
    specs = [part.environment.spec for part in outputs.atoms.contractions]
    return [
        names.suffixed(name, spec.scope)
        for spec in specs
        for name in names.STOCK_ROWS
        if not (spec.masked and name == names.O_RIJ)
    ]


def _kept_parameters(parameters: Iterable[str], compressed: bool) -> list[str]:
    return [name for name in parameters if not (compressed and names.is_embedding_weight(name))]


def _add_tables(tables: Mapping[str, Spline]) -> list[str]:
    """The tables of a compressed model, where the graph computes with others made of them."""
    for name, spline in tables.items():
        tf.constant(spline.coefficients, name=name)
        tf.constant(spline.info, name=f"{name}_info")
    return [part for name in tables for part in (name, f"{name}_info")]


def _name_diagnostics(diagnostics: Mapping[str, tf.Tensor]) -> list[str]:
    """Counts by which a program can tell whether to trust a result."""
    for key, tensor in diagnostics.items():
        tf.identity(tensor, name=names.DIAGNOSTICS[key])
    return [names.DIAGNOSTICS[key] for key in diagnostics]


def _add_hessian(
    model: Model, outputs: ModelOutputs, parameters: ConstantParameters
) -> tuple[str, ...]:
    """Nodes that nothing else depends on, so that they cost nothing unless they are fetched."""
    matrix = full_hessian(model, outputs, parameters)
    direction = tf.placeholder(outputs.inputs.dtype, [None], name=names.X_DIRECTION)
    product = hessian_vector_product(outputs, direction)
    tf.identity(matrix, name=names.X_HESSIAN)
    tf.identity(product, name=names.X_HESSIAN_VECTOR)
    return names.HESSIAN_OUTPUTS


def _output_statistics(model: SavedModel, dtype: tf.DType) -> list[str]:
    """Shift and scale of the output, the identity; some stock tools look for the nodes. Files of
    tensors have none.
    """
    if model.sel_type:
        return []
    found = []
    for member in model.model.nets:
        shape = (1, model.ntypes, member.config.fitting_net.width)
        for name, value in ((names.OUT_BIAS, 0.0), (names.OUT_STD, 1.0)):
            found.append(names.in_model(name, member.scope))
            tf.constant(value, dtype, shape, name=found[-1])
    return found


def _select(node_names: Iterable[str], graph: tf.Graph, outputs: Iterable[str]) -> list[str]:
    existing = {op.name for op in graph.get_operations()}
    for name in node_names:
        if name not in existing:
            # an output is what is most often meant
            near = difflib.get_close_matches(name, outputs, n=1)
            near = near or difflib.get_close_matches(name, sorted(existing), n=1)
            hint = f'; did you mean "{near[0]}"?' if near else "."
            raise InputError(
                f'there is no node "{name}" in the graph{hint} Its outputs are {", ".join(outputs)}'
            )
    return list(dict.fromkeys(node_names))


def _check_stock(graph: tf.GraphDef, ops: Collection[str] = STOCK_OPS) -> None:
    """A stock runtime refuses a file with a single op that it does not know."""
    for node in graph.node:
        known = node.op in ops or hasattr(tf.raw_ops, node.op) or node.op == "Const"
        if not known or node.op in ("VariableV2", "VarHandleOp", "PyFunc"):
            raise ModelFileError(
                f'internal error: node "{node.name}" ({node.op}) is no part of the stock dialect'
            )
    if graph.library.function:
        raise ModelFileError("internal error: the stock dialect has no function library")
