# SPDX-License-Identifier: BSD-3-Clause
"""Models with a table of pair potentials are those of DeePMD-kit: the suite of descriptors, and
tables that are continued to the cutoff."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stock_wheel
from small_training import write_all_data

from deepmd_tf import names
from deepmd_tf.export.freeze import freeze
from deepmd_tf.graph.frozen import read_model
from deepmd_tf.pair_table import read_pair_table
from deepmd_tf.pair_table.zbl import write_zbl_table
from deepmd_tf.training.entrypoint import train

from .test_descriptors import (  # noqa: F401  (the tests use the fixture below)
    COMMON,
    assert_same,
    frames,
    ours,
    script,
    test_compressed,
    test_dynamics,
    test_files_of_both,
    test_learning_curve,
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
    """The same training here and there: folders ``ours`` and ``stock`` with model.pb each."""
    name = request.param

    def make(folder: Path) -> None:
        table = {"rmin": 0.01, "rmax": 3.0, "step": 0.01, "rswitch": 1.0}
        write_zbl_table(folder / "zbl.tab", ["O", "H"], **table)
        for part in ("ours", "stock"):
            (folder / part).mkdir()
            write_all_data(folder / part)
            text = json.dumps(with_table(name, folder / "zbl.tab"))
            (folder / part / "input.json").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "ours")
            assert train("input.json") == 0
            freeze("model.ckpt-5", "model.pb")
            freeze("model.ckpt-5", "native.pb", dialect="native")
        stock_wheel.dp(["train", "input.json"], folder / "stock")
        stock_wheel.dp(["freeze", "-o", "model.pb"], folder / "stock")

    return name, once(f"pair_{name.replace(' ', '_')}", make)


def test_checkpoints_and_compression_of_both(trained, frames, tmp_path):  # noqa: F811
    """DeePMD-kit freezes our checkpoint and compresses our file; its checkpoint is read here."""
    folder = trained[1]
    (expected,) = stock_wheel.evaluate(folder / "ours" / "model.pb", tmp_path, [frames])
    arguments = ["freeze", "-c", str(folder / "ours"), "-o", "a.pb"]
    stock_wheel.dp(arguments, tmp_path)
    assert_same(ours(tmp_path / "a.pb", frames), expected)
    file = str(folder / "ours" / "model.pb")
    stock_wheel.dp(["compress", "-i", file, "-o", "c.pb"], tmp_path)
    (theirs,) = stock_wheel.evaluate(tmp_path / "c.pb", tmp_path, [frames])
    assert_same(ours(tmp_path / "c.pb", frames), theirs)
    (theirs,) = stock_wheel.evaluate(folder / "stock" / "model.pb", tmp_path, [frames])
    assert_same(ours(folder / "stock" / "model.ckpt-5", frames), theirs)


PROGRAM = """
import sys, numpy as np
from deepmd.utils.pair_tab import PairTab
info, data = PairTab(sys.argv[1], rcut=float(sys.argv[2])).get()
np.savez(sys.argv[3], info=info, data=data)
"""


@pytest.mark.parametrize(("rows", "zero"), [(10, True), (10, False), (23, False), (30, True)])
def test_tables_are_continued_as_there(rng, tmp_path, rows, zero):
    r = 0.25 + 0.125 * np.arange(rows)
    values = rng.normal(size=(rows, 3))
    if zero:
        values[-1] = 0
    np.savetxt(tmp_path / "t.tab", np.column_stack([r, values]))
    (tmp_path / "program.py").write_text(PROGRAM)
    for rcut in (2.0, 3.05, 4.0):
        table, _ = read_pair_table(tmp_path / "t.tab", (), 2).continued(rcut)
        stock_wheel.run(["program.py", "t.tab", str(rcut), "found.npz"], tmp_path)
        found = np.load(tmp_path / "found.npz")
        for one, other in zip(table.coefficients(), found.values(), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-12)


def test_the_table_in_the_file_is_the_same(trained):
    one, other = (read_model(trained[1] / part / "model.pb").weights for part in ("ours", "stock"))
    for name in (names.TAB_INFO, names.TAB_DATA):
        np.testing.assert_allclose(one[name], other[name], rtol=0, atol=1e-9)
