# SPDX-License-Identifier: BSD-3-Clause
"""Models that are run as the graph that a file holds, after it was looked at node by node.

A compressed model has tables in place of the weights, and files of DeePMD-kit 1.x have no input
script; neither can be rebuilt. A graph is a program, so only those are run that can do nothing but
arithmetic: every operation is on a list, and there are no texts but the known attributes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.environment.spec import NeighborLimit, largest_of_type
from deepmd_tf.errors import ModelFileError
from deepmd_tf.fields import ParameterInputs
from deepmd_tf.graph.operations import (
    COMPRESSED_OPS,
    ENVIRONMENTS,
    FRAGMENT_OPS,
    environments,
)
from deepmd_tf.graph.saved import text_of
from deepmd_tf.graph.session import plain_message
from deepmd_tf.model.kinds import MODEL_KINDS, Kind

STOCK_OPS = COMPRESSED_OPS | {"Gelu", "GeluGrad", "GeluCustom", "GeluGradCustom"}
"""Operations of DeePMD-kit that may be there."""

_ARITHMETIC = """
    Const Placeholder Identity NoOp StopGradient PreventGradient
    Shape ShapeN Size Rank Reshape ExpandDims Squeeze Transpose InvertPermutation
    Slice StridedSlice StridedSliceGrad Split SplitV Concat ConcatV2 ConcatOffset Pack Unpack
    Pad PadV2 Tile Fill Range ZerosLike OnesLike BroadcastTo BroadcastArgs BroadcastGradientArgs
    MatrixDiag MatrixDiagV2 MatrixDiagV3 MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3
    Gather GatherV2 GatherNd OneHot Where Select SelectV2 SegmentSum UnsortedSegmentSum
    DynamicPartition DynamicStitch ParallelDynamicStitch
    Cast Add AddV2 AddN Sub Mul Div RealDiv FloorDiv FloorMod Mod DivNoNan Neg Abs Sign
    Square Sqrt Rsqrt SqrtGrad RsqrtGrad Reciprocal Inv Pow Exp Expm1 Log Log1p Erf
    Maximum Minimum Greater GreaterEqual Less LessEqual Equal NotEqual
    LogicalAnd LogicalOr LogicalNot
    Sum Mean Prod Max Min All Any Cumsum
    Round MatrixInverse
    MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum BiasAdd BiasAddV1 BiasAddGrad
    Tanh TanhGrad Sigmoid SigmoidGrad Relu ReluGrad Relu6 Relu6Grad Softplus SoftplusGrad
