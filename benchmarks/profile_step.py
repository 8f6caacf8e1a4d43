#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Where the time of a training step goes, by kind of operation.

    python benchmarks/profile_step.py --precision float32 --threads 1 --nodes 20

Trains examples/water for some steps, and then traces some. Printed are the fastest and the median
step without tracing; for each kind of operation how many there are in a step, their time (of each
operation the median over the traced steps), their share, and for matrix products the rate; with
``--nodes`` also the operations that take longest.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.inputs import write_input
from harness.programs import RESULT, environment
from harness.report import markdown

WARM_UP = 10
PRODUCTS = ("MatMul", "DpMatMul", "BatchMatMulV2", "BatchMatMulV3")


@dataclass(frozen=True)
class Node:
    """An operation of a step: its time in ms, and its floating-point operations if known."""

    name: str
    kind: str
    ms: float
    flops: float | None = None


def product_flops(output: Sequence[int], first: int | None, second: int | None) -> float | None:
    """Floating-point operations of a (batch) matrix product.

    Parameters
    ----------
    output
        Shape of the result.
    first, second
        Elements of what is multiplied; one of them may be unknown.
    """
    *batch, m, n = output
    matrices = math.prod(batch)
    if first is not None:
        return 2.0 * first * n
    return None if second is None else 2.0 * matrices * m * (second // matrices)


def by_kind(nodes: Sequence[Node], most: int = 20) -> str:
    """Table of the kinds that take longest; the others in one line."""
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[node.kind].append(node)
    ordered = sorted(groups.items(), key=lambda item: -sum(node.ms for node in item[1]))
    rest = [node for _, group in ordered[most:] for node in group]
    shown = [*ordered[:most], *([("others", rest)] if rest else [])]
    whole = sum(node.ms for node in nodes)
    lines = []
    for kind, group in [*shown, ("all", nodes)]:
        ms = sum(node.ms for node in group)
        flops = sum(node.flops or 0.0 for node in group)
        known = flops and all(node.flops is not None for node in group)
        rate = f"{flops / ms / 1e6:.0f}" if known and ms else ""
        share = f"{ms / whole:.0%}" if whole else ""
        lines.append([kind, str(len(group)), f"{ms:.2f}", share, rate])
    return markdown(["operation", "number", "ms", "share", "GFLOP/s"], lines)


def trace(folder: Path, steps: int, traces: int) -> tuple[list[float], list[Node]]:
    """Train in this process: ms of steps, and the operations of traced ones."""
    from deepmd_tf.training import entrypoint

    found: list[tuple[list[float], list[Node]]] = []

    class Profiled(entrypoint.Trainer):
        """Does some steps and traces others."""

        def run(self, *_: object, **__: object) -> int:
            lr, times = self.lr(0), []
            for number in range(WARM_UP + steps):
                batch = self.batches.training.get_batch()
                start = time.perf_counter()
                self.graph.step.train(batch, lr)
                if number >= WARM_UP:
                    times.append(1e3 * (time.perf_counter() - start))
            records = [
                self.graph.step.train_and_trace(self.batches.training.get_batch(), lr)[1]
                for _ in range(traces + 1)
            ]
            # the first one also prepares tracing
            found.append((times, read_nodes(self.graph.runner.graph, records[1:])))
            return 0

    entrypoint.Trainer = Profiled
    here = Path.cwd()
    os.chdir(folder)
    try:
        entrypoint.train("input.json")
    finally:
        os.chdir(here)
    return found[0]


def read_nodes(graph, records: Sequence) -> list[Node]:
    """Operations of a traced step, each with the median of its time."""
    times: dict[str, list[float]] = defaultdict(list)
    labels: dict[str, str] = {}
    shapes: dict[str, list[int]] = {}
    for record in records:
        for device in record.step_stats.dev_stats:
            for node in device.node_stats:
                times[node.node_name].append(
                    1e-6 * (node.op_end_rel_nanos - node.op_start_rel_nanos)
                )
                labels[node.node_name] = node.timeline_label
                for output in node.output:
                    sizes = output.tensor_description.shape.dim
                    shapes[f"{node.node_name}:{output.slot}"] = [d.size for d in sizes]
    operations = {op.name: op for op in graph.get_operations()}
    nodes = []
    for name, each in times.items():
        op, flops = operations.get(name), None
        # TensorFlow names what it has put in itself only by the label
        kind = op.type if op is not None else labels[name].partition(" = ")[2].partition("(")[0]
        if op is not None and kind in PRODUCTS:
            flops = _flops(op, shapes)
        nodes.append(Node(name, kind or "other", statistics.median(each), flops))
    return nodes


def _flops(op, shapes: Mapping[str, list[int]]) -> float | None:
    """Of a matrix product; None where too few shapes are known."""
    output = shapes.get(op.outputs[0].name)
    if output is None:
        return None
    sizes = []
    for tensor in op.inputs:
        known = tensor.shape.is_fully_defined()
        shape = tensor.shape.as_list() if known else shapes.get(tensor.name)
        sizes.append(None if shape is None else math.prod(shape))
    return product_flops(output, *sizes)


def main() -> None:
    """Profile."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--frames", type=int, default=1, help="of each batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=100, help="timed without tracing")
    parser.add_argument("--traces", type=int, default=10, help="steps that are traced")
    parser.add_argument("--nodes", type=int, default=0, help="operations that are listed")
    parser.add_argument("--json", action="store_true", help="print all numbers for a program")
    args = parser.parse_args()
    # which are read when TensorFlow is first imported
    os.environ.update(environment(sys.executable, args.threads))
    with tempfile.TemporaryDirectory() as name:
        write_input(Path(name), 2, args.precision, args.frames)
        times, nodes = trace(Path(name), args.steps, args.traces)
    if args.json:
        print(RESULT + json.dumps({"times": times, "nodes": [asdict(node) for node in nodes]}))
        return
    print(
        f"{args.precision}, {args.frames} frames, {args.threads} threads: fastest step "
        f"{min(times):.2f} ms, median {statistics.median(times):.2f} ms\n\n{by_kind(nodes)}"
    )
    for node in sorted(nodes, key=lambda node: -node.ms)[: args.nodes]:
        rate = f" {node.flops / node.ms / 1e6:6.1f} GFLOP/s" if node.flops and node.ms else ""
        print(f"{node.ms:8.3f} ms {node.kind:24} {node.name}{rate}")


if __name__ == "__main__":
    main()
