# SPDX-License-Identifier: BSD-3-Clause
"""Models with a table of pair potentials are those of DeePMD-kit: the suite of descriptors, and
tables that are continued to the cutoff."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock_wheel

from deepmd_tf import names
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.pair_table import read_pair_table
from deepmd_tf.pair_table.zbl import write_zbl_table

from .test_descriptors import (  # noqa: F401  (the tests use the fixture below)
    COMMON,
    COMPRESS,
    frames,
    script,
    test_checkpoints_of_both,
    test_dynamics,
    test_files_of_both,
    test_learning_curve,
    test_runtime_of_dynamics,
    theirs,
    train_both,
)

pytestmark = stock_wheel.needs_stock

SWITCH = {"smin_alpha": 0.15, "sw_rmin": 0.9, "sw_rmax": 2.3}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "table": (COMMON | {"type": "se_e2_a", "axis_neuron": 3}, {}),
    "table, radial": (COMMON | {"type": "se_e2_r"}, {"srtab_add_bias": False}),
}


def with_table(name: str, table: Path) -> dict[str, Any]:
    descriptor, keys = CASES[name]
    found = script(descriptor)
    found["model"] |= {"use_srtab": str(table)} | SWITCH | keys
    return found


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, once: Callable[..., Path]) -> tuple[str, Path]:
    """Name of the case, and folder that :func:`train_both` filled."""
    name = request.param

    def make(folder: Path) -> None:
        table = {"rmin": 0.01, "rmax": 3.0, "step": 0.01, "rswitch": 1.0}
        write_zbl_table(folder / "zbl.tab", ["O", "H"], **table)
        train_both(folder, with_table(name, folder / "zbl.tab"), True, COMPRESS)

    return name, once(f"pair_{name.replace(' ', '_')}", make)


PROGRAM = """
import sys, numpy as np
from deepmd.utils.pair_tab import PairTab
for rcut in sys.argv[2:]:
    info, data = PairTab(sys.argv[1], rcut=float(rcut)).get()
    np.savez(f"{rcut}.npz", info=info, data=data)
"""


@pytest.mark.parametrize(("rows", "zero"), [(10, True), (10, False), (23, False), (30, True)])
def test_tables_are_continued_as_there(rng, tmp_path, rows, zero):
    r = 0.25 + 0.125 * np.arange(rows)
    values = rng.normal(size=(rows, 3))
    if zero:
        values[-1] = 0
    np.savetxt(tmp_path / "t.tab", np.column_stack([r, values]))
    cutoffs = ("2.0", "3.05", "4.0")
    stock_wheel.run(["-c", PROGRAM, "t.tab", *cutoffs], tmp_path)
    for rcut in cutoffs:
        table, _ = read_pair_table(tmp_path / "t.tab", (), 2).continued(float(rcut))
        found = np.load(tmp_path / f"{rcut}.npz")
        for one, other in zip(table.coefficients(), found.values(), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_the_table_in_the_file_is_the_same(trained):
    one, other = (read_model(trained[1] / part / "model.pb").weights for part in ("ours", "stock"))
    for name in (names.TAB_INFO, names.TAB_DATA):
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-9)