"""

TENSORFLOW_OPS = frozenset(_ARITHMETIC.split())
"""Operations of TensorFlow that may be there: all compute their outputs from their inputs alone."""

ALLOWED_OPS = STOCK_OPS | TENSORFLOW_OPS

TEXTS = frozenset(
    (
        names.MODEL_KIND,
        names.TRAINING_SCRIPT,
        names.TYPE_MAP,
        names.MODEL_TYPE,
        names.MODEL_VERSION,
    )
)
"""Constants that are text."""

WORDS = ("data_format", "equation", "align")
"""Attributes that are text and choose what is computed: of BiasAdd, Einsum and MatrixDiagV3."""

MAX_NODES = 100_000
MAX_BYTES = 2**31
"""Of all constants together, as large as their shapes say."""

_NUMBERS = frozenset(
    t.as_datatype_enum
    for t in (tf.float64, tf.float32, tf.float16, tf.bfloat16, tf.int32, tf.int64, tf.bool)
)
_INTEGER = tf.int32.as_datatype_enum


class Neighborhood(NamedTuple):
    """Cutoff (Å) of a descriptor, and how many neighbours it keeps: of each type, or ``together``
    of all types; ``path`` stands in front of its keys.
    """

    path: str
    rcut: float
    sel: tuple[int, ...]
    together: bool = False

    def limits(self) -> list[NeighborLimit]:
        """Neighbours kept, as they are counted."""
        if self.together:
            return [NeighborLimit(f"{self.path}sel", None, self.sel[0])]
        return [NeighborLimit(f"{self.path}sel[{t}]", t, n) for t, n in enumerate(self.sel)]


@dataclass(frozen=True)
class ImportedModel:
    """A model whose graph is run as it is. Attributes are those of
    :class:`~deepmd_tf.graph.saved.SavedModel`, and

    Attributes
    ----------
    graph
        The graph, checked by :func:`check_graph`.
    why
        Why it cannot be rebuilt from its weights: an addition to a sentence.
    model_type
        What the model predicts: a key of :data:`deepmd_tf.model.kinds.MODEL_KINDS`.
    rcut
        Cutoff radius, angstrom.
    ntypes
        Number of atom types.
    neighborhoods
        Of each descriptor.
    parameter_inputs
        Frame and atomic parameters that it takes.
    """

    path: Path
    graph: tf.GraphDef = field(repr=False)
    why: str
    model_type: str
    script: dict[str, Any] | None = field(repr=False)
    type_map: tuple[str, ...]
    rcut: float
    ntypes: int
    neighborhoods: tuple[Neighborhood, ...]
    parameter_inputs: ParameterInputs
    min_nbor_dist: float | None
    interface_dtype: np.dtype

    @cached_property
    def fragmented(self) -> bool:
        """Whether it is a model of a quantum region and fragments."""
        return any(node.op in FRAGMENT_OPS for node in self.graph.node)

    @cached_property
    def virtual_types(self) -> int:
        """How many of the types, the last ones, are of virtual atoms that stand for spins."""
        return int(np.sum(self._constant(names.NTYPES_SPIN)))

    @cached_property
    def sel_type(self) -> tuple[int, ...]:
        """Types of the atoms that have a tensor; empty where there are none."""
        return tuple(sorted(self._constant(names.SEL_TYPE).tolist()))

    @cached_property
    def numb_dos(self) -> int:
        """Energies of the density of states; 0 where there is none."""
        return max(0, int(np.sum(self._constant(names.NUMB_DOS))))

    def _constant(self, name: str) -> np.ndarray:
        """The numbers of a node; none where there is no such node."""
        nodes = (node for node in self.graph.node if node.name == name)
        found = next((tf.make_ndarray(node.attr["value"].tensor) for node in nodes), ())
        return np.asarray(found, np.int32)

    @property
    def sel(self) -> tuple[int, ...]:
        """See :attr:`SavedModel.sel <deepmd_tf.graph.saved.SavedModel.sel>`."""
        return largest_of_type(self.neighbor_limits, self.ntypes)

    @property
    def neighbor_limits(self) -> list[NeighborLimit]:
        """Neighbours kept, as they are counted."""
        return [limit for where in self.neighborhoods for limit in where.limits()]

    @property
    def interface(self) -> tf.DType:
        """Type of the interface, as it is in the graph."""
        return tf.as_dtype(self.interface_dtype)

    @property
    def pair_tables(self) -> dict[str, Any]:
        """Its tables of pair potentials are in the graph."""
        return {}

    @property
    def model_script(self) -> dict[str, Any]:
        """Section ``model`` of the input script.

        Raises
        ------
        ModelFileError
            When the file has none.
        """
        if self.script is None:
            raise ModelFileError(f"{self.path}: there is no input script in the file")
        return self.script["model"]

    def import_into(self, placeholders: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Add the graph to the default graph.

        Parameters
        ----------
        placeholders
            What takes the place of its inputs, by name.

        Returns
        -------
        dict
            Its outputs by name, :attr:`~deepmd_tf.model.kinds.Kind.nodes` of its kind and if it is
            there the descriptor.

        Raises
        ------
        ModelFileError
            When the nodes do not fit together.
        """
        nodes = MODEL_KINDS[self.model_type].nodes
        wanted = [*nodes]
        if any(node.name == names.O_DESCRIPTOR for node in self.graph.node):
            wanted.append(names.O_DESCRIPTOR)
        shapes = {n.name: n.attr["shape"].shape for n in self.graph.node if n.op == "Placeholder"}
        try:
            tensors = tf.import_graph_def(
                self.graph,
                input_map={
                    f"{name}:0": _shaped(tensor, shapes[name])
                    for name, tensor in placeholders.items()
                    if name in shapes
                },
                return_elements=[f"{name}:0" for name in wanted],
                name="imported",
            )
        except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
            raise ModelFileError(
                f"{self.path}: the nodes of the graph do not fit together ({plain_message(error)})"
            ) from None
        outputs = dict(zip(wanted, tensors, strict=True))
        for name, tensor in outputs.items():
            double = name in nodes and nodes[name].double
            dtype = tf.float64 if double else tf.as_dtype(self.interface_dtype)
            if tensor.dtype != dtype:
                raise ModelFileError(
                    f'{self.path}: "{name}" is {tensor.dtype.name}, expected {dtype.name}'
                )
        return outputs


