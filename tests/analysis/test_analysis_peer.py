# SPDX-License-Identifier: BSD-3-Clause
"""The commands that look at data and models, line by line with those of the stock wheel."""

from __future__ import annotations

import re

import pytest
import small_training
import stock_wheel
from saved_models import save_checkpoint, small_input
from stock_wheel import log_lines

from deepmd_tf.cli.main import main
from deepmd_tf.export.freeze import freeze

pytestmark = stock_wheel.needs_stock


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two models with random weights, and data with the energies of another potential."""
    root = tmp_path_factory.mktemp("stock")
    small_training.write_all_data(root)
    for i in (1, 2):
        (root / f"{i}").mkdir()
        prefix, _ = save_checkpoint(root / f"{i}", small_input({"seed": i}, {"seed": i}))
        freeze(prefix, root / f"{i}.pb")
    return root


def ours(arguments: list[str], capsys) -> list[str]:
    """Messages of our ``dp``."""
    capsys.readouterr()
    assert main(["--tf", *arguments]) == 0
    return log_lines(capsys.readouterr().err)


@pytest.mark.parametrize("options", [[], ["-t", "H", "C", "O"], ["--mixed-type", "-t", "O", "H"]])
def test_neighbor_stat(folder, monkeypatch, capsys, options):
    monkeypatch.chdir(folder)
    arguments = ["neighbor-stat", "-s", "data", "-r", "3.4", *options]
    lines = ours(arguments, capsys)
    assert lines == stock_wheel.dp(arguments, folder)
    assert re.fullmatch(r"max_nbor_size: \[.*[1-9].*\]", lines[-1])
