# SPDX-License-Identifier: BSD-3-Clause
"""``se_a_mask`` in stock DeePMD-kit: training, and files both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import masks
import numpy as np
import pytest
import stock_wheel
from small_training import TYPES

from deepmd_tf.export.freeze import freeze
from deepmd_tf.infer import DeepPot
from deepmd_tf.training.entrypoint import train

pytestmark = stock_wheel.needs_stock

TOLERANCE = 1e-10
CASES = {
    "two-sided": {"exclude_types": [[0, 0]]},
    "one-sided": {"type_one_side": True, "resnet_dt": True},
}


@pytest.fixture(scope="module", params=CASES)
def trained(request: pytest.FixtureRequest, once: Callable[..., Path]) -> Path:
    """The same training here and there: folders ``ours`` and ``stock`` with model.pb each."""

    def make(folder: Path) -> None:
        training = {"numb_steps": 5, "disp_freq": 1, "save_freq": 5}
        script = masks.script(CASES[request.param])
        script["training"] |= training
        # of several frames its validation fails
        for part in ("training_data", "validation_data"):
            script["training"][part] |= {"batch_size": 1}
        for part in ("ours", "stock"):
            (folder / part).mkdir()
            masks.data(folder / part)
            (folder / part / "input.json").write_text(json.dumps(script))
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder / "ours")
            assert train("input.json") == 0
            freeze("model.ckpt-5", "model.pb")
        commands = [["train", "input.json"], ["freeze", "-o", "model.pb"]]
        stock_wheel.dp_each(commands, folder / "stock")

    return once(f"mask_{request.param}", make)


def test_learning_curve(trained):
    """First weights and steps; the last printed digit may be rounded otherwise."""
    curves = [np.loadtxt(trained / part / "lcurve.out") for part in ("ours", "stock")]
    assert curves[0].shape == curves[1].shape
    np.testing.assert_allclose(curves[0], curves[1], rtol=0.011)


@pytest.mark.parametrize("cpp", [False, True], ids=["python", "cpp"])
def test_files_of_both(trained, tmp_path, cpp):
    """Frame by frame: of several DeePMD-kit fails."""
    frames = masks.frames(5, 3)
    given = [
        (frames["coord"][i : i + 1], None, TYPES, None, frames["aparam"][i : i + 1, :, None])
        for i in range(3)
    ]
    files = [trained / part / "model.pb" for part in ("ours", "stock")]
    for file, theirs in zip(
        files, stock_wheel.evaluate_files(files, tmp_path, given, cpp=cpp), strict=True
    ):
        with DeepPot(file) as pot:
            ours = pot.eval(frames["coord"], None, TYPES, True, None, frames["aparam"])
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