def _shaped(tensor: tf.Tensor, shape: Any) -> tf.Tensor:
    """An input, which has rank 1, with the rank that a graph of version 0.12 takes as it is."""
    rest = [dim.size for dim in shape.dim[1:]]
    return tf.reshape(tensor, [-1, *rest]) if rest and min(rest) > 0 else tensor


def imported_model(
    path: Path,
    graph: tf.GraphDef,
    why: str,
    constants: Mapping[str, np.ndarray],
    model_type: str,
) -> ImportedModel:
    """Check a graph and make it a model.

    Parameters
    ----------
    path
        The file, for messages.
    graph
        In the present form.
    why
        See :class:`ImportedModel`.
    constants
        Attributes by name.
    model_type
        See :class:`ImportedModel`.

    Raises
    ------
    ModelFileError
        When the graph is none that may be run.
    """
    graph = plain_graph(graph)
    check_graph(path, graph, MODEL_KINDS[model_type])
    rcut = constants[names.RCUT]
    if rcut.shape != () or rcut.dtype not in (np.float64, np.float32):
        raise ModelFileError(f'{path}: "{names.RCUT}" is not one float64 or float32')
    neighborhoods = _neighborhoods(path, graph, constants[names.NTYPES], float(rcut))
    _check_kind(path, constants, int(constants[names.NTYPES]))
    distance = constants.get(names.MIN_NBOR_DIST)
    return ImportedModel(
        path=path,
        graph=graph,
        why=why,
        model_type=model_type,
        script=_script(constants),
        type_map=tuple((text_of(constants, names.TYPE_MAP) or "").split()),
        rcut=float(rcut),
        ntypes=int(constants[names.NTYPES]),
        neighborhoods=neighborhoods,
        parameter_inputs=_parameter_inputs(graph, constants),
        min_nbor_dist=None if distance is None else float(distance),
        interface_dtype=rcut.dtype,
    )


def check_graph(path: Path, graph: tf.GraphDef, kind: Kind) -> None:
    """Refuse a graph that may do anything but arithmetic, or is not a model of its kind.

    The list of operations (:data:`ALLOWED_OPS`) has none with a state, none that reads, writes or
    calls anything, none that chooses which others run; text stands only in the known attributes;
    there are no functions; the neighbour list cannot come from addresses in memory, which a fed
    mesh might hold. How much memory the arithmetic takes is bounded only by the size of the
    constants.

    Raises
    ------
    ModelFileError
        With the name and the operation of the node that does not belong there.
    """
    if graph.library.function or graph.library.gradient:
        raise ModelFileError(f"{path}: has a library of functions, which no model needs; not run")
    if len(graph.node) > MAX_NODES:
        raise ModelFileError(f"{path}: has {len(graph.node)} nodes, which no model needs; not run")
    total = 0
    for node in graph.node:
        if node.op not in ALLOWED_OPS:
            raise _refused(path, node, "an operation that is not part of a known kind of model")
        for key, value in node.attr.items():
            _check_attribute(path, node, key, value)
        if node.op == "Const":
            total += _constant_size(path, node)
            if total > MAX_BYTES:
                raise _refused(path, node, "with it the constants are larger than 2 GiB")
    _check_interface(path, graph, kind)


