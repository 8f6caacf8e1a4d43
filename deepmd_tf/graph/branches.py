# SPDX-License-Identifier: BSD-3-Clause
"""Branches in graphs of DeePMD-kit with spins, which ask whether there are ghost atoms."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

BRANCHES = frozenset(("Switch", "Merge"))
"""Operations that choose which others run."""


def without_branches(graph: tf.GraphDef) -> tf.GraphDef:
    """A copy that takes the branch of each condition that holds.

    The condition of a model with spins is that the numbers of local and of all atoms are equal,
    which they are wherever this package runs such a graph. A ``Switch`` hands its data to the
    branch that holds by its second output, and what comes from the first, or from nothing else, is
    left out; a ``Merge`` has the input that is left.
    """
    result = tf.GraphDef()
    result.versions.CopyFrom(graph.versions)
    switches = {node.name for node in graph.node if node.op == "Switch"}
    left_out: set[str] = set()

    def comes_from_false(name: str) -> bool:
        node, _, port = name.removeprefix("^").partition(":")
        return node in left_out or (node in switches and port in ("", "0") and name[0] != "^")

    for node in _in_order(graph):
        false = [comes_from_false(name) for name in node.input]
        if all(false) if node.op == "Merge" and false else any(false):
            left_out.add(node.name)
            continue
        copy = result.node.add()
        copy.CopyFrom(node)
        if node.op in BRANCHES:
            held = next(n for n, f in zip(node.input, false, strict=True) if not f)
            copy.op = "Identity"
            del copy.input[:]
            copy.input.append(held)
            for key in [key for key in copy.attr if key != "T"]:
                del copy.attr[key]
        for i, name in enumerate(copy.input):
            if name.partition(":")[0] in switches:
                copy.input[i] = name.partition(":")[0]
    return result


def _in_order(graph: tf.GraphDef) -> list[tf.NodeDef]:
    """The nodes, each behind those that it takes; nodes of a circle are not there."""
    nodes = {node.name: node for node in graph.node}
    done: dict[str, tf.NodeDef] = {}
    for start in nodes:
        stack = [start]
        entered: set[str] = set()
        while stack:
            name = stack[-1]
            inputs = [n.removeprefix("^").partition(":")[0] for n in nodes[name].input]
            waiting = [n for n in inputs if n in nodes and n not in done]
            if name in done or not waiting or name in entered:
                stack.pop()
                if name not in done and not waiting:
                    done[name] = nodes[name]
            else:
                entered.add(name)
                stack += waiting
    return list(done.values())
