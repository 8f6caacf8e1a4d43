# SPDX-License-Identifier: BSD-3-Clause
"""Operations of DeePMD-kit in frozen graphs: those of environments, and what belongs to them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from deepmd_tf.names import MODEL_SCOPE


class EnvironmentOps(NamedTuple):
    """Operations of one kind of environment rows.

    Attributes
    ----------
    sel, rcut
        Attributes of the operation that makes the rows: slots of each type, cutoff in Å.
    force, virial
        What takes derivatives by the rows.
    tables
        What takes the place of the embedding nets in a compressed model, of one descriptor or
        another.
    mixed
        Whether ``sel`` is one number for all types.
    """

    sel: str
    rcut: str
    force: str
    virial: str
    tables: tuple[str, ...]
    mixed: bool = False


ENVIRONMENTS = {
    "ProdEnvMatA": EnvironmentOps(
        "sel_a",
        "rcut_r",
        "ProdForceSeA",
        "ProdVirialSeA",
        ("TabulateFusionSeA", "TabulateFusionSeT"),
    ),
    "ProdEnvMatAMix": EnvironmentOps(
        "sel_a",
        "rcut_r",
        "ProdForceSeA",
        "ProdVirialSeA",
        ("TabulateFusionSeAtten",),
        mixed=True,
    ),
    "ProdEnvMatR": EnvironmentOps(
        "sel", "rcut", "ProdForceSeR", "ProdVirialSeR", ("TabulateFusionSeR",)
    ),
}
"""By the operation that makes the rows."""

_AVERAGES = re.compile(rf"descrpt_attr((?:{MODEL_SCOPE})?(?:_\d+)?)/t_avg\b")

PAIR_TABLE_OPS = frozenset(("PairTab", "SoftMinSwitch", "SoftMinForce", "SoftMinVirial"))
"""Of a table of pair potentials, and the switch to it."""

MASK_OPS = frozenset(("DescrptSeAMask", "ProdForceSeAMask"))
"""Of an environment of the atoms that a mask leaves in, which has neither cutoff nor virial."""

FRAGMENT_OPS = frozenset(("DprcPairwiseIdx", "ConvertForwardMap"))
"""Of frames that are cut into a quantum region and fragments."""

STOCK_OPS = PAIR_TABLE_OPS.union(
    MASK_OPS,
    FRAGMENT_OPS,
    ENVIRONMENTS,
    *((ops.force, ops.virial) for ops in ENVIRONMENTS.values()),
)
"""Operations of the stock dialect beside those of TensorFlow; stock runtimes know them and few
others."""
COMPRESSED_OPS = STOCK_OPS.union(
    *((table, f"{table}Grad") for ops in ENVIRONMENTS.values() for table in ops.tables)
)
"""The same of a compressed model."""


def environments(graph: tf.GraphDef) -> list[tf.NodeDef]:
    """The nodes that make environment rows, in the order of their scopes."""
    found = [node for node in graph.node if node.op in ENVIRONMENTS]
    return sorted(
        found, key=lambda node: list(map(int, re.findall(r"\d+", environment_scope(node))))
    )


def environment_scope(node: tf.NodeDef) -> str:
    """Suffix of the names of an environment, from that of its averages; "" where it has none."""
    found = (_AVERAGES.match(name) for name in node.input)
    return next((match[1] for match in found if match), "")


def environment_sel(graph: tf.GraphDef) -> dict[str, np.ndarray]:
    """int32 [ntypes], ``sel`` of each operation that makes rows, by its scope."""
    return {
        environment_scope(node): np.array(node.attr[ENVIRONMENTS[node.op].sel].list.i, np.int32)
        for node in environments(graph)
    }


def is_stock(ops: Collection[str]) -> bool:
    """Whether a graph with these operations has an environment of DeePMD-kit's."""
    return any(op in ops for op in (*ENVIRONMENTS, *MASK_OPS))


def is_complete(ops: Collection[str]) -> bool:
    """Whether a graph with these operations has an environment, and forces and virials from it."""
    kinds = [kind for op, kind in ENVIRONMENTS.items() if op in ops]
    return bool(kinds) and all(kind.force in ops and kind.virial in ops for kind in kinds)