def _neighborhoods(
    path: Path, graph: tf.GraphDef, ntypes: np.ndarray, largest: float
) -> tuple[Neighborhood, ...]:
    """What the operations that make rows say; the largest cutoff is that of the file."""
    found = []
    nodes = environments(graph)
    for i, node in enumerate(nodes):
        kind = ENVIRONMENTS[node.op]
        sel = tuple(node.attr[kind.sel].list.i)
        expected = 1 if kind.mixed else ntypes
        if ntypes.shape != () or int(expected) != len(sel):
            raise ModelFileError(
                f'{path}: "{names.NTYPES}" is {ntypes.tolist()}, but the operation {node.op} '
                f"has {len(sel)} types"
            )
        where = f"list[{i}]." if len(nodes) > 1 else ""
        found.append(Neighborhood(where, node.attr[kind.rcut].f, sel, kind.mixed))
    used = [where.rcut for where in found]
    if not (min(used) > 0 and np.isclose(max(used), largest, rtol=1e-6, atol=0.0)):
        wrong = used[0] if len(used) == 1 else used
        raise ModelFileError(
            f'{path}: "{names.RCUT}" is {largest}, but the operation '
            f"{' and '.join(node.op for node in nodes)} has the cutoff {wrong}"
        )
    return tuple(found)


def plain_graph(graph: tf.GraphDef) -> tf.GraphDef:
    """A copy without what tells TensorFlow where and how to run a node."""
    result = tf.GraphDef()
    result.CopyFrom(graph)
    for node in result.node:
        node.device = ""
        node.ClearField("experimental_debug_info")
        for key in [key for key in node.attr if key.startswith("_")]:
            del node.attr[key]
    return result


def _refused(path: Path, node: tf.NodeDef, reason: str) -> ModelFileError:
    name = node.name if len(node.name) < 200 else f"{node.name[:200]}…"
    return ModelFileError(f'{path}: not run because of the node "{name}" ({node.op}): {reason}')


def _check_attribute(path: Path, node: tf.NodeDef, key: str, value: Any) -> None:
    kind = value.WhichOneof("value")
    if kind in ("func", "placeholder") or value.list.func:
        raise _refused(path, node, f'the attribute "{key}" is a function')
    if (kind == "s" and key not in WORDS) or value.list.s:
        raise _refused(path, node, f'the attribute "{key}" is text')
    for dtype in [value.type] if kind == "type" else value.list.type:
        text = node.op == "Const" and key == "dtype" and names.split_model(node.name)[0] in TEXTS
        if dtype not in _NUMBERS and not (text and dtype == tf.string.as_datatype_enum):
            raise _refused(path, node, f"works on {_dtype_name(dtype)}")


def _dtype_name(dtype: int) -> str:
    try:
        return tf.as_dtype(dtype).name
    except TypeError:
        return f"the unknown type {dtype}"


def _constant_size(path: Path, node: tf.NodeDef) -> int:
    tensor = node.attr["value"].tensor
    if tensor.dtype != node.attr["dtype"].type:
        raise _refused(path, node, "declares another type than it has")
    if tensor.dtype not in (*_NUMBERS, tf.string.as_datatype_enum):
        raise _refused(path, node, f"works on {_dtype_name(tensor.dtype)}")
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_shape.unknown_rank or any(n < 0 for n in shape):
        raise _refused(path, node, "has no size")
    elements = int(np.prod(shape, dtype=object))
    if tensor.dtype == tf.string.as_datatype_enum:
        if elements != 1 or len(tensor.string_val) != 1:
            raise _refused(path, node, "is not one text")
        return len(tensor.string_val[0])
    return elements * tf.as_dtype(tensor.dtype).size


