# SPDX-License-Identifier: BSD-3-Clause
"""Graphs of DeePMD-kit 0.12 to 2.0, brought into the present form.

What changed over time are names of operations and of nodes, and constants that runtimes ask for.
The numbers and how they are computed did not.
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf import names

OPS = {
    "DescrptNorot": "ProdEnvMatA",
    "DescrptSeA": "ProdEnvMatA",
    "ProdForceNorot": "ProdForceSeA",
    "ProdVirialNorot": "ProdVirialSeA",
    "TabulateFusion": "TabulateFusionSeA",
    "TabulateFusionGrad": "TabulateFusionSeAGrad",
}
"""Present names of operations, by those of older versions."""

NODES = {
    "t_rcut": names.RCUT,
    "t_ntypes": names.NTYPES,
    "energy_test": names.O_ENERGY,
    "force_test": names.O_FORCE,
    "virial_test": names.O_VIRIAL,
    "atom_energy_test": names.O_ATOM_ENERGY,
    "atom_virial_test": names.O_ATOM_VIRIAL,
}
"""Present names of nodes, by those of version 0.12."""

TYPED = frozenset(("ProdEnvMatA", "ProdForceSeA", "ProdVirialSeA"))
"""Operations that got the attribute T in version 1.3; before, the program was compiled for one."""

PRESENT = "2.1"
"""Oldest version of DeePMD-kit that wrote the present form."""
VERSIONS = ("0.12", "1.0", "1.1", "1.2", "1.3", "2.0", PRESENT)
"""Versions that :func:`detect` tells apart, but for 1.1 and 1.2, which are the same."""


def detect(graph: tf.GraphDef) -> str | None:
    """Version of DeePMD-kit whose form a graph has: one of :data:`VERSIONS`.

    None for what is no model with the descriptor se_e2_a.
    """
    ops = {node.op for node in graph.node}
    found = {node.name: node for node in graph.node}
    if "DescrptNorot" in ops:
        return "0.12"
    if not ops & {"DescrptSeA", "ProdEnvMatA"}:
        return None
    if names.DAPARAM not in found:
        return "1.0"
    if names.MODEL_VERSION not in found:
        environment = next(n for n in graph.node if n.op in ("DescrptSeA", "ProdEnvMatA"))
        return "1.3" if "T" in environment.attr else "1.2"
    text = found[names.MODEL_VERSION].attr["value"].tensor.string_val
    return "2.0" if list(text) == [b"1.0"] else PRESENT


def upgrade(graph: tf.GraphDef) -> tf.GraphDef:
    """The same graph in the present form; a copy.

    Constants that are missing get the values that were meant without them: no parameters of frames
    and atoms, a model of energies, types without names.
    """
    result = tf.GraphDef()
    result.CopyFrom(graph)
    renamed = NODES if detect(graph) == "0.12" else {}
    real = _interface(graph)
    for node in result.node:
        node.op = OPS.get(node.op, node.op)
        node.name = renamed.get(node.name, node.name)
        for i, text in enumerate(node.input):
            node.input[i] = _rename_input(text, renamed)
        if node.op in TYPED and "T" not in node.attr:
            node.attr["T"].type = real
        if node.name == names.MODEL_VERSION:
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(names.SUPPORTED_VERSION))
    found = {node.name for node in result.node}
    for name, value in (
        (names.DFPARAM, np.int32(0)),
        (names.DAPARAM, np.int32(0)),
        (names.MODEL_TYPE, names.MODEL_TYPE_ENERGY),
        (names.TYPE_MAP, ""),
        (names.MODEL_VERSION, names.SUPPORTED_VERSION),
    ):
        if name not in found:
            node = result.node.add(name=name, op="Const")
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
            node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return result


def _interface(graph: tf.GraphDef) -> int:
    """Type of the coordinates, as the cutoff announces it."""
    for node in graph.node:
        if node.name in (names.RCUT, "t_rcut"):
            return node.attr["dtype"].type
    return tf.float64.as_datatype_enum


def _rename_input(text: str, renamed: dict[str, str]) -> str:
    control = "^" if text.startswith("^") else ""
    name, colon, index = text.removeprefix("^").partition(":")
    return f"{control}{renamed.get(name, name)}{colon}{index}"
