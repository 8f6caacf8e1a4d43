# SPDX-License-Identifier: BSD-3-Clause
"""``pairwise_dprc`` in stock DeePMD-kit: training, and files both ways.

Frame by frame: of several frames it gives the sub-frames of all the atoms of the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import fragmented
import numpy as np
import pytest
import stock_wheel

from deepmd_tf.cli.main import main
from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

TOLERANCE = 1e-10
FILES = ("model.pb", "small.pb")


@pytest.fixture(scope="module")
def trained(once: Callable[..., Path]) -> Path:
    """The same training here and there: folders ``ours`` and ``stock`` with model.pb each, and
    small.pb, the compressed one.
    """

    def make(folder: Path) -> None:
        script = fragmented.script(
            learning_rate={"decay_steps": 1},
            training={"numb_steps": 4, "disp_freq": 1, "save_freq": 4},
        )
        script["loss"] = {}
        for part in ("ours", "stock"):
            (folder / part).mkdir()
            fragmented.data(folder / part)
            (folder / part / "input.json").write_text(json.dumps(script))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "ours")
            assert train("input.json") == 0
            freeze("model.ckpt-4", "model.pb")
            assert main(["compress", "-i", "model.pb", "-o", "small.pb"]) == 0
        commands = [
            ["train", "input.json"],
            ["freeze", "-o", "model.pb"],
            ["compress", "-i", "model.pb", "-o", "small.pb"],
        ]
        stock_wheel.dp_each(commands, folder / "stock")

    return once("pairwise", make)


def test_learning_curve(trained):
    """First weights and steps; the last printed digit may be rounded otherwise."""
    curves = [np.loadtxt(trained / part / "lcurve.out") for part in ("ours", "stock")]
    assert curves[0].shape == curves[1].shape
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.011)


@pytest.mark.parametrize("cpp", [False, True], ids=["python", "cpp"])
def test_files_of_both(trained, tmp_path, cpp):
    frames = fragmented.frames(5, 3)
    coord, group, types = frames["coord"], frames["aparam"], fragmented.TYPES
    given = [(coord[i : i + 1], None, types, None, group[i : i + 1, :, None]) for i in range(3)]
    files = [trained / part / name for part in ("ours", "stock") for name in FILES]
    for file, theirs in zip(
        files, stock_wheel.evaluate_files(files, tmp_path, given, cpp=cpp), strict=True
    ):
        with DeepPot(file) as pot:
            ours = pot.eval(coord, None, types, True, None, group)
        for key, values in zip(stock_wheel.KEYS, ours, strict=True):
            want = np.stack([result[key].ravel() for result in theirs])
            scale = np.abs(want).max()
            np.testing.assert_allclose(
                values.reshape(want.shape),
                want,
                rtol=0,
                atol=TOLERANCE * scale,
                err_msg=f"{file}: {key}",
            )