def _check_interface(path: Path, graph: tf.GraphDef, kind: Kind) -> None:
    """Inputs and outputs are those of a model of this kind, and only they."""
    found: dict[str, tf.NodeDef] = {}
    for node in graph.node:
        if node.name in found:
            raise _refused(path, node, "there are two nodes of this name")
        found[node.name] = node
    real = found[names.RCUT].attr["dtype"].type if names.RCUT in found else None
    inputs = {
        names.T_COORD: real,
        names.T_TYPE: _INTEGER,
        names.T_NATOMS: _INTEGER,
        names.T_BOX: real,
        names.T_MESH: _INTEGER,
    }
    for name in (*inputs, *kind.nodes):
        if name not in found:
            raise ModelFileError(f'{path}: not a complete model: no node "{name}"')
    inputs |= {names.T_FPARAM: real, names.T_APARAM: real}
    for node in graph.node:
        if node.op == "Placeholder":
            if node.name not in inputs:
                raise _refused(path, node, f"is not an input of {kind.words}")
            if node.attr["dtype"].type != inputs[node.name]:
                raise _refused(path, node, f"is {_dtype_name(node.attr['dtype'].type)}")
        elif node.name in inputs:
            raise _refused(path, node, "is not an input")
    found_environments = environments(graph)
    if not found_environments:
        raise ModelFileError(f"{path}: has no operation {' or '.join(ENVIRONMENTS)}")
    for node in found_environments:
        if len(node.input) < 5 or not _is_harmless_mesh(node.input[4], found):
            raise _refused(path, node, f'its mesh is not "{names.T_MESH}"')


def _is_harmless_mesh(source: str, nodes: Mapping[str, tf.NodeDef]) -> bool:
    """Whether a neighbour list cannot come from addresses, which a mesh of 16 numbers holds: it is
    the one that this package feeds, that of sub-frames put together, or one number.
    """
    name, _, output = source.partition(":")
    node = nodes.get(name)
    if name == names.T_MESH and output in ("", "0"):
        return True
    if node is None:
        return False
    if node.op == "ConvertForwardMap":
        return output == "3"
    shape = [dim.size for dim in node.attr["value"].tensor.tensor_shape.dim]
    return node.op == "Const" and shape == [1]


def _script(constants: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """The input script as it is stored; None where there is none with a section ``model``."""
    try:
        script = json.loads(text_of(constants, names.TRAINING_SCRIPT) or "null")
    except json.JSONDecodeError:
        return None
    return script if isinstance(script, dict) and isinstance(script.get("model"), dict) else None


def _parameter_inputs(graph: tf.GraphDef, constants: Mapping[str, np.ndarray]) -> ParameterInputs:
    """Frame and atomic parameters; the latter need not be given where nothing depends on them."""
    default, dim_aparam = constants.get(names.DEFAULT_FPARAM), _dimension(constants, names.DAPARAM)
    sources = {source.split(":")[0].lstrip("^") for node in graph.node for source in node.input}
    return ParameterInputs(
        _dimension(constants, names.DFPARAM),
        dim_aparam,
        None if default is None else default.tolist(),
        None if names.T_APARAM in sources else [0.0] * dim_aparam,
    )


def _check_kind(path: Path, constants: Mapping[str, np.ndarray], ntypes: int) -> None:
    """Refuse types that have tensors but do not exist, and more than one number of energies."""
    selected = constants.get(names.SEL_TYPE, np.zeros(0, np.int32))
    if selected.ndim != 1 or not np.isin(selected, range(ntypes)).all():
        raise ModelFileError(f'{path}: "{names.SEL_TYPE}" is {selected.tolist()}')
    points = constants.get(names.NUMB_DOS, np.zeros((), np.int32))
    if points.shape != ():
        raise ModelFileError(f'{path}: "{names.NUMB_DOS}" is {points.tolist()}')


def _dimension(constants: Mapping[str, np.ndarray], name: str) -> int:
    value = constants.get(name)
    return 0 if value is None or value.shape != () else max(0, int(value))
