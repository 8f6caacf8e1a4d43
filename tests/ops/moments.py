# SPDX-License-Identifier: BSD-3-Clause
"""Random inputs of the operations of the moment family, and their names in order."""

from __future__ import annotations

from typing import Any

import numpy as np
from op_checks import run

from deepmd_tf import ops

NTYPES = 2
NODES = 6
RANGE = np.array([[-1.0, 1.0], [0.0, 2.0], [-0.5, 0.75]])


def make_case(
    rng: np.random.Generator,
    n_centers: int = 4,
    n_pairs: int = 40,
    n_columns: int = 5,
    orders: int = 1,
) -> dict[str, np.ndarray]:
    """Random sections, some empty, some left out, tables shared; a third of s outside its table.

    Every s is at least 5 % of the step away from the nodes, where third derivatives jump.
    """
    n_sections = n_centers * NTYPES
    cuts = np.sort(rng.integers(0, n_pairs + 1, n_sections - 1))
    table_of = rng.integers(-1, len(RANGE), n_sections).astype(np.int32)
    table_of[:3] = np.array([0, -1, 1], np.int32)[:n_sections]
    splits = np.concatenate([[0], cuts, [n_pairs]]).astype(np.int32)
    lo, hi = RANGE[np.maximum(np.repeat(table_of, np.diff(splits)), 0)].T
    interval = rng.integers(-1, NODES, n_pairs)
    s = lo + (hi - lo) / (NODES - 1) * (interval + rng.uniform(0.05, 0.95, n_pairs))
    return {
        "table": rng.normal(size=(len(RANGE), NODES, 3, n_columns)),
        "range": RANGE,
        "s": s,
        "rows": rng.normal(size=(n_pairs, orders, 4)),
        "splits": splits,
        "table_of": table_of,
        "adjoint": rng.normal(size=(n_centers, 4, n_columns)),
    }


def arguments(case: dict[str, np.ndarray], names: str, dtype: type = np.float64) -> list[Any]:
    arrays = [case[name] for name in names.split()]
    return [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays]


MOMENT = "table range s rows splits table_of"
ROWS = "table range s adjoint splits table_of"
TABLE = "range s rows adjoint splits table_of"


def run_all(
    case: dict[str, np.ndarray], dtype: type = np.float64, order: int = 0
) -> list[np.ndarray]:
    keys: dict[str, Any] = {"ntypes": NTYPES, "order": order}
    orders = case["rows"].shape[1]
    nodes = np.int32(case["table"].shape[1])
    return [
        run(ops.moment, *arguments(case, MOMENT, dtype), **keys),
        run(ops.moment_rows, *arguments(case, ROWS, dtype), orders=orders, **keys),
        run(ops.moment_table, *arguments(case, TABLE, dtype), nodes, **keys),
    ]


def case_of_rows(rng: np.random.Generator, **sizes: int) -> dict[str, np.ndarray]:
    """As :func:`make_case`, with rows [n_pairs, 4] whose first component is s."""
    case = make_case(rng, **sizes)
    case["rows"] = case["rows"][:, 0]
    case["rows"][:, 0] = case["s"]
    case["start"] = rng.normal(size=case["adjoint"].shape)
    case["tangent"] = rng.normal(size=case["rows"].shape)
    return case


OF_ROWS = {
    "moment_of_rows": "table range rows splits table_of start",
    "moment_of_rows_vjp": "table range rows adjoint splits table_of",
}
