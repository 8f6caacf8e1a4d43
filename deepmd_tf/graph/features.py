# SPDX-License-Identifier: BSD-3-Clause
"""What a graph of DeePMD-kit has that this package does not, seen by its operations and nodes.

It is asked before anything is looked for in the file, so that a message names the feature and not
the first node that is missing for want of it.
"""

from __future__ import annotations

import re
from pathlib import Path

import tensorflow.compat.v1 as tf

from deepmd_tf.errors import ModelFileError
from deepmd_tf.names import MODEL_SCOPE

OPERATIONS = {
    "DescrptSeR": "the descriptor se_e2_r in the form of DeePMD-kit 1",
    "Descrpt": "the descriptor loc_frame",
    "DescrptSeAEf": "a descriptor with an electric field",
    "DescrptSeAEfPara": "a descriptor with an electric field",
    "DescrptSeAEfVert": "a descriptor with an electric field",
}
"""Features by the operation that every graph with them has."""
NVNMD = "Nvnmd"
"""Part of the names of operations for NVNMD hardware."""
NODES = {
    "modifier_attr/type": 'a data modifier ("modifier", long-range electrostatics)',
}
"""Features by the node that every graph with them has."""

_SCOPE = re.compile(rf"descrpt_attr(?:{MODEL_SCOPE})?(?:_\d+)?")


def require_available(path: Path, graph: tf.GraphDef) -> None:
    """Refuse a graph with a feature that this package does not have.

    Raises
    ------
    ModelFileError
        With the names of all of them.
    """
    ops = {node.op for node in graph.node}
    names = {node.name for node in graph.node}
    found = [feature for op, feature in OPERATIONS.items() if op in ops]
    found += [feature for name, feature in NODES.items() if name in names]
    if any(NVNMD in op for op in ops):
        found.append("operations for NVNMD hardware")
    scopes = {name.partition("/")[0] for name in names if name.startswith("descrpt_attr_")}
    if not found and not all(_SCOPE.fullmatch(scope) for scope in scopes):
        found.append("several models of a kind that is not known")
    if found:
        raise not_available(path, " and ".join(dict.fromkeys(found)))


def not_available(where: Path | str, feature: str) -> ModelFileError:
    """The error for a model of DeePMD-kit with a feature that this package does not have."""
    return ModelFileError(
        f"{where}: the model has {feature}, which this package does not have; evaluate it with "
        "DeePMD-kit"
    )
