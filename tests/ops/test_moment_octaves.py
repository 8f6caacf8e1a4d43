# SPDX-License-Identifier: BSD-3-Clause
"""The moment family on tables whose nodes go on in octaves above the range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run
from scipy.interpolate import BPoly

from deepmd_tf import ops
from deepmd_tf.nn.table import Octaves, uniform_nodes

from .contract import Arrays, OpContract, Operation
from .moments import MOMENT, NTYPES, OF_ROWS, RANGE, ROWS, TABLE, arguments, case_of_rows, make_case

UNIFORM = 4
OCTAVES = Octaves(3, 2)
NODES = np.concatenate([uniform_nodes(RANGE, UNIFORM), OCTAVES.nodes(RANGE, UNIFORM)], axis=1)
KEYS: dict[str, Any] = {"ntypes": NTYPES, "octaves": 3, "per_octave": 2}


def with_octaves(case: Arrays, rng: np.random.Generator, of_rows: bool = False) -> Arrays:
    """The same case with such tables; s below, between and above their nodes, not near one."""
    sections = np.repeat(np.maximum(case["table_of"], 0), np.diff(case["splits"]))
    n = len(case["s"])
    ends = np.concatenate([2 * NODES[:, :1] - NODES[:, 1:2], NODES, 2 * NODES[:, -1:]], axis=1)
    interval = rng.integers(0, NODES.shape[1] + 1, n)
    first, last = ends[sections, interval], ends[sections, interval + 1]
    case["s"] = first + (last - first) * rng.uniform(0.05, 0.95, n)
    columns = case["table"].shape[-1]
    case["table"] = rng.normal(size=(len(RANGE), NODES.shape[1], 3, columns))
    if of_rows:
        case["rows"][:, 0] = case["s"]
    return case


def test_nodes() -> None:
    """Widths double from octave to octave, beginning with that of the uniform nodes."""
    width = (RANGE[:, 1:] - RANGE[:, :1]) / (UNIFORM - 1)
    np.testing.assert_allclose(
        np.diff(NODES), width * [1, 1, 1, 1, 1, 2, 2, 4, 4], rtol=1e-13, atol=1e-15
    )
    assert Octaves().nodes(RANGE, UNIFORM).shape == (len(RANGE), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("orders", "order"), [(1, 0), (3, 0), (2, 2), (2, 5)])
def test_values(rng: np.random.Generator, orders: int, order: int, dtype: type) -> None:
    """With the polynomials of another library."""
    case = with_octaves(make_case(rng, n_pairs=200, orders=orders), rng)
    moment, by_rows = np.zeros_like(case["adjoint"]), np.zeros_like(case["rows"])
    for section, table in enumerate(case["table_of"]):
        pairs = slice(case["splits"][section], case["splits"][section + 1])
        if table < 0 or pairs.start == pairs.stop:
            continue
        s, nodes, values = case["s"][pairs], NODES[table], case["table"][table]
        for j in range(orders):
            g = BPoly.from_derivatives(nodes, values).derivative(order + j)(s)
            for end, where in ((0, s < nodes[0]), (-1, s > nodes[-1])):
                line = [values[end, 0] + np.multiply.outer(s - nodes[end], values[end, 1])]
                line += [np.broadcast_to(values[end, 1], g.shape), np.zeros_like(g)]
                g[where] = line[min(order + j, 2)][where]
            moment[section // NTYPES] += case["rows"][pairs, j].T @ g
            by_rows[pairs, j] = g @ case["adjoint"][section // NTYPES].T
    keys = KEYS | {"order": order}
    found = run(ops.moment, *arguments(case, MOMENT, dtype), **keys)
    tolerance = 1e-12 if dtype is np.float64 else 1e-3
    assert relative(found, moment) < tolerance
    found = run(ops.moment_rows, *arguments(case, ROWS, dtype), orders=orders, **keys)
    assert relative(found, by_rows) < tolerance
    nodes = np.int32(NODES.shape[1])
    found = run(ops.moment_table, *arguments(case, TABLE, dtype), nodes, **keys)
    phi = np.sum(found * case["table"], dtype=np.float64)
    assert abs(phi - np.sum(moment * case["adjoint"])) < tolerance * np.abs(moment).sum()


@pytest.mark.parametrize(
    ("octaves", "per_octave", "wrong"),
    [(3, 0, "3 octaves with 0 nodes"), (65, 1, "65 octaves"), (3, 3, "at least 11")],
)
def test_impossible_octaves(
    rng: np.random.Generator, octaves: int, per_octave: int, wrong: str
) -> None:
    case = with_octaves(make_case(rng), rng)
    keys = KEYS | {"octaves": octaves, "per_octave": per_octave}
    with pytest.raises(tf.errors.InvalidArgumentError, match=wrong):
        run(ops.moment, *arguments(case, MOMENT), **keys)


def operation(name: str, inputs: str, **promises: Any) -> Operation:
    of_rows = name in OF_ROWS

    def make(rng: np.random.Generator, n: int) -> Arrays:
        sizes = {"n_centers": max(1, n // 7), "n_pairs": n, "n_columns": 33 if n > 100 else 3}
        case = with_octaves((case_of_rows if of_rows else make_case)(rng, **sizes), rng, of_rows)
        if n == 0:
            case |= {key: case[key][:0] for key in ("table_of", "adjoint")}
            case |= {"splits": case["splits"][:1]}
            if of_rows:
                case["start"] = case["start"][:0]
        return {key: case[key] for key in inputs.split()}

    def build(**tensors: Any) -> Any:
        if not of_rows and "rows" in tensors:
            tensors["rows"] = tf.ensure_shape(tensors["rows"], [None, 1, 4])
        nodes = [NODES.shape[1]] if name == "moment_table" else []
        return getattr(ops, name)(*tensors.values(), *nodes, **KEYS)

    registered = "Dp" + name.title().replace("_", "")
    return Operation(registered, build, make, step=2e-4, single=1e-3, **promises)


class TestContract(OpContract):
    operations = (
        operation("moment", MOMENT, by="table s rows", linear="table rows", free="table.1 table.3"),
        operation(
            "moment_rows", ROWS, by="table s adjoint", linear="table adjoint", free="table.1"
        ),
        operation(
            "moment_table",
            TABLE,
            by="s rows adjoint",
            linear="rows adjoint",
            free="adjoint.2 range.0",
        ),
        operation(
            "moment_of_rows",
            OF_ROWS["moment_of_rows"],
            by="table rows start",
            linear="table start",
            free="table.1",
        ),
        operation(
            "moment_of_rows_vjp",
            OF_ROWS["moment_of_rows_vjp"],
            by="table rows adjoint",
            linear="table adjoint",
            free="table.1",
        ),
    )
