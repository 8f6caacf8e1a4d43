# SPDX-License-Identifier: BSD-3-Clause
"""Sums over pairs of neighbours: against sums in NumPy, finite differences, and each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from op_checks import DTYPES, relative, run

from deepmd_tf import ops
from deepmd_tf.nn.angle_table import AngleGrid

from .contract import Arrays, OpContract, Operation

WRONG = tf.errors.InvalidArgumentError
NTYPES, COLUMNS = 2, 5
GRID = AngleGrid(octaves=7, per_octave=2)
TABLE_OF = np.array([0, 2, 2, 1], np.int32)


def smooth_table(n_columns: int = COLUMNS) -> np.ndarray:
    """sin((k + 1) e/4 + table) with its derivatives at the nodes: [3, n_nodes, 3, n_columns]."""
    k = np.arange(1, n_columns + 1) / 4
    phase = np.arange(3)[:, None, None] + GRID.places[:, None] * k
    return np.stack([np.sin(phase), k * np.cos(phase), -(k**2) * np.sin(phase)], axis=2)


def make_slots(rng: np.random.Generator, n: int, empty: bool = True) -> Arrays:
    """About ``n`` neighbours, none to nine of a type; some products are beyond the nodes."""
    counts = rng.integers(0, 10, 2 * max(n // 9, 1)) if n else np.zeros(4, int)
    rows = rng.normal(size=(counts.sum(), 4)) * rng.choice([0.3, 1.5, 3.0], (counts.sum(), 1))
    return {
        "rows": rows,
        "splits": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        "empty": rng.normal(size=(len(counts) // 2, 4)) * empty,
        "count": rng.integers(0, 4, len(counts)).astype(float),
    }


def make(*own: str, tangents: int = 0) -> Any:
    """What makes arrays of a case, with ``own`` before the slots."""

    def made(rng: np.random.Generator, n: int) -> Arrays:
        arrays = make_slots(rng, n)
        table = rng.normal(size=(3, len(GRID.places), 3, COLUMNS))
        first = {"table": table, "adjoint": rng.normal(size=(len(arrays["empty"]), COLUMNS))}
        more = {f"tangent{i}": rng.normal(size=arrays["rows"].shape) for i in range(tangents)}
        return {key: first[key] for key in own} | arrays | more

    return made


def call(operation: Any, *own: str, **options: Any) -> Any:
    """An operation of keyword arguments named as in :func:`make`."""

    def build(**t: Any) -> Any:
        slots = ops.AngleSlots(t["splits"], t["empty"], t["count"], TABLE_OF)
        tangents = [t[key] for key in t if key.startswith("tangent")]
        grid = [GRID.octaves, GRID.per_octave]
        first = [t[key] for key in own]
        return operation(*first, t["rows"], slots, grid, tangents, ntypes=NTYPES, **options)

    return build


def interpolant(table: np.ndarray, e: float) -> np.ndarray:
    """f, f', f'' [3, n_columns] at ``e``, by quintic polynomials through two nodes."""
    places = GRID.places
    k = int(np.clip(np.searchsorted(places, e, side="right") - 1, 0, len(places) - 2))
    if abs(e) >= GRID.largest:
        value, slope, bend = table[0 if e < 0 else -1]
        d = e - (-GRID.largest if e < 0 else GRID.largest)
        return np.stack([value + d * slope + d * d / 2 * bend, slope + d * bend, bend])
    h, t = places[k + 1] - places[k], (e - places[k]) / (places[k + 1] - places[k])
    powers = np.arange(6)
    rows = []
    for u in (0.0, 1.0):
        for d in range(3):
            factor = np.array([np.prod(np.arange(p - d + 1, p + 1)) for p in powers])
            rows.append(np.where(powers >= d, factor * u ** np.maximum(powers - d, 0), 0.0))
    known = np.concatenate([table[k + i] * h ** np.arange(3)[:, None] for i in (0, 1)])
    c = np.linalg.solve(np.array(rows), known)
    found = []
    for d in range(3):
        polynomial = [np.polynomial.Polynomial(column).deriv(d)(t) for column in c.T]
        found.append(np.array(polynomial) / h**d)
    return np.stack(found)


