# SPDX-License-Identifier: BSD-3-Clause
"""The tables of a compressed model, from the graph that uses them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names
from deepmd_tf.config.model import NetMember
from deepmd_tf.descriptors import make_descriptor
from deepmd_tf.descriptors.two_body import TwoBodyDescriptor
from deepmd_tf.errors import ModelFileError
from deepmd_tf.nn.stored_spline import Spline

OPERATIONS = ("TabulateFusion", "TabulateFusionSeA", "TabulateFusionSeR")
"""Those that take a table and its limits first."""


def read_tables(path: Path, graph: tf.GraphDef, member: NetMember) -> dict[str, Spline]:
    """The tables of a graph, by :func:`deepmd_tf.names.embedding_table`.

    This package names the constants. DeePMD-kit does not: an operation stands in the scope of the
    type of the centre, those of a scope in the order of the neighbours' types.

    Parameters
    ----------
    path
        The file, for messages.
    graph
        Of a compressed model.
    member
        Of the model.

    Raises
    ------
    ModelFileError
        When they are damaged, are not those of the descriptor, or depend on a type embedding.
    """
    scope, _, model = member
    descriptor = make_descriptor(model.descriptor, model.known_ntypes, scope=scope)
    # the tables of mixed nets hold the type embedding, which would be trained without them
    mixed = model.embedding_of_types is not None
    if mixed or not isinstance(descriptor, TwoBodyDescriptor):
        raise ModelFileError(
            f"{path}: is a compressed model, and tables of the descriptor "
            f'"{model.descriptor.type}"{" with a type embedding" if mixed else ""} cannot be read; '
            "use the model before it was compressed"
        )
    constants = {node.name: node for node in graph.node if node.op == "Const"}
    scopes: dict[str, list[tf.NodeDef]] = {}
    for node in graph.node:
        if node.op in OPERATIONS:
            scopes.setdefault(node.name.rpartition("/")[0], []).append(node)
    nets, counts = descriptor.make_nets(), descriptor.config.counts
    found: dict[str, Spline] = {}
    for center in dict.fromkeys(center for center, _ in nets.keys):
        neighbors = [neighbor for c, neighbor in nets.keys if c == center]
        own = [names.embedding_table(center, n, nets.scope) for n in neighbors]
        if not any(name in constants for name in own):
            nodes = sorted(scopes.get(names.embedding_scope(center, nets.scope), []), key=_number)
            if len(nodes) != len(neighbors):  # sections without slots may have none
                neighbors = [n for n in neighbors if counts[n] > 0]
            if len(nodes) != len(neighbors):
                centers = "all centres" if center is None else f"centres of type {center}"
                raise ModelFileError(
                    f"{path}: has {len(nodes)} tables for {centers}, expected {len(neighbors)}"
                )
            inputs = [tuple(name.removesuffix(":0") for name in node.input[:2]) for node in nodes]
        else:
            infos = [names.embedding_table_info(center, n, nets.scope) for n in neighbors]
            inputs = list(zip(own, infos, strict=True))
        for neighbor, (table, info) in zip(neighbors, inputs, strict=True):
            if table in constants:
                name = names.embedding_table(center, neighbor, nets.scope)
                found[name] = _spline(path, constants, table, info)
    return found


def _number(node: tf.NodeDef) -> int:
    """The n of a name that TensorFlow made different by appending _n."""
    number = re.search(r"_(\d+)$", node.name)
    return 0 if number is None else int(number[1])


def _spline(path: Path, constants: Mapping[str, Any], table: str, info: str) -> Spline:
    try:
        arrays = [tf.make_ndarray(constants[name].attr["value"].tensor) for name in (table, info)]
        if any(array.dtype not in (np.float32, np.float64) for array in arrays):
            raise ValueError("of another type")
        return Spline(*arrays)
    except (ValueError, TypeError, KeyError) as error:
        raise ModelFileError(f'{path}: the table "{table}" is damaged ({error})') from None