def expected_sums(table: np.ndarray, arrays: Arrays) -> np.ndarray:
    """One pair of slots after another, the empty ones one by one, unless their vectors are zero."""
    splits, rows = arrays["splits"], arrays["rows"]
    n_centers = len(arrays["empty"])
    sums = np.zeros((n_centers, table.shape[3]))
    for center in range(n_centers):
        sections = []
        for kind in range(NTYPES):
            at = center * NTYPES + kind
            number = int(arrays["count"][at]) if arrays["empty"].any() else 0
            empty = np.tile(arrays["empty"][center], (number, 1))
            sections.append(np.concatenate([rows[splits[at] : splits[at + 1]], empty])[:, 1:])
        for one in range(NTYPES):
            for other in range(one, NTYPES):
                number = TABLE_OF[one * NTYPES + other]
                for e in np.ravel(sections[one] @ sections[other].T):
                    sums[center] += interpolant(table[number], e)[0]
    return sums


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("empty", [True, False])
def test_sums(rng, empty, dtype):
    """Every pair of slots by NumPy, with empty ones and without."""
    arrays, table = make_slots(rng, 60, empty), smooth_table()
    expected = expected_sums(table, arrays)
    cast = {k: a.astype(dtype) if a.dtype == float else a for k, a in arrays.items()}
    names = list(cast)
    found = run(
        lambda table, *t: call(ops.angle_sums, "table")(
            table=table, **dict(zip(names, t, strict=True))
        ),
        table.astype(dtype),
        *cast.values(),
    )
    assert found.dtype == dtype
    assert relative(found, expected) < 2000 * np.finfo(dtype).eps


def test_rows_of_a_function_that_is_the_interpolant(rng):
    """f(e) = e³: sums and derivatives are exact between nodes."""
    e = GRID.places
    table = np.stack([e**3, 3 * e**2, 6 * e], axis=1)[None, :, :, None]
    rows = rng.normal(size=(6, 4))
    vectors = rows[:, 1:]
    slots = ops.AngleSlots([0, 6], np.zeros((1, 4)), np.zeros(1), np.zeros(1, np.int32))
    grid = [GRID.octaves, GRID.per_octave]
    products = vectors @ vectors.T
    found = run(lambda: ops.angle_sums(table, rows, slots, grid, ntypes=1))
    np.testing.assert_allclose(found, [[np.sum(products**3)]], rtol=1e-13)
    found = run(lambda: ops.angle_rows(table, np.ones((1, 1)), rows, slots, grid, ntypes=1))
    np.testing.assert_allclose(found[:, 1:], 6 * products**2 @ vectors, rtol=1e-12)
    assert not found[:, 0].any()


def test_pairs_of_types_that_are_left_out(rng):
    arrays, table = make_slots(rng, 40), smooth_table()
    slots = [arrays[key] for key in ("splits", "empty", "count")]
    grid = [GRID.octaves, GRID.per_octave]

    def sums(table_of: list[int]) -> np.ndarray:
        given = ops.AngleSlots(*slots, np.array(table_of, np.int32))
        return run(lambda: ops.angle_sums(table, arrays["rows"], given, grid, ntypes=2))

    together = sums([0, 2, 2, 1])
    parts = sums([0, -1, -1, 1]) + sums([-1, 2, 2, -1])
    np.testing.assert_allclose(parts, together, rtol=1e-12, atol=1e-12)


def evaluate_sums(arrays: Arrays) -> np.ndarray:
    names = list(arrays)
    return run(
        lambda *t: call(ops.angle_sums, "table")(**dict(zip(names, t, strict=True))),
        *arrays.values(),
    )


@pytest.mark.cpu("values are not looked at elsewhere")
def test_messages_about_values(rng):
    arrays = make("table")(rng, 20)
    with pytest.raises(WRONG, match="splits runs from 0 to"):
        evaluate_sums(arrays | {"rows": arrays["rows"][1:]})
    with pytest.raises(WRONG, match=r"table_of\[1\] = 2 is outside the valid range -1 … 1"):
        evaluate_sums(arrays | {"table": arrays["table"][1:]})


@pytest.mark.gpu("elsewhere they are refused")
def test_values_of_other_arrays(rng):
    """Nothing is read or written that is not there."""
    arrays = make("table")(rng, 40)
    n = len(arrays["splits"])
    for splits in (rng.integers(-(2**31), 2**31, n), rng.integers(-9, 60, n), np.arange(n)[::-1]):
        splits = splits.astype(np.int32)
        slots = ops.AngleSlots(splits, arrays["empty"], arrays["count"], [0, 7, 7, -(2**31)])

        def everything(table: Any, rows: Any, slots: Any = slots) -> list[Any]:
            sums = ops.angle_sums(table, rows, slots, [7, 2], ntypes=2)
            return [sums, *tf.gradients(sums**2, [table, rows])]

        sums, by_table, by_rows = run(everything, arrays["table"], arrays["rows"])
        assert sums.shape == (n // 2, COLUMNS) and by_rows.shape == arrays["rows"].shape
        assert not by_table[1:].any()


@pytest.mark.gpu("where many pairs, nodes and centres are done in parts")
def test_parts(rng):
    """More slots than a tile has, more intervals and centres than are done at a time."""
    grid = AngleGrid(octaves=12, per_octave=128)
    counts = np.concatenate([[40, 0, 16, 17, 0, 33], rng.integers(0, 3, 2 * 157)])
    n = counts.sum()
    rows, *tangents = rng.normal(size=(3, n, 4)) * rng.choice([0.3, 3.0, 15.0], (3, n, 1))
    slots = ops.AngleSlots(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        rng.normal(size=(160, 4)) * rng.integers(0, 2, (160, 1)),
        rng.integers(0, 4, 320).astype(float),
        TABLE_OF,
    )
    size = [grid.octaves, grid.per_octave]
    table, adjoint = rng.normal(size=(3, len(grid.places), 3, 1)), rng.normal(size=(160, 1))

    def everything(device: str) -> list[np.ndarray]:
        def build(table: Any, adjoint: Any, rows: Any, *tangents: Any) -> list[Any]:
            given = [rows, slots, size]
            with tf.device(device):
                return [
                    ops.angle_sums(table, *given, tangents, ntypes=2),
                    ops.angle_table(adjoint, *given, tangents, ntypes=2, n_tables=3),
                    ops.angle_rows(table, adjoint, *given, tangents[:1], ntypes=2),
                ]

        return run(build, table, adjoint, rows, *tangents)

    for value, expected in zip(everything("/GPU:0"), everything("/CPU:0"), strict=True):
        assert relative(value, expected) < 1e-11


def test_messages(rng):
    arrays = make("table")(rng, 20)

    def evaluate(**changed: np.ndarray) -> None:
        evaluate_sums(arrays | changed)

    with pytest.raises(WRONG, match=r"table has shape \[3,28,3,5\], expected \[3,29,3,\?\]"):
        evaluate(table=arrays["table"][:, 1:])
    with pytest.raises(WRONG, match=r"count has shape \[1\], expected \[4\]"):
        evaluate(count=np.zeros(1))
    slots = ops.AngleSlots(*(arrays[k] for k in ("splits", "empty", "count")), TABLE_OF)
    with pytest.raises(WRONG, match="grid has 0 octaves of 2 intervals"):
        run(lambda: ops.angle_sums(arrays["table"], arrays["rows"], slots, [0, 2], ntypes=2))
    with pytest.raises(ValueError, match="there are 3 tangents, expected 2 at most"):
        ops.angle_sums(
            arrays["table"], arrays["rows"], slots, [7, 2], [arrays["rows"]] * 3, ntypes=2
        )


class TestContract(OpContract):
    operations = (
        Operation(
            "DpAngleSums",
            call(ops.angle_sums, "table"),
            make("table"),
            by="table rows",
            linear="table",
            contained="rows",
            free="table.3",
            step=1e-4,
            single=1e-3,
        ),
        Operation(
            "DpAngleRows",
            call(ops.angle_rows, "table", "adjoint"),
            make("table", "adjoint"),
            by="table adjoint rows",
            refused="rows:rows",
            linear="table adjoint",
            contained="rows adjoint",
            step=1e-4,
            single=1e-2,
        ),
        Operation(
            "DpAngleTable",
            call(ops.angle_table, "adjoint", n_tables=3),
            make("adjoint"),
            by="adjoint rows",
            linear="adjoint",
            free="adjoint.1",
            step=1e-4,
            single=1e-3,
        ),
    )


class TestAlongTangents(OpContract):
    operations = (
        Operation(
            "DpAngleSums",
            call(ops.angle_sums, "table"),
            make("table", tangents=2),
            by="table tangent0 tangent1",
            linear="table tangent0 tangent1",
            free="table.3",
            step=1e-4,
            single=1e-2,
            order=1,
        ),
    )
